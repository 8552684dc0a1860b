// The bounded set of names: of whatever is offered in whatever order, the earliest are kept, and sorted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/names.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed;

static unsigned random_below(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void offer(struct names *names, const char *text, int64_t time)
{
    assert_int_equal(names_offer(names, text, time, time), 0);
}

static void what_fits_is_kept_and_sorted(void **state)
{
    (void)state;
    struct names names;
    names_init(&names, 3);
    assert_true(names.left_out_time == INT64_MAX);
    char text[] = "late"; // the set keeps a copy
    offer(&names, text, 30);
    memset(text, 'x', 4);
    assert_int_equal(names_offer(&names, "early", -5, 77), 0);
    offer(&names, "middle", 10);
    names_sort(&names);
    assert_int_equal(names.n, 3);
    assert_false(names.left_out);
    assert_true(names.left_out_time == INT64_MAX);
    assert_string_equal(names.items[0].text, "early");
    assert_true(names.items[0].time == -5 && names.items[0].recorded == 77);
    assert_false(names.items[0].high);
    assert_string_equal(names.items[1].text, "middle");
    assert_string_equal(names.items[2].text, "late");
    names_release(&names);
}

static void what_does_not_fit_is_told(void **state)
{
    (void)state;
    struct names names;
    names_init(&names, 2);
    offer(&names, "a", 50);
    offer(&names, "b", 40);
    offer(&names, "c", 60); // later than both
    assert_true(names.left_out);
    assert_true(names.left_out_time == 60);
    offer(&names, "d", 10); // pushes a out
    assert_true(names.left_out_time == 50);
    offer(&names, "e", 55);
    assert_true(names.left_out_time == 50);
    names_sort(&names);
    assert_int_equal(names.n, 2);
    assert_string_equal(names.items[0].text, "d");
    assert_string_equal(names.items[1].text, "b");
    names_release(&names);
}

static void a_set_without_room_keeps_nothing(void **state)
{
    (void)state;
    struct names names;
    names_init(&names, 0);
    offer(&names, "a", 7);
    assert_int_equal(names.n, 0);
    assert_true(names.left_out);
    assert_true(names.left_out_time == 7);
    names_sort(&names);
    names_release(&names);
}

static void of_a_random_stream_the_earliest_are_kept(void **state)
{
    (void)state;
    enum { OFFERED = 2000 };
    static int64_t times[OFFERED];
    for (seed = 1; seed < 40; seed++) {
        struct names names;
        uint64_t start = seed;
        size_t max = 1 + random_below(300), n = max / 2 + random_below(OFFERED - 300);
        unsigned range = seed % 2 ? 50 : 1000000; // many of one time, or hardly any
        names_init(&names, max);
        for (size_t i = 0; i < n; i++) {
            char text[32];
            times[i] = (int64_t)random_below(range) - range / 2;
            (void)snprintf(text, sizeof text, "%lld.%zu", (long long)times[i], i);
            offer(&names, text, times[i]);
            assert_true(names.n == (i + 1 < max ? i + 1 : max));
        }
        names_sort(&names);
        qsort(times, n, sizeof *times, compare_times);
        assert_int_equal(names.left_out, n > max);
        assert_true(names.left_out_time == (n > max ? times[max] : INT64_MAX));
        for (size_t i = 0; i < names.n; i++) {
            assert_true(names.items[i].time == times[i]);
            assert_true(strtoll(names.items[i].text, NULL, 10) == times[i]); // each with its own name
        }
        names_release(&names);
        seed = start;
    }
}

static void releasing_leaves_a_set_that_can_be_released_again(void **state)
{
    (void)state;
    struct names names;
    names_init(&names, 4);
    names_release(&names);
    offer(&names, "a", 1);
    names_release(&names);
    names_release(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_kept_and_sorted),
        cmocka_unit_test(what_does_not_fit_is_told),
        cmocka_unit_test(a_set_without_room_keeps_nothing),
        cmocka_unit_test(of_a_random_stream_the_earliest_are_kept),
        cmocka_unit_test(releasing_leaves_a_set_that_can_be_released_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
