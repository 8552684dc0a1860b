// The event loop: epoll and a binary heap of timers.
#include "loop.h"
#include "clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LOOP_EVENTS 64 // events taken from the kernel in one round

struct loop {
    int epoll;
    bool running;
    bool firing; // timers' callbacks are being called
    int64_t now;
    struct loop_timer **heap; // a binary heap by due time
    size_t n_timers, heap_size;
    struct epoll_event events[LOOP_EVENTS];
    int n_events; // of this round; entries of removed watches are set to NULL
};

int loop_new(struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return -ENOMEM;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0) {
        int error = -errno;
        free(loop);
        return error;
    }
    loop->now = clock_boot();
    *ret_loop = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->epoll);
    free(loop->heap);
    free(loop);
}

void loop_watch_init(struct loop_watch *watch, void (*ready)(struct loop_watch *, uint32_t), void *arg)
{
    *watch = (struct loop_watch){.fd = -1, .ready = ready, .arg = arg};
}

int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events)
{
    assert(watch->fd < 0);
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event))
        return -errno;
    watch->fd = fd;
    watch->events = events;
    return 0;
}

int loop_watch_set(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
    if (watch->events == events)
        return 0;
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event))
        return -errno;
    watch->events = events;
    return 0;
}

void loop_watch_remove(struct loop *loop, struct loop_watch *watch)
{
    if (watch->fd < 0)
        return;
    (void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL); // the descriptor may be closed already
    watch->fd = -1;
    watch->events = 0;
    for (int i = 0; i < loop->n_events; i++)
        if (loop->events[i].data.ptr == watch)
            loop->events[i].data.ptr = NULL;
}

static void heap_put(struct loop *loop, size_t at, struct loop_timer *timer)
{
    loop->heap[at] = timer;
    timer->slot = at + 1;
}

static void heap_up(struct loop *loop, size_t at, struct loop_timer *timer)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (loop->heap[parent]->due <= timer->due)
            break;
        heap_put(loop, at, loop->heap[parent]);
        at = parent;
    }
    heap_put(loop, at, timer);
}

static void heap_down(struct loop *loop, size_t at, struct loop_timer *timer)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= loop->n_timers)
            break;
        if (child + 1 < loop->n_timers && loop->heap[child + 1]->due < loop->heap[child]->due)
            child++;
        if (loop->heap[child]->due >= timer->due)
            break;
        heap_put(loop, at, loop->heap[child]);
        at = child;
    }
    heap_put(loop, at, timer);
}

void loop_timer_init(struct loop_timer *timer, void (*fire)(struct loop_timer *), void *arg)
{
    *timer = (struct loop_timer){.fire = fire, .arg = arg};
}

int loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t due)
{
    // Callbacks that set timers to the past must not keep the round from ending: descriptors are never
    // starved.
    if (loop->firing && due <= loop->now)
        due = loop->now + 1;
    if (timer->slot) {
        size_t at = timer->slot - 1;
        bool earlier = due < timer->due;
        timer->due = due;
        if (earlier)
            heap_up(loop, at, timer);
        else
            heap_down(loop, at, timer);
        return 0;
    }
    if (loop->n_timers == loop->heap_size) {
        size_t size = loop->heap_size ? loop->heap_size * 2 : 64;
        struct loop_timer **heap = realloc(loop->heap, size * sizeof *heap);
        if (!heap)
            return -ENOMEM;
        loop->heap = heap;
        loop->heap_size = size;
    }
    timer->due = due;
    heap_up(loop, loop->n_timers++, timer);
    return 0;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    if (!timer->slot)
        return;
    size_t at = timer->slot - 1;
    timer->slot = 0;
    struct loop_timer *last = loop->heap[--loop->n_timers];
    if (last == timer)
        return;
    if (at > 0 && last->due < loop->heap[(at - 1) / 2]->due)
        heap_up(loop, at, last);
    else
        heap_down(loop, at, last);
}

int64_t loop_now(const struct loop *loop)
{
    return loop->now;
}

static void loop_fire_timers(struct loop *loop)
{
    loop->firing = true;
    while (loop->n_timers && loop->heap[0]->due <= loop->now) {
        struct loop_timer *timer = loop->heap[0];
        loop_timer_cancel(loop, timer);
        timer->fire(timer);
    }
    loop->firing = false;
}

static int loop_sleep_ms(const struct loop *loop)
{
    int most = clock_sleep_max_ms();
    if (!loop->n_timers)
        return most;
    int64_t left = loop->heap[0]->due - clock_boot();
    if (left <= 0)
        return 0;
    int64_t ms = left / CLOCK_MS + (left % CLOCK_MS != 0);
    if (most >= 0 && ms > most)
        return most;
    return ms > 60000 ? 60000 : (int)ms;
}

int loop_run(struct loop *loop, void (*before_sleep)(void *arg), void *arg)
{
    loop->running = true;
    while (loop->running) {
        if (before_sleep)
            before_sleep(arg);
        if (!loop->running)
            break;
        int n = epoll_wait(loop->epoll, loop->events, LOOP_EVENTS, loop_sleep_ms(loop));
        if (n < 0 && errno != EINTR)
            return -errno;
        clock_poll();
        loop->now = clock_boot();
        loop->n_events = n > 0 ? n : 0;
        for (int i = 0; i < loop->n_events; i++) {
            struct loop_watch *watch = loop->events[i].data.ptr;
            if (watch)
                watch->ready(watch, loop->events[i].events);
        }
        loop->n_events = 0;
        loop_fire_timers(loop);
    }
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->running = false;
}
