// What the tests of a desk share: an office whose loop a desk serves, tasks that tell of themselves, and what
// was done in which order.
//
// Include it after <cmocka.h>. Everything is static inline and gone after office_close.
#ifndef OUTTRAY_TESTS_UNIT_DESK_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_DESK_SUPPORT_H

#include "agent/base/clock.h"
#include "agent/delivery/desk.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define HISTORY_MAX 4096
#define HANGS_AFTER (60 * CLOCK_SECOND)

struct office {
    bool batches; // are noted
    struct loop *loop;
    struct desk *desk;
    struct loop_timer alarm;
    bool hung;
    unsigned wanted; // wait_for ends when so many came back
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

static inline void note(struct office *office, int number)
{
    unsigned at = atomic_fetch_add(&office->n_history, 1);
    if (at < HISTORY_MAX)
        office->history[at] = number;
}

static inline int64_t monotonic(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return clock_ns(&now);
}

static inline void task_work(struct task *task)
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

static inline void task_run(struct desk_job *job)
{
    struct task *task = (struct task *)job;
    assert_false(pthread_equal(pthread_self(), task->office->wire));
    task_work(task);
}

static inline bool task_slice(struct desk_job *job)
{
    struct task *task = (struct task *)job;
    task_work(task);
    return task->worked >= task->slices;
}

static inline void task_done(struct desk_job *job)
{
    struct task *task = (struct task *)job;
    struct office *office = task->office;
    assert_true(pthread_equal(pthread_self(), office->wire));
    assert_true(office->n_back < HISTORY_MAX);
    office->back[office->n_back++] = task->number;
    task->returned++;
    office->done++;
}

static inline struct task urgent(struct office *office, int number)
{
    return (struct task){.job = {.run = task_run, .done = task_done}, .office = office, .number = number};
}

static inline struct task slow(struct office *office, int number, unsigned slices)
{
    return (struct task){.job = {.slice = task_slice, .done = task_done},
        .office = office,
        .number = number,
        .slices = slices};
}

static inline void office_hangs(struct loop_timer *timer)
{
    struct office *office = timer->arg;
    office->hung = true;
    loop_stop(office->loop);
}

static inline void office_look(void *arg)
{
    struct office *office = arg;
    if (office->done >= office->wanted)
        loop_stop(office->loop);
}

static inline void wait_for(struct office *office, unsigned done)
{
    office->wanted = done;
    if (office->done < done)
        assert_int_equal(loop_run(office->loop, office_look, office), 0);
    assert_false(office->hung);
}

static inline void batch_noted(struct desk *desk, struct desk_job *first, void *arg)
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

static inline void idle_counted(struct desk *desk, void *arg)
{
    (void)desk;
    struct office *office = arg;
    atomic_fetch_add(&office->idled, 1);
}

static inline void office_open(struct office *office, bool batches, unsigned idle_ms)
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

static inline void office_close(struct office *office)
{
    desk_stop(office->desk);
    loop_timer_cancel(office->loop, &office->alarm);
    loop_free(office->loop);
    sem_destroy(&office->gate);
    sem_destroy(&office->reached);
}

static inline void history_is(struct office *office, const int *expected, unsigned n)
{
    assert_int_equal(atomic_load(&office->n_history), n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(office->history[i], expected[i]);
}

#endif
