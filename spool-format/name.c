// Names of messages: validity and the ~N variants (see name.h).
#include "name.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define VARIANT_DIGITS_MAX 6 // of SPOOL_VARIANT_MAX

static_assert(SPOOL_VARIANT_MAX < 1000000, "a variant has at most six digits");
static_assert(
    SPOOL_NAME_SIZE >= SPOOL_NAME_MAX + 1 + VARIANT_DIGITS_MAX + 1, "a name, '~', digits and the NUL");

static bool ends_in_status(const char *name, size_t length)
{
    const size_t suffix = sizeof SPOOL_STATUS_SUFFIX - 1;
    return length >= suffix && memcmp(name + length - suffix, SPOOL_STATUS_SUFFIX, suffix) == 0;
}

size_t spool_name_base(const char *name)
{
    size_t length = strlen(name);
    size_t start = length;
    while (start > 0 && name[start - 1] >= '0' && name[start - 1] <= '9')
        start--;
    size_t digits = length - start;
    if (digits == 0 || digits > VARIANT_DIGITS_MAX || start < 2 || name[start - 1] != '~')
        return length; // a base of no octets is no name: "~2" is its own base
    if (name[start] == '0' || (digits == 1 && name[start] == '1'))
        return length;
    if (ends_in_status(name, start - 1))
        return length; // "x.status" could never be a message: here ~N belongs to the name
    return start - 1;
}

bool spool_name_valid(const char *name)
{
    size_t length = strnlen(name, SPOOL_NAME_SIZE);
    if (length == 0 || length >= SPOOL_NAME_SIZE || name[0] == '.')
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < ' ' || c == 127 || c == '/')
            return false;
    }
    return !ends_in_status(name, length) && spool_name_base(name) <= SPOOL_NAME_MAX;
}

bool spool_name_same(const char *a, const char *b)
{
    size_t length = spool_name_base(a);
    return length == spool_name_base(b) && memcmp(a, b, length) == 0;
}

unsigned spool_name_number(const char *name)
{
    const char *digit = name + spool_name_base(name);
    unsigned n = 0;
    for (digit += *digit == '~'; *digit != 0; digit++)
        n = n * 10 + (unsigned)(*digit - '0');
    return n == 0 ? 1 : n;
}

void spool_name_variant(const char *name, unsigned n, char ret_variant[static SPOOL_NAME_SIZE])
{
    size_t base = spool_name_base(name);
    assert(base <= SPOOL_NAME_MAX && n >= 1 && n <= SPOOL_VARIANT_MAX);
    char suffix[VARIANT_DIGITS_MAX + 2] = "";
    if (n > 1)
        snprintf(suffix, sizeof suffix, "~%u", n % (SPOOL_VARIANT_MAX + 1));
    memmove(ret_variant, name, base); // ret_variant may be name itself
    memcpy(ret_variant + base, suffix, strlen(suffix) + 1);
}

void spool_name_status(const char *name, char ret_status[static SPOOL_STATUS_SIZE])
{
    size_t length = strnlen(name, SPOOL_NAME_SIZE);
    assert(length < SPOOL_NAME_SIZE);
    memcpy(ret_status, name, length);
    memcpy(ret_status + length, SPOOL_STATUS_SUFFIX, sizeof SPOOL_STATUS_SUFFIX);
}
