// Turns at renaming: one at a time, in the order in which they were asked for.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/moves.h"
#include <sched.h>
#include <stdatomic.h>

enum { DESKS = 4, TURNS = 2000 };

static struct moves moves;
static _Atomic int inside;
static _Atomic unsigned most, done;

static unsigned waiting(void)
{
    pthread_mutex_lock(&moves.lock);
    unsigned n = moves.next - moves.serving;
    pthread_mutex_unlock(&moves.lock);
    return n;
}

static void *take_turns(void *arg)
{
    (void)arg;
    for (int i = 0; i < TURNS; i++) {
        moves_begin(&moves);
        unsigned n = (unsigned)atomic_fetch_add(&inside, 1) + 1;
        if (n > atomic_load(&most))
            atomic_store(&most, n);
        atomic_fetch_sub(&inside, 1);
        moves_end(&moves);
        atomic_fetch_add(&done, 1);
    }
    return NULL;
}

static void only_one_has_the_turn(void **state)
{
    (void)state;
    moves_init(&moves);
    pthread_t desks[DESKS];
    for (int i = 0; i < DESKS; i++)
        assert_int_equal(pthread_create(&desks[i], NULL, take_turns, NULL), 0);
    for (int i = 0; i < DESKS; i++)
        pthread_join(desks[i], NULL);
    assert_int_equal(atomic_load(&most), 1);
    assert_int_equal(atomic_load(&done), DESKS * TURNS);
    assert_int_equal(waiting(), 0);
    moves_release(&moves);
}

struct waiter {
    pthread_t thread;
    unsigned place;
};
static _Atomic unsigned served;

static void *wait_once(void *arg)
{
    struct waiter *waiter = arg;
    moves_begin(&moves);
    waiter->place = atomic_fetch_add(&served, 1);
    moves_end(&moves);
    return NULL;
}

static void who_asked_first_comes_first(void **state)
{
    (void)state;
    struct waiter waiters[DESKS];
    moves_init(&moves);
    moves_begin(&moves);
    for (unsigned i = 0; i < DESKS; i++) {
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_once, &waiters[i]), 0);
        while (waiting() != i + 2) // its ticket is drawn
            sched_yield();
    }
    moves_end(&moves);
    for (unsigned i = 0; i < DESKS; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_int_equal(waiters[i].place, i);
    }
    moves_release(&moves);
}

static void where_nobody_else_moves_there_is_always_a_turn(void **state)
{
    (void)state;
    moves_begin(NULL);
    moves_begin(NULL);
    moves_end(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_one_has_the_turn),
        cmocka_unit_test(who_asked_first_comes_first),
        cmocka_unit_test(where_nobody_else_moves_there_is_always_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
