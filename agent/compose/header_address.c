// Address fields for a seven-bit wire: see header_address.h.
//
// The text is taken apart into segments that end at , ; : < or >. What stands before '<' or ':' is a phrase;
// what ends otherwise is an addr-spec, or nothing we know. Only tokens with octets above 127 change.
#include "header_address.h"

#include "encoded_word.h"
#include "idn.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

// Length of the quoted string, comment or domain literal at text[0]; 1 where none starts there or it is not
// closed.
static size_t enclosed(const char *text, size_t length)
{
    char open = text[0], close = open == '(' ? ')' : open == '[' ? ']' : '"';
    size_t depth = 0;
    if (open != '(' && open != '[' && open != '"')
        return 1;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\')
            i++;
        else if (i && text[i] == close && !--depth)
            return i + 1;
        else if (text[i] == open)
            depth++;
    }
    return length;
}

static bool is_closed(const char *text, size_t length, char close)
{
    size_t backslashes = 0;
    while (backslashes + 2 < length && text[length - 2 - backslashes] == '\\')
        backslashes++;
    return length > 1 && text[length - 1] == close && backslashes % 2 == 0;
}

static size_t segment_length(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length && !memchr(",;:<>", text[at], 5))
        at += enclosed(text + at, length - at);
    return at < length ? at : length;
}

// Appends text without the backslashes of its quoted pairs.
static void unquoted_append(struct buffer *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\' && i + 1 < length)
            i++;
        buffer_append(out, text + i, 1);
    }
}

static bool ends_open(const struct buffer *out)
{
    return !out->length || memchr(" \t(", out->data[out->length - 1], 3);
}

// The inside of a comment: runs of words with octets above 127, which may not hold parentheses.
static void comment_append(struct buffer *out, size_t column, const char *text, size_t length)
{
    struct buffer run;
    buffer_init(&run, length);
    for (size_t at = 0; at < length;) {
        size_t end = at;
        while (end < length && text[end] != '(' && text[end] != ')')
            end += text[end] == '\\' && end + 1 < length ? 2 : 1;
        size_t first = at, last = end;
        while (first < last && is_blank(text[first]))
            first++;
        while (last > first && is_blank(text[last - 1]))
            last--;
        if (text_has_8bit(text + at, end - at)) {
            buffer_clear(&run);
            unquoted_append(&run, text + first, last - first);
            buffer_append(out, text + at, first - at);
            if (!ends_open(out))
                buffer_append(out, " ", 1);
            encoded_words_append(out, column + out->length, run.data, run.length);
            buffer_append(out, text + last, end - last);
            if (end < length && text[end] == '(' && last == end)
                buffer_append(out, " ", 1);
        } else {
            buffer_append(out, text + at, end - at);
        }
        if (end < length)
            buffer_append(out, text + end, 1);
        at = end + 1;
    }
    buffer_release(&run);
}

static void comment_token_append(struct buffer *out, size_t column, const char *text, size_t length)
{
    if (!text_has_8bit(text, length)) {
        buffer_append(out, text, length);
        return;
    }
    buffer_append(out, "(", 1);
    comment_append(out, column, text + 1, length - 1 - is_closed(text, length, ')'));
    buffer_append(out, ")", 1);
}

// One word of a phrase: an atom, a quoted string or a comment.
static size_t word_length(const char *text, size_t length)
{
    size_t at = enclosed(text, length);
    if (at > 1 || is_blank(text[0]))
        return at;
    while (at < length && !is_blank(text[at]) && enclosed(text + at, length - at) == 1)
        at++;
    return at;
}

// Words with octets above 127 that stand next to each other become one run, the blanks between them included.
static void phrase_segment_append(struct buffer *out, size_t column, const char *text, size_t length)
{
    struct buffer run;
    size_t blanks = 0; // octets of blanks before the next word
    buffer_init(&run, 2 * length + 2);
    for (size_t at = 0;;) {
        size_t n = at < length ? word_length(text + at, length - at) : 0;
        if (n && is_blank(text[at])) {
            blanks++;
            at++;
            continue;
        }
        if (n && text[at] != '(' && text_has_8bit(text + at, n)) {
            bool quoted = text[at] == '"' && n > 1;
            if (run.length)
                buffer_append(&run, " ", 1);
            else
                buffer_append(out, text + at - blanks, blanks);
            if (!run.length && !ends_open(out))
                buffer_append(out, " ", 1);
            size_t inner = quoted ? n - 1 - is_closed(text + at, n, '"') : n;
            unquoted_append(&run, text + at + quoted, inner);
        } else {
            if (run.length) {
                encoded_words_append(out, column + out->length, run.data, run.length);
                buffer_clear(&run);
                if (!blanks && n)
                    buffer_append(out, " ", 1);
            }
            buffer_append(out, text + at - blanks, blanks);
            if (n && text[at] == '(')
                comment_token_append(out, column, text + at, n);
            else
                buffer_append(out, text + at, n);
            if (!n)
                break;
        }
        blanks = 0;
        at += n;
    }
    buffer_release(&run);
}

static void domain_append(struct buffer *out, const char *text, size_t length)
{
    char *domain = NULL;
    const char *problem = text_has_8bit(text, length) ? idn_domain(text, length, &domain) : "";
    if (problem == idn_no_memory && !out->error)
        out->error = -ENOMEM;
    if (problem)
        buffer_append(out, text, length);
    else
        buffer_text(out, domain);
    free(domain);
}

static void address_segment_append(struct buffer *out, size_t column, const char *text, size_t length)
{
    bool in_domain = false;
    for (size_t at = 0; at < length;) {
        size_t n = enclosed(text + at, length - at);
        if (n > 1) {
            if (text[at] == '(')
                comment_token_append(out, column, text + at, n);
            else
                buffer_append(out, text + at, n);
        } else if (text[at] == '@' || is_blank(text[at])) {
            in_domain = in_domain || text[at] == '@';
            buffer_append(out, text + at, 1);
        } else {
            while (at + n < length && !is_blank(text[at + n]) && !memchr("@(\"[", text[at + n], 4))
                n++;
            if (in_domain)
                domain_append(out, text + at, n);
            else
                buffer_append(out, text + at, n);
        }
        at += n;
    }
}

static bool has_at(const char *text, size_t length)
{
    for (size_t at = 0; at < length; at += enclosed(text + at, length - at))
        if (text[at] == '@')
            return true;
    return false;
}

void header_addresses_append(struct buffer *out, size_t column, const char *text, size_t length)
{
    bool in_brackets = false;
    for (size_t at = 0; at < length && !out->error;) {
        size_t n = segment_length(text + at, length - at);
        char end = at + n < length ? text[at + n] : '\0';
        bool phrase = !in_brackets && (end == '<' || end == ':' || !has_at(text + at, n));
        if (!text_has_8bit(text + at, n))
            buffer_append(out, text + at, n);
        else if (phrase)
            phrase_segment_append(out, column, text + at, n);
        else
            address_segment_append(out, column, text + at, n);
        at += n;
        if (!end)
            break;
        if (end == '<' && n && phrase && !ends_open(out))
            buffer_append(out, " ", 1); // an encoded word ends at a blank
        buffer_append(out, &end, 1);
        in_brackets = end == '<' || (in_brackets && end != '>');
        at++;
    }
}
