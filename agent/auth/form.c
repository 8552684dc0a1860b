// Percent-encoding, there and back.
#include "form.h"

#include <errno.h>
#include <string.h>

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~", c));
}

static void form_encode(struct buffer *form, const char *text, size_t length)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < length; i++) {
        unsigned char octet = (unsigned char)text[i];
        char escaped[3] = {'%', digits[octet >> 4], digits[octet & 15]};
        if (is_unreserved(text[i]))
            (void)buffer_append(form, &text[i], 1);
        else
            (void)buffer_append(form, escaped, sizeof escaped);
    }
}

void form_data(struct buffer *form, const char *name, const char *value, size_t length)
{
    if (!length)
        return;
    if (form->length && !strchr("?&", form->data[form->length - 1]))
        (void)buffer_text(form, "&");
    form_encode(form, name, strlen(name));
    (void)buffer_text(form, "=");
    form_encode(form, value, length);
}

void form_text(struct buffer *form, const char *name, const char *value)
{
    if (value)
        form_data(form, name, value, strlen(value));
}

void form_secret(struct buffer *form, const char *name, const struct secret *value)
{
    form_data(form, name, value->text, value->length);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int form_decode(const char *text, size_t length, struct buffer *out)
{
    for (size_t i = 0; i < length; i++) {
        char octet = text[i] == '+' ? ' ' : text[i];
        if (text[i] == '%') {
            int high = length - i > 2 ? hex_digit(text[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
            if (low < 0)
                return -EBADMSG;
            octet = (char)(high << 4 | low);
            i += 2;
        }
        if (!octet)
            return -EBADMSG;
        if (buffer_append(out, &octet, 1))
            return buffer_error(out);
    }
    return 0;
}

int form_find(const char *query, size_t length, const char *name, struct buffer *ret_value)
{
    const char *found = NULL, *end = query + length;
    size_t name_length = strlen(name), found_length = 0;
    for (const char *at = query; at < end;) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        size_t field = (size_t)((next ? next : end) - at);
        if (field > name_length && at[name_length] == '=' && memcmp(at, name, name_length) == 0) {
            if (found)
                return -EBADMSG;
            found = at + name_length + 1;
            found_length = field - name_length - 1;
        }
        at = next ? next + 1 : end;
    }
    return found ? form_decode(found, found_length, ret_value) : -ENOENT;
}
