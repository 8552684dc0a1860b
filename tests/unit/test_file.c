// Files that are replaced whole, and what stands in the way of that.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const enum file_care cares[] = {FILE_FLEETING, FILE_SYNCED, FILE_DURABLE};

static char path[64];

static int set_up(void **state)
{
    static int dir;
    strcpy(path, "/tmp/outtray-test-file-XXXXXX");
    dir = mkdtemp(path) ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    *state = &dir;
    return dir < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    const int dir = *(int *)*state;
    (void)unlinkat(dir, "name", 0);
    close(dir);
    return rmdir(path); // and nothing else was left behind
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void holds(int dir, const char *text, mode_t mode)
{
    char found[64];
    struct stat stat;
    int fd = openat(dir, "name", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, found, sizeof found), (ssize_t)strlen(text));
    assert_memory_equal(found, text, strlen(text));
    assert_int_equal(fstat(fd, &stat), 0);
    assert_int_equal(stat.st_mode & 07777, mode);
    close(fd);
}

static void the_new_one_takes_the_place_of_the_old_one(void **state)
{
    const int dir = *(int *)*state;
    mode_t before = umask(077);
    for (size_t i = 0; i < sizeof cares / sizeof *cares; i++) {
        assert_int_equal(file_replace(dir, "name", "a longer first text", 19, 0600, cares[i]), 0);
        holds(dir, "a longer first text", 0600);
        assert_int_equal(file_replace(dir, "name", "short", 5, 0644, cares[i]), 0);
        holds(dir, "short", 0644);
    }
    umask(before);
}

static void a_link_is_replaced_and_not_followed(void **state)
{
    const int dir = *(int *)*state;
    assert_int_equal(symlinkat("/nonexistent", dir, "name"), 0);
    assert_int_equal(file_replace(dir, "name", "text", 4, 0640, FILE_DURABLE), 0);
    holds(dir, "text", 0640);
}

// What a crash left behind, and a link somebody planted, are in nobody's way.
static void a_temporary_that_is_there_already_is_nobodys(void **state)
{
    const int dir = *(int *)*state;
    assert_int_equal(symlinkat("/dev/null", dir, ".name.tmp"), 0);
    assert_int_equal(file_replace(dir, "name", "text", 4, 0640, FILE_SYNCED), 0);
    holds(dir, "text", 0640);
}

static void what_cannot_be_replaced_stays(void **state)
{
    const int dir = *(int *)*state;
    char name[FILE_NAME_MAX + 1];
    assert_int_equal(mkdirat(dir, "directory", 0700), 0);
    assert_int_equal(file_replace(dir, "directory", "x", 1, 0644, FILE_DURABLE), -EISDIR);
    assert_true(faccessat(dir, ".directory.tmp", F_OK, AT_SYMLINK_NOFOLLOW) < 0);
    assert_int_equal(unlinkat(dir, "directory", AT_REMOVEDIR), 0);
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(file_replace(dir, name, "x", 1, 0644, FILE_FLEETING), -ENAMETOOLONG);
    assert_int_equal(file_replace(-1, "name", "x", 1, 0644, FILE_FLEETING), -EBADF);
}

static void all_is_written_or_the_reason_is_told(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(file_write(full, "text", 4), -ENOSPC);
    assert_int_equal(file_write(full, "", 0), 0);
    close(full);
    // More than a pipe holds, while a reader takes it in its own time.
    static char data[300000];
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    memset(data, 'd', sizeof data);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        _exit(file_write(ends[1], data, sizeof data) ? 1 : 0);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t n; (n = read(ends[0], data, sizeof data)) > 0;)
        length += (size_t)n;
    assert_int_equal(length, sizeof data);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_new_one_takes_the_place_of_the_old_one),
        TEST(a_link_is_replaced_and_not_followed),
        TEST(a_temporary_that_is_there_already_is_nobodys),
        TEST(what_cannot_be_replaced_stays),
        cmocka_unit_test(all_is_written_or_the_reason_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
