// What surveys remove: retention goes by ctime, which no program can set, so that time is moved by the
// control file instead (clock.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "survey_support.h"

#define DAY 86400

static int set_up_keep(void **state)
{
    return set_up_with(state, "retention: {sent: never, failed: never, tmp: never}\n");
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(retention_removes_by_ctime),
        TEST(without_retention_nothing_is_removed),
        cmocka_unit_test_setup_teardown(never_keeps_everything, set_up_keep, tear_down),
        TEST(retention_touches_no_directory_or_link),
        TEST(an_orphaned_status_waits_for_its_message_until_retention_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
