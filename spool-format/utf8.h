// UTF-8, strictly by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
#ifndef OUTTRAY_SPOOL_FORMAT_UTF8_H
#define OUTTRAY_SPOOL_FORMAT_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Decodes the character at text: its length in octets (1 to 4) and *ret_character; 0 where no character
// stands there.
static inline size_t utf8_decode(const char *text, size_t left, uint32_t *ret_character)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (left == 0)
        return 0;
    unsigned char first = (unsigned char)text[0];
    size_t length = first < 0x80   ? 1
                    : first < 0xC0 ? 0
                    : first < 0xE0 ? 2
                    : first < 0xF0 ? 3
                    : first < 0xF8 ? 4
                                   : 0;
    if (length == 0 || length > left)
        return 0;
    uint32_t c = length == 1 ? first : first & (0x7FU >> length);
    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)text[i];
        if ((next & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (next & 0x3F);
    }
    if (length > 1 && (c < lowest[length] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)))
        return 0;
    *ret_character = c;
    return length;
}

#endif
