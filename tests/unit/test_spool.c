// The spool: opening a tenant, being replaced, and what is found where (spool-format/spool.h). Moves:
// test_spool_move.c; recovery and locks: test_spool_recover.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool_support.h"

static void test_open_creates(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {
        "tmp", "new", "cur", "cur/main", "deferred", "sent", "failed", "hold"};
    struct stat st;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(fstatat(f->tenant->root, names[i], &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISDIR(st.st_mode));
        assert_int_equal(st.st_mode & 07777, i < 2 ? 02770 : 02750); // whatever the umask
    }
    assert_int_equal(fstat(f->tenant->root, &st), 0);
    assert_int_equal(st.st_mode & 07777, 02750);
    assert_true(st.st_dev == f->tenant->dev);
    assert_string_equal(f->tenant->name, "acme");
    assert_string_equal(f->tenant->agent, "main");
    for (int i = 0; i < SPOOL_STATES; i++) {
        assert_int_equal(fstat(f->tenant->dir[i], &st), 0);
        assert_true(st.st_ino == f->tenant->ino[i]);
        assert_true(fcntl(f->tenant->dir[i], F_GETFD) & FD_CLOEXEC);
    }
    assert_string_equal(spool_state_name(SPOOL_TMP), "tmp");
    assert_string_equal(spool_state_name(SPOOL_HOLD), "hold");
    assert_string_equal(spool_state_name(SPOOL_STATES), "tenant");
}

// A mode that an operator has set stays, and a second opening finds what the first one made.
static void test_open_again(void **state)
{
    struct fixture *f = *state;
    struct spool_tenant *again;
    struct stat st;
    assert_int_equal(fchmodat(f->tenant->root, "new", 0700, 0), 0);
    assert_int_equal(spool_tenant_open(f->spool, "acme", "other", true, &again, NULL), 0);
    assert_true(again->ino[SPOOL_NEW] == f->tenant->ino[SPOOL_NEW]);
    assert_true(again->ino[SPOOL_CUR] != f->tenant->ino[SPOOL_CUR]);
    assert_int_equal(fstat(again->dir[SPOOL_NEW], &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    spool_tenant_close(again);
    assert_int_equal(spool_tenant_open(f->spool, "acme", NULL, false, &again, NULL), 0); // a reader
    assert_null(again->agent);
    assert_int_equal(spool_tenant_stale(f->spool, again), 0);
    spool_tenant_close(again);
    spool_tenant_close(NULL);
}

static void test_open_errors(void **state)
{
    struct fixture *f = *state;
    struct spool_tenant *tenant;
    enum spool_state at_fault = SPOOL_NEW;
    static const char *const bad[] = {"", ".", "..", ".agents", "a/b", "../acme", "a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(spool_tenant_open(f->spool, bad[i], NULL, true, &tenant, NULL), -EINVAL);
        assert_int_equal(spool_tenant_open(f->spool, "acme", bad[i], true, &tenant, NULL), -EINVAL);
    }
    assert_int_equal(spool_tenant_open(f->spool, "none", NULL, false, &tenant, &at_fault), -ENOENT);
    assert_int_equal(at_fault, SPOOL_STATES);
    assert_int_equal(spool_tenant_open(f->spool, "acme", "stranger", false, &tenant, &at_fault), -ENOENT);
    assert_int_equal(at_fault, SPOOL_CUR);
    assert_int_equal(symlinkat("acme", f->spool, "link"), 0);
    assert_int_equal(spool_tenant_open(f->spool, "link", NULL, true, &tenant, &at_fault), -ENOTDIR);
    assert_int_equal(at_fault, SPOOL_STATES);
    assert_int_equal(unlinkat(f->tenant->root, "sent", AT_REMOVEDIR), 0);
    assert_int_equal(symlinkat("failed", f->tenant->root, "sent"), 0);
    assert_int_equal(spool_tenant_open(f->spool, "acme", "main", true, &tenant, &at_fault), -ENOTDIR);
    assert_int_equal(at_fault, SPOOL_SENT);
    assert_int_equal(unlinkat(f->tenant->root, "sent", 0), 0);
    put(f, SPOOL_STATES, "sent", "a file");
    assert_int_equal(spool_tenant_open(f->spool, "acme", "main", true, &tenant, &at_fault), -ENOTDIR);
    assert_int_equal(at_fault, SPOOL_SENT);
}

static void test_stale(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(spool_tenant_stale(f->spool, f->tenant), 0);
    static const char *const names[] = {
        "tmp", "new", "cur", "cur/main", "deferred", "sent", "failed", "hold"};
    int root = f->tenant->root;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(renameat(root, names[i], root, "moved"), 0);
        assert_int_equal(spool_tenant_stale(f->spool, f->tenant), 1); // gone
        assert_int_equal(mkdirat(root, names[i], 0700), 0);
        assert_int_equal(spool_tenant_stale(f->spool, f->tenant), 1); // another one
        assert_int_equal(unlinkat(root, names[i], AT_REMOVEDIR), 0);
        assert_int_equal(symlinkat(i == 3 ? "../moved" : "moved", root, names[i]), 0);
        assert_int_equal(spool_tenant_stale(f->spool, f->tenant), 1); // the same one, by a symlink
        assert_int_equal(unlinkat(root, names[i], 0), 0);
        assert_int_equal(renameat(root, "moved", root, names[i]), 0);
        assert_int_equal(spool_tenant_stale(f->spool, f->tenant), 0);
    }
    assert_int_equal(renameat(f->spool, "acme", f->spool, "emca"), 0);
    assert_int_equal(spool_tenant_stale(f->spool, f->tenant), 1);
    assert_int_equal(renameat(f->spool, "emca", f->spool, "acme"), 0);
}

static void test_sync(void **state)
{
    struct fixture *f = *state;
    for (enum spool_state s = 0; s < SPOOL_STATES; s++)
        assert_int_equal(spool_sync(f->tenant, s), 0);
}

static void test_find_higher(void **state)
{
    struct fixture *f = *state;
    static const enum spool_state rank[] = {SPOOL_NEW, SPOOL_CUR, SPOOL_DEFERRED, SPOOL_FAILED, SPOOL_SENT};
    const size_t n = sizeof rank / sizeof *rank;
    char name[SPOOL_NAME_SIZE];
    enum spool_state where;
    for (size_t low = 0; low < n; low++) {
        for (size_t high = 0; high < n; high++) {
            if (low == high)
                continue;
            ino_t inode = put(f, rank[low], "m", "text");
            assert_int_equal(linkat(f->tenant->dir[rank[low]], "m", f->tenant->dir[rank[high]], "m~3", 0), 0);
            int r = spool_find_higher(f->tenant, rank[low], "m", inode, &where, name);
            assert_int_equal(r, high > low);
            if (r == 1) {
                assert_int_equal(where, rank[high]);
                assert_string_equal(name, "m~3");
            }
            unlinkat(f->tenant->dir[rank[low]], "m", 0);
            unlinkat(f->tenant->dir[rank[high]], "m~3", 0);
        }
    }
    ino_t inode = put(f, SPOOL_CUR, "m", "text");
    assert_int_equal(linkat(f->tenant->dir[SPOOL_CUR], "m", f->tenant->dir[SPOOL_FAILED], "m", 0), 0);
    assert_int_equal(spool_find_higher(f->tenant, SPOOL_CUR, "m", inode, &where, name), 1);
    assert_int_equal(where, SPOOL_FAILED);
    assert_int_equal(spool_find_higher(f->tenant, SPOOL_FAILED, "m", inode, &where, name), 0);
    assert_int_equal(spool_find_higher(f->tenant, SPOOL_SENT, "m", inode, &where, name), 0);
    assert_int_equal(
        spool_find_higher(f->tenant, SPOOL_CUR, "m", inode + 1000000, &where, name), 0); // another message
    put(f, SPOOL_SENT, "n", "text");
    inode = put(f, SPOOL_NEW, "n", "text"); // the same name only
    assert_int_equal(spool_find_higher(f->tenant, SPOOL_NEW, "n", inode, &where, name), 0);
}

static void test_settle(void **state)
{
    struct fixture *f = *state;
    ino_t inode = put(f, SPOOL_FAILED, "m", "text");
    put_status(f, SPOOL_FAILED, "m", inode, 4);
    assert_int_equal(spool_settle(f->tenant, SPOOL_FAILED, "m", inode), 0); // it is nowhere else
    assert_int_equal(linkat(f->tenant->dir[SPOOL_FAILED], "m", f->tenant->dir[SPOOL_NEW], "m", 0), 0);
    assert_int_equal(spool_settle(f->tenant, SPOOL_FAILED, "m", inode), 0); // only lower
    assert_int_equal(at(f, SPOOL_FAILED, "m"), inode);
    assert_int_equal(linkat(f->tenant->dir[SPOOL_FAILED], "m", f->tenant->dir[SPOOL_SENT], "m~2", 0), 0);
    assert_int_equal(spool_settle(f->tenant, SPOOL_FAILED, "m", inode), 1);
    assert_int_equal(at(f, SPOOL_FAILED, "m"), 0);
    assert_int_equal(at(f, SPOOL_FAILED, "m.status"), 0);
    assert_int_equal(at(f, SPOOL_SENT, "m~2"), inode);
    assert_int_equal(spool_settle(f->tenant, SPOOL_SENT, "m~2", inode), 0); // nothing is above it
    assert_int_equal(at(f, SPOOL_SENT, "m~2"), inode);
}

static void test_find_status(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *claimed, *status;
        int found;
    } cases[] = {
        {"m", "m", 1}, {"m~2", "m", 1}, {"m", "m~2", 1}, {"m~7", "m~5", 1}, {"m", "n", 0}, {"m~2", "m~2", 1}};
    struct status *status = NULL;
    char name[SPOOL_NAME_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ino_t inode = put(f, SPOOL_CUR, cases[i].claimed, "text");
        int fd = openat(f->tenant->dir[SPOOL_CUR], cases[i].claimed, O_RDONLY | O_CLOEXEC);
        put_status(f, SPOOL_FAILED, cases[i].status, inode, 4);
        assert_int_equal(
            spool_find_status(f->tenant, SPOOL_FAILED, cases[i].claimed, fd, &status, name), cases[i].found);
        if (cases[i].found) {
            assert_string_equal(name, cases[i].status);
            assert_int_equal(status->inode, inode);
            status_free(status);
        }
        assert_int_equal(
            spool_find_status(f->tenant, SPOOL_DEFERRED, cases[i].claimed, fd, &status, name), 0);
        assert_int_equal(
            spool_status_remove(f->tenant, SPOOL_FAILED, cases[i].status, inode + 1000000), 0); // another's
        assert_int_equal(
            status_peek(f->tenant->dir[SPOOL_FAILED], cases[i].status, &(uint64_t){0}, &(uint64_t){0}), 0);
        assert_int_equal(spool_status_remove(f->tenant, SPOOL_FAILED, cases[i].status, inode), 0);
        assert_int_equal(
            status_peek(f->tenant->dir[SPOOL_FAILED], cases[i].status, &(uint64_t){0}, &(uint64_t){0}),
            -ENOENT);
        assert_int_equal(spool_status_remove(f->tenant, SPOOL_FAILED, cases[i].status, inode), 0);
        close(fd);
    }
    assert_int_equal(spool_find_status(f->tenant, SPOOL_FAILED, "m", -1, &status, name), -EBADF);
}

// A new file with the inode, name and size of an old one inherits nothing: its birth time tells.
static void test_reused_inode(void **state)
{
    struct fixture *f = *state;
    struct status *status = status_new();
    char name[SPOOL_NAME_SIZE];
    ino_t inode = put(f, SPOOL_CUR, "m", "text");
    int fd = openat(f->tenant->dir[SPOOL_CUR], "m", O_RDONLY | O_CLOEXEC);
    assert_int_equal(status_identify(status, fd), 0);
    if (status->born.tv_sec == 0) {
        print_message("this file system knows no birth times\n");
    } else {
        status->born.tv_sec -= 10; // the old file's
        assert_int_equal(status_write(f->tenant->dir[SPOOL_DEFERRED], "m", status), 0);
        struct status *found;
        assert_int_equal(spool_find_status(f->tenant, SPOOL_DEFERRED, "m", fd, &found, name), 0);
        assert_int_equal(spool_origin(f->tenant, "m", inode, 4), SPOOL_NEW);
        status->born.tv_sec += 10;
        assert_int_equal(status_write(f->tenant->dir[SPOOL_DEFERRED], "m", status), 0);
        assert_int_equal(spool_find_status(f->tenant, SPOOL_DEFERRED, "m", fd, &found, name), 1);
        status_free(found);
        assert_int_equal(spool_origin(f->tenant, "m", inode, 4), SPOOL_DEFERRED);
    }
    close(fd);
    status_free(status);
}

static void test_origin(void **state)
{
    struct fixture *f = *state;
    ino_t inode = put(f, SPOOL_CUR, "m", "text");
    assert_int_equal(spool_origin(f->tenant, "m", inode, 4), SPOOL_NEW);
    put_status(f, SPOOL_DEFERRED, "m", inode, 4);
    assert_int_equal(spool_origin(f->tenant, "m", inode, 4), SPOOL_DEFERRED);
    assert_int_equal(spool_origin(f->tenant, "m", inode, 5), SPOOL_NEW);           // another size
    assert_int_equal(spool_origin(f->tenant, "m", inode + 1000000, 4), SPOOL_NEW); // another inode
    assert_int_equal(spool_origin(f->tenant, "n", inode, 4), SPOOL_NEW);
    put(f, SPOOL_DEFERRED, "g.status", "garbage");
    inode = put(f, SPOOL_CUR, "g", "text");
    assert_int_equal(spool_origin(f->tenant, "g", inode, 4), SPOOL_NEW);
    put_status(f, SPOOL_FAILED, "h", inode, 4); // failed/ is no origin
    assert_int_equal(spool_origin(f->tenant, "h", inode, 4), SPOOL_NEW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open_creates),
        TEST(test_open_again),
        TEST(test_open_errors),
        TEST(test_stale),
        TEST(test_sync),
        TEST(test_find_higher),
        TEST(test_settle),
        TEST(test_find_status),
        TEST(test_reused_inode),
        TEST(test_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
