// The thread behind a desk.
#include "desk.h"
#include "agent/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define DESK_REST     19                 // a gentle job rests this many times as long as its slice took
#define DESK_REST_MAX (2 * CLOCK_SECOND) // however long that was: the machine may have slept in between

struct desk {
    struct desk_params params;
    pthread_t thread;
    struct channel in, out;
    struct loop_watch watch;
    unsigned pending;                      // wire thread only
    struct channel_item *slow, **slow_end; // desk thread only: slow jobs in turn
    int64_t rest_until;                    // desk thread only: no slice of a gentle job before this
};

void desk_return(struct desk *desk, struct desk_job *job)
{
    channel_push(&desk->out, &job->item);
}

static void desk_add_slow(struct desk *desk, struct desk_job *job)
{
    job->item.next = NULL;
    *desk->slow_end = &job->item;
    desk->slow_end = &job->item.next;
}

static struct desk_job *desk_next_slow(struct desk *desk)
{
    struct channel_item *item = desk->slow;
    desk->slow = item->next;
    if (!desk->slow)
        desk->slow_end = &desk->slow;
    return (struct desk_job *)item;
}

// Sorts slow jobs out of what came in; what is left is the batch, in order.
static struct desk_job *desk_sort(struct desk *desk, struct channel_item *items)
{
    struct channel_item *batch = NULL, **end = &batch;
    while (items) {
        struct desk_job *job = (struct desk_job *)items;
        items = items->next;
        if (job->slice) {
            desk_add_slow(desk, job);
            continue;
        }
        job->item.next = NULL;
        *end = &job->item;
        end = &job->item.next;
    }
    return (struct desk_job *)batch;
}

static void desk_work(struct desk *desk, struct desk_job *batch)
{
    if (batch && desk->params.batch) {
        desk->params.batch(desk, batch, desk->params.arg);
        return;
    }
    while (batch) {
        struct desk_job *job = batch;
        batch = (struct desk_job *)job->item.next;
        job->run(job);
        desk_return(desk, job);
    }
}

// What a desk measures is its own work: no set clock, no time that the machine slept.
static int64_t desk_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return clock_ns(&now);
}

// One slice of the next slow job, or nothing while a gentle one rests.
static void desk_slice(struct desk *desk)
{
    int64_t start = desk_now();
    bool closed = channel_is_closed(&desk->in);
    if (start < desk->rest_until && ((struct desk_job *)desk->slow)->gentle && !closed)
        return;
    struct desk_job *job = desk_next_slow(desk);
    bool over = closed || job->slice(job);
    if (job->gentle) {
        int64_t end = desk_now(), rest = (end - start) * DESK_REST;
        desk->rest_until = end + (rest < DESK_REST_MAX ? rest : DESK_REST_MAX);
    }
    if (over)
        desk_return(desk, job);
    else
        desk_add_slow(desk, job);
}

static struct channel_item *desk_wait(struct desk *desk)
{
    if (!desk->slow)
        return channel_wait(&desk->in, desk->params.idle ? desk->params.idle_ms : 0);
    int64_t rest = desk->rest_until - desk_now();
    if (rest <= 0 || !((struct desk_job *)desk->slow)->gentle)
        return channel_take(&desk->in);
    return channel_wait(&desk->in, (unsigned)(rest / CLOCK_MS) + 1);
}

static void *desk_thread(void *arg)
{
    struct desk *desk = arg;
    for (;;) {
        struct channel_item *items = desk_wait(desk);
        if (!items && !desk->slow) {
            bool closed = channel_is_closed(&desk->in);
            if (desk->params.idle)
                desk->params.idle(desk, desk->params.arg); // a last time before the end
            if (closed)
                break;
            continue;
        }
        desk_work(desk, desk_sort(desk, items));
        if (desk->slow)
            desk_slice(desk);
    }
    return NULL;
}

static void desk_collect(struct desk *desk)
{
    struct channel_item *items = channel_take(&desk->out);
    while (items) {
        struct desk_job *job = (struct desk_job *)items;
        items = items->next;
        desk->pending--;
        job->done(job);
    }
}

static void desk_ready(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    desk_collect(watch->arg);
}

static int desk_spawn(struct desk *desk)
{
    // Signals are the wire thread's business.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = -pthread_create(&desk->thread, NULL, desk_thread, desk);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!error)
        pthread_setname_np(desk->thread, desk->params.name);
    return error;
}

int desk_start(const struct desk_params *params, struct desk **ret_desk)
{
    struct desk *desk = calloc(1, sizeof *desk);
    if (!desk)
        return -ENOMEM;
    desk->params = *params;
    desk->slow_end = &desk->slow;
    loop_watch_init(&desk->watch, desk_ready, desk);
    int error = channel_init(&desk->in, false);
    if (!error && (error = channel_init(&desk->out, true)))
        channel_release(&desk->in);
    if (error) {
        free(desk);
        return error;
    }
    error = loop_watch_add(params->loop, &desk->watch, desk->out.eventfd, EPOLLIN);
    if (!error && (error = desk_spawn(desk)))
        loop_watch_remove(params->loop, &desk->watch);
    if (error) {
        channel_release(&desk->in);
        channel_release(&desk->out);
        free(desk);
        return error;
    }
    *ret_desk = desk;
    return 0;
}

void desk_submit(struct desk *desk, struct desk_job *job)
{
    desk->pending++;
    channel_push(&desk->in, &job->item);
}

void desk_submit_slow(struct desk *desk, struct desk_job *job)
{
    assert(job->slice);
    desk_submit(desk, job);
}

unsigned desk_pending(const struct desk *desk)
{
    return desk->pending;
}

void desk_stop(struct desk *desk)
{
    if (!desk)
        return;
    channel_close(&desk->in);
    pthread_join(desk->thread, NULL);
    desk_collect(desk);
    loop_watch_remove(desk->params.loop, &desk->watch);
    channel_release(&desk->in);
    channel_release(&desk->out);
    free(desk);
}
