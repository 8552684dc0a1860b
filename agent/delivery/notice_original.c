// The returned message (see notice_original.h).
#include "notice_original.h"
#include "agent/base/buffer.h"
#include "agent/compose/fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_QP   76  // octets of a line of quoted-printable, RFC 2045 section 6.7
#define LINE_MAX_SMTP 998 // octets of any line, RFC 5322 section 2.1.1

static void append_encoded(struct buffer *out, const char *text, size_t length)
{
    size_t column = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\r' && i + 1 < length && text[i + 1] == '\n') {
            buffer_text(out, "\r\n");
            column = 0;
            i++;
            continue;
        }
        bool blank_at_end = (c == ' ' || c == '\t') && i + 1 < length && text[i + 1] == '\r';
        bool plain = (c >= ' ' && c < 0x7F && c != '=' && !blank_at_end) || (c == '\t' && !blank_at_end);
        if (column + (plain ? 1 : 3) >= LINE_MAX_QP) {
            buffer_text(out, "=\r\n");
            column = 0;
        }
        if (plain)
            buffer_append(out, &text[i], 1);
        else
            buffer_format(out, "=%02X", c);
        column += plain ? 1 : 3;
    }
}

// Appends text with every line end CRLF, as header.h tells them. Whether it is ASCII in lines that SMTP
// carries.
static bool append_lines(struct buffer *out, const char *text, size_t length)
{
    size_t line = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!c || c >= 0x80)
            return false;
        if (c == '\r' || c == '\n') {
            size_t ends = strspn(text + i, "\r");
            if (text[i + ends] == '\n')
                i += ends, ends = 1;
            else
                i += ends - 1;
            while (ends--)
                buffer_text(out, "\r\n");
            line = 0;
        } else {
            buffer_append(out, &text[i], 1);
            if (++line > LINE_MAX_SMTP)
                return false;
        }
    }
    return true;
}

static bool read_body(const struct header_block *block, int fd, const struct stat *stat, struct buffer *out)
{
    if (block->has_8bit || block->has_nul || stat->st_size > NOTICE_WHOLE_MAX ||
        (uint64_t)stat->st_size < block->body_offset)
        return false;
    size_t size = (size_t)stat->st_size - (size_t)block->body_offset, at = 0;
    char *text = calloc(1, size + 1); // terminated: append_lines looks behind the last octet
    while (text && at < size) {
        ssize_t n =
            TEMP_FAILURE_RETRY(pread(fd, text + at, size - at, (off_t)block->body_offset + (off_t)at));
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    bool whole = text && at == size && append_lines(out, text, size) && !buffer_error(out);
    free(text);
    return whole;
}

// The original's fields, without those that are the envelope or name hidden recipients.
int notice_original_read(
    struct notice_item *item, const struct header_block *block, int fd, const struct stat *stat)
{
    struct fields fields;
    struct buffer plain, encoded, body;
    if (fields_index(block, &fields))
        return -ENOMEM;
    buffer_init(&plain, NOTICE_HEAD_MAX + (fd >= 0 ? 2 * NOTICE_WHOLE_MAX : 0));
    buffer_init(&encoded, 4 * NOTICE_HEAD_MAX);
    buffer_init(&body, 2 * NOTICE_WHOLE_MAX);
    for (size_t i = 0; i < block->n_fields && !buffer_error(&plain); i++) {
        enum field_kind kind = (enum field_kind)fields.kinds[i];
        size_t length;
        if (field_kind_leads(kind) || kind == FIELD_BCC || kind == FIELD_RESENT_BCC)
            continue;
        char *wire = header_field_wire(&block->fields[i], &length);
        if (wire)
            buffer_append(&plain, wire, length);
        free(wire);
    }
    item->whole = fd >= 0 && !buffer_error(&plain) && read_body(block, fd, stat, &body);
    if (item->whole) {
        buffer_text(&plain, "\r\n");
        buffer_append(&plain, body.data ? body.data : "", body.length);
    }
    item->head_encoded = block->has_8bit;
    if (item->head_encoded && plain.length)
        append_encoded(&encoded, plain.data, plain.length);
    item->head = buffer_detach(item->head_encoded ? &encoded : &plain, NULL);
    fields_release(&fields);
    buffer_release(&plain);
    buffer_release(&encoded);
    buffer_release(&body);
    return 0;
}
