// Counts between two surveys: sure as long as our own moves and what events tell are the same.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/delivery/ledger.h"
#include <stdlib.h>

static struct ledger counted(uint64_t n, uint64_t bytes, int64_t first, int64_t step)
{
    struct ledger ledger = {0};
    struct ledger_oldest oldest = {0};
    ledger_begin(&ledger, true);
    for (uint64_t i = n; i-- > 0;)
        ledger_oldest_add(&oldest, first + (int64_t)i * step);
    ledger_take(&ledger, &(struct observe_count){.count = n, .bytes = bytes}, &oldest);
    return ledger;
}

static void own_moves_are_exact(void **state)
{
    (void)state;
    struct ledger ledger = counted(10, 1000, 100 * CLOCK_SECOND, CLOCK_SECOND);
    assert_true(ledger_is_sure(&ledger));
    assert_int_equal(ledger_oldest_s(&ledger, 150 * CLOCK_SECOND), 50);
    ledger_went(&ledger, 300, 100 * CLOCK_SECOND); // the oldest
    assert_false(ledger_is_sure(&ledger));         // the event is under way
    ledger_saw(&ledger, false);
    assert_true(ledger_is_sure(&ledger));
    assert_int_equal(ledger.count, 9);
    assert_int_equal(ledger.bytes, 700);
    assert_int_equal(ledger_oldest_s(&ledger, 150 * CLOCK_SECOND), 49);
    ledger_saw(&ledger, true); // the event may come first
    assert_false(ledger_is_sure(&ledger));
    ledger_came(&ledger, 50, 90 * CLOCK_SECOND);
    assert_true(ledger_is_sure(&ledger));
    assert_int_equal(ledger.count, 10);
    assert_int_equal(ledger.bytes, 750);
    assert_int_equal(ledger_oldest_s(&ledger, 150 * CLOCK_SECOND), 60);
    assert_int_equal(ledger_oldest_s(&ledger, 80 * CLOCK_SECOND), 0); // from the future: no negative age
}

static void what_others_move_is_noticed(void **state)
{
    (void)state;
    for (int came = 0; came < 2; came++) {
        struct ledger ledger = counted(10, 1000, 0, 1);
        ledger_went(&ledger, 1, 3);
        ledger_came(&ledger, 1, 3);
        ledger_saw(&ledger, true);
        ledger_saw(&ledger, false);
        assert_true(ledger_is_sure(&ledger));
        ledger_saw(&ledger, came);
        assert_false(ledger_is_sure(&ledger));
        // One that came does not make up for one that went.
        ledger_saw(&ledger, !came);
        assert_false(ledger_is_sure(&ledger));
    }
}

static void doubt_ends_with_the_next_survey(void **state)
{
    (void)state;
    struct ledger ledger = counted(10, 1000, 0, 1);
    const struct ledger_oldest none = {0};
    const struct observe_count empty = {0};
    ledger_doubt(&ledger);
    assert_false(ledger_is_sure(&ledger));
    ledger_begin(&ledger, true);
    ledger_take(&ledger, &empty, &none);
    assert_true(ledger_is_sure(&ledger));
    assert_int_equal(ledger.count, 0);
    assert_int_equal(ledger_oldest_s(&ledger, CLOCK_SECOND), 0);
}

static void what_happens_while_it_is_read_is_doubtful(void **state)
{
    (void)state;
    static void (*const all[])(struct ledger *, uint64_t, int64_t) = {ledger_came, ledger_went};
    const struct ledger_oldest none = {0};
    const struct observe_count five = {.count = 5};
    for (int i = 0; i < 6; i++) {
        struct ledger ledger = {0};
        ledger_begin(&ledger, i != 5); // not watched
        if (i < 2)
            all[i](&ledger, 1, 1);
        else if (i < 4)
            ledger_saw(&ledger, i == 2);
        else if (i == 4)
            ledger_doubt(&ledger);
        ledger_take(&ledger, &five, &none);
        if (i < 4) // what makes both sides the same afterwards changes nothing
            ledger_saw(&ledger, i == 0);
        assert_false(ledger_is_sure(&ledger));
        assert_int_equal(ledger.count, 5);
    }
}

static void nothing_was_counted_at_first(void **state)
{
    (void)state;
    struct ledger ledger = {0};
    assert_false(ledger_is_sure(&ledger));
    ledger_went(&ledger, 10, 5); // counts do not go below nothing
    assert_int_equal(ledger.count, 0);
    assert_int_equal(ledger.bytes, 0);
}

static void the_bound_of_the_oldest_is_told(void **state)
{
    (void)state;
    struct ledger ledger = counted(LEDGER_OLDEST + 5, 0, 0, 1);
    assert_true(ledger.oldest.more);
    ledger_went(&ledger, 0, LEDGER_OLDEST + 4); // none of those that are kept
    ledger_saw(&ledger, false);
    assert_true(ledger_is_sure(&ledger));
    for (int64_t time = 0; time < LEDGER_OLDEST; time++) {
        assert_true(ledger_is_sure(&ledger));
        assert_true(ledger.oldest.times[0] == time);
        ledger_went(&ledger, 0, time);
        ledger_saw(&ledger, false);
    }
    assert_false(ledger_is_sure(&ledger)); // there are four, and nobody knows how old
    assert_int_equal(ledger.count, 4);
    // Where the last ones are all that there were, it is known that none is left.
    ledger = counted(LEDGER_OLDEST, 0, 0, 1);
    for (int64_t time = 0; time < LEDGER_OLDEST; time++) {
        ledger_went(&ledger, 0, time);
        ledger_saw(&ledger, false);
    }
    assert_true(ledger_is_sure(&ledger));
    assert_int_equal(ledger.oldest.n, 0);
}

static void a_time_that_was_not_counted_is_doubtful(void **state)
{
    (void)state;
    struct ledger ledger = counted(10, 0, 100, 10);
    ledger_went(&ledger, 0, 115); // touched since
    ledger_saw(&ledger, false);
    assert_false(ledger_is_sure(&ledger));
    ledger = counted(10, 0, 100, 10);
    ledger_went(&ledger, 0, 500); // later than all, and all are kept
    ledger_saw(&ledger, false);
    assert_false(ledger_is_sure(&ledger));
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// Beside a plain sorted array, with many equal times.
static void of_random_moves_the_oldest_stay_known(void **state)
{
    (void)state;
    enum { MOST = 400 };
    uint64_t seed = 1;
    for (unsigned round = 0; round < 200; round++) {
        struct ledger_oldest oldest = {0};
        int64_t all[MOST];
        size_t n = 0;
        bool known = true;
        for (int step = 0; known && step < 3 * MOST; step++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            unsigned random = (unsigned)(seed >> 33);
            bool adds = n == 0 || (n < MOST && random % 8 < (step < MOST ? 6 : 3));
            if (adds) {
                all[n++] = (random >> 8) % (round + 1);
                ledger_oldest_add(&oldest, all[n - 1]);
            } else {
                size_t at = (random >> 8) % n;
                known = ledger_oldest_remove(&oldest, all[at]);
                all[at] = all[--n];
            }
            int64_t sorted[MOST];
            for (size_t i = 0; i < n; i++)
                sorted[i] = all[i];
            qsort(sorted, n, sizeof *sorted, compare_times);
            assert_true(oldest.n <= n && (oldest.more || oldest.n == n));
            for (size_t i = 0; i < oldest.n; i++)
                assert_true(oldest.times[i] == sorted[i]);
            assert_int_equal(known, oldest.n > 0 || !oldest.more);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_moves_are_exact),
        cmocka_unit_test(what_others_move_is_noticed),
        cmocka_unit_test(doubt_ends_with_the_next_survey),
        cmocka_unit_test(what_happens_while_it_is_read_is_doubtful),
        cmocka_unit_test(nothing_was_counted_at_first),
        cmocka_unit_test(the_bound_of_the_oldest_is_told),
        cmocka_unit_test(a_time_that_was_not_counted_is_doubtful),
        cmocka_unit_test(of_random_moves_the_oldest_stay_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
