// Cleaning and hiding.
#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Shorter ones are names: "invalid_grant", "AADSTS9001023". A GUID is longer, but has letters of one case
// only.
#define WORDS_OPAQUE_MIN 24
#define WORDS_HIDDEN     "[hidden]"
#define WORDS_SECRET_MIN 4 // octets; hiding shorter ones would hide everything

// How many octets the UTF-8 character at text has; 0 where it is none (RFC 3629).
static size_t utf8_length(const unsigned char *text)
{
    static const struct {
        unsigned char mask, lead, octets;
    } rows[] = {{0x80, 0x00, 1}, {0xe0, 0xc0, 2}, {0xf0, 0xe0, 3}, {0xf8, 0xf0, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if ((text[0] & rows[i].mask) != rows[i].lead)
            continue;
        for (size_t k = 1; k < rows[i].octets; k++)
            if ((text[k] & 0xc0) != 0x80)
                return 0;
        bool overlong = text[0] == 0xc0 || text[0] == 0xc1 || (text[0] == 0xe0 && text[1] < 0xa0) ||
                        (text[0] == 0xf0 && text[1] < 0x90);
        bool beyond =
            (text[0] == 0xed && text[1] > 0x9f) || (text[0] == 0xf4 && text[1] > 0x8f) || text[0] > 0xf4;
        return overlong || beyond ? 0 : rows[i].octets;
    }
    return 0;
}

static bool is_opaque(char c, const char *also)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c && (strchr("-_~.+", c) || strchr(also, c)));
}

// Replaces length octets at `at` by the mark; returns what is behind it.
static char *words_replace(char *at, size_t length)
{
    size_t mark = sizeof WORDS_HIDDEN - 1 < length ? sizeof WORDS_HIDDEN - 1 : length;
    memcpy(at, WORDS_HIDDEN, mark);
    memmove(at + mark, at + length, strlen(at + length) + 1);
    return at + mark;
}

static void words_hide_opaque(char *words, const char *also)
{
    for (char *at = words; *at;) {
        size_t length = 0, upper = 0, lower = 0, digits = 0;
        for (; is_opaque(at[length], also); length++) {
            upper += at[length] >= 'A' && at[length] <= 'Z';
            lower += at[length] >= 'a' && at[length] <= 'z';
            digits += at[length] >= '0' && at[length] <= '9';
        }
        if (length >= WORDS_OPAQUE_MIN && upper && lower && digits)
            at = words_replace(at, length);
        else
            at += length ? length : 1;
    }
}

static void words_make_plain(char *words)
{
    for (char *at = words; *at;) {
        size_t length = utf8_length((unsigned char *)at);
        if (length == 0)
            *at = '?';
        else if (length == 1 && ((unsigned char)*at < ' ' || *at == 0x7f))
            *at = ' ';
        else if (length == 2 && (unsigned char)at[0] == 0xc2 && (unsigned char)at[1] < 0xa0)
            at[0] = at[1] = ' '; // C1 controls
        at += length ? length : 1;
    }
}

void words_clean(char words[static OAUTH_WORDS_MAX])
{
    words_make_plain(words);
    words_hide_opaque(words, "");
}

void words_clean_login(char words[static OAUTH_WORDS_MAX])
{
    words_make_plain(words);
    words_hide_opaque(words, "/=");
}

void words_hide(char words[static OAUTH_WORDS_MAX], const struct secret *secret)
{
    if (secret->length < WORDS_SECRET_MIN)
        return;
    for (char *at = words; (at = strstr(at, secret->text));)
        at = words_replace(at, secret->length);
}

void words_set(char words[static OAUTH_WORDS_MAX], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, OAUTH_WORDS_MAX, format, arguments);
    va_end(arguments);
    words_clean(words);
}
