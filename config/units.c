// Units: digits and one letter, read without strtol(3), which takes signs, blanks and other bases.
#include "units.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#define FRACTION_DIGITS_MAX 9

struct unit {
    char letter;
    int64_t factor;
};

static const struct unit durations[] = {{'d', 86400000}, {'h', 3600000}, {'m', 60000}, {'s', 1000}};
static const struct unit sizes[] = {{'g', 1 << 30}, {'m', 1 << 20}, {'k', 1 << 10}};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// Reads the digits at *text and moves it past them.
static int parse_digits(const char **text, int64_t *ret_value)
{
    int64_t value = 0;
    const char *at = *text;
    int result = *at >= '0' && *at <= '9' ? 0 : -EINVAL;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *at - '0', &value))
            result = -ERANGE;
    *text = at;
    *ret_value = value;
    return result;
}

int units_parse_count(const char *text, int64_t *ret_count)
{
    int64_t value;
    int result = parse_digits(&text, &value);
    if (*text)
        return -EINVAL;
    if (result == 0)
        *ret_count = value;
    return result;
}

static int parse_unit(const char *text, const struct unit *units, size_t n, int64_t *ret_value)
{
    int64_t value;
    int result = parse_digits(&text, &value);
    if (result == -EINVAL || !text[0] || text[1])
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (units[i].letter == text[0]) {
            if (result == 0 && __builtin_mul_overflow(value, units[i].factor, &value))
                result = -ERANGE;
            if (result == 0)
                *ret_value = value;
            return result;
        }
    return -EINVAL;
}

int units_parse_duration(const char *text, int64_t *ret_ms)
{
    return parse_unit(text, durations, COUNT_OF(durations), ret_ms);
}

int units_parse_size(const char *text, int64_t *ret_octets)
{
    int result = units_parse_count(text, ret_octets);
    return result == -EINVAL ? parse_unit(text, sizes, COUNT_OF(sizes), ret_octets) : result;
}

int units_parse_fraction(const char *text, double *ret_fraction)
{
    int64_t whole, digits = 0;
    int result = parse_digits(&text, &whole);
    if (result < 0)
        return result;
    double fraction = (double)whole, scale = 1;
    if (*text == '.') {
        const char *start = ++text;
        result = parse_digits(&text, &digits);
        if (result < 0 || text - start > FRACTION_DIGITS_MAX)
            return -EINVAL;
        for (; start < text; start++)
            scale *= 10;
        fraction += (double)digits / scale;
    }
    if (*text)
        return -EINVAL;
    *ret_fraction = fraction;
    return 0;
}

static void format_unit(int64_t value, const struct unit *units, size_t n, const char *plain, char *ret_text)
{
    for (size_t i = 0; i < n; i++)
        if (value != 0 && value % units[i].factor == 0) {
            snprintf(
                ret_text, UNITS_TEXT_SIZE, "%lld%c", (long long)(value / units[i].factor), units[i].letter);
            return;
        }
    snprintf(ret_text, UNITS_TEXT_SIZE, "%lld%s", (long long)value, value == 0 ? plain : "");
}

void units_format_duration(int64_t ms, char ret_text[static UNITS_TEXT_SIZE])
{
    format_unit(ms, durations, COUNT_OF(durations), "s", ret_text);
}

void units_format_size(int64_t octets, char ret_text[static UNITS_TEXT_SIZE])
{
    format_unit(octets, sizes, COUNT_OF(sizes), "", ret_text);
}
