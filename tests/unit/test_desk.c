// A desk: order, batches, idling, the end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_support.h"

static void jobs_keep_their_order_and_come_back_to_the_wire_thread(void **state)
{
    (void)state;
    enum { N = 2000 };
    static struct task tasks[N];
    struct office office;
    office_open(&office, false, 0);
    for (int i = 0; i < N; i++) {
        tasks[i] = urgent(&office, i);
        desk_submit(office.desk, &tasks[i].job);
        assert_true(desk_pending(office.desk) <= (unsigned)i + 1);
    }
    assert_int_equal(desk_pending(office.desk), N); // none is back before the loop calls its `done`
    wait_for(&office, N);
    assert_int_equal(desk_pending(office.desk), 0);
    assert_int_equal(atomic_load(&office.n_history), N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(office.history[i], i);
        assert_int_equal(office.back[i], i);
        assert_int_equal(tasks[i].returned, 1);
    }
    office_close(&office);
}

static void what_queued_up_is_one_batch(void **state)
{
    (void)state;
    struct office office;
    struct task tasks[6];
    office_open(&office, true, 0);
    for (int i = 0; i < 6; i++)
        tasks[i] = urgent(&office, i);
    tasks[0].gated = true;
    desk_submit(office.desk, &tasks[0].job);
    sem_wait(&office.reached);
    for (int i = 1; i < 6; i++)
        desk_submit(office.desk, &tasks[i].job);
    sem_post(&office.gate);
    wait_for(&office, 6);
    static const int expected[] = {-1, 0, -1, 1, 2, 3, 4, 5};
    history_is(&office, expected, 8);
    office_close(&office);
}

static void posted_jobs_go_over_with_the_next_flush_in_their_order(void **state)
{
    (void)state;
    struct office office;
    struct task tasks[6];
    office_open(&office, true, 0);
    for (int i = 0; i < 6; i++) {
        tasks[i] = urgent(&office, i);
        desk_post(office.desk, &tasks[i].job);
    }
    assert_int_equal(desk_pending(office.desk), 6);
    assert_int_equal(atomic_load(&office.n_history), 0);
    desk_flush(office.desk);
    desk_flush(office.desk); // nothing is left to hand over
    wait_for(&office, 6);
    static const int expected[] = {-1, 0, 1, 2, 3, 4, 5}; // one batch
    history_is(&office, expected, 7);
    for (int i = 0; i < 3; i++)
        desk_post(office.desk, &tasks[i].job);
    struct desk *desk = office.desk;
    office.desk = NULL;
    desk_stop(desk); // what was only posted is finished too
    assert_int_equal(office.done, 9);
    assert_int_equal(tasks[2].worked, 2);
    office_close(&office);
}

static void a_done_job_may_be_submitted_again(void **state)
{
    (void)state;
    struct office office;
    office_open(&office, false, 0);
    struct task task = urgent(&office, 7);
    for (unsigned i = 1; i <= 100; i++) {
        desk_submit(office.desk, &task.job);
        wait_for(&office, i);
        assert_int_equal(desk_pending(office.desk), 0);
    }
    assert_int_equal(task.worked, 100);
    office_close(&office);
}

static void stopping_finishes_what_is_urgent_and_drops_what_is_slow(void **state)
{
    (void)state;
    enum { N = 50 };
    struct office office;
    struct task tasks[N];
    office_open(&office, false, 0);
    struct task endless = slow(&office, 1000, UINT32_MAX), late = slow(&office, 1001, UINT32_MAX);
    struct task gentle = slow(&office, 1002, UINT32_MAX);
    gentle.job.gentle = true;
    endless.gated = true;
    desk_submit_slow(office.desk, &endless.job);
    sem_wait(&office.reached);
    desk_submit_slow(office.desk, &late.job);
    desk_submit_slow(office.desk, &gentle.job);
    for (int i = 0; i < N; i++) {
        tasks[i] = urgent(&office, i);
        desk_submit(office.desk, &tasks[i].job);
    }
    for (int i = 0; i < 1000; i++)
        sem_post(&office.gate);
    struct desk *desk = office.desk;
    office.desk = NULL;
    desk_stop(desk); // calls every `done` before it returns
    assert_int_equal(office.done, N + 3);
    for (int i = 0; i < N; i++) {
        assert_int_equal(tasks[i].worked, 1);
        assert_int_equal(tasks[i].returned, 1);
    }
    assert_int_equal(endless.returned, 1);
    assert_int_equal(late.returned, 1);
    assert_int_equal(gentle.returned, 1);
    office_close(&office); // desk_stop takes NULL
}

// The desk wakes for nothing, and finds the end and work that came before it, in whatever order.
static void what_was_submitted_right_before_the_end_is_done(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        struct office office;
        office_open(&office, false, 1);
        struct task task = urgent(&office, 1);
        desk_hurry(office.desk);
        for (int64_t end = monotonic() + i % 100 * 1000; monotonic() < end;)
            ;
        desk_submit(office.desk, &task.job);
        struct desk *desk = office.desk;
        office.desk = NULL;
        desk_stop(desk);
        assert_int_equal(task.returned, 1);
        office_close(&office);
    }
}

static bool has_idled(struct office *office)
{
    return atomic_load(&office->idled) >= 3;
}

static void idle_look(void *arg)
{
    struct office *office = arg;
    if (has_idled(office))
        loop_stop(office->loop);
}

static void idle_tick(struct loop_timer *timer)
{
    struct office *office = timer->arg;
    assert_int_equal(loop_timer_set(office->loop, timer, clock_boot() + CLOCK_MS), 0);
}

static void a_desk_without_work_idles(void **state)
{
    (void)state;
    struct office office;
    struct loop_timer tick; // so that the loop looks again
    office_open(&office, true, 1);
    loop_timer_init(&tick, idle_tick, &office);
    idle_tick(&tick);
    if (!has_idled(&office))
        assert_int_equal(loop_run(office.loop, idle_look, &office), 0);
    loop_timer_cancel(office.loop, &tick);
    assert_false(office.hung);
    struct task task = urgent(&office, 1);
    desk_submit(office.desk, &task.job);
    wait_for(&office, 1); // and works all the same
    office_close(&office);
}

static void it_keeps_up_with_bursts_of_both_kinds(void **state)
{
    (void)state;
    enum { N = 500 };
    static struct task tasks[N];
    struct office office;
    office_open(&office, true, 1);
    unsigned submitted = 0;
    for (int i = 0; i < N; i++) {
        tasks[i] = i % 5 ? urgent(&office, i) : slow(&office, i, 1 + (unsigned)i % 4);
        (i % 5 ? desk_submit : desk_submit_slow)(office.desk, &tasks[i].job);
        submitted++;
        if (i % 37 == 0)
            wait_for(&office, submitted / 2);
    }
    wait_for(&office, N);
    assert_int_equal(desk_pending(office.desk), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(tasks[i].returned, 1);
        assert_int_equal(tasks[i].worked, i % 5 ? 1 : 1 + (unsigned)i % 4);
    }
    office_close(&office);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_keep_their_order_and_come_back_to_the_wire_thread),
        cmocka_unit_test(what_queued_up_is_one_batch),
        cmocka_unit_test(posted_jobs_go_over_with_the_next_flush_in_their_order),
        cmocka_unit_test(a_done_job_may_be_submitted_again),
        cmocka_unit_test(stopping_finishes_what_is_urgent_and_drops_what_is_slow),
        cmocka_unit_test(what_was_submitted_right_before_the_end_is_done),
        cmocka_unit_test(a_desk_without_work_idles),
        cmocka_unit_test(it_keeps_up_with_bursts_of_both_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
