// Accounts that their operator paused: files in a state directory.
#include "agent/base/clock.h"
#include "agent/delivery/pause.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h> // cmocka wants these four before it
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct state_directory {
    char path[64];
    int fd;
};

static int set_up(void **state)
{
    struct state_directory *directory = calloc(1, sizeof *directory);
    assert_non_null(directory);
    (void)snprintf(directory->path, sizeof directory->path, "/tmp/outtray-pause.XXXXXX");
    assert_non_null(mkdtemp(directory->path));
    directory->fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(directory->fd >= 0);
    *state = directory;
    return 0;
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat, (void)kind, (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct state_directory *directory = *state;
    close(directory->fd);
    assert_int_equal(nftw(directory->path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    free(directory);
    return 0;
}

static const struct pause lunch = {
    .at = 1764000000 * CLOCK_SECOND, .by = "jane", .reason = "lunch, until two"};

static void write_file(const struct state_directory *directory, const char *name, const char *text)
{
    int dir = -1;
    assert_int_equal(pause_open(directory->fd, true, &dir), 0);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    close(dir);
}

static void what_is_set_comes_back(void **state)
{
    const struct state_directory *directory = *state;
    struct pause found = {0};
    assert_int_equal(pause_get(directory->fd, "relay", &found), -ENOENT);
    assert_int_equal(pause_set(directory->fd, "relay", &lunch), 0);
    assert_int_equal(pause_get(directory->fd, "relay", &found), 0);
    assert_true(found.at == lunch.at);
    assert_string_equal(found.by, "jane");
    assert_string_equal(found.reason, "lunch, until two");
    assert_int_equal(pause_get(directory->fd, "other", &found), -ENOENT);
}

static void resuming_leaves_a_note_once(void **state)
{
    const struct state_directory *directory = *state;
    struct pause note = {0};
    bool was = false;
    assert_int_equal(pause_set(directory->fd, "relay", &lunch), 0);
    assert_int_equal(pause_take_note(directory->fd, "relay", &note), 0);
    assert_int_equal(pause_clear(directory->fd, "relay", &lunch, &was), 0);
    assert_true(was);
    assert_int_equal(pause_get(directory->fd, "relay", &note), -ENOENT);
    assert_int_equal(pause_take_note(directory->fd, "relay", &note), 1);
    assert_string_equal(note.by, "jane");
    assert_int_equal(pause_take_note(directory->fd, "relay", &note), 0);
    assert_int_equal(pause_clear(directory->fd, "relay", NULL, &was), 0);
    assert_false(was);
}

static void a_new_pause_takes_an_old_note_away(void **state)
{
    const struct state_directory *directory = *state;
    struct pause note;
    bool was;
    assert_int_equal(pause_clear(directory->fd, "relay", &lunch, &was), 0);
    assert_int_equal(pause_set(directory->fd, "relay", &lunch), 0);
    assert_int_equal(pause_take_note(directory->fd, "relay", &note), 0);
}

// Made by hand: it pauses, and resuming takes it away.
static void a_directory_pauses_too(void **state)
{
    const struct state_directory *directory = *state;
    struct pause found;
    bool was = false;
    assert_int_equal(mkdirat(directory->fd, "paused", 0700), 0);
    assert_int_equal(mkdirat(directory->fd, "paused/relay", 0700), 0);
    assert_int_equal(pause_get(directory->fd, "relay", &found), 0);
    assert_int_equal(pause_clear(directory->fd, "relay", NULL, &was), 0);
    assert_true(was);
    assert_int_equal(pause_get(directory->fd, "relay", &found), -ENOENT);
    assert_int_equal(mkdirat(directory->fd, "paused/relay", 0700), 0);
    assert_int_equal(mkdirat(directory->fd, "paused/relay/kept", 0700), 0);
    assert_int_equal(pause_clear(directory->fd, "relay", NULL, &was), -ENOTEMPTY);
    assert_int_equal(unlinkat(directory->fd, "paused/relay/kept", AT_REMOVEDIR), 0);
    assert_int_equal(pause_clear(directory->fd, "relay", NULL, &was), 0);
}

static void what_people_write_is_the_reason(void **state)
{
    const struct state_directory *directory = *state;
    const char *const texts[] = {
        "server moves\nand more", "", "at=yesterday by=x reason=y", "at=2026-11-23T15:04:05Z by=x"};
    const char *const reasons[] = {
        "server moves", "", "at=yesterday by=x reason=y", "at=2026-11-23T15:04:05Z by=x"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct pause found;
        write_file(directory, "relay", texts[i]);
        assert_int_equal(pause_get(directory->fd, "relay", &found), 0);
        assert_string_equal(found.reason, reasons[i]);
        assert_true(found.by[0] != '\0'); // the file's owner
        assert_true(found.at > 0);
    }
}

static void words_stay_on_their_line_and_within_bounds(void **state)
{
    const struct state_directory *directory = *state;
    struct pause pause = {.at = lunch.at, .by = "two words"}, found;
    memset(pause.reason, 'x', PAUSE_REASON_MAX - 1);
    pause.reason[3] = '\n';
    pause.reason[PAUSE_REASON_MAX - 1] = '\033';
    assert_int_equal(pause_set(directory->fd, "relay", &pause), 0);
    assert_int_equal(pause_get(directory->fd, "relay", &found), 0);
    assert_string_equal(found.by, "two_words");
    assert_int_equal(strlen(found.reason), PAUSE_REASON_MAX);
    assert_null(strpbrk(found.reason, "\n\033"));
    char big[4096];
    memset(big, 0xc3, sizeof big - 1);
    big[sizeof big - 1] = '\0';
    write_file(directory, "relay", big);
    assert_int_equal(pause_get(directory->fd, "relay", &found), 0);
    assert_true(strlen(found.reason) <= PAUSE_REASON_MAX);
}

static void names_that_cannot_be_are_refused(void **state)
{
    const struct state_directory *directory = *state;
    const char *const names[] = {"", ".hidden", "a/b", "..", "../status.json"};
    struct pause found;
    bool was;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(pause_set(directory->fd, names[i], &lunch), -EINVAL);
        assert_int_equal(pause_get(directory->fd, names[i], &found), -EINVAL);
        assert_int_equal(pause_clear(directory->fd, names[i], &lunch, &was), -EINVAL);
    }
}

static void a_link_is_not_followed(void **state)
{
    const struct state_directory *directory = *state;
    struct pause found;
    int dir = -1;
    assert_int_equal(pause_open(directory->fd, true, &dir), 0);
    assert_int_equal(symlinkat("/etc/passwd", dir, "relay"), 0);
    close(dir);
    assert_int_equal(pause_get(directory->fd, "relay", &found), -ELOOP);
    assert_int_equal(pause_set(directory->fd, "relay", &lunch), 0); // replaced, not written through
    assert_int_equal(pause_get(directory->fd, "relay", &found), 0);
}

static void a_flush_is_seen_by_its_time(void **state)
{
    const struct state_directory *directory = *state;
    assert_true(pause_flushed(directory->fd) == 0);
    assert_int_equal(pause_flush(directory->fd), 0);
    int64_t first = pause_flushed(directory->fd);
    assert_true(first > 0);
    struct timespec past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(directory->fd, PAUSE_FLUSH, past, 0), 0);
    assert_int_equal(pause_flush(directory->fd), 0);
    assert_true(pause_flushed(directory->fd) >= first);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_set_comes_back),
        TEST(resuming_leaves_a_note_once),
        TEST(a_new_pause_takes_an_old_note_away),
        TEST(a_directory_pauses_too),
        TEST(what_people_write_is_the_reason),
        TEST(words_stay_on_their_line_and_within_bounds),
        TEST(names_that_cannot_be_are_refused),
        TEST(a_link_is_not_followed),
        TEST(a_flush_is_seen_by_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
