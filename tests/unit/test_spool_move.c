// Moves between the states, and the names they choose (spool-format/spool.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool_support.h"

// The way of a message through all states: its name, its bytes and its mtime stay.
static void test_move_plain(void **state)
{
    struct fixture *f = *state;
    static const enum spool_state way[] = {SPOOL_NEW, SPOOL_CUR, SPOOL_NEW, SPOOL_CUR, SPOOL_DEFERRED,
        SPOOL_CUR, SPOOL_DEFERRED, SPOOL_CUR, SPOOL_FAILED, SPOOL_NEW, SPOOL_CUR, SPOOL_SENT};
    char name[SPOOL_NAME_SIZE] = "m";
    ino_t inode = put(f, SPOOL_NEW, name, "text");
    struct stat before, after;
    assert_int_equal(fstatat(f->tenant->dir[SPOOL_NEW], name, &before, 0), 0);
    for (size_t i = 1; i < sizeof way / sizeof *way; i++) {
        assert_int_equal(spool_move(f->tenant, way[i - 1], name, inode, way[i], name), 0); // ret_name is name
        assert_string_equal(name, "m");
        assert_int_equal(at(f, way[i - 1], "m"), 0);
        assert_int_equal(at(f, way[i], "m"), inode);
    }
    assert_int_equal(fstatat(f->tenant->dir[SPOOL_SENT], name, &after, 0), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
    assert_int_equal(after.st_size, 4);
}

static void test_move_lost_race(void **state)
{
    struct fixture *f = *state;
    char name[SPOOL_NAME_SIZE] = "untouched";
    for (enum spool_state to = 0; to < SPOOL_STATES; to++) {
        if (to != SPOOL_NEW)
            assert_int_equal(spool_move(f->tenant, SPOOL_NEW, "m", 5, to, name), -ENOENT);
    }
    assert_string_equal(name, "untouched");
}

// Names that are taken by other messages, or by their status files, are never overwritten.
static void test_move_collision(void **state)
{
    struct fixture *f = *state;
    char name[SPOOL_NAME_SIZE];
    for (enum spool_state to = SPOOL_CUR; to < SPOOL_STATES; to++) {
        for (int n = 1; n < 40; n++) {
            char expected[SPOOL_NAME_SIZE];
            spool_name_variant("m", (unsigned)n, expected);
            ino_t inode = put(f, SPOOL_NEW, "m", "text");
            assert_int_equal(spool_move(f->tenant, SPOOL_NEW, "m", inode, to, name), 0);
            assert_string_equal(name, expected);
            assert_int_equal(at(f, to, expected), inode);
        }
    }
}

static void test_move_foreign_status(void **state)
{
    struct fixture *f = *state;
    static const enum spool_state states[] = {SPOOL_DEFERRED, SPOOL_FAILED};
    char name[SPOOL_NAME_SIZE];
    for (size_t i = 0; i < 2; i++) {
        put_status(f, states[i], "m", 1, 4);
        put_status(f, states[i], "m~2", 2, 4);
        put(f, states[i], "m~3.status", "garbage");
        put(f, states[i], "m~4", "a message");
        ino_t inode = put(f, SPOOL_CUR, "m", "text");
        assert_int_equal(spool_choose(f->tenant, states[i], "m", inode, name), 0);
        assert_string_equal(name, "m~5");
        assert_int_equal(spool_move(f->tenant, SPOOL_CUR, "m", inode, states[i], name), 0);
        assert_string_equal(name, "m~5");
    }
    // In the other states a status file is no matter.
    put_status(f, SPOOL_SENT, "n", 1, 4);
    ino_t inode = put(f, SPOOL_CUR, "n", "text");
    assert_int_equal(spool_move(f->tenant, SPOOL_CUR, "n", inode, SPOOL_SENT, name), 0);
    assert_string_equal(name, "n");
}

static void test_move_own_status(void **state)
{
    struct fixture *f = *state;
    char name[SPOOL_NAME_SIZE];
    ino_t inode = put(f, SPOOL_CUR, "m", "text");
    put_status(f, SPOOL_DEFERRED, "m", inode, 4);
    assert_int_equal(spool_move(f->tenant, SPOOL_CUR, "m", inode, SPOOL_DEFERRED, name), 0);
    assert_string_equal(name, "m");
    // Claimed while cur/ had the name: it comes back to where its status is.
    put(f, SPOOL_CUR, "m", "another");
    assert_int_equal(spool_move(f->tenant, SPOOL_DEFERRED, "m", inode, SPOOL_CUR, name), 0);
    assert_string_equal(name, "m~2");
    assert_int_equal(spool_origin(f->tenant, name, inode, 4), SPOOL_DEFERRED);
    assert_int_equal(spool_move(f->tenant, SPOOL_CUR, "m~2", inode, SPOOL_DEFERRED, name), 0);
    assert_string_equal(name, "m");
}

// The protocol of a deferral: choose, status, move. Both end up under one name, whoever else wants it.
static void test_choose_then_move(void **state)
{
    struct fixture *f = *state;
    char chosen[SPOOL_NAME_SIZE], moved[SPOOL_NAME_SIZE];
    for (int i = 0; i < 40; i++) {
        ino_t inode = put(f, SPOOL_CUR, "m", "text");
        assert_int_equal(spool_choose(f->tenant, SPOOL_DEFERRED, "m", inode, chosen), 0);
        put_status(f, SPOOL_DEFERRED, chosen, inode, 4);
        assert_int_equal(spool_choose(f->tenant, SPOOL_DEFERRED, "m", inode, moved), 0);
        assert_string_equal(chosen, moved);
        assert_int_equal(spool_move(f->tenant, SPOOL_CUR, "m", inode, SPOOL_DEFERRED, moved), 0);
        assert_string_equal(chosen, moved);
    }
}

// What was in the way of the status is gone when the message follows: it goes where its status is all the
// same.
static void test_choose_then_freed(void **state)
{
    struct fixture *f = *state;
    char chosen[SPOOL_NAME_SIZE], moved[SPOOL_NAME_SIZE];
    for (unsigned taken = 1; taken <= 4; taken++) {
        char variant[SPOOL_NAME_SIZE];
        for (unsigned n = 1; n <= taken; n++) {
            spool_name_variant("m", n, variant);
            put(f, SPOOL_DEFERRED, variant, "another");
        }
        ino_t inode = put(f, SPOOL_CUR, "m", "text");
        assert_int_equal(spool_choose(f->tenant, SPOOL_DEFERRED, "m", inode, chosen), 0);
        assert_int_equal(spool_name_number(chosen), taken + 1);
        put_status(f, SPOOL_DEFERRED, chosen, inode, 4);
        for (unsigned n = 1; n <= taken; n++) {
            spool_name_variant("m", n, variant);
            assert_int_equal(unlinkat(f->tenant->dir[SPOOL_DEFERRED], variant, 0), 0);
        }
        assert_int_equal(spool_move(f->tenant, SPOOL_CUR, "m", inode, SPOOL_DEFERRED, moved), 0);
        assert_string_equal(chosen, moved);
        assert_int_equal(unlinkat(f->tenant->dir[SPOOL_DEFERRED], moved, 0), 0);
        assert_int_equal(spool_status_remove(f->tenant, SPOOL_DEFERRED, moved, inode), 0);
    }
}

// One inode under one base name is one message: a move that was done before leaves no second name.
static void test_move_repeated(void **state)
{
    struct fixture *f = *state;
    static const char *const targets[] = {"m", "m~2", "m~9"};
    for (enum spool_state to = SPOOL_NEW; to < SPOOL_STATES; to++) {
        for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
            if (to == SPOOL_CUR)
                continue;
            char name[SPOOL_NAME_SIZE];
            ino_t inode = put(f, SPOOL_CUR, "m", "text");
            assert_int_equal(linkat(f->tenant->dir[SPOOL_CUR], "m", f->tenant->dir[to], targets[i], 0), 0);
            assert_int_equal(spool_move(f->tenant, SPOOL_CUR, "m", inode, to, name), 0);
            assert_string_equal(name, targets[i]);
            assert_int_equal(at(f, SPOOL_CUR, "m"), 0);
            assert_int_equal(at(f, to, targets[i]), inode);
            assert_int_equal(unlinkat(f->tenant->dir[to], targets[i], 0), 0);
        }
    }
    char name[SPOOL_NAME_SIZE];
    ino_t inode = put(f, SPOOL_NEW, "m", "text"); // and a claim
    assert_int_equal(linkat(f->tenant->dir[SPOOL_NEW], "m", f->tenant->dir[SPOOL_CUR], "m", 0), 0);
    assert_int_equal(spool_move(f->tenant, SPOOL_NEW, "m", inode, SPOOL_CUR, name), 0);
    assert_int_equal(at(f, SPOOL_NEW, "m"), 0);
    assert_int_equal(at(f, SPOOL_CUR, "m"), inode);
}

// A hard link elsewhere (a producer between link and unlink, an archive) is no repeated move.
static void test_move_linked_elsewhere(void **state)
{
    struct fixture *f = *state;
    char name[SPOOL_NAME_SIZE];
    ino_t inode = put(f, SPOOL_TMP, "m", "text");
    assert_int_equal(linkat(f->tenant->dir[SPOOL_TMP], "m", f->tenant->dir[SPOOL_CUR], "m", 0), 0);
    put(f, SPOOL_SENT, "m", "another");
    assert_int_equal(spool_move(f->tenant, SPOOL_CUR, "m", inode, SPOOL_SENT, name), 0);
    assert_string_equal(name, "m~2");
    assert_int_equal(at(f, SPOOL_TMP, "m"), inode);
    enum spool_state where;
    assert_int_equal(
        spool_find_higher(f->tenant, SPOOL_CUR, "x", inode, &where, name), 0); // another base name
}

// Longest names, and variants at their end.
static void test_move_long_names(void **state)
{
    struct fixture *f = *state;
    char name[SPOOL_NAME_SIZE], moved[SPOOL_NAME_SIZE], status[SPOOL_STATUS_SIZE];
    memset(name, 'x', SPOOL_NAME_MAX);
    name[SPOOL_NAME_MAX] = 0;
    spool_name_variant(name, SPOOL_VARIANT_MAX, moved);
    put(f, SPOOL_SENT, moved, "a");
    ino_t inode = put(f, SPOOL_NEW, moved, "b");
    assert_int_equal(spool_move(f->tenant, SPOOL_NEW, moved, inode, SPOOL_SENT, moved), 0);
    assert_int_equal(spool_name_number(moved), 2); // above the last there is only a start from below
    spool_name_variant(name, SPOOL_VARIANT_MAX, moved);
    inode = put(f, SPOOL_NEW, moved, "c");
    put_status(f, SPOOL_DEFERRED, moved, inode, 1);
    spool_name_status(moved, status);
    assert_int_equal(faccessat(f->tenant->dir[SPOOL_DEFERRED], status, F_OK, 0), 0);
    assert_int_equal(spool_move(f->tenant, SPOOL_NEW, moved, inode, SPOOL_DEFERRED, moved), 0);
    assert_int_equal(spool_name_number(moved), SPOOL_VARIANT_MAX);
}

// A producer who always uses one name: 2,000 of them take some tens of thousands of lookups, not millions.
static void test_move_many_of_one_name(void **state)
{
    struct fixture *f = *state;
    char name[SPOOL_NAME_SIZE];
    for (unsigned n = 1; n <= 2000; n++) {
        ino_t inode = put(f, SPOOL_NEW, "report.eml", "text");
        assert_int_equal(spool_move(f->tenant, SPOOL_NEW, "report.eml", inode, SPOOL_SENT, name), 0);
        assert_int_equal(spool_name_number(name), n);
    }
}

// With one link nothing is searched; with two, the name that is left of a half done move goes.
static void test_move_known(void **state)
{
    struct fixture *f = *state;
    char name[SPOOL_NAME_SIZE];
    struct stat known;
    ino_t inode = put(f, SPOOL_CUR, "one", "text");
    assert_int_equal(fstatat(f->tenant->dir[SPOOL_CUR], "one", &known, 0), 0);
    assert_int_equal(spool_move_known(f->tenant, SPOOL_CUR, "one", &known, SPOOL_SENT, name), 0);
    assert_int_equal(at(f, SPOOL_SENT, "one"), inode);
    inode = put(f, SPOOL_CUR, "two", "text");
    (void)put(f, SPOOL_SENT, "two", "another");
    assert_int_equal(linkat(f->tenant->dir[SPOOL_CUR], "two", f->tenant->dir[SPOOL_SENT], "two~2", 0), 0);
    assert_int_equal(fstatat(f->tenant->dir[SPOOL_CUR], "two", &known, 0), 0);
    assert_int_equal(spool_move_known(f->tenant, SPOOL_CUR, "two", &known, SPOOL_SENT, name), 0);
    assert_string_equal(name, "two~2");
    assert_int_equal(at(f, SPOOL_CUR, "two"), 0);
    assert_int_equal(at(f, SPOOL_SENT, "two~2"), inode);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_move_plain),
        TEST(test_move_known),
        TEST(test_move_lost_race),
        TEST(test_move_collision),
        TEST(test_move_foreign_status),
        TEST(test_move_own_status),
        TEST(test_choose_then_move),
        TEST(test_choose_then_freed),
        TEST(test_move_repeated),
        TEST(test_move_linked_elsewhere),
        TEST(test_move_long_names),
        TEST(test_move_many_of_one_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
