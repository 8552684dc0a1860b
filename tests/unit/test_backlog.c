// The read-ahead of a tenant: identity, bounds, what is forgotten.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backlog_support.h"
#include <fcntl.h>
#include <unistd.h>

static void an_empty_one_has_nothing(void **state)
{
    struct backlog *backlog = *state;
    next_is(backlog, NOW, NULL);
    assert_false(backlog_has_waiting(backlog, NOW));
    assert_false(backlog_settling(backlog));
    assert_true(backlog_next_due(backlog) == INT64_MAX);
    assert_true(backlog->left_out_due == INT64_MAX);
    assert_false(backlog->more_new);
    backlog_release_deferred(backlog);
    backlog_raise(backlog, "nobody");
    backlog_forget(backlog);
    next_is(backlog, NOW, NULL);
}

static void a_name_is_one_entry_in_each_directory(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *fresh = add_new(backlog, "m");
    struct backlog_entry *deferred = backlog_add_deferred(backlog, "m", 5, NOW, NOW);
    assert_ptr_not_equal(fresh, deferred);
    assert_ptr_equal(add_new(backlog, "m"), fresh);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 5, NOW, NOW), deferred);
    assert_int_equal(fresh->from, SPOOL_NEW);
    assert_int_equal(deferred->from, SPOOL_DEFERRED);
    assert_int_equal(backlog->n_new, 1);
    assert_int_equal(backlog->n_deferred, 1);
    assert_non_null(backlog_next(backlog, NOW));
    assert_non_null(backlog_next(backlog, NOW));
    next_is(backlog, NOW, NULL); // each is handed out once
    assert_ptr_equal(add_new(backlog, "m"), fresh);
    assert_int_equal(fresh->state, BACKLOG_BUSY);
    next_is(backlog, NOW, NULL); // a busy one is not handed out again
    backlog_drop(backlog, fresh);
    assert_int_equal(backlog->n_new, 0);
    add_new(backlog, "m");
    next_is(backlog, NOW, "m");
}

static void names_of_new_are_bounded(void **state)
{
    struct backlog *backlog = *state;
    char name[32];
    for (unsigned i = 0; i < BACKLOG_NEW_MAX; i++) {
        (void)snprintf(name, sizeof name, "m%u", i);
        assert_non_null(add_new(backlog, name));
    }
    assert_false(backlog->more_new);
    assert_null(add_new(backlog, "one too many"));
    assert_true(backlog->more_new);
    assert_int_equal(backlog->n_new, BACKLOG_NEW_MAX);
    assert_non_null(add_new(backlog, "m7")); // known names are still found
    // What is busy counts until it is dropped.
    struct backlog_entry *first = backlog_next(backlog, NOW);
    assert_null(add_new(backlog, "one too many"));
    backlog_drop(backlog, first);
    assert_non_null(add_new(backlog, "one too many"));
    // The bound of one directory is not the other's.
    assert_non_null(backlog_add_deferred(backlog, "d", 1, 1, NOW));
}

static void names_of_deferred_are_bounded_and_the_earliest_left_out_is_told(void **state)
{
    struct backlog *backlog = *state;
    char name[32];
    for (unsigned i = 0; i < BACKLOG_DEFERRED_MAX; i++) {
        (void)snprintf(name, sizeof name, "m%u", i);
        assert_non_null(backlog_add_deferred(backlog, name, 1, NOW + 1 + i % 7, NOW));
    }
    assert_true(backlog->left_out_due == INT64_MAX);
    assert_null(backlog_add_deferred(backlog, "x", 1, NOW + 500, NOW));
    assert_true(backlog->left_out_due == NOW + 500);
    assert_null(backlog_add_deferred(backlog, "y", 1, NOW + 300, NOW));
    assert_null(backlog_add_deferred(backlog, "z", 1, NOW + 400, NOW));
    assert_true(backlog->left_out_due == NOW + 300);
    assert_int_equal(backlog->n_deferred, BACKLOG_DEFERRED_MAX);
    assert_non_null(backlog_add_deferred(backlog, "m3", 1, NOW, NOW));
    assert_non_null(add_new(backlog, "n"));
    backlog_forget(backlog);
    assert_true(backlog->left_out_due == INT64_MAX);
    assert_non_null(backlog_add_deferred(backlog, "x", 1, NOW + 500, NOW));
}

static void an_entry_is_forgotten_in_any_state(void **state)
{
    struct backlog *backlog = *state;
    add_new(backlog, "w1");
    struct backlog_entry *waiting = add_new(backlog, "w2");
    add_new(backlog, "w3");
    struct backlog_entry *later = backlog_add_deferred(backlog, "l1", 1, NOW + 1, NOW);
    backlog_add_deferred(backlog, "l2", 1, NOW + 2, NOW);
    backlog_drop(backlog, waiting);
    backlog_drop(backlog, later);
    assert_true(backlog_next_due(backlog) == NOW + 2);
    next_is(backlog, NOW, "w1");
    next_is(backlog, NOW, "w3");
    next_is(backlog, NOW, NULL);
    next_is(backlog, NOW + 2, "l2");
}

static void forgetting_leaves_what_is_busy(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *busy = add_new(backlog, "busy");
    next_is(backlog, NOW, "busy");
    add_new(backlog, "waiting");
    backlog_add_deferred(backlog, "later", 1, NOW + 1, NOW);
    backlog->more_new = true;
    backlog_forget(backlog);
    assert_int_equal(backlog->n_new, 1);
    assert_int_equal(backlog->n_deferred, 0);
    assert_false(backlog->more_new);
    assert_true(backlog_next_due(backlog) == INT64_MAX);
    next_is(backlog, NOW + 10, NULL);
    assert_ptr_equal(add_new(backlog, "busy"), busy);
    backlog_drop(backlog, busy);
    assert_int_equal(backlog->n_new, 0);
}

static void add_many(struct backlog *backlog, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "m%u", i);
        (void)add_new(backlog, name);
    }
}

static void all_together_are_bounded_and_each_keeps_its_least_share(void **state)
{
    enum { N = BACKLOG_ALL_MAX / BACKLOG_NEW_MAX + 4 };
    struct backlog_total all = {0};
    struct backlog *many = calloc(N, sizeof *many);
    (void)state;
    for (size_t i = 0; i < N; i++) {
        backlog_init(&many[i]);
        backlog_count_in(&many[i], &all);
        add_many(&many[i], BACKLOG_NEW_MAX + 1);
        assert_true(many[i].more_new);
    }
    assert_int_equal(many[0].n_new, BACKLOG_NEW_MAX);
    assert_int_equal(many[N - 1].n_new, BACKLOG_LEAST);
    assert_in_range(all.names, BACKLOG_ALL_MAX, BACKLOG_ALL_MAX + N * BACKLOG_LEAST);
    for (size_t i = 0; i < 100; i++) // who has its least share gets no more until others have less
        backlog_drop(&many[0], backlog_next(&many[0], NOW));
    assert_true(backlog_new_room(&many[N - 1]) > 0);
    for (size_t i = 0; i < N; i++)
        backlog_release(&many[i]);
    assert_int_equal(all.names, 0);
    free(many);
}

static void an_open_file_is_closed_unless_it_is_taken(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_total all = {0};
    backlog_count_in(backlog, &all);
    int taken = open("/dev/null", O_RDONLY | O_CLOEXEC), dropped = dup(taken), left = dup(taken),
        second = dup(taken);
    struct backlog_entry *a = add_new(backlog, "a"), *b = add_new(backlog, "b"), *c = add_new(backlog, "c");
    backlog_hold(backlog, a, taken);
    backlog_hold(backlog, a, second); // has one: this one is closed
    assert_int_equal(fcntl(second, F_GETFD), -1);
    backlog_hold(backlog, b, dropped);
    backlog_hold(backlog, c, left);
    assert_int_equal(all.held, 3);
    assert_int_equal(backlog_take_file(backlog, a), taken);
    assert_int_equal(backlog_take_file(backlog, a), -1);
    backlog_drop(backlog, b);
    assert_int_equal(fcntl(dropped, F_GETFD), -1);
    assert_int_equal(all.held, 1);
    backlog_release(backlog);
    assert_int_equal(fcntl(left, F_GETFD), -1);
    assert_int_equal(all.held, 0);
    assert_int_equal(close(taken), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_one_has_nothing),
        TEST(a_name_is_one_entry_in_each_directory),
        TEST(names_of_new_are_bounded),
        TEST(names_of_deferred_are_bounded_and_the_earliest_left_out_is_told),
        TEST(an_entry_is_forgotten_in_any_state),
        TEST(forgetting_leaves_what_is_busy),
        TEST(all_together_are_bounded_and_each_keeps_its_least_share),
        TEST(an_open_file_is_closed_unless_it_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
