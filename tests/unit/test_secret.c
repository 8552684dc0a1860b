// Secrets: what is read, what is refused, and that nothing is changed by a refusal.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/secret.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[] = "/tmp/outtray-test-secret.XXXXXX";

static const char *path_of(const char *name)
{
    static char path[sizeof(directory) + 16];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static void put(const char *name, const void *bytes, size_t length, mode_t mode)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int make_directory(void **state)
{
    (void)state;
    unsetenv("CREDENTIALS_DIRECTORY");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    static const char *const names[] = {
        "a", "b", "link", "fifo", "socket", "dir", "cred/pw", "cred/link", "cred"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove(path_of(names[i]));
    return rmdir(directory);
}

static void texts_are_kept_and_replaced(void **state)
{
    (void)state;
    struct secret secret = {0};
    secret_init(&secret);
    assert_null(secret.text);
    assert_int_equal(secret_set(&secret, "hunter2", 7), 0);
    assert_string_equal(secret.text, "hunter2");
    assert_int_equal(secret.length, 7);
    assert_int_equal(secret_set(&secret, secret.text + 1, 3), 0); // a part of itself
    assert_string_equal(secret.text, "unt");
    char *large = calloc(1, SECRET_SIZE_MAX + 1);
    assert_non_null(large);
    memset(large, 'x', SECRET_SIZE_MAX + 1);
    assert_int_equal(secret_set(&secret, large, SECRET_SIZE_MAX + 1), -E2BIG);
    assert_string_equal(secret.text, "unt");
    assert_int_equal(secret_set(&secret, large, SECRET_SIZE_MAX), 0);
    assert_int_equal(secret.length, SECRET_SIZE_MAX);
    free(large);
    secret_release(&secret);
    assert_null(secret.text);
    assert_int_equal(secret.length, 0);
    secret_release(&secret);
}

static void one_line_end_is_dropped(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        int result;
        const char *text;
    } rows[] = {
        {"pw", 2, 0, "pw"},
        {"pw\n", 3, 0, "pw"},
        {"pw\r\n", 4, 0, "pw"},
        {"pw\n\n", 4, 0, "pw\n"},
        {"pw \n", 4, 0, "pw "},
        {"pw\r", 3, 0, "pw\r"},
        {"a\nb\n", 4, 0, "a\nb"},
        {"p\xc3\xa4ss\n", 6, 0, "p\xc3\xa4ss"},
        {"", 0, -EINVAL, NULL},
        {"\n", 1, -EINVAL, NULL},
        {"\r\n", 2, -EINVAL, NULL},
        {"p\0w", 3, -EINVAL, NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct secret secret = {0};
        put("a", rows[i].bytes, rows[i].length, 0600);
        assert_int_equal(secret_read_file(&secret, path_of("a"), NULL), rows[i].result);
        if (rows[i].result == 0)
            assert_string_equal(secret.text, rows[i].text);
        else
            assert_null(secret.text);
        secret_release(&secret);
    }
}

static void expect_both(const char *path, int result)
{
    struct secret secret = {0};
    assert_int_equal(secret_set(&secret, "before", 6), 0);
    assert_int_equal(secret_check_file(path), result);
    assert_int_equal(secret_read_file(&secret, path, NULL), result);
    assert_string_equal(secret.text, result == 0 ? "pw" : "before");
    secret_release(&secret);
}

static void modes_and_kinds(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        int result;
    } rows[] = {{0600, 0}, {0400, 0}, {0700, 0}, {0640, -EPERM}, {0604, -EPERM}, {0620, -EPERM},
        {0601, -EPERM}, {0666, -EPERM}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put("a", "pw\n", 3, rows[i].mode);
        expect_both(path_of("a"), rows[i].result);
        remove(path_of("a"));
    }
    put("a", "pw\n", 3, 0600);
    assert_int_equal(symlink("a", path_of("link")), 0);
    expect_both(path_of("link"), -ELOOP);
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    expect_both(path_of("fifo"), -EINVAL); // and does not wait for a writer
    assert_int_equal(mkdir(path_of("dir"), 0700), 0);
    expect_both(path_of("dir"), -EINVAL);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof(name.sun_path), "%s", path_of("socket"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    expect_both(path_of("socket"), -EINVAL);
    close(fd);
    expect_both("/dev/null", -EINVAL);
    expect_both(path_of("missing"), -ENOENT);
    expect_both(path_of("a/below"), -ENOTDIR);
    expect_both("name-without-credentials", -ENOENT);
    expect_both("", -ENOENT);
}

static void sizes(void **state)
{
    (void)state;
    struct secret secret = {0};
    char *large = malloc(SECRET_SIZE_MAX + 8);
    assert_non_null(large);
    memset(large, 'x', SECRET_SIZE_MAX + 8);
    put("a", large, SECRET_SIZE_MAX + 8, 0600);
    assert_int_equal(secret_check_file(path_of("a")), -E2BIG);
    assert_int_equal(secret_read_file(&secret, path_of("a"), NULL), -E2BIG);
    large[SECRET_SIZE_MAX] = '\n';
    put("a", large, SECRET_SIZE_MAX + 1, 0600);
    assert_int_equal(secret_read_file(&secret, path_of("a"), NULL), 0);
    assert_int_equal(secret.length, SECRET_SIZE_MAX);
    secret_release(&secret);
    large[SECRET_SIZE_MAX] = 'x';
    put("a", large, SECRET_SIZE_MAX + 1, 0600);
    assert_int_equal(secret_read_file(&secret, path_of("a"), NULL), -E2BIG);
    assert_null(secret.text);
    free(large);
}

static void owners(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    put("b", "pw\n", 3, 0600);
    assert_int_equal(chown(path_of("b"), 12345, 12345), 0);
    expect_both(path_of("b"), -EPERM); // root reads it, but it belongs to somebody else
    assert_int_equal(seteuid(12345), 0);
    assert_int_equal(chmod(directory, 0711), -1); // really somebody else now
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(directory, 0711), 0);
    put("a", "pw\n", 3, 0600);
    assert_int_equal(seteuid(12345), 0);
    expect_both(path_of("b"), 0);
    expect_both(path_of("a"), -EACCES); // root's, and no bit for us
    assert_int_equal(seteuid(0), 0);
}

static void systemd_credentials(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path_of("cred"), 0755), 0);
    put("cred/pw", "pw\n", 3, 0440); // as systemd leaves them
    setenv("CREDENTIALS_DIRECTORY", path_of("cred"), 1);
    expect_both("pw", 0);
    expect_both("/no/such/directory/pw", 0); // by its last component
    expect_both("other", -ENOENT);
    expect_both("../cred/pw", -ENOENT);
    expect_both("..", -ENOENT);
    expect_both("/no/such/..", -ENOENT);
    assert_int_equal(symlink("pw", path_of("cred/link")), 0);
    expect_both("link", -ELOOP);
    put("a", "other\n", 6, 0644);
    char direct[sizeof(directory) + 16];
    snprintf(direct, sizeof(direct), "%s", path_of("a"));
    expect_both(direct, -EPERM); // a file that exists is not exempt
    setenv("CREDENTIALS_DIRECTORY", "cred", 1);
    expect_both("pw", -ENOENT); // a relative directory means nothing
    unsetenv("CREDENTIALS_DIRECTORY");
    expect_both("pw", -ENOENT);
}

static void every_problem_has_words(void **state)
{
    (void)state;
    static const int errors[] = {
        0, -ENOENT, -EACCES, -ELOOP, -EPERM, -EINVAL, -E2BIG, -ENOMEM, -EIO, -ENOTDIR};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        assert_true(strlen(secret_problem(errors[i])) > 10);
    assert_non_null(strstr(secret_problem(-EPERM), "0600"));
    assert_non_null(strstr(secret_problem(-ENOENT), "CREDENTIALS_DIRECTORY"));
}

// Whether the mapping that holds an address has a flag (proc(5), smaps).
static bool mapping_has(const void *address, const char *flag)
{
    char line[512];
    unsigned long from, to;
    bool here = false, found = false;
    FILE *file = fopen("/proc/self/smaps", "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (uintptr_t)address >= from && (uintptr_t)address < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            found |= strstr(line, flag) != NULL;
    }
    (void)fclose(file);
    return found;
}

static void secrets_stay_out_of_dumps_and_swap(void **state)
{
    (void)state;
    struct secret secret = {0};
    assert_int_equal(secret_set(&secret, "hush", 4), 0);
    assert_true(mapping_has(secret.text, " dd"));
    if (secret_can_lock(1))
        assert_true(mapping_has(secret.text, " lo"));
    char *other = malloc(100); // what is no secret lies elsewhere
    assert_false(mapping_has(other, " lo"));
    free(other);
    secret_release(&secret);
}

static void short_of_lockable_memory_secrets_still_work(void **state)
{
    (void)state;
    struct rlimit old, none = {0, 0};
    struct secret secret = {0};
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &old), 0);
    none.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    assert_int_equal(secret_set(&secret, "hush", 4), 0);
    assert_string_equal(secret.text, "hush");
    secret_release(&secret);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &old), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_stay_out_of_dumps_and_swap),
        cmocka_unit_test(short_of_lockable_memory_secrets_still_work),
        cmocka_unit_test(texts_are_kept_and_replaced),
        cmocka_unit_test(one_line_end_is_dropped),
        cmocka_unit_test(modes_and_kinds),
        cmocka_unit_test(sizes),
        cmocka_unit_test(owners),
        cmocka_unit_test(systemd_credentials),
        cmocka_unit_test(every_problem_has_words),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
