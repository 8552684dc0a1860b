// Six bits an octet, in the alphabet that needs no escaping in URLs.
#include "base64url.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(const void *data, size_t length, char *out)
{
    const unsigned char *in = data;
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < length; i++) {
        bits = bits << 8 | in[i];
        for (held += 8; held >= 6; held -= 6)
            *out++ = alphabet[bits >> (held - 6) & 63];
    }
    if (held)
        *out++ = alphabet[bits << (6 - held) & 63];
    *out = '\0';
}

int base64url_append(struct buffer *out, const void *data, size_t length)
{
    char *to = buffer_reserve(out, BASE64URL_LENGTH(length)); // the NUL has its place behind that
    if (!to)
        return buffer_error(out);
    base64url_encode(data, length, to);
    buffer_grew(out, BASE64URL_LENGTH(length));
    return 0;
}

int base64url_decode(const char *text, size_t length, struct buffer *out)
{
    uint32_t bits = 0;
    unsigned held = 0;
    while (length && text[length - 1] == '=')
        length--;
    if (length % 4 == 1)
        return -EBADMSG;
    for (size_t i = 0; i < length; i++) {
        const char *at = text[i] ? strchr(alphabet, text[i]) : NULL;
        if (!at)
            return -EBADMSG;
        bits = bits << 6 | (uint32_t)(at - alphabet);
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        unsigned char octet = (unsigned char)(bits >> held);
        if (buffer_append(out, &octet, 1))
            return buffer_error(out);
    }
    return 0;
}
