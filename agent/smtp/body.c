// The octets of a message: measured, made CRLF, dot-stuffed, streamed from the file.
#include "body.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BODY_SCAN_CHUNK 32768 // octets read at once while measuring
#define BODY_READ_CHUNK 16384 // octets read at once while sending

static ssize_t body_pread(int fd, char *to, size_t size, uint64_t offset)
{
    ssize_t n;
    do
        n = pread(fd, to, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

// Whether there is any CR: in files with plain line feeds no line has to be searched for one then.
static bool has_cr(const char *text, size_t length)
{
    return memchr(text, '\r', length) != NULL;
}

// How many octets from text on are neither CR (which may only occur where `cr` says so) nor LF. memchr(3) is
// many times faster than a loop.
static size_t plain_run(const char *text, size_t length, bool cr)
{
    const char *lf = memchr(text, '\n', length);
    if (lf)
        length = (size_t)(lf - text);
    const char *first = cr ? memchr(text, '\r', length) : NULL;
    return first ? (size_t)(first - text) : length;
}

// Eight octets at a time: one at a time this took a fifth of all CPU that a large message costs.
static bool has_8bit(const char *text, size_t length)
{
    uint64_t all = 0, word;
    for (; length >= sizeof word; text += sizeof word, length -= sizeof word) {
        memcpy(&word, text, sizeof word);
        all |= word;
    }
    for (; length; length--)
        all |= (unsigned char)*text++;
    return all & 0x8080808080808080u;
}

struct scan_state {
    uint64_t line; // octets of the current line
    bool after_cr, line_start;
};

static void scan_chunk(struct smtp_body_scan *scan, struct scan_state *state, const char *text, size_t length)
{
    scan->has_8bit |= has_8bit(text, length);
    scan->has_nul |= memchr(text, '\0', length) != NULL;
    bool cr = has_cr(text, length);
    size_t i = 0;
    while (i < length) {
        if (text[i] == '\n' && state->after_cr) {
            state->after_cr = false;
            i++;
            continue;
        }
        state->after_cr = false;
        if (text[i] == '\r' || text[i] == '\n') {
            state->after_cr = text[i] == '\r';
            scan->wire_length += 2;
            state->line = 0;
            state->line_start = true;
            i++;
            continue;
        }
        if (state->line_start && text[i] == '.')
            scan->dots++;
        size_t run = plain_run(text + i, length - i, cr);
        scan->wire_length += run;
        state->line += run;
        state->line_start = false;
        if (state->line > scan->longest_line)
            scan->longest_line = state->line > UINT32_MAX ? UINT32_MAX : (uint32_t)state->line;
        i += run;
    }
}

int smtp_body_scan(int fd, uint64_t offset, uint64_t max, struct smtp_body_scan *ret_scan)
{
    struct smtp_body_scan scan = {0};
    struct scan_state state = {.line_start = true};
    char chunk[BODY_SCAN_CHUNK];
    for (;;) {
        ssize_t n = body_pread(fd, chunk, sizeof chunk, offset + scan.file_length);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        scan.file_length += (uint64_t)n;
        if (scan.file_length > max)
            return -EFBIG;
        scan_chunk(&scan, &state, chunk, (size_t)n);
    }
    if (!state.line_start)
        scan.wire_length += 2;
    *ret_scan = scan;
    return 0;
}

void smtp_body_start(struct smtp_body_cursor *cursor)
{
    *cursor = (struct smtp_body_cursor){.line_start = true};
}

// Makes line ends CRLF and stuffs dots, as far as to has room. Returns the octets written; *ret_used is what
// was consumed of text, wire_done grows by what was written but the stuffing.
static size_t body_convert(struct smtp_body_cursor *cursor, const char *text, size_t length, bool stuff,
    char *to, size_t size, size_t *ret_used)
{
    size_t i = 0, made = 0, dots = 0;
    bool cr = has_cr(text, length);
    while (i < length && size - made >= 3) {
        if (text[i] == '\n' && cursor->after_cr) {
            cursor->after_cr = false;
            i++;
            continue;
        }
        cursor->after_cr = false;
        if (text[i] == '\r' || text[i] == '\n') {
            cursor->after_cr = text[i] == '\r';
            cursor->line_start = true;
            to[made++] = '\r';
            to[made++] = '\n';
            i++;
            continue;
        }
        if (stuff && cursor->line_start && text[i] == '.') {
            to[made++] = '.';
            dots++;
        }
        size_t left = length - i, room = size - made;
        size_t run = plain_run(text + i, left < room ? left : room, cr);
        memcpy(to + made, text + i, run);
        made += run;
        i += run;
        cursor->line_start = false;
    }
    *ret_used = i;
    cursor->wire_done += made - dots;
    return made;
}

// The head is CRLF already: it is copied, and stuffed where asked for.
static size_t body_head(
    const struct smtp_body *body, struct smtp_body_cursor *cursor, bool stuff, char *to, size_t size)
{
    const char *text = body->head + cursor->head_done;
    size_t left = body->head_length - (size_t)cursor->head_done, made = 0;
    if (!stuff) {
        made = left < size ? left : size;
        memcpy(to, text, made);
        cursor->head_done += made;
        cursor->wire_done += made;
        if (made)
            cursor->line_start = text[made - 1] == '\n';
        return made;
    }
    while (left && size - made >= 2) {
        if (cursor->line_start && *text == '.')
            to[made++] = '.';
        size_t room = size - made;
        const char *lf = memchr(text, '\n', left < room ? left : room);
        size_t run = lf ? (size_t)(lf - text) + 1 : left < room ? left : room;
        memcpy(to + made, text, run);
        cursor->line_start = lf != NULL;
        made += run;
        text += run;
        left -= run;
        cursor->head_done += run;
        cursor->wire_done += run;
    }
    return made;
}

// One piece of the file. The octet behind the body is asked for together with the last piece, so that a file
// that grew is found out before its last octet is on the wire.
static int64_t body_file(
    const struct smtp_body *body, struct smtp_body_cursor *cursor, bool stuff, char *to, size_t size)
{
    char chunk[BODY_READ_CHUNK];
    size_t most = size < sizeof chunk ? size : sizeof chunk;
    uint64_t left = body->file_length - cursor->file_done;
    size_t want = left < most ? (size_t)left + 1 : most - 1;
    ssize_t n = body_pread(body->fd, chunk, want, body->file_offset + cursor->file_done);
    if (n < 0)
        return n;
    if (n == 0)
        return -ENODATA;
    if ((uint64_t)n > left)
        return -EFBIG;
    size_t used;
    size_t made = body_convert(cursor, chunk, (size_t)n, stuff, to, size, &used);
    cursor->file_done += used;
    return (int64_t)made;
}

int64_t smtp_body_read(
    const struct smtp_body *body, struct smtp_body_cursor *cursor, bool stuff, char *to, size_t size)
{
    assert(size >= 16);
    if (cursor->finished)
        return 0;
    size_t made = 0;
    if (cursor->head_done < body->head_length) {
        made = body_head(body, cursor, stuff, to, size);
        if (cursor->head_done < body->head_length)
            return (int64_t)made;
        if (body->file_length > 0)
            cursor->line_start = true; // the head of a file ends with its empty line
    }
    while (cursor->file_done < body->file_length) {
        if (size - made < 16)
            return (int64_t)made;
        int64_t n = body_file(body, cursor, stuff, to + made, size - made);
        if (n < 0)
            return n;
        made += (size_t)n;
        if (cursor->wire_done > body->size)
            return -EFBIG;
    }
    if (!cursor->line_start && body->file_length > 0) {
        if (size - made < 2)
            return (int64_t)made;
        memcpy(to + made, "\r\n", 2);
        made += 2;
        cursor->wire_done += 2;
        cursor->line_start = true;
    }
    if (cursor->wire_done != body->size) // found before the last octets are given out
        return cursor->wire_done < body->size ? -ENODATA : -EFBIG;
    cursor->finished = true;
    return (int64_t)made;
}

size_t smtp_body_convert(const char *text, size_t length, char *to)
{
    struct smtp_body_cursor cursor;
    smtp_body_start(&cursor);
    size_t used;
    size_t made = body_convert(&cursor, text, length, false, to, 2 * length + 2, &used);
    if (!cursor.line_start) {
        memcpy(to + made, "\r\n", 2);
        made += 2;
    }
    return made;
}
