// A desk: order, batches, slices between batches, rest, idling, the end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/delivery/desk.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_MAX 4096
#define HANGS_AFTER (60 * CLOCK_SECOND)

struct office {
    bool batches; // are noted
    struct loop *loop;
    struct desk *desk;
    struct loop_timer alarm;
    bool hung;
    unsigned wanted; // world_run ends when so many came back
    unsigned done;
    pthread_t wire;
    _Atomic unsigned n_history;
    int history[HISTORY_MAX]; // what the desk did, in order; its thread writes
    unsigned n_back;
    int back[HISTORY_MAX]; // what came back, in order
    sem_t gate, reached;
    _Atomic unsigned idled;
};

struct task {
    struct desk_job job; // first
    struct office *office;
    int number;
    bool gated;      // waits for the gate in its work
    unsigned slices; // how many it takes
    int64_t spins;   // ns that a slice takes
    unsigned worked, returned;
};

static void note(struct office *office, int number)
{
    unsigned at = atomic_fetch_add(&office->n_history, 1);
    if (at < HISTORY_MAX)
        office->history[at] = number;
}

static int64_t monotonic(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return clock_ns(&now);
}

static void task_work(struct task *task)
{
    struct office *office = task->office;
    note(office, task->number);
    if (task->gated) {
        sem_post(&office->reached);
        sem_wait(&office->gate);
    }
    for (int64_t end = monotonic() + task->spins; task->spins && monotonic() < end;)
        ;
    task->worked++;
}

static void task_run(struct desk_job *job)
{
    struct task *task = (struct task *)job;
    assert_false(pthread_equal(pthread_self(), task->office->wire));
    task_work(task);
}

static bool task_slice(struct desk_job *job)
{
    struct task *task = (struct task *)job;
    task_work(task);
    return task->worked >= task->slices;
}

static void task_done(struct desk_job *job)
{
    struct task *task = (struct task *)job;
    struct office *office = task->office;
    assert_true(pthread_equal(pthread_self(), office->wire));
    assert_true(office->n_back < HISTORY_MAX);
    office->back[office->n_back++] = task->number;
    task->returned++;
    office->done++;
}

static struct task urgent(struct office *office, int number)
{
    return (struct task){.job = {.run = task_run, .done = task_done}, .office = office, .number = number};
}

static struct task slow(struct office *office, int number, unsigned slices)
{
    return (struct task){.job = {.slice = task_slice, .done = task_done},
        .office = office,
        .number = number,
        .slices = slices};
}

static void office_hangs(struct loop_timer *timer)
{
    struct office *office = timer->arg;
    office->hung = true;
    loop_stop(office->loop);
}

static void office_look(void *arg)
{
    struct office *office = arg;
    if (office->done >= office->wanted)
        loop_stop(office->loop);
}

static void wait_for(struct office *office, unsigned done)
{
    office->wanted = done;
    if (office->done < done)
        assert_int_equal(loop_run(office->loop, office_look, office), 0);
    assert_false(office->hung);
}

static void batch_noted(struct desk *desk, struct desk_job *first, void *arg)
{
    struct office *office = arg;
    if (office->batches)
        note(office, -1); // a batch begins
    while (first) {
        struct desk_job *job = first;
        first = (struct desk_job *)job->item.next;
        task_run(job);
        desk_return(desk, job);
    }
}

static void idle_counted(struct desk *desk, void *arg)
{
    (void)desk;
    struct office *office = arg;
    atomic_fetch_add(&office->idled, 1);
}

static void office_open(struct office *office, bool batches, unsigned idle_ms)
{
    memset(office, 0, sizeof *office);
    office->batches = batches;
    office->wire = pthread_self();
    sem_init(&office->gate, 0, 0);
    sem_init(&office->reached, 0, 0);
    assert_int_equal(loop_new(&office->loop), 0);
    loop_timer_init(&office->alarm, office_hangs, office);
    assert_int_equal(loop_timer_set(office->loop, &office->alarm, clock_boot() + HANGS_AFTER), 0);
    struct desk_params params = {.name = "test",
        .loop = office->loop,
        .batch = batch_noted,
        .idle = idle_ms ? idle_counted : NULL,
        .idle_ms = idle_ms,
        .arg = office};
    assert_int_equal(desk_start(&params, &office->desk), 0);
    assert_int_equal(desk_pending(office->desk), 0);
}

static void office_close(struct office *office)
{
    desk_stop(office->desk);
    loop_timer_cancel(office->loop, &office->alarm);
    loop_free(office->loop);
    sem_destroy(&office->gate);
    sem_destroy(&office->reached);
}

static void history_is(struct office *office, const int *expected, unsigned n)
{
    assert_int_equal(atomic_load(&office->n_history), n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(office->history[i], expected[i]);
}

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
        cmocka_unit_test(slow_jobs_take_turns),
        cmocka_unit_test(what_is_urgent_waits_for_one_slice_at_most),
        cmocka_unit_test(a_gentle_job_spends_at_most_a_twentieth),
        cmocka_unit_test(a_resting_desk_still_works_on_what_is_urgent),
        cmocka_unit_test(stopping_finishes_what_is_urgent_and_drops_what_is_slow),
        cmocka_unit_test(a_desk_without_work_idles),
        cmocka_unit_test(it_keeps_up_with_bursts_of_both_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
