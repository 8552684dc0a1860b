// The queue between threads.
#include "channel.h"
#include "clock.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int channel_init(struct channel *channel, bool with_eventfd)
{
    *channel = (struct channel){.eventfd = -1};
    channel->tail = &channel->head;
    if (with_eventfd) {
        channel->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (channel->eventfd < 0)
            return -errno;
    }
    pthread_mutex_init(&channel->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&channel->filled, &attributes);
    pthread_condattr_destroy(&attributes);
    return 0;
}

void channel_release(struct channel *channel)
{
    if (channel->eventfd >= 0)
        close(channel->eventfd);
    channel->eventfd = -1;
    pthread_mutex_destroy(&channel->lock);
    pthread_cond_destroy(&channel->filled);
}

void channel_push(struct channel *channel, struct channel_item *item)
{
    item->next = NULL;
    channel_push_list(channel, item, item);
}

void channel_push_list(struct channel *channel, struct channel_item *first, struct channel_item *last)
{
    pthread_mutex_lock(&channel->lock);
    bool was_empty = !channel->head;
    *channel->tail = first;
    channel->tail = &last->next;
    if (was_empty && channel->eventfd < 0)
        pthread_cond_signal(&channel->filled);
    pthread_mutex_unlock(&channel->lock);
    // One wake-up for a whole run of items: the taker empties the queue.
    if (was_empty && channel->eventfd >= 0)
        (void)!write(channel->eventfd, &(uint64_t){1}, sizeof(uint64_t));
}

static struct channel_item *channel_detach(struct channel *channel)
{
    struct channel_item *items = channel->head;
    channel->head = NULL;
    channel->tail = &channel->head;
    return items;
}

struct channel_item *channel_take(struct channel *channel)
{
    // The eventfd is cleared first: a push after this sets it again.
    if (channel->eventfd >= 0)
        (void)!read(channel->eventfd, &(uint64_t){0}, sizeof(uint64_t));
    pthread_mutex_lock(&channel->lock);
    struct channel_item *items = channel_detach(channel);
    pthread_mutex_unlock(&channel->lock);
    return items;
}

struct channel_item *channel_wait(struct channel *channel, unsigned timeout_ms)
{
    return channel_wait_ns(channel, (int64_t)timeout_ms * CLOCK_MS);
}

struct channel_item *channel_wait_ns(struct channel *channel, int64_t timeout_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until = clock_timespec(clock_ns(&until) + timeout_ns);
    pthread_mutex_lock(&channel->lock);
    int waited = 0;
    while (!channel->head && !channel->closed && !channel->woken && waited == 0)
        waited = timeout_ns ? pthread_cond_timedwait(&channel->filled, &channel->lock, &until)
                            : pthread_cond_wait(&channel->filled, &channel->lock);
    channel->woken = false;
    struct channel_item *items = channel_detach(channel);
    pthread_mutex_unlock(&channel->lock);
    return items;
}

void channel_wake(struct channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    channel->woken = true;
    pthread_cond_broadcast(&channel->filled);
    pthread_mutex_unlock(&channel->lock);
}

void channel_close(struct channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    channel->closed = true;
    pthread_cond_broadcast(&channel->filled);
    pthread_mutex_unlock(&channel->lock);
}

bool channel_is_closed(struct channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    bool closed = channel->closed;
    pthread_mutex_unlock(&channel->lock);
    return closed;
}

bool channel_is_over(struct channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    bool over = channel->closed && !channel->head;
    pthread_mutex_unlock(&channel->lock);
    return over;
}
