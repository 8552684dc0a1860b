// Header blocks: whatever octets come first in a file, the fields lie inside of it, one after the other, and
// what is made of them for the wire holds no line end of another kind than CRLF.
#include "fuzz.h"
#include "spool-format/header.h"

static void check_field(const struct header_block *block, const struct header_field *field)
{
    EXPECT(field->raw >= block->data && field->raw + field->raw_length <= block->data + block->length);
    EXPECT(field->name_length > 0 && field->name_length <= HEADER_NAME_MAX);
    EXPECT(
        field->value >= field->raw && field->value + field->value_length <= field->raw + field->raw_length);
    char *unfolded = header_unfold(field);
    EXPECT(unfolded && !strpbrk(unfolded, "\r\n"));
    free(unfolded);
    size_t length;
    char *wire = header_field_wire(field, &length);
    EXPECT(wire && length >= 2 && memcmp(wire + length - 2, "\r\n", 2) == 0);
    EXPECT(fuzz_crlf_only(wire, length));
    for (size_t i = 0; i + 2 < length; i++) // one field stays one: every further line continues it
        EXPECT(wire[i] != '\n' || wire[i + 1] == ' ' || wire[i + 1] == '\t');
    free(wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct header_block *block = NULL, *other = NULL;
    int result = header_block_parse(text, size, true, 65536, &block);
    EXPECT(result == 0 || result == -E2BIG);
    int fd = fuzz_file(data, size);
    EXPECT(header_block_read(fd, 65536, &other) == result);
    close(fd);
    if (result == 0) {
        EXPECT(block->body_offset <= size && block->length <= size);
        EXPECT(other->body_offset == block->body_offset && other->n_fields == block->n_fields);
        const char *end = block->data;
        for (size_t i = 0; i < block->n_fields; i++) {
            EXPECT(block->fields[i].raw >= end);
            end = block->fields[i].raw + block->fields[i].raw_length;
            check_field(block, &block->fields[i]);
        }
    }
    header_block_free(other);
    other = NULL;
    // A beginning says the same as the whole file, or that it is too short to tell.
    int early = header_block_parse(text, size, false, 65536, &other);
    EXPECT(early == result || early == -EAGAIN);
    if (early == 0)
        EXPECT(other->body_offset == block->body_offset && other->n_fields == block->n_fields);
    header_block_free(other);
    header_block_free(block);
    free(text);
    return 0;
}
