// Surveys: counts, due times, ignored entries, slices, and directories that were replaced.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "survey_support.h"

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
        TEST(a_replaced_directory_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
