// The growing buffer: its maximum, its memory of failures, and the NUL behind it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/buffer.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void appending_grows_up_to_the_maximum_and_no_further(void **state)
{
    (void)state;
    static const size_t maxima[] = {0, 1, 239, 240, 241, 1000, 4096};
    for (size_t i = 0; i < sizeof maxima / sizeof *maxima; i++) {
        struct buffer buffer;
        buffer_init(&buffer, maxima[i]);
        for (size_t n = 0; n < maxima[i]; n++) {
            assert_int_equal(buffer_append(&buffer, &(char){(char)('a' + n % 26)}, 1), 0);
            assert_int_equal(buffer.length, n + 1);
            assert_int_equal(buffer.data[n + 1], '\0');
        }
        assert_int_equal(buffer_error(&buffer), 0);
        assert_int_equal(buffer_append(&buffer, "x", 1), -E2BIG);
        assert_int_equal(buffer.length, maxima[i]);
        assert_int_equal(buffer_error(&buffer), -E2BIG);
        for (size_t n = 0; n < maxima[i]; n++)
            assert_int_equal(buffer.data[n], (char)('a' + n % 26));
        buffer_release(&buffer);
        assert_null(buffer.data);
        assert_int_equal(buffer.max, maxima[i]);
    }
}

static void a_failure_is_remembered_until_clear(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10);
    assert_int_equal(buffer_text(&buffer, "12345678"), 0);
    assert_int_equal(buffer_text(&buffer, "901"), -E2BIG);
    assert_int_equal(buffer_text(&buffer, "90"), 0); // it fits, but something is missing
    assert_int_equal(buffer_error(&buffer), -E2BIG);
    assert_string_equal(buffer.data, "1234567890");
    buffer_clear(&buffer);
    assert_int_equal(buffer_error(&buffer), 0);
    assert_string_equal(buffer.data, "");
    assert_int_equal(buffer_text(&buffer, "1234567890"), 0);
    buffer_release(&buffer);
    // And used again.
    assert_int_equal(buffer_text(&buffer, "again"), 0);
    buffer_release(&buffer);
}

static void formatting_measures_first(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    assert_int_equal(buffer_format(&buffer, "%s=%d", "key", -5), 0);
    assert_string_equal(buffer.data, "key=-5");
    assert_int_equal(buffer_format(&buffer, "%500d", 7), 0);
    assert_int_equal(buffer.length, 506);
    assert_int_equal(buffer_format(&buffer, "%500d", 7), -E2BIG);
    assert_int_equal(buffer.length, 506);
    assert_int_equal(buffer_format(&buffer, "%s", ""), 0);
    assert_int_equal(buffer_error(&buffer), -E2BIG);
    buffer_release(&buffer);
}

static void octets_are_kept_as_they_are(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 5000);
    char octets[256];
    for (int i = 0; i < 256; i++)
        octets[i] = (char)i;
    for (int i = 0; i < 10; i++)
        assert_int_equal(buffer_append(&buffer, octets, sizeof octets), 0);
    for (int i = 0; i < 2560; i++)
        assert_int_equal((unsigned char)buffer.data[i], i % 256);
    assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
    buffer_release(&buffer);
}

static void room_is_reserved_then_used(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 600);
    char *room = buffer_reserve(&buffer, 600);
    assert_non_null(room);
    memset(room, 'x', 600);
    buffer_grew(&buffer, 599);
    assert_int_equal(buffer.length, 599);
    assert_int_equal(buffer.data[599], '\0');
    assert_non_null(buffer_reserve(&buffer, 1));
    assert_null(buffer_reserve(&buffer, 2));
    assert_null(buffer_reserve(&buffer, SIZE_MAX)); // no sum may wrap
    assert_int_equal(buffer_error(&buffer), -E2BIG);
    buffer_release(&buffer);
}

static void truncating_drops_the_end_and_its_failure(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 8);
    buffer_text(&buffer, "kept");
    buffer_text(&buffer, "dropped");
    buffer_text(&buffer, "too");
    buffer_truncate(&buffer, 4);
    assert_int_equal(buffer_error(&buffer), 0);
    assert_string_equal(buffer.data, "kept");
    buffer_release(&buffer);
    buffer_truncate(&buffer, 0); // also where nothing was ever allocated
}

static void what_is_detached_belongs_to_the_caller(void **state)
{
    (void)state;
    struct buffer buffer;
    size_t length = 7;
    buffer_init(&buffer, 100);
    assert_null(buffer_detach(&buffer, &length));
    assert_int_equal(length, 0);
    buffer_text(&buffer, "mine");
    char *text = buffer_detach(&buffer, &length);
    assert_string_equal(text, "mine");
    assert_int_equal(length, 4);
    assert_null(buffer.data);
    free(text);
    buffer_release(&buffer);
}

static void a_secret_buffer_keeps_what_it_holds_while_it_grows(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 4096);
    assert_int_equal(buffer_text(&buffer, "before;"), 0);
    buffer_make_secret(&buffer);
    for (size_t n = 0; n < 4096 - 7; n++)
        assert_int_equal(buffer_append(&buffer, &(char){(char)('a' + n % 26)}, 1), 0);
    assert_int_equal(buffer_append(&buffer, "x", 1), -E2BIG);
    assert_memory_equal(buffer.data, "before;abc", 10);
    assert_int_equal(buffer.data[4095], 'a' + (4096 - 8) % 26);
    buffer_release(&buffer);
    assert_null(buffer.data);
    assert_true(buffer.secret);
    assert_int_equal(buffer_text(&buffer, "again"), 0);
    buffer_release(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appending_grows_up_to_the_maximum_and_no_further),
        cmocka_unit_test(a_failure_is_remembered_until_clear),
        cmocka_unit_test(formatting_measures_first),
        cmocka_unit_test(octets_are_kept_as_they_are),
        cmocka_unit_test(room_is_reserved_then_used),
        cmocka_unit_test(truncating_drops_the_end_and_its_failure),
        cmocka_unit_test(what_is_detached_belongs_to_the_caller),
        cmocka_unit_test(a_secret_buffer_keeps_what_it_holds_while_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
