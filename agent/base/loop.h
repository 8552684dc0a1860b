// The event loop of the wire thread: file descriptors by epoll(7), timers on clock_boot.
//
// A watch or timer is a struct embedded in its owner and lives until it is removed; both may be removed or
// added from any callback, their own included. Everything here belongs to one thread.
#ifndef OUTTRAY_AGENT_BASE_LOOP_H
#define OUTTRAY_AGENT_BASE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

struct loop_watch {
    int fd;          // -1 while not watched
    uint32_t events; // EPOLLIN, EPOLLOUT, …
    void (*ready)(struct loop_watch *watch, uint32_t events);
    void *arg;
};

struct loop_timer {
    int64_t due; // clock_boot
    size_t slot; // place in the heap + 1; 0 while not set
    void (*fire)(struct loop_timer *timer);
    void *arg;
};

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop); // takes NULL; watches and timers still set are forgotten

void loop_watch_init(struct loop_watch *watch, void (*ready)(struct loop_watch *, uint32_t), void *arg);
int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events);
int loop_watch_set(
    struct loop *loop, struct loop_watch *watch, uint32_t events); // no syscall where nothing changes
void loop_watch_remove(
    struct loop *loop, struct loop_watch *watch); // no-op while not watched; call it before close(2)

void loop_timer_init(struct loop_timer *timer, void (*fire)(struct loop_timer *), void *arg);
int loop_timer_set(
    struct loop *loop, struct loop_timer *timer, int64_t due); // moves one that is set; 0 or -ENOMEM. Set
                                                               // from a timer's callback, it fires in the
                                                               // next round at the earliest
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);
static inline bool loop_timer_pending(const struct loop_timer *timer)
{
    return timer->slot != 0;
}

// The time at the start of this round (clock_boot): one clock read for everything that one round does.
int64_t loop_now(const struct loop *loop);

// Runs until loop_stop. `before_sleep`, where given, is called once each round after all callbacks: the place
// to do once what many events asked for. 0 or negative errno.
int loop_run(struct loop *loop, void (*before_sleep)(void *arg), void *arg);
void loop_stop(struct loop *loop);

#endif
