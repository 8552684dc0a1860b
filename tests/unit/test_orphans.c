// What a claim may skip: a directory without a status of that name. Never a wrong no.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/delivery/orphans.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int failing; // the next readings of a directory fail

struct dirent *readdir(DIR *dir)
{
    static struct dirent *(*real)(DIR *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "readdir");
    if (failing) {
        errno = EIO;
        return NULL;
    }
    return real(dir);
}

struct place {
    char path[64];
    int dir;
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    (void)snprintf(place->path, sizeof place->path, "/tmp/outtray-test-orphans-XXXXXX");
    if (!mkdtemp(place->path))
        return -1;
    place->dir = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = place;
    return place->dir < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", place->path);
    close(place->dir);
    int result = system(command); // NOLINT(cert-env33-c): a path of our own making
    free(place);
    return result;
}

static void put(const struct place *place, const char *name)
{
    int fd = openat(place->dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

// Waits until the directory has not changed for so long that its times can be relied on: nobody can set a
// ctime to the past.
static void settle(const struct place *place)
{
    struct stat stat;
    struct timespec now;
    do {
        assert_int_equal(usleep(50000), 0);
        assert_int_equal(fstat(place->dir, &stat), 0);
        clock_gettime(CLOCK_REALTIME, &now);
    } while (now.tv_sec - stat.st_ctim.tv_sec < 3);
}

// Its times would not tell of the next change, so it is read for each who asks.
static void what_changed_just_now_is_not_kept(void **state)
{
    struct place *place = *state;
    struct orphans kept = {0};
    char name[32], status[48];
    assert_false(orphans_may_have(&kept, place->dir, "m", clock_work()));
    for (unsigned i = 0; i < 300; i++) {
        struct orphans fresh = {0}; // one that need not rest
        (void)snprintf(name, sizeof name, "m%u", i);
        (void)snprintf(status, sizeof status, "%s.status", name);
        assert_false(orphans_may_have(&fresh, place->dir, name, clock_work()));
        put(place, status);
        fresh.rest_until = 0;
        assert_true(orphans_may_have(&fresh, place->dir, name, clock_work()));
        assert_true(orphans_may_have(&kept, place->dir, name, clock_work()));
        orphans_release(&fresh);
    }
    orphans_release(&kept);
}

// What was not read to its end may have any.
static void a_reading_that_failed_is_no_answer(void **state)
{
    struct place *place = *state;
    struct orphans orphans = {0};
    put(place, "m.status");
    failing = 1;
    bool may = orphans_may_have(&orphans, place->dir, "m", clock_work());
    failing = 0;
    assert_true(may);
    orphans_release(&orphans);
}

static void fill(const struct place *place, unsigned n)
{
    char name[32];
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, i % 10 ? "%u.status" : "%u~3.status", i);
        put(place, name);
    }
}

static void check_known(const struct place *place)
{
    struct orphans orphans = {0};
    char name[32];
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        assert_true(orphans_may_have(&orphans, place->dir, name, clock_work()));
        (void)snprintf(name, sizeof name, "%u~2", i); // one message may have any of its variants
        assert_true(orphans_may_have(&orphans, place->dir, name, clock_work()));
    }
    assert_false(orphans_may_have(&orphans, place->dir, "100", clock_work()));
    assert_false(orphans_may_have(&orphans, place->dir, "message", clock_work()));
    put(place, "100.status"); // from here on its times are new
    assert_true(orphans_may_have(&orphans, place->dir, "100", clock_work()));
    orphans_release(&orphans);
}

static void check_empty(const struct place *place)
{
    struct orphans orphans = {0};
    assert_false(orphans_may_have(&orphans, place->dir, "m", clock_work()));
    assert_false(orphans_may_have(&orphans, place->dir, "m~2", clock_work()));
    put(place, "m.status");
    assert_true(orphans_may_have(&orphans, place->dir, "m", clock_work()));
    orphans_release(&orphans);
}

static void check_full(const struct place *place)
{
    struct orphans orphans = {0};
    assert_true(orphans_may_have(&orphans, place->dir, "other", clock_work()));
    assert_true(orphans_may_have(&orphans, place->dir, "1", clock_work()));
    orphans_release(&orphans);
}

// One test for three directories: they settle together.
static void settled_directories_are_known(void **state)
{
    (void)state;
    struct place *some, *none, *many;
    assert_int_equal(set_up((void **)&some) | set_up((void **)&none) | set_up((void **)&many), 0);
    fill(some, 100);
    put(some, "message");
    put(some, ".17.status.tmp");
    fill(many, ORPHANS_MAX + 1);
    settle(many);
    check_known(some);
    check_empty(none);
    check_full(many);
    assert_int_equal(tear_down((void **)&some) | tear_down((void **)&none) | tear_down((void **)&many), 0);
}

static void what_cannot_be_read_may_have_any(void **state)
{
    (void)state;
    struct orphans orphans = {0};
    assert_true(orphans_may_have(&orphans, -1, "m", clock_work()));
    orphans_release(&orphans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_changed_just_now_is_not_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reading_that_failed_is_no_answer, set_up, tear_down),
        cmocka_unit_test(settled_directories_are_known),
        cmocka_unit_test(what_cannot_be_read_may_have_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
