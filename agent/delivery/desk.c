// The thread behind a desk.
#include "desk.h"
#include "agent/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define DESK_REST     19                 // a gentle job rests this many times as long as its slice took
#define DESK_REST_MAX (2 * CLOCK_SECOND) // however long that was: the machine may have slept in between

struct desk_list { // jobs in order
    struct channel_item *first, *last;
};

struct desk {
    struct desk_params params;
    pthread_t thread;
    struct channel in, out;
    struct loop_watch watch;
    _Atomic unsigned beats;  // signs of life
    unsigned pending;        // wire thread only
    unsigned beats_seen;     // wire thread only: when it was asked for last
    int64_t beats_at;        // wire thread only: clock_work when they were seen to change, or it had no work
    struct desk_list posted; // wire thread only: until the flush
    struct desk_list slow;   // desk thread only: slow jobs in turn
    struct desk_list gentle; // desk thread only: those of them that rest after each slice
    int64_t rest_until;      // desk thread only: no slice of a gentle job before this
    _Atomic bool hurry;      // gentle jobs do not rest
};

static void desk_list_add(struct desk_list *list, struct desk_job *job)
{
    job->item.next = NULL;
    *(list->first ? &list->last->next : &list->first) = &job->item;
    list->last = &job->item;
}

static struct desk_job *desk_list_take(struct desk_list *list)
{
    struct channel_item *item = list->first;
    list->first = item->next;
    item->next = NULL;
    return (struct desk_job *)item;
}

static void desk_list_push(struct desk_list *list, struct channel *channel)
{
    if (list->first)
        channel_push_list(channel, list->first, list->last);
    *list = (struct desk_list){0};
}

void desk_beat(struct desk *desk)
{
    atomic_fetch_add_explicit(&desk->beats, 1, memory_order_relaxed);
}

void desk_return(struct desk *desk, struct desk_job *job)
{
    channel_push(&desk->out, &job->item);
}

void desk_return_all(struct desk *desk, struct desk_job *first)
{
    struct channel_item *last = &first->item;
    while (last->next)
        last = last->next;
    channel_push_list(&desk->out, &first->item, last);
}

static void desk_add_slow(struct desk *desk, struct desk_job *job)
{
    desk_list_add(job->gentle ? &desk->gentle : &desk->slow, job);
}

// Sorts slow jobs out of what came in; what is left is the batch, in order.
static struct desk_job *desk_sort(struct desk *desk, struct channel_item *items)
{
    struct desk_list batch = {0};
    while (items) {
        struct desk_job *job = (struct desk_job *)items;
        items = items->next;
        if (job->slice)
            desk_add_slow(desk, job);
        else
            desk_list_add(&batch, job);
    }
    return (struct desk_job *)batch.first;
}

struct desk_job *desk_more(struct desk *desk)
{
    return desk_sort(desk, channel_take(&desk->in));
}

// One slice of the next job of a list; true where there was one.
static bool desk_slice(struct desk *desk, struct desk_list *list)
{
    if (!list->first)
        return false;
    struct desk_job *job = desk_list_take(list);
    if (channel_is_closed(&desk->in) || job->slice(job))
        desk_return(desk, job);
    else
        desk_list_add(list, job);
    return true;
}

// A slice of a slow job, and one of a gentle one where it has rested.
void desk_slices(struct desk *desk)
{
    (void)desk_slice(desk, &desk->slow);
    int64_t start = clock_work();
    if (start < desk->rest_until && !atomic_load(&desk->hurry) && !channel_is_closed(&desk->in))
        return;
    if (desk_slice(desk, &desk->gentle)) {
        int64_t end = clock_work(), rest = (end - start) * DESK_REST;
        desk->rest_until = end + (rest < DESK_REST_MAX ? rest : DESK_REST_MAX);
    }
}

static struct channel_item *desk_wait(struct desk *desk)
{
    if (desk->slow.first)
        return channel_take(&desk->in);
    if (!desk->gentle.first)
        return channel_wait(&desk->in, desk->params.idle ? desk->params.idle_ms : 0);
    int64_t rest = atomic_load(&desk->hurry) ? 0 : desk->rest_until - clock_work();
    return rest > 0 ? channel_wait(&desk->in, (unsigned)(rest / CLOCK_MS) + 1) : channel_take(&desk->in);
}

static void *desk_thread(void *arg)
{
    struct desk *desk = arg;
    (void)pthread_setname_np(pthread_self(), desk->params.name); // from outside it would need /proc
    for (;;) {
        struct channel_item *items = desk_wait(desk);
        desk_beat(desk);
        if (!items && !desk->slow.first && !desk->gentle.first) {
            bool over = channel_is_over(&desk->in);
            if (desk->params.idle)
                desk->params.idle(desk, desk->params.arg); // a last time before the end
            if (over)
                break;
            continue;
        }
        struct desk_job *batch = desk_sort(desk, items);
        if (batch)
            desk->params.batch(desk, batch, desk->params.arg);
        desk_slices(desk);
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
    return error;
}

int desk_start(const struct desk_params *params, struct desk **ret_desk)
{
    struct desk *desk = calloc(1, sizeof *desk);
    if (!desk)
        return -ENOMEM;
    desk->params = *params;
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

void desk_post(struct desk *desk, struct desk_job *job)
{
    if (desk->pending++ == 0)
        desk->beats_at = clock_work();
    desk_list_add(&desk->posted, job);
}

void desk_submit(struct desk *desk, struct desk_job *job)
{
    desk_post(desk, job);
    desk_flush(desk);
}

void desk_submit_slow(struct desk *desk, struct desk_job *job)
{
    assert(job->slice);
    desk_submit(desk, job);
}

void desk_flush(struct desk *desk)
{
    desk_list_push(&desk->posted, &desk->in);
}

void desk_hurry(struct desk *desk)
{
    if (!atomic_exchange(&desk->hurry, true))
        channel_wake(&desk->in); // it may be resting
}

unsigned desk_pending(const struct desk *desk)
{
    return desk->pending;
}

int64_t desk_stalled_ns(struct desk *desk)
{
    int64_t now = clock_work();
    unsigned beats = atomic_load_explicit(&desk->beats, memory_order_relaxed);
    if (beats != desk->beats_seen || desk->pending == 0)
        desk->beats_at = now;
    desk->beats_seen = beats;
    return now - desk->beats_at;
}

void desk_stop(struct desk *desk)
{
    if (!desk)
        return;
    desk_flush(desk);
    channel_close(&desk->in);
    pthread_join(desk->thread, NULL);
    desk_collect(desk);
    loop_watch_remove(desk->params.loop, &desk->watch);
    channel_release(&desk->in);
    channel_release(&desk->out);
    free(desk);
}
