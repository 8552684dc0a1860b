// YAML scalars (see yaml_text.h); YAML 1.1 chapters 5 and 7, which libyaml and PyYAML follow.
#include "yaml_text.h"
#include "utf8.h"
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CAPACITY_FIRST 4096
#define ESCAPE_SIZE    16

void yaml_text_release(struct yaml_text *text)
{
    free(text->data);
    text->data = NULL;
    text->length = text->capacity = 0;
}

static void append(struct yaml_text *text, const char *raw, size_t length)
{
    if (text->error < 0)
        return;
    if (length > text->max - text->length) {
        text->error = -E2BIG;
        return;
    }
    if (length > text->capacity - text->length) {
        size_t capacity = text->capacity == 0 ? CAPACITY_FIRST : text->capacity;
        while (capacity - text->length < length)
            capacity *= 2;
        char *data = realloc(text->data, capacity);
        if (data == NULL) {
            text->error = -ENOMEM;
            return;
        }
        text->data = data;
        text->capacity = capacity;
    }
    memcpy(text->data + text->length, raw, length);
    text->length += length;
}

void yaml_text_add(struct yaml_text *text, const char *raw)
{
    append(text, raw, strlen(raw));
}

// Characters that may stand in double quotes as they are: YAML's printable ones without its line ends (NEL,
// LS, PS), the byte order mark, and what has a meaning there.
static bool stands_for_itself(uint32_t c)
{
    if (c < 0x80)
        return c >= ' ' && c < 0x7F && c != '"' && c != '\\';
    return c >= 0xA0 && c != 0x2028 && c != 0x2029 && c != 0xFEFF && c != 0xFFFE && c != 0xFFFF;
}

static void escape(uint32_t c, char ret_text[static ESCAPE_SIZE])
{
    static const char letters[] = {
        ['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r', [27] = 'e', ['"'] = '"', ['\\'] = '\\'};
    if (c < sizeof letters && letters[c] != 0)
        snprintf(ret_text, ESCAPE_SIZE, "\\%c", letters[c]);
    else
        snprintf(ret_text, ESCAPE_SIZE, c < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)c);
}

void yaml_text_quoted(struct yaml_text *text, const char *value)
{
    size_t left = strlen(value), run = 0;
    append(text, "\"", 1);
    while (left > run) {
        uint32_t c;
        size_t length = utf8_decode(value + run, left - run, &c);
        if (length > 0 && stands_for_itself(c)) {
            run += length;
            continue;
        }
        char escaped[ESCAPE_SIZE];
        escape(length > 0 ? c : (unsigned char)value[run], escaped);
        append(text, value, run);
        yaml_text_add(text, escaped);
        run += length > 0 ? length : 1;
        value += run;
        left -= run;
        run = 0;
    }
    append(text, value, run);
    append(text, "\"", 1);
}

// Words that YAML 1.1 resolves to something other than a string.
static bool is_reserved(const char *value)
{
    static const char *const words[] = {
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(value, words[i]) == 0)
            return true;
    }
    return false;
}

// Whether a scalar that begins like a number surely is none: it has a letter that no number, date or time
// has.
static bool surely_no_number(const char *value)
{
    return value[strcspn(value, "GHIJKLMPQRSUVWYghijklmpqrsuvwyz@")] != 0;
}

// A conservative choice: what is not surely plain everywhere, in flow collections too, gets quotes.
static bool is_plain(const char *value)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const char digits[] = "0123456789";
    size_t length = strlen(value);
    if (length == 0 || is_reserved(value) || value[length - 1] == ' ')
        return false;
    bool number = strchr(digits, *value) != NULL;
    bool bracket = *value == '<' && value[1] != '<';
    if (!number && !bracket && strchr(letters, *value) == NULL && *value != '/' && *value != '_')
        return false;
    if (number && !surely_no_number(value))
        return false;
    for (size_t i = 0; i < length;) {
        uint32_t c;
        size_t n = utf8_decode(value + i, length - i, &c);
        if (n == 0 || !stands_for_itself(c) || (c < 0x80 && strchr("#:,[]{}'&*!|%`", (int)c) != NULL))
            return false;
        i += n;
    }
    return true;
}

void yaml_text_scalar(struct yaml_text *text, const char *value)
{
    if (is_plain(value))
        yaml_text_add(text, value);
    else
        yaml_text_quoted(text, value);
}
