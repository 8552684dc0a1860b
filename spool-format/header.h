// The header block of a message: read bounded from a file, split into fields, never changed.
//
// Accepts what producers really write: LF, CRLF or mixed line ends, mbox "From " lines first (skipped, ">From
// " too), leading X-Sender and X-Receiver lines, "From :" with space before the colon, folded fields, no
// final line end, and a block that ends without an empty line: the first line that is no field starts the
// body then, also where that is a continuation line at the very start. RFC 5322 section 2.2 and 4.5.
//
// Line ends: an LF with all CRs right before it is one line end (so CR CR LF, as text-mode copies make it, is
// one), and a CR that no LF follows is one line end by itself. That is what the line will be on the wire,
// where a bare CR becomes CRLF: a field cannot hide in another one behind a CR. A line of blanks only
// continues the field above it.
#ifndef OUTTRAY_SPOOL_FORMAT_HEADER_H
#define OUTTRAY_SPOOL_FORMAT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HEADER_FIELDS_MAX 200000 // fields in one block
#define HEADER_NAME_MAX   998 // octets of a field's name with the blanks before its colon; else it is no field

struct header_field {
    const char *name; // into the block; not terminated
    size_t name_length;
    const char *value; // after the colon and following blanks, raw with its folds, without the final line end
    size_t value_length;
    const char *raw; // the whole field as it stands in the file, without the final line end
    size_t raw_length;
};

struct header_block {
    char *data; // owned: the octets of the file up to body_offset (NUL-terminated)
    size_t length;
    struct header_field *fields; // owned; in order
    size_t n_fields;
    uint64_t body_offset; // where in the file the body starts; the file's size where there is none
    bool has_separator;   // an empty line ended the block
    bool has_nul;         // a NUL octet in the block
    bool has_8bit;        // an octet above 127 in the block
};

// Reads from the start of fd (pread(2); the file offset does not move). 0; -E2BIG where the block is longer
// than max octets or has more than HEADER_FIELDS_MAX fields; read errors; -ENOMEM. An empty file gives an
// empty block.
int header_block_read(int fd, size_t max, struct header_block **ret_block);
// The same from memory (length octets of a whole message or its start; at_end: there is nothing after it).
// -EAGAIN where the block does not end in data and !at_end.
int header_block_parse(
    const char *data, size_t length, bool at_end, size_t max, struct header_block **ret_block);
void header_block_free(struct header_block *block); // takes NULL

// Whether the field is called name, compared without case (RFC 5322).
bool header_field_is(const struct header_field *field, const char *name);
// The first field called name at or after index *position (0 to start), which is advanced past it; NULL where
// none is left.
const struct header_field *header_find(const struct header_block *block, const char *name, size_t *position);
// A copy of the value unfolded: line ends removed, other blanks kept, surrounding blanks trimmed, a NUL octet
// made a blank. NULL: no memory.
char *header_unfold(const struct header_field *field);
// A copy of the whole field as it goes on the wire: every line end CRLF, the last one too, folds kept,
// nothing else changed. NUL-terminated for comfort, *ret_length counts. NULL: no memory.
char *header_field_wire(const struct header_field *field, size_t *ret_length);

#endif
