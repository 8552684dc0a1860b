// The event loop: what callbacks may do to watches and timers, in which order timers fire, and that nothing
// starves.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WATCHES 40
#define TIMERS  2000

struct world {
    struct loop *loop;
    struct loop_timer alarm; // ends a test that hangs
    bool hung;
};

static void world_hangs(struct loop_timer *timer)
{
    struct world *world = timer->arg;
    world->hung = true;
    loop_stop(world->loop);
}

static void world_make(struct world *world)
{
    *world = (struct world){0};
    assert_int_equal(loop_new(&world->loop), 0);
    loop_timer_init(&world->alarm, world_hangs, world);
    assert_int_equal(loop_timer_set(world->loop, &world->alarm, clock_boot() + 20 * CLOCK_SECOND), 0);
}

static void world_end(struct world *world)
{
    assert_false(world->hung);
    loop_timer_cancel(world->loop, &world->alarm);
    loop_free(world->loop);
}

static int event_fd(unsigned value)
{
    int fd = eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

// Watches

struct watched {
    struct world *world;
    struct loop_watch watch;
    struct watched *victims; // removed, closed and freed by the first one that is called
    unsigned *calls;
};

static void watch_removes_all(struct loop_watch *watch, uint32_t events)
{
    struct watched *self = watch->arg;
    struct world *world = self->world;
    struct watched *all = self->victims;
    (*self->calls)++;
    assert_true(events & EPOLLIN);
    for (int i = 0; i < WATCHES; i++) {
        int fd = all[i].watch.fd;
        loop_watch_remove(world->loop, &all[i].watch);
        loop_watch_remove(world->loop, &all[i].watch); // harmless
        close(fd);
    }
    free(all);
    loop_stop(world->loop);
}

// All are ready in the same round; the first one removes all of them, itself included, and frees their
// memory.
static void a_callback_may_remove_and_free_every_watch(void **state)
{
    (void)state;
    struct world world;
    unsigned calls = 0;
    world_make(&world);
    struct watched *all = calloc(WATCHES, sizeof *all);
    assert_non_null(all);
    for (int i = 0; i < WATCHES; i++) {
        all[i] = (struct watched){.world = &world, .victims = all, .calls = &calls};
        loop_watch_init(&all[i].watch, watch_removes_all, &all[i]);
        assert_int_equal(loop_watch_add(world.loop, &all[i].watch, event_fd(1), EPOLLIN), 0);
    }
    assert_int_equal(loop_run(world.loop, NULL, NULL), 0);
    assert_int_equal(calls, 1);
    world_end(&world);
}

struct moved {
    struct world *world;
    struct loop_watch watch;
    unsigned calls;
};

static void watch_moves(struct loop_watch *watch, uint32_t events)
{
    struct moved *moved = watch->arg;
    (void)events;
    int fd = watch->fd;
    loop_watch_remove(moved->world->loop, watch);
    close(fd);
    if (++moved->calls == 100) {
        loop_stop(moved->world->loop);
        return;
    }
    // The new descriptor most likely has the old one's number.
    assert_int_equal(loop_watch_add(moved->world->loop, watch, event_fd(1), EPOLLIN), 0);
}

static void a_callback_may_move_its_own_watch(void **state)
{
    (void)state;
    struct world world;
    world_make(&world);
    struct moved moved = {.world = &world};
    loop_watch_init(&moved.watch, watch_moves, &moved);
    assert_int_equal(loop_watch_add(world.loop, &moved.watch, event_fd(1), EPOLLIN), 0);
    assert_int_equal(loop_run(world.loop, NULL, NULL), 0);
    assert_int_equal(moved.calls, 100);
    assert_int_equal(moved.watch.fd, -1);
    world_end(&world);
}

static void watch_switches(struct loop_watch *watch, uint32_t events)
{
    struct moved *moved = watch->arg;
    // Writable first, then readable, then neither but the loop is told to end.
    assert_int_equal(events, moved->calls ? EPOLLIN : EPOLLOUT);
    if (moved->calls++ == 0) {
        assert_int_equal(loop_watch_set(moved->world->loop, watch, EPOLLIN), 0);
        assert_int_equal(loop_watch_set(moved->world->loop, watch, EPOLLIN), 0);
    } else {
        loop_stop(moved->world->loop);
    }
}

static void events_can_be_switched(void **state)
{
    (void)state;
    struct world world;
    world_make(&world);
    struct moved moved = {.world = &world};
    int fd = event_fd(5);
    loop_watch_init(&moved.watch, watch_switches, &moved);
    assert_int_equal(loop_watch_add(world.loop, &moved.watch, fd, EPOLLOUT), 0);
    assert_int_equal(loop_run(world.loop, NULL, NULL), 0);
    assert_int_equal(moved.calls, 2);
    loop_watch_remove(world.loop, &moved.watch);
    loop_watch_init(&moved.watch, watch_switches, &moved);
    assert_int_equal(loop_watch_add(world.loop, &moved.watch, -1, EPOLLIN), -EBADF);
    assert_int_equal(moved.watch.fd, -1);
    close(fd);
    world_end(&world);
}

// Timers

struct ringing {
    struct world *world;
    struct loop_timer timer;
    unsigned fired;
};

static int64_t last_due;
static unsigned n_fired, n_expected;

static void ring(struct loop_timer *timer)
{
    struct ringing *ringing = timer->arg;
    assert_false(loop_timer_pending(timer));
    assert_true(timer->due >= last_due); // earlier ones first
    assert_true(timer->due <= loop_now(ringing->world->loop));
    last_due = timer->due;
    ringing->fired++;
    if (++n_fired == n_expected)
        loop_stop(ringing->world->loop);
}

// Any sequence of set, move and cancel: what is left fires once each, in the order of due times.
static void timers_fire_once_and_in_order(void **state)
{
    (void)state;
    srand(5);
    for (int round = 0; round < 20; round++) {
        struct world world;
        world_make(&world);
        struct ringing *all = calloc(TIMERS, sizeof *all);
        assert_non_null(all);
        int64_t now = clock_boot();
        for (int i = 0; i < TIMERS; i++) {
            all[i].world = &world;
            loop_timer_init(&all[i].timer, ring, &all[i]);
        }
        for (int step = 0; step < 5 * TIMERS; step++) {
            struct loop_timer *timer = &all[rand() % TIMERS].timer;
            if (rand() % 3)
                assert_int_equal(loop_timer_set(world.loop, timer, now + (rand() % 20000 - 15000) * 1000), 0);
            else
                loop_timer_cancel(world.loop, timer);
        }
        last_due = INT64_MIN;
        n_fired = n_expected = 0;
        for (int i = 0; i < TIMERS; i++)
            n_expected += loop_timer_pending(&all[i].timer);
        bool *pending = calloc(TIMERS, sizeof *pending);
        assert_non_null(pending);
        for (int i = 0; i < TIMERS; i++)
            pending[i] = loop_timer_pending(&all[i].timer);
        assert_int_equal(loop_run(world.loop, NULL, NULL), 0);
        for (int i = 0; i < TIMERS; i++)
            assert_int_equal(all[i].fired, pending[i]);
        free(pending);
        free(all);
        world_end(&world);
    }
}

struct greedy {
    struct world *world;
    struct loop_timer timers[2];
    struct loop_watch watch;
    unsigned rings;
};

static void ring_at_once_again(struct loop_timer *timer)
{
    struct greedy *greedy = timer->arg;
    greedy->rings++;
    assert_int_equal(loop_timer_set(greedy->world->loop, timer, INT64_MIN), 0);
}

static void watch_ends(struct loop_watch *watch, uint32_t events)
{
    struct greedy *greedy = watch->arg;
    (void)events;
    loop_stop(greedy->world->loop);
}

// Two timers that always set themselves to the past leave descriptors their turn.
static void timers_never_starve_descriptors(void **state)
{
    (void)state;
    struct world world;
    world_make(&world);
    struct greedy greedy = {.world = &world};
    int fd = event_fd(1);
    for (int i = 0; i < 2; i++) {
        loop_timer_init(&greedy.timers[i], ring_at_once_again, &greedy);
        assert_int_equal(loop_timer_set(world.loop, &greedy.timers[i], 0), 0);
    }
    loop_watch_init(&greedy.watch, watch_ends, &greedy);
    assert_int_equal(loop_watch_add(world.loop, &greedy.watch, fd, EPOLLIN), 0);
    assert_int_equal(loop_run(world.loop, NULL, NULL), 0);
    assert_true(greedy.rings <= 4);
    loop_watch_remove(world.loop, &greedy.watch);
    close(fd);
    for (int i = 0; i < 2; i++)
        loop_timer_cancel(world.loop, &greedy.timers[i]);
    world_end(&world);
}

struct killer {
    struct world *world;
    struct loop_timer timer;
    struct killer *all;
    unsigned *calls;
};

static void ring_and_free_all(struct loop_timer *timer)
{
    struct killer *killer = timer->arg;
    struct world *world = killer->world;
    struct killer *all = killer->all;
    (*killer->calls)++;
    for (int i = 0; i < 10; i++) {
        loop_timer_cancel(world->loop, &all[i].timer);
        loop_timer_cancel(world->loop, &all[i].timer); // harmless
    }
    free(all);
    loop_stop(world->loop);
}

static void a_callback_may_cancel_and_free_timers_that_are_due(void **state)
{
    (void)state;
    struct world world;
    unsigned calls = 0;
    world_make(&world);
    struct killer *all = calloc(10, sizeof *all);
    assert_non_null(all);
    for (int i = 0; i < 10; i++) {
        all[i] = (struct killer){.world = &world, .all = all, .calls = &calls};
        loop_timer_init(&all[i].timer, ring_and_free_all, &all[i]);
        assert_int_equal(loop_timer_set(world.loop, &all[i].timer, 1), 0);
    }
    assert_int_equal(loop_run(world.loop, NULL, NULL), 0);
    assert_int_equal(calls, 1);
    world_end(&world);
}

static void a_timer_far_ahead_is_slept_towards(void **state)
{
    (void)state;
    struct world world;
    struct ringing far = {.world = &world}, near = {.world = &world};
    world_make(&world);
    loop_timer_init(&far.timer, ring, &far);
    loop_timer_init(&near.timer, ring, &near);
    assert_int_equal(loop_timer_set(world.loop, &far.timer, INT64_MAX), 0);
    loop_timer_cancel(world.loop, &world.alarm); // the far one alone decides about the sleep
    assert_int_equal(loop_timer_set(world.loop, &world.alarm, clock_boot() + 20 * CLOCK_SECOND), 0);
    assert_int_equal(loop_timer_set(world.loop, &near.timer, clock_boot() + CLOCK_MS), 0);
    n_fired = 0;
    n_expected = 1;
    last_due = 0;
    assert_int_equal(loop_run(world.loop, NULL, NULL), 0);
    assert_int_equal(near.fired, 1);
    assert_int_equal(far.fired, 0);
    loop_timer_cancel(world.loop, &far.timer);
    world_end(&world);
}

struct rounds {
    struct world *world;
    unsigned n;
};

static void count_rounds(void *arg)
{
    struct rounds *rounds = arg;
    if (++rounds->n == 3)
        loop_stop(rounds->world->loop);
}

static void ring_in_every_round(struct loop_timer *timer)
{
    struct world *world = timer->arg;
    assert_int_equal(loop_timer_set(world->loop, timer, 0), 0);
}

static void before_sleep_is_called_once_a_round_and_may_stop(void **state)
{
    (void)state;
    struct world world;
    struct loop_timer timer;
    world_make(&world);
    struct rounds rounds = {.world = &world};
    loop_timer_init(&timer, ring_in_every_round, &world);
    assert_int_equal(loop_timer_set(world.loop, &timer, 0), 0);
    assert_int_equal(loop_run(world.loop, count_rounds, &rounds), 0);
    assert_int_equal(rounds.n, 3);
    loop_timer_cancel(world.loop, &timer);
    world_end(&world);
    loop_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_callback_may_remove_and_free_every_watch),
        cmocka_unit_test(a_callback_may_move_its_own_watch),
        cmocka_unit_test(events_can_be_switched),
        cmocka_unit_test(timers_fire_once_and_in_order),
        cmocka_unit_test(timers_never_starve_descriptors),
        cmocka_unit_test(a_callback_may_cancel_and_free_timers_that_are_due),
        cmocka_unit_test(a_timer_far_ahead_is_slept_towards),
        cmocka_unit_test(before_sleep_is_called_once_a_round_and_may_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
