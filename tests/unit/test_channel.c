// The queue between threads: order, nothing lost, nothing twice, wake-ups.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/channel.h"
#include <poll.h>
#include <stdlib.h>

#define PUSHERS 4
#define ITEMS   20000 // of each

struct number {
    struct channel_item item;
    unsigned pusher, value;
};

static bool readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

static void order_is_kept_and_taking_empties(void **state)
{
    (void)state;
    struct channel channel;
    struct number numbers[10];
    assert_int_equal(channel_init(&channel, false), 0);
    assert_null(channel_take(&channel));
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 10; i++) {
            numbers[i].value = i;
            channel_push(&channel, &numbers[i].item);
        }
        unsigned n = 0;
        for (struct channel_item *item = channel_take(&channel); item; item = item->next)
            assert_int_equal(((struct number *)item)->value, n++);
        assert_int_equal(n, 10);
        assert_null(channel_take(&channel));
    }
    channel_release(&channel);
}

static void a_list_is_pushed_as_a_whole(void **state)
{
    (void)state;
    struct channel channel;
    struct number numbers[5];
    assert_int_equal(channel_init(&channel, true), 0);
    for (unsigned i = 0; i < 5; i++) {
        numbers[i].value = i;
        numbers[i].item.next = i == 1 || i == 4 ? NULL : &numbers[i + 1].item;
    }
    channel_push_list(&channel, &numbers[0].item, &numbers[1].item);
    assert_true(readable(channel.eventfd));
    channel_push_list(&channel, &numbers[2].item, &numbers[4].item);
    unsigned n = 0;
    for (struct channel_item *item = channel_take(&channel); item; item = item->next)
        assert_int_equal(((struct number *)item)->value, n++);
    assert_int_equal(n, 5);
    assert_false(readable(channel.eventfd));
    channel_release(&channel);
}

static void the_eventfd_tells_of_what_was_pushed(void **state)
{
    (void)state;
    struct channel channel;
    struct number numbers[3];
    assert_int_equal(channel_init(&channel, true), 0);
    assert_false(readable(channel.eventfd));
    for (unsigned i = 0; i < 3; i++) {
        channel_push(&channel, &numbers[i].item);
        assert_true(readable(channel.eventfd));
    }
    assert_non_null(channel_take(&channel));
    assert_false(readable(channel.eventfd));
    assert_null(channel_take(&channel));
    channel_push(&channel, &numbers[0].item);
    assert_true(readable(channel.eventfd));
    assert_non_null(channel_take(&channel));
    channel_release(&channel);
}

static void closing_gives_what_is_left_then_nothing(void **state)
{
    (void)state;
    struct channel channel;
    struct number number;
    assert_int_equal(channel_init(&channel, false), 0);
    channel_push(&channel, &number.item);
    channel_close(&channel);
    assert_ptr_equal(channel_wait(&channel, 0), &number.item);
    assert_null(channel_wait(&channel, 0));
    assert_null(channel_wait(&channel, 0));
    channel_release(&channel);
}

static void what_came_before_the_close_is_still_to_be_taken(void **state)
{
    (void)state;
    struct channel channel;
    struct number number = {0};
    assert_int_equal(channel_init(&channel, false), 0);
    assert_null(channel_take(&channel)); // whoever takes finds nothing, and then asks
    channel_push(&channel, &number.item);
    assert_false(channel_is_over(&channel));
    channel_close(&channel);
    assert_true(channel_is_closed(&channel));
    assert_false(channel_is_over(&channel));
    assert_ptr_equal(channel_take(&channel), &number.item);
    assert_true(channel_is_over(&channel));
    channel_release(&channel);
}

static void waiting_ends_with_its_time(void **state)
{
    (void)state;
    struct channel channel;
    struct number number;
    assert_int_equal(channel_init(&channel, false), 0);
    assert_null(channel_wait(&channel, 1));
    assert_false(channel_is_closed(&channel));
    channel_push(&channel, &number.item);
    assert_ptr_equal(channel_wait(&channel, 600000), &number.item);
    channel_close(&channel);
    assert_true(channel_is_closed(&channel));
    assert_null(channel_wait(&channel, 600000));
    channel_release(&channel);
}

static void waking_ends_one_wait(void **state)
{
    (void)state;
    struct channel channel;
    struct number number;
    assert_int_equal(channel_init(&channel, false), 0);
    channel_wake(&channel); // before the wait began
    assert_null(channel_wait(&channel, 600000));
    assert_null(channel_wait(&channel, 1)); // this one ends with its time
    channel_wake(&channel);
    channel_push(&channel, &number.item);
    assert_ptr_equal(channel_wait(&channel, 600000), &number.item);
    assert_null(channel_wait(&channel, 1));
    assert_false(channel_is_closed(&channel));
    channel_release(&channel);
}

struct pusher {
    pthread_t thread;
    struct channel *channel;
    struct number *numbers;
};

static void *push_all(void *arg)
{
    struct pusher *pusher = arg;
    for (unsigned i = 0; i < ITEMS; i++)
        channel_push(pusher->channel, &pusher->numbers[i].item);
    return NULL;
}

static void pushers_start(struct pusher *pushers, struct channel *channel)
{
    for (unsigned p = 0; p < PUSHERS; p++) {
        pushers[p].channel = channel;
        pushers[p].numbers = calloc(ITEMS, sizeof *pushers[p].numbers);
        assert_non_null(pushers[p].numbers);
        for (unsigned i = 0; i < ITEMS; i++) {
            pushers[p].numbers[i].pusher = p;
            pushers[p].numbers[i].value = i;
        }
        assert_int_equal(pthread_create(&pushers[p].thread, NULL, push_all, &pushers[p]), 0);
    }
}

static void pushers_end(struct pusher *pushers)
{
    for (unsigned p = 0; p < PUSHERS; p++) {
        pthread_join(pushers[p].thread, NULL);
        free(pushers[p].numbers);
    }
}

// Counts a list; each pusher's items must come in its order.
static unsigned count(struct channel_item *items, unsigned next[static PUSHERS])
{
    unsigned n = 0;
    while (items) {
        struct number *number = (struct number *)items;
        items = items->next;
        if (number->value != next[number->pusher])
            return 0;
        next[number->pusher]++;
        n++;
    }
    return n;
}

static void many_threads_push_and_one_waits(void **state)
{
    (void)state;
    struct channel channel;
    struct pusher pushers[PUSHERS];
    unsigned next[PUSHERS] = {0}, n = 0;
    assert_int_equal(channel_init(&channel, false), 0);
    pushers_start(pushers, &channel);
    while (n < PUSHERS * ITEMS) {
        unsigned got = count(channel_wait(&channel, 0), next);
        assert_true(got > 0);
        n += got;
    }
    pushers_end(pushers);
    channel_close(&channel);
    assert_null(channel_wait(&channel, 0));
    channel_release(&channel);
}

// As on the wire thread: nothing but the eventfd wakes it, so a wake-up that is lost would hang here.
static void many_threads_push_and_the_eventfd_wakes(void **state)
{
    (void)state;
    struct channel channel;
    struct pusher pushers[PUSHERS];
    unsigned next[PUSHERS] = {0}, n = 0;
    assert_int_equal(channel_init(&channel, true), 0);
    pushers_start(pushers, &channel);
    while (n < PUSHERS * ITEMS) {
        struct pollfd poll_fd = {.fd = channel.eventfd, .events = POLLIN};
        assert_int_equal(poll(&poll_fd, 1, 30000), 1);
        n += count(channel_take(&channel), next);
    }
    pushers_end(pushers);
    assert_null(channel_take(&channel));
    channel_release(&channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_kept_and_taking_empties),
        cmocka_unit_test(a_list_is_pushed_as_a_whole),
        cmocka_unit_test(the_eventfd_tells_of_what_was_pushed),
        cmocka_unit_test(closing_gives_what_is_left_then_nothing),
        cmocka_unit_test(what_came_before_the_close_is_still_to_be_taken),
        cmocka_unit_test(waiting_ends_with_its_time),
        cmocka_unit_test(waking_ends_one_wait),
        cmocka_unit_test(many_threads_push_and_one_waits),
        cmocka_unit_test(many_threads_push_and_the_eventfd_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
