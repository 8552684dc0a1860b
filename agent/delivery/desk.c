// The thread behind a desk.
#include "desk.h"
#include "agent/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>

struct desk {
    struct desk_params params;
    pthread_t thread;
    struct channel in, out;
    struct loop_watch watch;
    unsigned pending;                      // wire thread only
    struct channel_item *slow, **slow_end; // desk thread only: slow jobs in turn
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

static void *desk_thread(void *arg)
{
    struct desk *desk = arg;
    for (;;) {
        struct channel_item *items =
            desk->slow ? channel_take(&desk->in)
                       : channel_wait(&desk->in, desk->params.idle ? desk->params.idle_ms : 0);
        if (!items && !desk->slow) {
            if (channel_is_closed(&desk->in))
                break;
            if (desk->params.idle)
                desk->params.idle(desk, desk->params.arg);
            continue;
        }
        desk_work(desk, desk_sort(desk, items));
        if (!desk->slow)
            continue;
        struct desk_job *job = desk_next_slow(desk);
        if (channel_is_closed(&desk->in) || job->slice(job))
            desk_return(desk, job);
        else
            desk_add_slow(desk, job);
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
