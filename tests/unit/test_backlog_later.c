// Room in the backlog for deferred names that are due, beside those that wait for later.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backlog_support.h"

static struct backlog_entry *add_deferred(struct backlog *backlog, unsigned number, int64_t due)
{
    char name[32];
    (void)snprintf(name, sizeof name, "d%u", number);
    return backlog_add_deferred(backlog, name, due, due, NOW);
}

static void later_ones_make_room(void **state)
{
    struct backlog *backlog = *state;
    for (unsigned i = 0; i < BACKLOG_DEFERRED_MAX; i++)
        assert_non_null(add_deferred(backlog, i, NOW + 1 + (int64_t)(i * 7919 % BACKLOG_DEFERRED_MAX)));
    assert_null(add_deferred(backlog, BACKLOG_DEFERRED_MAX, NOW - 5));
    backlog_forget_later(backlog, NOW + 100);
    assert_int_equal(backlog->n_deferred, 100);
    assert_int_equal(backlog->n_heap, 100);
    assert_true(backlog_next_due(backlog) == NOW + 1);
    assert_non_null(add_deferred(backlog, BACKLOG_DEFERRED_MAX, NOW - 5));
    next_is(backlog, NOW, "d16384");
    // Those that are left come in their order.
    int64_t last = NOW;
    for (unsigned i = 0; i < 100; i++) {
        int64_t due = backlog_next_due(backlog);
        assert_true(due > last);
        assert_null(backlog_next(backlog, due - 1));
        assert_non_null(backlog_next(backlog, due));
        last = due;
    }
    assert_int_equal(backlog->n_heap, 0);
}

static void nothing_else_is_forgotten(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *busy = add_deferred(backlog, 1, NOW);
    assert_ptr_equal(backlog_next(backlog, NOW), busy);
    assert_non_null(add_deferred(backlog, 2, NOW));      // waits
    assert_non_null(add_deferred(backlog, 3, NOW + 50)); // as late as that
    assert_non_null(add_deferred(backlog, 4, NOW + 51)); // later
    struct backlog_entry *troubled = add_deferred(backlog, 5, NOW);
    (void)backlog_next(backlog, NOW);
    (void)backlog_next(backlog, NOW);
    troubled->settles = 1;
    backlog_put_off(backlog, troubled, NOW + 1000); // its claim failed: its time is not what it waits for
    struct backlog_entry *fresh = add_new(backlog, "n");
    (void)backlog_next(backlog, NOW);
    backlog_put_off(backlog, fresh, NOW + 1000);
    backlog_forget_later(backlog, NOW + 50);
    assert_int_equal(backlog->n_deferred, 4);
    assert_int_equal(backlog->n_new, 1);
    assert_int_equal(backlog->n_heap, 3);
    next_is(backlog, NOW + 50, "d3");
    assert_null(backlog_next(backlog, NOW + 999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(later_ones_make_room),
        TEST(nothing_else_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
