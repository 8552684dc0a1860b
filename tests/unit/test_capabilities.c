// EHLO keywords: case, parameters, nonsense.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/smtp/capabilities.h"

#include <string.h>

static struct smtp_capabilities of(const char *line)
{
    struct smtp_capabilities capabilities;
    memset(&capabilities, 0, sizeof capabilities);
    capabilities_line(&capabilities, line, strlen(line));
    return capabilities;
}

static void test_keywords(void **state)
{
    (void)state;
    assert_true(of("PIPELINING").pipelining);
    assert_true(of("pipelining\r\n").pipelining);
    assert_true(of("CHUNKING").chunking);
    assert_true(of("8BITMIME\n").eight_bit);
    assert_true(of("SMTPUTF8 ").smtputf8);
    assert_true(of("DSN").dsn);
    assert_true(of("EnhancedStatusCodes\r\n").enhanced_codes);
    assert_true(of("STARTTLS").starttls);
    assert_true(of("PIPELINING with parameters").pipelining);
}

static void test_other_words(void **state)
{
    (void)state;
    static const struct smtp_capabilities none;
    static const char *const lines[] = {"", " ", "\r\n", "PIPELININGX", "XPIPELINING", "PIPELININ",
        "AUTH PLAIN LOGIN", "XXXXXXXXA", " CHUNKING", "BINARYMIME", "\x1b[2J"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct smtp_capabilities capabilities = of(lines[i]);
        assert_memory_equal(&capabilities, &none, sizeof none);
    }
}

static void test_size(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        uint64_t max;
    } rows[] = {
        {"SIZE 35882577\r\n", 35882577},
        {"size 1", 1},
        {"SIZE", 0},
        {"SIZE 0", 0},
        {"SIZE 18446744073709551615", UINT64_MAX},
        {"SIZE 18446744073709551616", 0}, // 2^64: more than anyone sends
        {"SIZE 99999999999999999999999999", 0},
        {"SIZE -1", 0},
        {"SIZE lots", 0},
        {"SIZE 10 20", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_capabilities capabilities = of(rows[i].line);
        assert_true(capabilities.size);
        assert_true(capabilities.size_max == rows[i].max);
    }
}

static void test_overlong_line(void **state)
{
    (void)state;
    char line[4096];
    memset(line, 'X', sizeof line);
    struct smtp_capabilities capabilities;
    memset(&capabilities, 0, sizeof capabilities);
    memcpy(line, "SIZE 1", 6);
    memset(line + 6, ' ', sizeof line - 6);
    line[sizeof line - 1] = '2';
    capabilities_line(&capabilities, line, sizeof line);
    assert_true(capabilities.size);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keywords),
        cmocka_unit_test(test_other_words),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_overlong_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
