// Which message of a tenant comes next, and when: order, priority, due times, files that are still written
// to.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backlog_support.h"

static void new_names_keep_their_order(void **state)
{
    struct backlog *backlog = *state;
    add_new(backlog, "c");
    add_new(backlog, "a");
    add_new(backlog, "b");
    add_new(backlog, "c");
    assert_true(backlog_has_waiting(backlog, NOW));
    next_is(backlog, NOW, "c");
    next_is(backlog, NOW, "a");
    next_is(backlog, NOW, "b");
    assert_false(backlog_has_waiting(backlog, NOW));
}

static void high_priority_goes_first(void **state)
{
    struct backlog *backlog = *state;
    add_new(backlog, "low1");
    backlog_add_deferred(backlog, "due", 1, 1, NOW);
    backlog_add_new(backlog, "high1", true, true);
    add_new(backlog, "low2");
    backlog_add_new(backlog, "high2", true, true);
    backlog_raise(backlog, "low2");
    backlog_raise(backlog, "low2");
    backlog_raise(backlog, "due"); // no name of new/
    next_is(backlog, NOW, "high1");
    next_is(backlog, NOW, "high2");
    next_is(backlog, NOW, "low2");
    assert_non_null(backlog_next(backlog, NOW));
    assert_non_null(backlog_next(backlog, NOW));
    next_is(backlog, NOW, NULL);
}

static void what_was_raised_while_it_waited_for_its_time_is_high_afterwards(void **state)
{
    struct backlog *backlog = *state;
    backlog_put_off(backlog, add_new(backlog, "h"), NOW + 10);
    add_new(backlog, "other");
    backlog_raise(backlog, "h");
    next_is(backlog, NOW + 10, "h");
    next_is(backlog, NOW + 10, "other");
}

static void due_and_new_come_in_turn(void **state)
{
    struct backlog *backlog = *state;
    char name[16];
    for (char c = 'a'; c < 'f'; c++) {
        (void)snprintf(name, sizeof name, "n%c", c);
        add_new(backlog, name);
        (void)snprintf(name, sizeof name, "d%c", c);
        backlog_add_deferred(backlog, name, 1, c, NOW);
    }
    char last = 0;
    for (unsigned i = 0; i < 10; i++) {
        struct backlog_entry *entry = backlog_next(backlog, NOW);
        assert_non_null(entry);
        assert_int_not_equal(entry->name[0], last);
        assert_int_equal(entry->name[1], 'a' + (int)i / 2);
        last = entry->name[0];
    }
    next_is(backlog, NOW, NULL);
}

static void a_deferred_name_comes_at_its_time(void **state)
{
    struct backlog *backlog = *state;
    backlog_add_deferred(backlog, "late", 30, NOW + 30, NOW);
    backlog_add_deferred(backlog, "early", 10, NOW + 10, NOW);
    assert_false(backlog_has_waiting(backlog, NOW));
    assert_true(backlog_next_due(backlog) == NOW + 10);
    next_is(backlog, NOW + 9, NULL);
    assert_true(backlog_has_waiting(backlog, NOW + 10));
    next_is(backlog, NOW + 10, "early");
    assert_true(backlog_next_due(backlog) == NOW + 30);
    next_is(backlog, NOW + 29, NULL);
    next_is(backlog, NOW + 100, "late");
    assert_true(backlog_next_due(backlog) == INT64_MAX);
}

static void what_became_due_together_comes_earliest_first(void **state)
{
    struct backlog *backlog = *state;
    static const int times[] = {5, 1, 9, 3, 7, 2, 8, 4, 6};
    char name[16];
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        (void)snprintf(name, sizeof name, "%d", times[i]);
        backlog_add_deferred(backlog, name, times[i], NOW + times[i], NOW);
    }
    for (int i = 1; i <= 9; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        next_is(backlog, NOW + 100, name);
    }
}

static void another_time_in_the_directory_moves_an_entry_either_way(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *entry = backlog_add_deferred(backlog, "m", 1, NOW + 50, NOW);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 2, NOW + 80, NOW), entry); // deferred again
    assert_true(backlog_next_due(backlog) == NOW + 80);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 3, NOW + 20, NOW), entry);
    assert_true(backlog_next_due(backlog) == NOW + 20);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 4, NOW, NOW), entry); // touched
    assert_int_equal(entry->state, BACKLOG_WAITING);
    assert_true(backlog_next_due(backlog) == INT64_MAX);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 5, NOW + 70, NOW), entry); // put off by hand
    next_is(backlog, NOW + 69, NULL);
    next_is(backlog, NOW + 70, "m");
}

static void the_same_recorded_time_never_slides(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *entry = backlog_add_deferred(backlog, "m", 999999, NOW + 50, NOW);
    // Every survey clamps the far deadline to its own now + 50.
    for (int64_t now = NOW; now < NOW + 50; now += 7) {
        assert_ptr_equal(backlog_add_deferred(backlog, "m", 999999, now + 50, now), entry);
        assert_true(backlog_next_due(backlog) == NOW + 50);
        next_is(backlog, now, NULL);
    }
    backlog_add_deferred(backlog, "m", 999999, NOW + 40, NOW); // nearer is fine
    assert_true(backlog_next_due(backlog) == NOW + 40);
    assert_true(backlog_has_waiting(backlog, NOW + 40));
    // It is waiting: still the same recorded time, so it may not be pushed away again.
    backlog_add_deferred(backlog, "m", 999999, NOW + 90, NOW + 40);
    next_is(backlog, NOW + 40, "m");
}

static void released_mail_stays_released(void **state)
{
    struct backlog *backlog = *state;
    backlog_add_deferred(backlog, "m", NOW + 50, NOW + 50, NOW);
    backlog_release_deferred(backlog);
    backlog_add_deferred(backlog, "m", NOW + 50, NOW + 50, NOW); // a survey sees the same file
    next_is(backlog, NOW, "m");
}

static void a_release_makes_deferred_mail_due_and_nothing_else(void **state)
{
    struct backlog *backlog = *state;
    char name[16];
    struct backlog_entry *busy = backlog_add_deferred(backlog, "busy", 1, 1, NOW);
    next_is(backlog, NOW, "busy");
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "d%d", i);
        backlog_add_deferred(backlog, name, 1, NOW + 100 - i, NOW);
        (void)snprintf(name, sizeof name, "n%d", i);
        backlog_put_off(backlog, add_new(backlog, name), NOW + 30 + i * 3);
    }
    backlog_release_deferred(backlog);
    assert_int_equal(busy->state, BACKLOG_BUSY);
    for (int i = 0; i < 40; i++) {
        struct backlog_entry *entry = backlog_next(backlog, NOW);
        assert_non_null(entry);
        assert_int_equal(entry->from, SPOOL_DEFERRED);
    }
    next_is(backlog, NOW, NULL);
    for (int i = 0; i < 40; i++) { // the heap is still one
        assert_true(backlog_next_due(backlog) == NOW + 30 + i * 3);
        (void)snprintf(name, sizeof name, "n%d", i);
        next_is(backlog, NOW + 30 + i * 3, name);
    }
}

static void a_file_that_may_still_be_written_to_is_put_off(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *entry = backlog_add_new(backlog, "m", false, false);
    assert_false(entry->sure);
    assert_int_equal(entry->size, -1);
    assert_int_equal(entry->mtime, -1);
    next_is(backlog, NOW, "m");
    entry->size = 5;
    backlog_put_off(backlog, entry, NOW + 20);
    assert_int_equal(entry->state, BACKLOG_LATER);
    assert_true(backlog_settling(backlog));
    assert_ptr_equal(backlog_add_new(backlog, "m", false, false), entry); // seen again: knows nothing new
    assert_int_equal(entry->state, BACKLOG_LATER);
    next_is(backlog, NOW + 19, NULL);
    assert_ptr_equal(add_new(backlog, "m"), entry); // closed
    assert_true(entry->sure);
    assert_false(backlog_settling(backlog));
    next_is(backlog, NOW, "m");
    assert_ptr_equal(backlog_add_new(backlog, "m", false, false), entry);
    assert_true(entry->sure); // never less than before
}

static void settling_ends_after_a_few_looks(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *entry = backlog_add_new(backlog, "m", false, false);
    backlog_put_off(backlog, entry, NOW + 1);
    entry->settles = BACKLOG_SETTLES_MAX;
    assert_false(backlog_settling(backlog));
    backlog_add_deferred(backlog, "d", 1, NOW + 5, NOW); // a deferred one does not settle
    assert_false(backlog_settling(backlog));
    backlog_put_off(backlog, backlog_add_new(backlog, "m2", false, false), NOW + 1);
    assert_true(backlog_settling(backlog));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_names_keep_their_order),
        TEST(high_priority_goes_first),
        TEST(what_was_raised_while_it_waited_for_its_time_is_high_afterwards),
        TEST(due_and_new_come_in_turn),
        TEST(a_deferred_name_comes_at_its_time),
        TEST(what_became_due_together_comes_earliest_first),
        TEST(another_time_in_the_directory_moves_an_entry_either_way),
        TEST(the_same_recorded_time_never_slides),
        TEST(released_mail_stays_released),
        TEST(a_release_makes_deferred_mail_due_and_nothing_else),
        TEST(a_file_that_may_still_be_written_to_is_put_off),
        TEST(settling_ends_after_a_few_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
