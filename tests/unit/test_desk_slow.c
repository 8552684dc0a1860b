// Slow jobs of a desk: turns, slices between batches, rest.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_support.h"

static void slow_jobs_take_turns(void **state)
{
    (void)state;
    struct office office;
    office_open(&office, false, 0);
    struct task plug = urgent(&office, 0), a = slow(&office, 1, 3), b = slow(&office, 2, 2);
    plug.gated = true;
    desk_submit(office.desk, &plug.job);
    sem_wait(&office.reached);
    desk_submit_slow(office.desk, &a.job);
    desk_submit_slow(office.desk, &b.job);
    sem_post(&office.gate);
    wait_for(&office, 3);
    static const int expected[] = {0, 1, 2, 1, 2, 1};
    history_is(&office, expected, 6);
    assert_int_equal(office.back[1], 2); // done first
    assert_int_equal(office.back[2], 1);
    office_close(&office);
}

static void what_is_urgent_waits_for_one_slice_at_most(void **state)
{
    (void)state;
    struct office office;
    office_open(&office, true, 0);
    struct task a = slow(&office, 1, 4), b = slow(&office, 2, 4);
    struct task first = urgent(&office, 10), second = urgent(&office, 11);
    a.gated = b.gated = true;
    desk_submit_slow(office.desk, &a.job);
    sem_wait(&office.reached); // in a's first slice
    desk_submit_slow(office.desk, &b.job);
    desk_submit(office.desk, &first.job);
    desk_submit(office.desk, &second.job);
    sem_post(&office.gate);
    wait_for(&office, 2); // both are back although the slow ones have hardly begun
    assert_int_equal(a.returned + b.returned, 0);
    for (int i = 0; i < 7; i++)
        sem_post(&office.gate);
    wait_for(&office, 4);
    assert_int_equal(office.history[0], 1);
    assert_int_equal(office.history[1], -1);
    assert_int_equal(office.history[2], 10);
    assert_int_equal(office.history[3], 11);
    assert_int_equal(a.worked, 4);
    assert_int_equal(b.worked, 4);
    office_close(&office);
}

static void a_gentle_job_spends_at_most_a_twentieth(void **state)
{
    (void)state;
    struct office office;
    office_open(&office, false, 0);
    struct task task = slow(&office, 1, 6);
    task.job.gentle = true;
    task.spins = 2 * CLOCK_MS;
    int64_t start = monotonic();
    desk_submit_slow(office.desk, &task.job);
    wait_for(&office, 1);
    // Five rests of nineteen times what a slice took lie between six slices.
    assert_true(monotonic() - start >= 5 * 20 * task.spins);
    office_close(&office);
}

static void a_resting_desk_still_works_on_what_is_urgent(void **state)
{
    (void)state;
    struct office office;
    office_open(&office, false, 0);
    struct task gentle = slow(&office, 1, 2), task = urgent(&office, 2);
    gentle.job.gentle = true;
    gentle.spins = 50 * CLOCK_MS; // rests for almost a second
    gentle.gated = true;
    desk_submit_slow(office.desk, &gentle.job);
    sem_wait(&office.reached);
    sem_post(&office.gate);
    sem_post(&office.gate);
    for (unsigned i = 1; i <= 20; i++) {
        desk_submit(office.desk, &task.job);
        wait_for(&office, i);
    }
    wait_for(&office, 21);
    assert_int_equal(office.history[0], 1);
    assert_int_equal(office.history[1], 2);
    assert_int_equal(gentle.worked, 2);
    office_close(&office);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_jobs_take_turns),
        cmocka_unit_test(what_is_urgent_waits_for_one_slice_at_most),
        cmocka_unit_test(a_gentle_job_spends_at_most_a_twentieth),
        cmocka_unit_test(a_resting_desk_still_works_on_what_is_urgent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
