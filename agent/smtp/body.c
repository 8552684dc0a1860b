// The octets of a message: measured, made CRLF, dot-stuffed, streamed from the file.
#include "body.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define BODY_CHUNK  65536 // octets read at once
#define TALLY_BLOCK 128   // octets counted in one go
static_assert(TALLY_BLOCK <= UCHAR_MAX, "its counts fit into an octet");

static ssize_t body_pread(int fd, char *to, size_t size, uint64_t offset)
{
    ssize_t n;
    do
        n = pread(fd, to, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

// Counts of a text: what its length on the wire is made of.
struct tally {
    uint64_t marks;    // CR and LF
    uint64_t pairs;    // LF right behind CR
    unsigned char all; // every octet or'ed into one
};

// Counts the length octets behind the first one, at most TALLY_BLOCK, so that each count fits into an octet.
// Without a branch, and with a length that the compiler knows, this becomes vector code: three times as fast
// as looking for one line end after the other, and as fast for short lines as for long ones.
static inline void tally_block(struct tally *tally, const char *text, size_t length)
{
    unsigned char marks = 0, pairs = 0, all = 0;
    for (size_t i = 1; i <= length; i++) {
        bool lf = text[i] == '\n', cr = text[i] == '\r', behind_cr = text[i - 1] == '\r';
        marks = (unsigned char)(marks + (lf | cr));
        pairs = (unsigned char)(pairs + (lf & behind_cr));
        all |= (unsigned char)text[i];
    }
    tally->marks += marks;
    tally->pairs += pairs;
    tally->all |= all;
}

// before: the octet in front of the text.
static void tally_text(struct tally *tally, char before, const char *text, size_t length)
{
    if (!length)
        return;
    const char first[] = {before, *text};
    tally_block(tally, first, 1);
    for (length--; length >= TALLY_BLOCK; text += TALLY_BLOCK, length -= TALLY_BLOCK)
        tally_block(tally, text, TALLY_BLOCK);
    tally_block(tally, text, length);
}

int smtp_body_scan(int fd, uint64_t offset, uint64_t max, struct smtp_body_scan *ret_scan)
{
    struct smtp_body_scan scan = {0};
    struct tally tally = {0};
    char chunk[BODY_CHUNK], last = '\n'; // what is in front of a body ends a line
    for (;;) {
        ssize_t n = body_pread(fd, chunk, sizeof chunk, offset + scan.file_length);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        scan.file_length += (uint64_t)n;
        if (scan.file_length > max)
            return -EFBIG;
        tally_text(&tally, last, chunk, (size_t)n);
        scan.has_nul |= memchr(chunk, '\0', (size_t)n) != NULL;
        last = chunk[n - 1];
    }
    // Two octets for each line end, of which a pair is one, and one for every other octet.
    scan.wire_length = scan.file_length + tally.marks - 2 * tally.pairs;
    if (last != '\n' && last != '\r')
        scan.wire_length += 2;
    scan.has_8bit = tally.all & 0x80;
    *ret_scan = scan;
    return 0;
}

void smtp_body_start(struct smtp_body_cursor *cursor)
{
    *cursor = (struct smtp_body_cursor){.line_start = true};
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

// Makes line ends CRLF and stuffs dots, as far as to has room. Returns the octets written; *ret_used is what
// was consumed of text, wire_done grows by what was written but the stuffing.
static size_t body_convert(struct smtp_body_cursor *cursor, const char *text, size_t length, bool stuff,
    char *to, size_t size, size_t *ret_used)
{
    size_t i = 0, made = 0, dots = 0;
    bool cr = memchr(text, '\r', length) != NULL, after_cr = cursor->after_cr,
         line_start = cursor->line_start;
    while (i < length && size - made >= 4) { // a dot, an octet and a line end
        if (after_cr && text[i] == '\n') {
            after_cr = false;
            i++;
            continue;
        }
        if (stuff && line_start && text[i] == '.') {
            to[made++] = '.';
            dots++;
        }
        size_t left = length - i, room = size - made - 2;
        size_t most = left < room ? left : room;
        size_t run = plain_run(text + i, most, cr);
        memcpy(to + made, text + i, run);
        made += run;
        i += run;
        line_start = after_cr = false;
        if (run < most) {
            after_cr = text[i++] == '\r';
            line_start = true;
            to[made++] = '\r';
            to[made++] = '\n';
        }
    }
    cursor->after_cr = after_cr;
    cursor->line_start = line_start;
    cursor->wire_done += made - dots;
    *ret_used = i;
    return made;
}

// How many octets from text on go out as they are: up to where a line begins with a dot. Dots are looked for,
// not lines: there are fewer, and none in base64.
static size_t unstuffed_run(const char *text, size_t length)
{
    const char *dot = text;
    while ((dot = memchr(dot + 1, '.', length - (size_t)(dot + 1 - text))))
        if (dot[-1] == '\n')
            return (size_t)(dot - text);
    return length;
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
        size_t run = unstuffed_run(text, left < room ? left : room);
        memcpy(to + made, text, run);
        cursor->line_start = text[run - 1] == '\n';
        made += run;
        text += run;
        left -= run;
        cursor->head_done += run;
        cursor->wire_done += run;
    }
    return made;
}

// One piece of the file, at most size - 1 octets. The octet behind the body is asked for together with the
// last piece, so that a file that grew is found out before its last octet is on the wire.
static int64_t body_piece(
    const struct smtp_body *body, const struct smtp_body_cursor *cursor, char *to, size_t size)
{
    uint64_t left = body->file_length - cursor->file_done;
    size_t want = left < size ? (size_t)left + 1 : size - 1;
    ssize_t n = body_pread(body->fd, to, want, body->file_offset + cursor->file_done);
    if (n == 0)
        return -ENODATA;
    return n > 0 && (uint64_t)n > left ? -EFBIG : n;
}

// A file that has the line ends of the wire is read to where it is sent from, and looked at once more, since
// it may have changed: every CR and LF must be half of a line end. A CR at the end of a piece is left for the
// next one.
static int64_t body_as_is(
    const struct smtp_body *body, struct smtp_body_cursor *cursor, char *to, size_t size)
{
    struct tally tally = {0};
    int64_t n = body_piece(body, cursor, to, size);
    if (n < 0)
        return n;
    if ((uint64_t)n < body->file_length - cursor->file_done && to[n - 1] == '\r')
        n--;
    if (n == 0) // there is nothing any more where its LF was
        return -ENODATA;
    tally_text(&tally, '\n', to, (size_t)n);
    if (tally.marks != 2 * tally.pairs)
        return -EFBIG;
    cursor->line_start = to[n - 1] == '\n';
    cursor->file_done += (uint64_t)n;
    cursor->wire_done += (uint64_t)n;
    return n;
}

static int64_t body_file(
    const struct smtp_body *body, struct smtp_body_cursor *cursor, bool stuff, char *to, size_t size)
{
    char chunk[BODY_CHUNK];
    size_t most = size < sizeof chunk ? size : sizeof chunk, used;
    if (!stuff && body->head_length + body->file_length == body->size)
        return body_as_is(body, cursor, to, most);
    int64_t n = body_piece(body, cursor, chunk, most);
    if (n < 0)
        return n;
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
