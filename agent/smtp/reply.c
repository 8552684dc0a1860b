// SMTP replies: lines collected, checked and joined. Nothing here judges what a reply means.
#include "reply.h"

#include <errno.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

void reply_reader_init(struct reply_reader *reader)
{
    // The two big arrays are left alone: they are only read as far as they were written.
    reader->reply.code = 0;
    reader->reply.text[0] = '\0';
    reader->line_length = 0;
    reader->text_length = 0;
    reader->n_lines = 0;
}

void reply_copy(struct smtp_reply *to, const struct smtp_reply *from)
{
    to->code = from->code;
    memcpy(to->enhanced, from->enhanced, sizeof to->enhanced);
    memcpy(to->text, from->text, strlen(from->text) + 1);
}

bool reply_same(const struct smtp_reply *a, const struct smtp_reply *b)
{
    return a->code == b->code && strcmp(a->text, b->text) == 0;
}

// The number of octets that an enhanced code at the start of text takes ("5.7.139"), 0 where there is none.
static size_t reply_enhanced(const char *text, size_t length, int ret_enhanced[3])
{
    int parts[3] = {0, 0, 0};
    size_t at = 0;
    for (int part = 0; part < 3; part++) {
        size_t digits = 0;
        while (at < length && is_digit(text[at]) && digits < 3) {
            parts[part] = parts[part] * 10 + (text[at] - '0');
            at++;
            digits++;
        }
        if (digits == 0)
            return 0;
        if (part < 2 && (at >= length || text[at++] != '.'))
            return 0;
    }
    if (at < length && text[at] != ' ') // "5.2.3.4" is an address, not a code
        return 0;
    if (parts[0] != 2 && parts[0] != 4 && parts[0] != 5)
        return 0;
    memcpy(ret_enhanced, parts, sizeof parts);
    return at;
}

static void reply_add_text(struct reply_reader *reader, const char *text, size_t length)
{
    char *to = reader->reply.text;
    for (size_t i = 0; i < length && reader->text_length < REPLY_TEXT_MAX; i++)
        if (text[i]) // a NUL would cut the text short
            to[reader->text_length++] = text[i];
    to[reader->text_length] = '\0';
}

static void reply_first_line(struct reply_reader *reader, int code, const char *line, size_t length)
{
    reader->reply.code = code;
    memset(reader->reply.enhanced, 0, sizeof reader->reply.enhanced);
    if (length > 4)
        (void)reply_enhanced(line + 4, length - 4, reader->reply.enhanced);
    reader->text_length = 0;
    reply_add_text(reader, line, 3);
    if (length > 4) {
        reply_add_text(reader, " ", 1);
        reply_add_text(reader, line + 4, length - 4);
    }
}

// A further line adds its words: the code, and an enhanced code that says the same again, are left out.
static void reply_next_line(struct reply_reader *reader, const char *line, size_t length)
{
    if (length <= 4)
        return;
    const char *text = line + 4;
    size_t left = length - 4;
    int enhanced[3];
    size_t skip = reply_enhanced(text, left, enhanced);
    if (skip && memcmp(enhanced, reader->reply.enhanced, sizeof enhanced) == 0) {
        text += skip;
        left -= skip;
    }
    while (left && *text == ' ') {
        text++;
        left--;
    }
    if (!left)
        return;
    reply_add_text(reader, " ", 1);
    reply_add_text(reader, text, left);
}

// One line with its line end. 1: the last of its reply, 0: more follow, -EPROTO.
static int reply_line(struct reply_reader *reader, const char *line, size_t length, const char **ret_problem)
{
    if (length && line[length - 1] == '\n')
        length--;
    if (length && line[length - 1] == '\r')
        length--;
    if (length < 3 || !is_digit(line[0]) || !is_digit(line[1]) || !is_digit(line[2]) ||
        (length > 3 && line[3] != ' ' && line[3] != '-')) {
        *ret_problem = "a reply line does not start with a code of three digits";
        return -EPROTO;
    }
    int code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
    if (code < 200 || code > 599) {
        *ret_problem = "a reply has a code outside 200 to 599";
        return -EPROTO;
    }
    bool last = length == 3 || line[3] == ' ';
    while (length > 4 && line[length - 1] == ' ')
        length--;
    if (reader->n_lines == 0) {
        reply_first_line(reader, code, line, length);
    } else if (code != reader->reply.code) {
        *ret_problem = "the lines of one reply have different codes";
        return -EPROTO;
    } else {
        reply_next_line(reader, line, length);
    }
    if (last) {
        reader->n_lines = 0;
        return 1;
    }
    if (++reader->n_lines >= REPLY_LINES_MAX) {
        *ret_problem = "a reply has too many lines";
        return -EPROTO;
    }
    return 0;
}

int reply_read(
    struct reply_reader *reader, const char *data, size_t length, size_t *ret_used, const char **ret_problem)
{
    size_t at = 0;
    while (at < length) {
        const char *end = memchr(data + at, '\n', length - at);
        size_t n = end ? (size_t)(end - (data + at)) + 1 : length - at;
        if (n > REPLY_LINE_MAX - reader->line_length) {
            *ret_used = at;
            *ret_problem = "a reply line is too long";
            return -EPROTO;
        }
        const char *line = data + at;
        size_t line_length = n;
        at += n;
        if (!end || reader->line_length) { // only a line in pieces is copied
            memcpy(reader->line + reader->line_length, line, n);
            reader->line_length += n;
            if (!end)
                break;
            line = reader->line;
            line_length = reader->line_length;
            reader->line_length = 0;
        }
        int result = reply_line(reader, line, line_length, ret_problem);
        if (result) {
            *ret_used = at;
            return result;
        }
    }
    *ret_used = at;
    return 0;
}

bool reply_parse(const char *text, struct smtp_reply *ret_reply)
{
    struct reply_reader reader;
    reply_reader_init(&reader);
    size_t length = strlen(text), used;
    const char *problem;
    int result = reply_read(&reader, text, length, &used, &problem);
    if (result == 0 && reader.line_length > 0) // the last line end may be absent
        result = reply_read(&reader, "\n", 1, &used, &problem);
    else if (result == 1 && used != length)
        return false;
    if (result != 1)
        return false;
    memset(ret_reply, 0, sizeof *ret_reply);
    reply_copy(ret_reply, &reader.reply);
    return true;
}
