// Names of messages: every promise of spool-format/name.h.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool-format/name.h"
#include <stdio.h>
#include <string.h>

static void fill(char *name, size_t length, const char *end)
{
    memset(name, 'x', length);
    memcpy(name + length, end, strlen(end) + 1); // the buffers here are large enough
}

static void test_valid(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "1764000000.M1P2.host", "-rf", ":2,S", "%s%n", "a b", "a~2",
        "~2", "x.status~2", "status", "a.statusx", "\xff\xfe", "ümlaut.eml", "a.", "a~", "a~0", "a~01", "~",
        "~~2", "a~1000000", "a\\b", "*", "\"'"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!spool_name_valid(names[i]))
            fail_msg("refused: %s", names[i]);
    }
}

static void test_invalid(void **state)
{
    (void)state;
    static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "/", "a\nb", "a\033[1m", "a\tb",
        "a\177", "\1", "a.status", "a~2.status", "~.status", ".status"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (spool_name_valid(names[i]))
            fail_msg("accepted: %s", names[i]);
    }
}

static void test_length(void **state)
{
    (void)state;
    char name[300];
    fill(name, SPOOL_NAME_MAX, "");
    assert_true(spool_name_valid(name));
    fill(name, SPOOL_NAME_MAX, "~999999");
    assert_true(spool_name_valid(name));
    fill(name, SPOOL_NAME_MAX, "~1000000"); // no variant: all of it is the name
    assert_false(spool_name_valid(name));
    fill(name, SPOOL_NAME_MAX + 1, "");
    assert_false(spool_name_valid(name));
    fill(name, SPOOL_NAME_MAX + 1, "~2");
    assert_false(spool_name_valid(name));
    fill(name, 255, "");
    assert_false(spool_name_valid(name));
}

static void test_base_and_number(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t base;
        unsigned number;
    } cases[] = {{"a", 1, 1}, {"a~2", 1, 2}, {"a~10", 1, 10}, {"a~999999", 1, 999999}, {"a~1000000", 9, 1},
        {"a~1", 3, 1}, {"a~0", 3, 1}, {"a~02", 4, 1}, {"a~", 2, 1}, {"~2", 2, 1}, {"a~2~3", 3, 3},
        {"a2", 2, 1}, {"2", 1, 1}, {"a~2x", 4, 1}, {"x.status~2", 10, 1}, {"a~-2", 4, 1}, {"~~2", 1, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (spool_name_base(cases[i].name) != cases[i].base ||
            spool_name_number(cases[i].name) != cases[i].number)
            fail_msg("%s: %zu %u", cases[i].name, spool_name_base(cases[i].name),
                spool_name_number(cases[i].name));
    }
}

static void test_same(void **state)
{
    (void)state;
    assert_true(spool_name_same("a", "a"));
    assert_true(spool_name_same("a", "a~2"));
    assert_true(spool_name_same("a~3", "a~2"));
    assert_false(spool_name_same("a", "b"));
    assert_false(spool_name_same("a", "ab"));
    assert_false(spool_name_same("a", "a~1"));
    assert_false(spool_name_same("a~2~3", "a~3"));
    assert_false(spool_name_same("x.status~2", "x.status~3"));
}

// A variant gives the name back that its number was taken from, and is valid again.
static void test_variant(void **state)
{
    (void)state;
    char variant[SPOOL_NAME_SIZE], status[SPOOL_STATUS_SIZE], name[300];
    spool_name_variant("a", 1, variant);
    assert_string_equal(variant, "a");
    spool_name_variant("a", 2, variant);
    assert_string_equal(variant, "a~2");
    spool_name_variant(variant, 17, variant); // in place
    assert_string_equal(variant, "a~17");
    spool_name_variant(variant, 1, variant);
    assert_string_equal(variant, "a");
    spool_name_variant("a~2~3", 4, variant);
    assert_string_equal(variant, "a~2~4");
    spool_name_variant("x.status~2", 2, variant);
    assert_string_equal(variant, "x.status~2~2");

    fill(name, SPOOL_NAME_MAX, "");
    spool_name_variant(name, SPOOL_VARIANT_MAX, variant);
    assert_int_equal(strlen(variant), SPOOL_NAME_MAX + 7);
    assert_true(spool_name_valid(variant));
    assert_true(spool_name_same(name, variant));
    spool_name_status(variant, status);
    assert_int_equal(strlen(status), SPOOL_STATUS_SIZE - 1);
    spool_name_status("a", status);
    assert_string_equal(status, "a.status");
    assert_false(spool_name_valid(status));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_base_and_number),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_variant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
