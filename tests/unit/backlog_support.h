// What the tests of the backlog share: an empty one, and what comes next in it.
//
// Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_BACKLOG_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_BACKLOG_SUPPORT_H

#include "agent/delivery/backlog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW 1000

static inline int set_up(void **state)
{
    struct backlog *backlog = malloc(sizeof *backlog);
    backlog_init(backlog);
    *state = backlog;
    return 0;
}

static inline int tear_down(void **state)
{
    backlog_release(*state);
    free(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline struct backlog_entry *add_new(struct backlog *backlog, const char *name)
{
    return backlog_add_new(backlog, name, true, false);
}

static inline void next_is(struct backlog *backlog, int64_t now, const char *name)
{
    struct backlog_entry *entry = backlog_next(backlog, now);
    if (!name) {
        assert_null(entry);
        return;
    }
    assert_non_null(entry);
    assert_string_equal(entry->name, name);
    assert_int_equal(entry->state, BACKLOG_BUSY);
}

#endif
