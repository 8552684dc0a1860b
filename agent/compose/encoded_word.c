// Encoded words, phrases and folding: see encoded_word.h.
#include "encoded_word.h"

#include "spool-format/utf8.h"
#include <string.h>

#define WORD_OVERHEAD (sizeof "=? ?q? ?=" - 1 - 2) // octets of an encoded word without charset and text
#define ROOM_MIN      16 // octets of encoded text that make a first word worth its place in the line
#define COLUMN_MAX    40 // a first word further right than this goes to the next line

bool text_has_8bit(const char *text, size_t length)
{
    uint64_t all = 0, words[8];
    size_t i = 0;
    for (; length - i >= sizeof words; i += sizeof words) { // every small message passes here as a whole
        memcpy(words, text + i, sizeof words);
        for (size_t k = 0; k < sizeof words / sizeof *words; k++)
            all |= words[k];
    }
    for (; i < length; i++)
        all |= (unsigned char)text[i];
    return all & UINT64_C(0x8080808080808080);
}

size_t text_utf8_step(const char *text, size_t length)
{
    uint32_t character;
    return utf8_decode(text, length, &character);
}

bool text_is_utf8(const char *text, size_t length)
{
    for (size_t i = 0, step; i < length; i += step)
        if (!(step = text_utf8_step(text + i, length - i)))
            return false;
    return true;
}

bool text_is_encoded_word(const char *word, size_t length)
{
    if (length < WORD_OVERHEAD + 1 || memcmp(word, "=?", 2) || memcmp(word + length - 2, "?=", 2))
        return false;
    unsigned marks = 0;
    for (size_t i = 2; i < length - 2; i++) {
        unsigned char octet = (unsigned char)word[i];
        if (octet <= ' ' || octet >= 0x7F)
            return false;
        marks += octet == '?';
    }
    return marks == 2;
}

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 0x7F;
}

// RFC 2047 section 5 (3): what may stand for itself in Q even within a phrase.
static bool is_q_literal(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!*+-/", c));
}

static size_t q_length(const char *text, size_t length)
{
    size_t n = 0;
    for (size_t i = 0; i < length; i++)
        n += is_q_literal(text[i]) || text[i] == ' ' || is_control(text[i]) ? 1 : 3;
    return n;
}

static void append_q(struct buffer *out, const char *text, size_t length)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < length; i++) {
        unsigned char octet = (unsigned char)text[i];
        if (text[i] == ' ' || is_control(text[i]))
            buffer_append(out, "_", 1);
        else if (is_q_literal(text[i]))
            buffer_append(out, text + i, 1);
        else
            buffer_append(out, (const char[]){'=', hex[octet >> 4], hex[octet & 15]}, 3);
    }
}

static void append_b(struct buffer *out, const char *text, size_t length)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        size_t n = length - i < 3 ? length - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) {
            char c = k < n ? text[i + k] : '\0';
            bits = bits << 8 | (unsigned char)(k < n && is_control(c) ? ' ' : c);
        }
        char quad[4] = {
            alphabet[bits >> 18], alphabet[bits >> 12 & 63], alphabet[bits >> 6 & 63], alphabet[bits & 63]};
        for (size_t k = n + 1; k < 4; k++)
            quad[k] = '=';
        buffer_append(out, quad, sizeof quad);
    }
}

void encoded_words_append(struct buffer *out, size_t column, const char *text, size_t length)
{
    bool utf8 = text_is_utf8(text, length);
    const char *charset = utf8 ? "utf-8" : "unknown-8bit";
    bool base64 = (length + 2) / 3 * 4 < q_length(text, length);
    size_t overhead = WORD_OVERHEAD + strlen(charset);
    size_t room = ENCODED_WORD_MAX - overhead;
    if (column <= COLUMN_MAX && FOLD_LINE_MAX - column >= overhead + ROOM_MIN &&
        FOLD_LINE_MAX - column < ENCODED_WORD_MAX)
        room = FOLD_LINE_MAX - column - overhead;
    for (size_t start = 0; start < length;) {
        size_t end = start;
        while (end < length) {
            size_t step = utf8 ? text_utf8_step(text + end, length - end) : 1;
            size_t next = end + step - start;
            if ((base64 ? (next + 2) / 3 * 4 : q_length(text + start, next)) > room)
                break;
            end += step;
        }
        if (start)
            buffer_append(out, " ", 1);
        buffer_append(out, "=?", 2);
        buffer_text(out, charset);
        buffer_append(out, base64 ? "?B?" : "?Q?", 3);
        if (base64)
            append_b(out, text + start, end - start);
        else
            append_q(out, text + start, end - start);
        buffer_append(out, "?=", 2);
        start = end;
        room = ENCODED_WORD_MAX - overhead;
    }
}

static bool is_atext(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static void append_quoted(struct buffer *out, const char *text, size_t length)
{
    buffer_append(out, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\')
            buffer_append(out, "\\", 1);
        buffer_append(out, is_control(text[i]) ? " " : text + i, 1);
    }
    buffer_append(out, "\"", 1);
}

// A part of a phrase without encoded words.
static void append_plain(struct buffer *out, size_t column, const char *text, size_t length)
{
    bool atoms = length && text[0] != ' ' && text[length - 1] != ' ';
    for (size_t i = 0; i < length; i++)
        if (!is_atext(text[i]) && (text[i] != ' ' || text[i + 1] == ' '))
            atoms = false;
    if (text_has_8bit(text, length))
        encoded_words_append(out, column, text, length);
    else if (atoms)
        buffer_append(out, text, length);
    else
        append_quoted(out, text, length);
}

void phrase_append(struct buffer *out, size_t column, const char *display)
{
    size_t length = strlen(display), begin = out->length;
    size_t plain = 0; // where the part without encoded words began
    for (size_t at = 0; at < length;) {
        size_t word = at + strcspn(display + at, " \t");
        if (text_is_encoded_word(display + at, word - at)) {
            size_t end = at;
            while (end > plain && (display[end - 1] == ' ' || display[end - 1] == '\t'))
                end--;
            if (end > plain) {
                append_plain(out, column + (out->length - begin), display + plain, end - plain);
                buffer_append(out, " ", 1);
            }
            buffer_append(out, display + at, word - at);
            plain = word + strspn(display + word, " \t");
            if (plain < length)
                buffer_append(out, " ", 1);
        }
        at = word + strspn(display + word, " \t");
    }
    if (plain < length || !length)
        append_plain(out, column + (out->length - begin), display + plain, length - plain);
}

static size_t blanks(const char *text, size_t length)
{
    size_t n = 0;
    while (n < length && (text[n] == ' ' || text[n] == '\t'))
        n++;
    return n;
}

static size_t until_blank(const char *text, size_t length)
{
    size_t n = 0;
    while (n < length && text[n] != ' ' && text[n] != '\t')
        n++;
    return n;
}

void field_append(struct buffer *out, const char *name, size_t name_length, const char *value, size_t length)
{
    buffer_append(out, name, name_length);
    buffer_append(out, ":", 1);
    size_t column = name_length + 1;
    size_t at = blanks(value, length), first = until_blank(value + at, length - at);
    // Only an encoded word must not stand beyond the limit; others stay next to the name.
    bool below = text_is_encoded_word(value + at, first) && column + 1 + first > FOLD_LINE_MAX;
    buffer_append(out, "\r\n ", below ? 3 : 0);
    buffer_append(out, " ", below ? 0 : 1);
    column = below ? 1 : column + 1;
    for (size_t gap = 0; at < length;) {
        size_t word = until_blank(value + at + gap, length - at - gap);
        if (!word)
            break; // blanks at the end: a line of blanks only would be read as an obsolete form
        if (gap && column + gap + word > FOLD_LINE_MAX) {
            buffer_append(out, "\r\n", 2);
            column = 0;
        }
        buffer_append(out, value + at, gap + word);
        column += gap + word;
        at += gap + word;
        gap = blanks(value + at, length - at);
    }
    buffer_append(out, "\r\n", 2);
}
