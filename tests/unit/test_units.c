// Durations, sizes, counts and fractions: what the configuration contract calls 1s 30s 10m 4h 7d and 64k 25m
// 2g.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/units.h"
#include <errno.h>

struct number_row {
    const char *text;
    int result;
    int64_t value;
};

static const struct number_row durations[] = {
    {"1s", 0, 1000},
    {"30s", 0, 30000},
    {"10m", 0, 600000},
    {"4h", 0, 14400000},
    {"7d", 0, 604800000},
    {"0s", 0, 0},
    {"007s", 0, 7000},
    {"", -EINVAL, 0},
    {"s", -EINVAL, 0},
    {"5", -EINVAL, 0},
    {"-5s", -EINVAL, 0},
    {"+5s", -EINVAL, 0},
    {"1.5h", -EINVAL, 0},
    {"1h30m", -EINVAL, 0},
    {"1 h", -EINVAL, 0},
    {" 1h", -EINVAL, 0},
    {"1w", -EINVAL, 0},
    {"1ms", -EINVAL, 0},
    {"1H", -EINVAL, 0},
    {"0x10s", -EINVAL, 0},
    {"never", -EINVAL, 0},
    {"99999999999999999999s", -ERANGE, 0},
    {"9223372036854775807d", -ERANGE, 0},
};

static const struct number_row sizes[] = {
    {"64k", 0, 65536},
    {"25m", 0, 26214400},
    {"2g", 0, 2147483648},
    {"1024", 0, 1024},
    {"0", 0, 0},
    {"", -EINVAL, 0},
    {"k", -EINVAL, 0},
    {"64kb", -EINVAL, 0},
    {"64K", -EINVAL, 0},
    {"1t", -EINVAL, 0},
    {"1.5g", -EINVAL, 0},
    {"-1k", -EINVAL, 0},
    {"9223372036854775808", -ERANGE, 0},
    {"9223372036854775807g", -ERANGE, 0},
};

static const struct number_row counts[] = {
    {"0", 0, 0},
    {"587", 0, 587},
    {"9223372036854775807", 0, INT64_MAX},
    {"9223372036854775808", -ERANGE, 0},
    {"", -EINVAL, 0},
    {"5a", -EINVAL, 0},
    {"-1", -EINVAL, 0},
    {"1_000", -EINVAL, 0},
};

static void check_rows(const struct number_row *rows, size_t n, int (*parse)(const char *, int64_t *))
{
    for (size_t i = 0; i < n; i++) {
        int64_t value = 4711;
        int result = parse(rows[i].text, &value);
        if (result != rows[i].result || value != (result == 0 ? rows[i].value : 4711))
            fail_msg("\"%s\": result %d, value %lld", rows[i].text, result, (long long)value);
    }
}

static void numbers_with_units(void **state)
{
    (void)state;
    check_rows(durations, sizeof(durations) / sizeof(durations[0]), units_parse_duration);
    check_rows(sizes, sizeof(sizes) / sizeof(sizes[0]), units_parse_size);
    check_rows(counts, sizeof(counts) / sizeof(counts[0]), units_parse_count);
}

static void fractions(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        double value;
    } rows[] = {
        {"0", 0, 0},
        {"1", 0, 1},
        {"0.2", 0, 0.2},
        {"0.25", 0, 0.25},
        {"1.0", 0, 1},
        {".5", -EINVAL, 0},
        {"1.", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
        {"-0.1", -EINVAL, 0},
        {"0,2", -EINVAL, 0},
        {"nan", -EINVAL, 0},
        {"inf", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"0.1234567890123", -EINVAL, 0},
        {"99999999999999999999", -ERANGE, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double value = -1;
        assert_int_equal(units_parse_fraction(rows[i].text, &value), rows[i].result);
        double difference = value - (rows[i].result == 0 ? rows[i].value : -1);
        assert_true(difference < 1e-12 && difference > -1e-12);
    }
}

static void written_as_people_write_them(void **state)
{
    (void)state;
    char text[UNITS_TEXT_SIZE];
    units_format_duration(5400000, text);
    assert_string_equal(text, "90m");
    units_format_duration(604800000, text);
    assert_string_equal(text, "7d");
    units_format_duration(0, text);
    assert_string_equal(text, "0s");
    units_format_size(262144, text);
    assert_string_equal(text, "256k");
    units_format_size(1000, text);
    assert_string_equal(text, "1000");
    units_format_size(0, text);
    assert_string_equal(text, "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_with_units),
        cmocka_unit_test(fractions),
        cmocka_unit_test(written_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
