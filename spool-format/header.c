// The header block: where it ends, and its fields (see header.h).
#include "header.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define READ_FIRST   16384 // octets; nearly every header block ends within
#define READ_FACTOR  4     // of growth, so that a block is scanned 4/3 times at most
#define FIELDS_FIRST 32
#define MBOX_START   "From "
#define LOOK_AHEAD   (HEADER_NAME_MAX + 2) // octets that tell whether a line is a field

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

// One line: its content is [start, end), and the next one begins at next.
struct line {
    const char *start, *end, *next;
};

// Finds the line end that header.h defines: CR* LF, or one CR. false where data ends before that can be told;
// *ret_line is right then if nothing follows.
static bool find_line(const char *start, const char *limit, struct line *ret_line)
{
    const char *p = start;
    ret_line->start = start;
    ret_line->end = ret_line->next = limit;
    while (p < limit && *p != '\r' && *p != '\n')
        p++;
    const char *run = p;
    while (p < limit && *p == '\r')
        p++;
    ret_line->end = run;
    ret_line->next = p < limit && *p == '\n' ? p + 1 : run < limit ? run + 1 : limit;
    return p < limit; // after a CR at the end an LF may follow
}

enum line_kind { LINE_FIELD, LINE_NO_FIELD, LINE_UNDECIDED };

// Whether a line starts a field: a name (RFC 5322: ftext), perhaps blanks, and a colon. Undecided where data
// ends first.
static enum line_kind classify(
    const char *start, const char *limit, size_t *ret_name_length, const char **ret_value)
{
    const char *p = start;
    while (p<limit && * p> ' ' && *p < 127 && *p != ':' && p - start <= HEADER_NAME_MAX)
        p++;
    size_t length = (size_t)(p - start);
    if (length > HEADER_NAME_MAX || (length == 0 && p < limit))
        return LINE_NO_FIELD;
    while (p < limit && is_blank(*p) && p - start <= HEADER_NAME_MAX)
        p++;
    if (p == limit)
        return LINE_UNDECIDED;
    if (*p != ':')
        return LINE_NO_FIELD;
    *ret_name_length = length;
    *ret_value = p + 1;
    return LINE_FIELD;
}

struct scan {
    const char *data, *limit;
    bool at_end;
    struct header_field *fields;
    size_t n, capacity;
};

static int add_field(struct scan *scan, const struct header_field *field)
{
    if (scan->n == HEADER_FIELDS_MAX)
        return -E2BIG;
    if (scan->n == scan->capacity) {
        size_t capacity = scan->capacity == 0 ? FIELDS_FIRST : scan->capacity * 2;
        struct header_field *fields = reallocarray(scan->fields, capacity, sizeof *fields);
        if (fields == NULL)
            return -ENOMEM;
        scan->fields = fields;
        scan->capacity = capacity;
    }
    scan->fields[scan->n++] = *field;
    return 0;
}

// Reads one field with its continuation lines from *position. 1: a field; 0: the line there is none; -EAGAIN:
// more data is needed to tell.
static int scan_field(struct scan *scan, const char **position)
{
    struct header_field field = {.name = *position, .raw = *position};
    switch (classify(*position, scan->limit, &field.name_length, &field.value)) {
    case LINE_NO_FIELD:
        return 0;
    case LINE_UNDECIDED:
        return scan->at_end ? 0 : -EAGAIN;
    case LINE_FIELD:
        break;
    }
    struct line line = {.next = *position};
    do {
        if (!find_line(line.next, scan->limit, &line) && !scan->at_end)
            return -EAGAIN;
        if (line.next == scan->limit && !scan->at_end)
            return -EAGAIN; // the next line may continue this field
    } while (line.next < scan->limit && is_blank(*line.next));
    while (field.value < line.end && is_blank(*field.value))
        field.value++;
    field.value_length = (size_t)(line.end - field.value);
    field.raw_length = (size_t)(line.end - field.raw);
    *position = line.next;
    int r = add_field(scan, &field);
    return r < 0 ? r : 1;
}

// Whether the line is one that mbox files have before a message: "From ", perhaps quoted as ">From ". "From :
// a@b" is a field. 1, 0, or -EAGAIN.
static int is_mbox_line(const struct scan *scan, const char *start)
{
    const size_t length = sizeof MBOX_START - 1;
    size_t name_length;
    const char *p = start, *value;
    while (p < scan->limit && *p == '>' && p - start < HEADER_NAME_MAX)
        p++;
    size_t left = (size_t)(scan->limit - p);
    if (memcmp(p, MBOX_START, left < length ? left : length) != 0)
        return 0;
    if (left < length)
        return scan->at_end ? 0 : -EAGAIN;
    enum line_kind kind = classify(start, scan->limit, &name_length, &value);
    return kind == LINE_UNDECIDED && !scan->at_end ? -EAGAIN : kind != LINE_FIELD;
}

// Skips such lines at the start: 0, or -EAGAIN.
static int skip_mbox_lines(const struct scan *scan, const char **position)
{
    int r;
    while ((r = is_mbox_line(scan, *position)) > 0) {
        struct line line;
        if (!find_line(*position, scan->limit, &line) && !scan->at_end)
            return -EAGAIN;
        *position = line.next;
    }
    return r;
}

// Finds all fields and the start of the body.
static int scan_block(struct scan *scan, const char **ret_body, bool *ret_separator)
{
    const char *position = scan->data;
    int r = skip_mbox_lines(scan, &position);
    if (r < 0)
        return r;
    do {
        if (position == scan->limit) {
            *ret_body = position;
            return scan->at_end ? 0 : -EAGAIN;
        }
        r = scan_field(scan, &position);
    } while (r > 0);
    if (r < 0)
        return r;
    struct line line;
    *ret_body = position;
    if (*position == '\n' || *position == '\r') {
        if (!find_line(position, scan->limit, &line) && !scan->at_end)
            return -EAGAIN;
        *ret_separator = true;
        *ret_body = line.next;
    }
    return 0;
}

// Copies the block out of the data that was scanned, and points the fields into the copy.
static int make_block(
    const struct scan *scan, const char *body, bool separator, struct header_block **ret_block)
{
    struct header_block *block = calloc(1, sizeof *block);
    size_t length = (size_t)(body - scan->data);
    char *data = malloc(length + 1);
    if (block == NULL || data == NULL) {
        free(block);
        free(data);
        return -ENOMEM;
    }
    memcpy(data, scan->data, length);
    data[length] = 0;
    for (size_t i = 0; i < scan->n; i++) {
        struct header_field *field = &scan->fields[i];
        field->name = data + (field->name - scan->data);
        field->value = data + (field->value - scan->data);
        field->raw = data + (field->raw - scan->data);
    }
    *block = (struct header_block){.data = data,
        .length = length,
        .fields = scan->fields,
        .n_fields = scan->n,
        .body_offset = length,
        .has_separator = separator,
        .has_nul = memchr(data, 0, length) != NULL};
    for (size_t i = 0; i < length && !block->has_8bit; i++)
        block->has_8bit = (unsigned char)data[i] > 127;
    *ret_block = block;
    return 0;
}

int header_block_parse(
    const char *data, size_t length, bool at_end, size_t max, struct header_block **ret_block)
{
    // A block longer than max is refused without more than a short look at what lies beyond.
    bool cut = length > max && length - max > LOOK_AHEAD;
    struct scan scan = {
        .data = data, .limit = data + (cut ? max + LOOK_AHEAD : length), .at_end = at_end && !cut};
    const char *body = data;
    bool separator = false;
    int r = length == 0 && !at_end ? -EAGAIN : 0;
    if (r == 0 && length > 0)
        r = scan_block(&scan, &body, &separator);
    if (r == 0 && (size_t)(body - data) > max)
        r = -E2BIG;
    if (r == -EAGAIN && cut)
        r = -E2BIG;
    if (r == 0)
        r = make_block(&scan, body, separator, ret_block);
    if (r < 0)
        free(scan.fields);
    return r;
}

// Reads up to size octets from offset of the file; fewer only at its end.
static ssize_t read_full(int fd, char *buffer, size_t size, off_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = TEMP_FAILURE_RETRY(pread(fd, buffer + done, size - done, offset + (off_t)done));
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int header_block_read(int fd, size_t max, struct header_block **ret_block)
{
    char *data = NULL;
    size_t length = 0;
    int r = -EAGAIN;
    for (size_t size = READ_FIRST; r == -EAGAIN; size *= READ_FACTOR) {
        char *larger = realloc(data, size);
        ssize_t n = larger == NULL ? -ENOMEM : read_full(fd, larger + length, size - length, (off_t)length);
        data = larger != NULL ? larger : data;
        if (n < 0) {
            r = (int)n;
            break;
        }
        length += (size_t)n;
        r = header_block_parse(data, length, length < size, max, ret_block);
    }
    free(data);
    return r;
}

void header_block_free(struct header_block *block)
{
    if (block == NULL)
        return;
    free(block->fields);
    free(block->data);
    free(block);
}

bool header_field_is(const struct header_field *field, const char *name)
{
    return strlen(name) == field->name_length && strncasecmp(field->name, name, field->name_length) == 0;
}

const struct header_field *header_find(const struct header_block *block, const char *name, size_t *position)
{
    while (*position < block->n_fields) {
        const struct header_field *field = &block->fields[(*position)++];
        if (header_field_is(field, name))
            return field;
    }
    return NULL;
}

char *header_unfold(const struct header_field *field)
{
    char *text = malloc(field->value_length + 1);
    if (text == NULL)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < field->value_length; i++) {
        char c = field->value[i];
        if (c == '\r' || c == '\n' || (n == 0 && is_blank(c)))
            continue;
        text[n++] = c == 0 ? ' ' : c;
    }
    while (n > 0 && is_blank(text[n - 1]))
        n--;
    text[n] = 0;
    return text;
}

char *header_field_wire(const struct header_field *field, size_t *ret_length)
{
    // Each line ends in at least one octet here and in two there; what is between stays.
    const char *limit = field->raw + field->raw_length;
    size_t ends = 1, n = 0;
    for (const char *p = field->raw; p < limit; p++)
        ends += *p == '\r' || *p == '\n';
    char *text = malloc(field->raw_length + 2 * ends + 1);
    if (text == NULL)
        return NULL;
    struct line line = {.next = field->raw};
    do {
        find_line(line.next, limit, &line);
        memcpy(text + n, line.start, (size_t)(line.end - line.start));
        n += (size_t)(line.end - line.start);
        text[n++] = '\r';
        text[n++] = '\n';
    } while (line.next < limit);
    text[n] = 0;
    *ret_length = n;
    return text;
}
