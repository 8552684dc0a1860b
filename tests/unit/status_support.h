// What the tests of status files share: a directory, files in it, and a status.
#ifndef OUTTRAY_TESTS_STATUS_SUPPORT_H
#define OUTTRAY_TESTS_STATUS_SUPPORT_H

#include "spool-format/status.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHEN 1795446245 // 2026-11-23T15:04:05Z

struct fixture {
    char path[64];
    int dir;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    snprintf(fixture->path, sizeof fixture->path, "/tmp/outtray-test-status-XXXXXX");
    if (mkdtemp(fixture->path) == NULL)
        return -1;
    fixture->dir = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    DIR *list = fdopendir(fixture->dir);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        unlinkat(fixture->dir, entry->d_name, 0);
    closedir(list);
    int r = rmdir(fixture->path); // a directory left behind by a test is a fault of the test
    free(fixture);
    return r;
}

static inline void put(int dir, const char *name, const char *data, size_t length)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        assert_true(n > 0);
        data += n;
        length -= (size_t)n;
    }
    close(fd);
}

static inline char *get(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct stat st;
    fstat(fd, &st);
    char *data = malloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    data[st.st_size] = 0;
    close(fd);
    return data;
}

static inline struct status *make(enum status_state state)
{
    struct status *status = status_new();
    status_set_text(&status->tenant, "acme");
    status_set_text(&status->name, "1764000000.M1P2.host");
    status->inode = 131073;
    status->size = 5321;
    status->submitted = (struct timespec){WHEN, 123456789};
    status->state = state;
    return status;
}

static const struct timespec second __attribute__((unused)) = {WHEN + 1, 0};

static inline struct status *round_trip(int dir, struct status *status)
{
    struct status *back = NULL;
    assert_int_equal(status_write(dir, "m", status), 0);
    int r = status_read(dir, "m", &back, NULL, NULL);
    if (r < 0) {
        char *text = get(dir, "m.status");
        fail_msg("%d for\n%s", r, text);
    }
    return back;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
