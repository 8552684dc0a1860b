// What the tests of the spool share: a spool in a directory of its own, and ways to put things into it.
#ifndef OUTTRAY_TESTS_SPOOL_SUPPORT_H
#define OUTTRAY_TESTS_SPOOL_SUPPORT_H

#include "spool-format/spool.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char path[64];
    int spool;
    struct spool_tenant *tenant; // acme, for the agent main
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->path, sizeof f->path, "/tmp/outtray-test-spool-XXXXXX");
    if (mkdtemp(f->path) == NULL)
        return -1;
    f->spool = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mode_t before = umask(0077);
    int r = spool_tenant_open(f->spool, "acme", "main", true, &f->tenant, NULL);
    umask(before);
    *state = f;
    return r;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    spool_tenant_close(f->tenant);
    close(f->spool);
    int r = nftw(f->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return r;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline int directory(const struct fixture *f, enum spool_state state)
{
    return state == SPOOL_STATES ? f->tenant->root : f->tenant->dir[state];
}

// Makes a file (new, with an inode of its own) and returns its inode.
static inline ino_t put(const struct fixture *f, enum spool_state state, const char *name, const char *text)
{
    struct stat st;
    unlinkat(directory(f, state), name, 0);
    int fd = openat(directory(f, state), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    return st.st_ino;
}

// Writes a status that has no birth time.
static inline void put_status(
    const struct fixture *f, enum spool_state state, const char *name, ino_t inode, uint64_t size)
{
    struct status *status = status_new();
    status->inode = inode;
    status->size = size;
    status->state = state == SPOOL_DEFERRED ? STATUS_DEFERRED : STATUS_FAILED;
    assert_int_equal(status_write(directory(f, state), name, status), 0);
    status_free(status);
}

// The inode of a name, 0 where there is none.
static inline ino_t at(const struct fixture *f, enum spool_state state, const char *name)
{
    struct stat st;
    return fstatat(directory(f, state), name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

#endif
