// A queue between threads: intrusive links, one lock, and two ways to wake the taker.
//
// The desks wait on a condition variable; the wire thread is woken through an eventfd on its loop. Order is
// kept. The items belong to whoever holds them: pushing hands one over.
#ifndef OUTTRAY_AGENT_BASE_CHANNEL_H
#define OUTTRAY_AGENT_BASE_CHANNEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct channel_item {
    struct channel_item *next;
};

struct channel {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct channel_item *head, **tail;
    bool closed;
    bool woken;  // somebody shall not wait, though nothing was pushed
    int eventfd; // -1 where the taker waits on the condition
};

// with_eventfd: channel.eventfd becomes readable when something was pushed. 0 or negative errno.
int channel_init(struct channel *channel, bool with_eventfd);
void channel_release(struct channel *channel); // must be empty

void channel_push(struct channel *channel, struct channel_item *item);
// The same for a list of items (last->next is NULL): one lock, one wake-up.
void channel_push_list(struct channel *channel, struct channel_item *first, struct channel_item *last);
// Takes everything that is there as a list in order, NULL where nothing is; clears the eventfd.
struct channel_item *channel_take(struct channel *channel);
// Waits for something, at most timeout_ms (0: without end), then takes everything; NULL after the time or
// when closed and empty. Not for channels with an eventfd.
struct channel_item *channel_wait(struct channel *channel, unsigned timeout_ms);
struct channel_item *channel_wait_ns(struct channel *channel, int64_t timeout_ns); // the same in ns
// Ends the wait that is under way, or else the next one: it gives what is there.
void channel_wake(struct channel *channel);
// Wakes the waiter for good: channel_wait gives what is left, then NULL.
void channel_close(struct channel *channel);
bool channel_is_closed(struct channel *channel);
// Closed, and nothing is left: what was pushed between an empty take and the close is not lost.
bool channel_is_over(struct channel *channel);

#endif
