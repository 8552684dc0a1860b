// What an account remembers in accounts.json: parks and day counts across restarts, and files that are wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "account_support.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int state_directory(char path[static 64])
{
    (void)snprintf(path, 64, "/tmp/outtray-test-account.XXXXXX");
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void state_remove(int fd, const char *path)
{
    unlinkat(fd, "accounts.json", 0);
    close(fd);
    assert_int_equal(rmdir(path), 0); // and nothing else was left behind
}

static void save(struct world *world, int fd)
{
    char *text = account_encode_all(&world->account, 1, world->boot, world->wall);
    assert_non_null(text);
    assert_int_equal(account_store(fd, text), 0);
    world->account->changed = false;
    free(text);
}

// The agent starts again, on a boot clock that has nothing to do with the old one.
static int restart_at(struct world *world, int fd, int64_t boot)
{
    const struct config *config = world->loaded.config;
    account_free(world->account);
    world->boot = boot;
    assert_int_equal(account_new(config, &config->accounts[0], world->boot, &world->account), 0);
    return account_load_all(fd, &world->account, 1, world->boot, world->wall);
}

static int restart(struct world *world, int fd, int64_t time)
{
    world->wall += time;
    return restart_at(world, fd, 5 * MINUTE);
}

static void parks_and_day_counts_survive_a_restart(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    unsigned messages, recipients;
    world_make(&world, "messages_per_day: 5, recipients_per_day: 100");
    assert_int_equal(account_load_all(fd, &world.account, 1, world.boot, world.wall), 0); // no file yet
    assert_false(world.account->changed);
    start(&world, 7);
    start(&world, 8);
    assert_true(world.account->changed);
    (void)account_troubled(world.account, &quota, "550 5.4.5 \"caf\xe9\" \x1b[1m\\", world.boot);
    save(&world, fd);
    assert_false(world.account->changed);
    assert_int_equal(restart(&world, fd, HOUR), 0);
    assert_int_equal(world.account->breaker, BREAKER_QUOTA);
    assert_string_equal(world.account->reason, "550 5.4.5 \"caf?\" ?[1m\\");
    int64_t wait = wait_of(&world);
    assert_true(wait >= 5 * HOUR && wait <= 5 * HOUR + 2 * SECOND);
    account_day(world.account, world.boot, &messages, &recipients);
    assert_int_equal(messages, 2);
    assert_int_equal(recipients, 15);
    pass(&world, 5 * HOUR + 2 * SECOND);
    assert_int_equal(allows(&world, NULL), 1);
    start(&world, 1);
    assert_int_equal(success(&world), ACCOUNT_RESUMED);
    assert_int_equal(allows(&world, NULL), 2);
    // Released is released.
    assert_true(world.account->changed);
    save(&world, fd);
    assert_int_equal(restart(&world, fd, MINUTE), 0);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    assert_int_equal(allows(&world, NULL), 2);
    world_end(&world);
    state_remove(fd, path);
}

// Boots whose hours begin at other minutes cost no more than ten minutes of the day's length.
static void a_day_across_many_boots_is_never_exceeded(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    world_make(&world, "messages_per_day: 200");
    int64_t sent[4000], end = world.wall + 10 * DAY;
    size_t n = 0;
    srand(4);
    while (world.wall < end) {
        if (!wait_of(&world)) {
            start(&world, 1);
            assert_true(n < sizeof sent / sizeof *sent);
            sent[n++] = world.wall;
        }
        pass(&world, (int64_t)(1 + rand() % 600) * SECOND);
        if (rand() % 40 == 0) {
            save(&world, fd);
            world.wall += (int64_t)(rand() % 3600) * SECOND;
            assert_int_equal(restart_at(&world, fd, (int64_t)(rand() % 100000) * SECOND), 0);
        }
    }
    for (size_t i = 0, first = 0; i < n; i++) {
        while (sent[first] <= sent[i] - DAY + 10 * MINUTE)
            first++;
        assert_true(i - first + 1 <= 200);
    }
    assert_true(n >= 9 * 200 * 9 / 10);
    world_end(&world);
    state_remove(fd, path);
}

// As a timer runs `run --once`, under a wall clock that is slewed all the time.
static void starting_all_the_time_forgets_in_time(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    world_make(&world, "messages_per_day: 10");
    for (int i = 0; i < 10; i++)
        start(&world, 1);
    int64_t waited = 0;
    while (!allows(&world, NULL)) {
        save(&world, fd);
        pass(&world, 10 * MINUTE);
        waited += 10 * MINUTE;
        world.wall -= SECOND / 20;
        assert_int_equal(restart_at(&world, fd, world.boot), 0);
        assert_true(waited < 26 * HOUR);
    }
    assert_true(waited > 24 * HOUR - 10 * MINUTE);
    world_end(&world);
    state_remove(fd, path);
}

static void credentials_are_tried_once_after_a_restart_and_servers_at_once(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    struct smtp_reply reply = {.code = 535, .enhanced = {5, 7, 139}, .text = "535 5.7.139 disabled"};
    struct outcome disabled = outcome_of_reply(SMTP_STAGE_AUTH, &reply);
    world_make(&world, "");
    (void)trouble(&world, &disabled);
    save(&world, fd);
    assert_int_equal(restart(&world, fd, MINUTE), 0);
    assert_int_equal(world.account->breaker, BREAKER_CREDENTIALS);
    assert_string_equal(world.account->fix, disabled.fix);
    assert_int_equal(allows(&world, NULL), 1);
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_RESUMED);
    (void)lose(&world, 3);
    assert_int_equal(world.account->breaker, BREAKER_UNREACHABLE);
    save(&world, fd);
    assert_int_equal(restart(&world, fd, 0), 0);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    world_end(&world);
    state_remove(fd, path);
}

static void a_park_under_a_wrong_clock_lasts_a_day_at_most(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    world_make(&world, "");
    world.wall += 365 * DAY; // the clock was ahead
    (void)trouble(&world, &quota);
    save(&world, fd);
    assert_int_equal(restart(&world, fd, -365 * DAY), 0);
    assert_true(wait_of(&world) <= DAY);
    assert_int_equal(restart(&world, fd, 2 * 365 * DAY), 0);
    assert_int_equal(allows(&world, NULL), 1);
    world_end(&world);
    state_remove(fd, path);
}

static void put_file(int fd, const char *text)
{
    int file = openat(fd, "accounts.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
}

static void a_file_that_cannot_be_understood_changes_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "{", "[]", "null", "{\"version\": 1}",
        "{\"version\": 2, \"accounts\": {}}", "{\"version\": 1, \"accounts\": []}",
        "{\"version\": 1, \"accounts\": {\"relay\": []}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"breaker\": \"open_sesame\"}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"breaker\": 5}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"hours\": 5}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"hours\": [5]}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"hours\": [[490000, -1, 1]]}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"hours\": [[490000, 1, 99999999999]]}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"probe_at\": \"soon\"}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {}, \"relay\": {}}}"};
    struct world world;
    char path[64];
    int fd = state_directory(path);
    world_make(&world, "messages_per_day: 100");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file(fd, bad[i]);
        if (restart(&world, fd, 0) != -EBADMSG)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(world.account->breaker, BREAKER_CLOSED);
        assert_int_equal(allows(&world, NULL), 100);
    }
    // Strange but harmless: extreme numbers, members and accounts of other versions.
    put_file(fd,
        "{\"version\": 1, \"new\": 1, \"accounts\": {\"gone\": 7, \"relay\": {\"extra\": [], \"breaker\": "
        "\"open_quota\", \"probe_at\": 9223372036854775807, \"probe_wait\": -5, \"hours\": "
        "[[9223372036854775807, 40, 1], [-9223372036854775808, 9, 1], [9223372036854775806, 20, 1]]}}}");
    assert_int_equal(restart(&world, fd, 0), 0);
    assert_int_equal(wait_of(&world), DAY);
    world_end(&world);
    state_remove(fd, path);
}

static void the_file_is_private_replaced_whole_and_no_link(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    struct stat stat;
    int fd = state_directory(path);
    world_make(&world, "");
    // What a crash left behind, and a link somebody planted, are in nobody's way.
    assert_int_equal(symlinkat("/dev/null", fd, ".accounts.json.tmp"), 0);
    save(&world, fd);
    assert_int_equal(fstatat(fd, "accounts.json", &stat, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISREG(stat.st_mode));
    assert_int_equal(stat.st_mode & 0777, 0600);
    assert_int_equal(fstatat(fd, ".accounts.json.tmp", &stat, AT_SYMLINK_NOFOLLOW), -1);
    unlinkat(fd, "accounts.json", 0);
    assert_int_equal(symlinkat("/etc/passwd", fd, "accounts.json"), 0);
    assert_int_equal(account_load_all(fd, &world.account, 1, world.boot, world.wall), -ELOOP);
    assert_int_equal(account_store(-1, "{}"), -EBADF);
    world_end(&world);
    state_remove(fd, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_day_across_many_boots_is_never_exceeded),
        cmocka_unit_test(starting_all_the_time_forgets_in_time),
        cmocka_unit_test(parks_and_day_counts_survive_a_restart),
        cmocka_unit_test(credentials_are_tried_once_after_a_restart_and_servers_at_once),
        cmocka_unit_test(a_park_under_a_wrong_clock_lasts_a_day_at_most),
        cmocka_unit_test(a_file_that_cannot_be_understood_changes_nothing),
        cmocka_unit_test(the_file_is_private_replaced_whole_and_no_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
