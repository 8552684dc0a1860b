// Surveys: counts, due times, retention, ignored entries, slices, and directories that were replaced.
//
// Retention goes by ctime, which no program can set: time is moved by the control file instead (clock.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/scan.h"
#include "delivery_support.h"

#define DAY 86400

static int set_up_with(void **state, const char *extra)
{
    struct world *world = calloc(1, sizeof *world);
    char path[96];
    world_make(world, extra);
    (void)snprintf(path, sizeof path, "%s/clock", world->path);
    world_write(path, "0");
    assert_int_equal(setenv("OUTTRAY_TEST_CLOCK", path, 1), 0);
    clock_poll();
    *state = world;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, "retention: {sent: 7d, failed: 30d, tmp: 36h}\n");
}

static int set_up_keep(void **state)
{
    return set_up_with(state, "retention: {sent: never, failed: never, tmp: never}\n");
}

static int tear_down(void **state)
{
    struct world *world = *state;
    unsetenv("OUTTRAY_TEST_CLOCK");
    world_end(world);
    free(world);
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void wall_is_ahead(const struct world *world, int64_t seconds)
{
#ifndef OUTTRAY_TEST_CLOCK
    skip(); // time cannot be moved in this build
#endif
    char path[96], text[64];
    (void)snprintf(path, sizeof path, "%s/clock", world->path);
    (void)snprintf(text, sizeof text, "0 %lld", (long long)seconds); // the wall clock alone: timers stay
    world_write(path, text);
    clock_poll();
}

static unsigned run_in_slices(struct survey *survey)
{
    unsigned slices = 1;
    while (!survey->job.slice(&survey->job))
        assert_true(++slices < 100000);
    return slices;
}

static struct survey *survey_of(struct world *world, bool retention, bool release)
{
    struct survey *survey = survey_new(NULL, world->acme, world->config, world->spool_fd, NULL);
    assert_non_null(survey);
    survey->retention = retention;
    survey->release = release;
    survey->release_before = clock_wall();
    run_in_slices(survey);
    assert_int_equal(survey->error, 0);
    return survey;
}

static void put_status(struct world *world, enum spool_state state, const char *name, int64_t next_attempt)
{
    struct status *status = status_new();
    status->inode = inode_in(world->acme, state, name);
    status->state = state == SPOOL_FAILED ? STATUS_FAILED : STATUS_DEFERRED;
    status->next_attempt = clock_timespec(next_attempt);
    assert_int_equal(status_write(dir_of(world->acme, state), name, status), 0);
    status_free(status);
}

static bool is_there(const struct world *world, enum spool_state state, const char *name)
{
    return inode_in(world->acme, state, name) != 0;
}

static void it_counts_what_is_there(void **state)
{
    struct world *world = *state;
    int64_t now = clock_wall();
    put_in(world->acme, SPOOL_NEW, "n1", "12345");
    put_in(world->acme, SPOOL_NEW, "n2", "123");
    put_in(world->acme, SPOOL_CUR, "c", "1234567");
    put_in(world->acme, SPOOL_DEFERRED, "d", "12");
    put_in(world->acme, SPOOL_FAILED, "f", "1");
    put_in(world->acme, SPOOL_HOLD, "h", "ignored");
    put_in(world->acme, SPOOL_SENT, "s", "ignored");
    put_in(world->acme, SPOOL_TMP, "t", "ignored");
    put_status(world, SPOOL_DEFERRED, "d", now + 50 * CLOCK_SECOND);
    put_status(world, SPOOL_FAILED, "f", 0);
    set_mtime(world->acme, SPOOL_NEW, "n2", now - 1000 * CLOCK_SECOND);
    set_mtime(world->acme, SPOOL_DEFERRED, "d", now - 500 * CLOCK_SECOND);
    set_mtime(world->acme, SPOOL_NEW, "n1", now + 1000 * CLOCK_SECOND); // from the future: no negative age
    struct survey *survey = survey_of(world, false, false);
    assert_int_equal(survey->counts[OBSERVE_NEW].count, 2);
    assert_int_equal(survey->counts[OBSERVE_NEW].bytes, 8);
    assert_in_range(survey->counts[OBSERVE_NEW].oldest_s, 1000, 1100);
    assert_int_equal(survey->counts[OBSERVE_CUR].count, 1);
    assert_int_equal(survey->counts[OBSERVE_CUR].bytes, 7);
    assert_int_equal(survey->counts[OBSERVE_DEFERRED].count, 1); // its status is no message
    assert_int_equal(survey->counts[OBSERVE_DEFERRED].bytes, 2);
    assert_in_range(survey->counts[OBSERVE_DEFERRED].oldest_s, 500, 600);
    assert_int_equal(survey->counts[OBSERVE_FAILED].count, 1);
    assert_int_equal(survey->counts[OBSERVE_FAILED].bytes, 1);
    assert_int_equal(survey->n_ignored, 0);
    assert_int_equal(survey->stale, 0);
    assert_int_equal(survey->removed, 0);
    assert_true(survey->cost > 0);
    survey_free(survey);
    survey_free(NULL);
}

// What a power cut leaves of a message that was moved out of failed/ by hand and then sent (btrfs).
static void a_message_in_failed_and_sent_is_sent(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_FAILED, "both", "12345");
    put_in(world->acme, SPOOL_FAILED, "linked", "12345"); // with a second name that is no state's
    put_status(world, SPOOL_FAILED, "both", 0);
    assert_int_equal(
        linkat(dir_of(world->acme, SPOOL_FAILED), "both", dir_of(world->acme, SPOOL_SENT), "both", 0), 0);
    assert_int_equal(
        linkat(dir_of(world->acme, SPOOL_FAILED), "linked", dir_of(world->acme, SPOOL_HOLD), "other", 0), 0);
    struct survey *survey = survey_of(world, false, false);
    assert_int_equal(survey->counts[OBSERVE_FAILED].count, 1);
    assert_false(is_there(world, SPOOL_FAILED, "both"));
    assert_false(is_there(world, SPOOL_FAILED, "both.status"));
    assert_true(is_there(world, SPOOL_SENT, "both"));
    assert_true(is_there(world, SPOOL_FAILED, "linked"));
    survey_free(survey);
}

static void at_the_start_what_a_crash_left_is_removed(void **state)
{
    struct world *world = *state;
    const int deferred = dir_of(world->acme, SPOOL_DEFERRED);
    static const char *const names[] = {"sent", "failed", "held", "waits"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        put_in(world->acme, SPOOL_DEFERRED, names[i], "12345");
        put_status(world, SPOOL_DEFERRED, names[i], 0);
    }
    assert_int_equal(renameat(deferred, "sent", dir_of(world->acme, SPOOL_SENT), "sent~2"), 0);
    assert_int_equal(renameat(deferred, "failed", dir_of(world->acme, SPOOL_FAILED), "failed"), 0);
    assert_int_equal(renameat(deferred, "held", dir_of(world->acme, SPOOL_HOLD), "held"), 0);
    survey_free(survey_of(world, false, false));
    assert_true(is_there(world, SPOOL_DEFERRED, "sent.status")); // while it runs, whoever moved it removes it
    struct survey *survey = survey_new(NULL, world->acme, world->config, world->spool_fd, NULL);
    survey->first = true;
    run_in_slices(survey);
    assert_int_equal(survey->error, 0);
    survey_free(survey);
    assert_false(is_there(world, SPOOL_DEFERRED, "sent.status"));
    assert_false(is_there(world, SPOOL_DEFERRED, "failed.status"));
    assert_true(is_there(world, SPOOL_DEFERRED, "held.status")); // it may come back
    assert_true(is_there(world, SPOOL_DEFERRED, "waits.status"));
}

static void it_finds_what_events_missed(void **state)
{
    struct world *world = *state;
    int64_t now = clock_wall(), later = now + 3600 * CLOCK_SECOND;
    put_in(world->acme, SPOOL_NEW, "young", PLAIN);
    put_in(world->acme, SPOOL_NEW, "old", PLAIN);
    set_mtime(world->acme, SPOOL_NEW, "old", now - 1000 * CLOCK_SECOND);
    put_in(world->acme, SPOOL_DEFERRED, "later", PLAIN);
    put_in(world->acme, SPOOL_DEFERRED, "soon", PLAIN);
    put_in(world->acme, SPOOL_DEFERRED, "touched", PLAIN);
    put_in(world->acme, SPOOL_DEFERRED, "bare", PLAIN);
    put_status(world, SPOOL_DEFERRED, "later", later);
    put_status(world, SPOOL_DEFERRED, "soon", now - 5);
    put_status(world, SPOOL_DEFERRED, "touched", later);
    set_mtime(world->acme, SPOOL_DEFERRED, "touched", clock_wall());
    struct survey *survey = survey_of(world, false, false);
    assert_int_equal(survey->fresh.n, 2);
    assert_string_equal(survey->fresh.items[0].text, "old");
    assert_string_equal(survey->fresh.items[1].text, "young");
    assert_int_equal(survey->deferred.n, 4);
    for (int i = 0; i < 2; i++) // touched, or without a status: now
        assert_true(survey->deferred.items[i].time == 0);
    assert_string_equal(survey->deferred.items[2].text, "soon");
    assert_string_equal(survey->deferred.items[3].text, "later");
    assert_true(survey->deferred.items[3].time == later);
    assert_true(survey->deferred.items[3].recorded == later);
    survey_free(survey);
}

static void a_release_makes_everything_due_that_was_deferred_before(void **state)
{
    struct world *world = *state;
    int64_t later = clock_wall() + 3600 * CLOCK_SECOND;
    put_in(world->acme, SPOOL_DEFERRED, "m", PLAIN);
    put_status(world, SPOOL_DEFERRED, "m", later);
    // File times go by ticks; the survey must begin in a later one than the status was written in.
    struct stat status;
    struct timespec coarse;
    assert_int_equal(fstatat(dir_of(world->acme, SPOOL_DEFERRED), "m.status", &status, 0), 0);
    do
        clock_gettime(CLOCK_REALTIME_COARSE, &coarse);
    while (clock_ns(&coarse) <= clock_ns(&status.st_ctim));
    struct survey *survey = survey_of(world, false, true);
    assert_int_equal(survey->deferred.n, 1);
    assert_true(survey->deferred.items[0].time == 0);
    assert_true(survey->deferred.items[0].recorded == later); // what the claim will compare
    survey_free(survey);
}

static void a_release_of_more_than_there_is_room_for_says_so(void **state)
{
    struct world *world = *state;
    char name[32];
    int64_t later = clock_wall() + 3600 * CLOCK_SECOND;
    for (int i = 0; i < BACKLOG_DEFERRED_MAX + 3; i++) {
        (void)snprintf(name, sizeof name, "m%05d", i);
        put_in(world->acme, SPOOL_DEFERRED, name, PLAIN);
        (void)snprintf(name, sizeof name, "m%05d.status", i);
        put_in(world->acme, SPOOL_DEFERRED, name, "");
        set_mtime(world->acme, SPOOL_DEFERRED, name, later);
    }
    struct survey *survey = survey_of(world, false, false);
    assert_true(survey->deferred.left_out);
    assert_true(survey->deferred.left_out_time == later);
    survey_free(survey);
    survey = survey_of(world, false, true);
    assert_int_equal(survey->deferred.n, BACKLOG_DEFERRED_MAX);
    assert_true(survey->deferred.left_out);
    assert_true(survey->deferred.left_out_time == 0); // there are more to be released
    survey_free(survey);
}

static void entries_that_are_no_messages_are_named_and_counted(void **state)
{
    struct world *world = *state;
    int dir = dir_of(world->acme, SPOOL_NEW);
    assert_int_equal(symlinkat("/etc/passwd", dir, "link"), 0);
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    assert_int_equal(mkdirat(dir, "directory", 0700), 0);
    put_in(world->acme, SPOOL_NEW, "esc\033", PLAIN);
    put_in(world->acme, SPOOL_NEW, "m.status", PLAIN);
    put_in(world->acme, SPOOL_NEW, ".hidden", PLAIN);
    put_in(world->acme, SPOOL_NEW, "-rf", PLAIN);
    put_in(world->acme, SPOOL_NEW, ":2,S", PLAIN);
    put_in(world->acme, SPOOL_NEW, "%s%n", PLAIN);
    put_in(world->acme, SPOOL_NEW, "\xff\xfe", PLAIN);
    struct survey *survey = survey_of(world, true, false);
    assert_int_equal(survey->n_ignored, 5);
    assert_int_equal(survey->ignored.n, 5);
    assert_int_equal(survey->fresh.n, 4);
    assert_int_equal(survey->counts[OBSERVE_NEW].count, 4);
    survey_free(survey);
    assert_int_equal(entries_in(world->acme, SPOOL_NEW), 10);
}

static void it_works_in_slices(void **state)
{
    struct world *world = *state;
    enum { N = SCAN_SLICE * 5 };
    for (int i = 0; i < N; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%d", i);
        put_in(world->acme, i % 2 ? SPOOL_NEW : SPOOL_DEFERRED, name, "");
    }
    struct survey *survey = survey_new(NULL, world->acme, world->config, world->spool_fd, NULL);
    assert_true(run_in_slices(survey) >= 5);
    assert_int_equal(survey->counts[OBSERVE_NEW].count, N / 2);
    assert_int_equal(survey->counts[OBSERVE_DEFERRED].count, N / 2);
    survey_free(survey);
    // One that is dropped in the middle leaves nothing open (the sanitizer would tell).
    survey = survey_new(NULL, world->acme, world->config, world->spool_fd, NULL);
    assert_false(survey->job.slice(&survey->job));
    survey_free(survey);
}

static void retention_removes_by_ctime(void **state)
{
    struct world *world = *state;
    static const struct {
        enum spool_state state;
        int64_t keep; // seconds
    } rows[] = {{SPOOL_TMP, 36 * 3600}, {SPOOL_SENT, 7 * DAY}, {SPOOL_FAILED, 30 * DAY}};
    for (size_t i = 0; i < 3; i++) {
        put_in(world->acme, rows[i].state, "m", PLAIN);
        set_mtime(world->acme, rows[i].state, "m", CLOCK_SECOND); // an old mtime is not what counts
    }
    put_status(world, SPOOL_FAILED, "m", 0);
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    put_in(world->acme, SPOOL_DEFERRED, "d", PLAIN);
    put_in(world->acme, SPOOL_HOLD, "m", PLAIN);
    put_in(world->acme, SPOOL_CUR, "m", PLAIN);
    uint64_t gone = 0;
    for (size_t i = 0; i < 3; i++) {
        for (int after = 0; after < 2; after++) {
            wall_is_ahead(world, rows[i].keep + (after ? 60 : -60));
            struct survey *survey = survey_of(world, true, false);
            gone += survey->removed;
            assert_int_equal(gone, i + (unsigned)after);
            assert_int_equal(is_there(world, rows[i].state, "m"), !after);
            if (rows[i].state == SPOOL_FAILED)
                assert_int_equal(survey->counts[OBSERVE_FAILED].count, !after);
            survey_free(survey);
        }
    }
    assert_false(is_there(world, SPOOL_FAILED, "m.status")); // goes with its message
    wall_is_ahead(world, 1000 * (int64_t)DAY);
    survey_free(survey_of(world, true, false));
    assert_true(is_there(world, SPOOL_NEW, "m")); // what waits is never removed
    assert_true(is_there(world, SPOOL_DEFERRED, "d"));
    assert_true(is_there(world, SPOOL_HOLD, "m"));
    assert_true(is_there(world, SPOOL_CUR, "m"));
}

static void without_retention_nothing_is_removed(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_SENT, "m", PLAIN);
    put_in(world->acme, SPOOL_FAILED, "m", PLAIN);
    put_in(world->acme, SPOOL_TMP, "m", PLAIN);
    wall_is_ahead(world, 1000 * (int64_t)DAY);
    struct survey *survey = survey_of(world, false, false);
    assert_int_equal(survey->removed, 0);
    survey_free(survey);
    assert_true(is_there(world, SPOOL_SENT, "m"));
    assert_true(is_there(world, SPOOL_FAILED, "m"));
    assert_true(is_there(world, SPOOL_TMP, "m"));
}

static void never_keeps_everything(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_SENT, "m", PLAIN);
    put_in(world->acme, SPOOL_FAILED, "m", PLAIN);
    put_in(world->acme, SPOOL_TMP, "m", PLAIN);
    put_in(world->acme, SPOOL_FAILED, "orphan.status", "x");
    wall_is_ahead(world, 10000 * (int64_t)DAY);
    struct survey *survey = survey_of(world, true, false);
    assert_int_equal(survey->removed, 0);
    survey_free(survey);
    assert_true(is_there(world, SPOOL_FAILED, "orphan.status"));
}

static void retention_touches_no_directory_or_link(void **state)
{
    struct world *world = *state;
    int dir = dir_of(world->acme, SPOOL_SENT);
    assert_int_equal(mkdirat(dir, "directory", 0700), 0);
    assert_int_equal(mkdirat(dir_of(world->acme, SPOOL_FAILED), "directory", 0700), 0);
    put_in(world->acme, SPOOL_HOLD, "target", PLAIN);
    assert_int_equal(symlinkat("../hold/target", dir, "link"), 0);
    wall_is_ahead(world, 1000 * (int64_t)DAY);
    survey_free(survey_of(world, true, false));
    assert_true(is_there(world, SPOOL_SENT, "directory"));
    assert_true(is_there(world, SPOOL_FAILED, "directory"));
    assert_true(is_there(world, SPOOL_HOLD, "target"));
}

static void an_orphaned_status_waits_for_its_message_until_retention_ends(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_DEFERRED, "claimed", PLAIN);
    put_in(world->acme, SPOOL_DEFERRED, "away", PLAIN);
    put_status(world, SPOOL_DEFERRED, "claimed", 0);
    put_status(world, SPOOL_DEFERRED, "away", 0);
    put_in(world->acme, SPOOL_FAILED, "away", PLAIN);
    put_status(world, SPOOL_FAILED, "away", 0);
    int hold = dir_of(world->acme, SPOOL_HOLD), deferred = dir_of(world->acme, SPOOL_DEFERRED);
    assert_int_equal(renameat(deferred, "claimed", dir_of(world->acme, SPOOL_CUR), "claimed"), 0);
    assert_int_equal(renameat(deferred, "away", hold, "away"), 0);
    assert_int_equal(renameat(dir_of(world->acme, SPOOL_FAILED), "away", hold, "away2"), 0);
    wall_is_ahead(world, 29 * DAY);
    survey_free(survey_of(world, true, false));
    assert_true(is_there(world, SPOOL_DEFERRED, "away.status"));
    assert_true(is_there(world, SPOOL_FAILED, "away.status"));
    wall_is_ahead(world, 31 * DAY);
    survey_free(survey_of(world, true, false));
    assert_true(is_there(world, SPOOL_DEFERRED, "away.status"));    // its message is held
    assert_false(is_there(world, SPOOL_FAILED, "away.status"));     // its message got another name
    assert_true(is_there(world, SPOOL_DEFERRED, "claimed.status")); // its message is in cur/
}

static void a_replaced_directory_is_noticed(void **state)
{
    struct world *world = *state;
    char old[128], moved[128];
    (void)snprintf(old, sizeof old, "%s/spool/acme/new", world->path);
    (void)snprintf(moved, sizeof moved, "%s/spool/acme/new.old", world->path);
    assert_int_equal(rename(old, moved), 0);
    struct survey *survey = survey_of(world, false, false);
    assert_int_equal(survey->stale, 1); // gone
    survey_free(survey);
    assert_int_equal(mkdir(old, 0700), 0);
    survey = survey_of(world, false, false);
    assert_int_equal(survey->stale, 1); // another one
    survey_free(survey);
    assert_int_equal(rmdir(old), 0);
    assert_int_equal(symlink("new.old", old), 0);
    survey = survey_of(world, false, false);
    assert_int_equal(survey->stale, 1); // the same one, but not by its own name
    survey_free(survey);
    assert_int_equal(unlink(old), 0);
    assert_int_equal(rename(moved, old), 0);
    survey = survey_of(world, false, false);
    assert_int_equal(survey->stale, 0);
    survey_free(survey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_counts_what_is_there),
        TEST(a_message_in_failed_and_sent_is_sent),
        TEST(at_the_start_what_a_crash_left_is_removed),
        TEST(it_finds_what_events_missed),
        TEST(a_release_makes_everything_due_that_was_deferred_before),
        TEST(a_release_of_more_than_there_is_room_for_says_so),
        TEST(entries_that_are_no_messages_are_named_and_counted),
        TEST(it_works_in_slices),
        TEST(retention_removes_by_ctime),
        TEST(without_retention_nothing_is_removed),
        cmocka_unit_test_setup_teardown(never_keeps_everything, set_up_keep, tear_down),
        TEST(retention_touches_no_directory_or_link),
        TEST(an_orphaned_status_waits_for_its_message_until_retention_ends),
        TEST(a_replaced_directory_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
