// What the tests of surveys share: a spool with retention, whose clock is a file, and a survey of it.
//
// Include it after <cmocka.h>. Everything is static inline and gone after tear_down.
#ifndef OUTTRAY_TESTS_UNIT_SURVEY_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_SURVEY_SUPPORT_H

#include "agent/delivery/scan.h"
#include "delivery_support.h"

static inline int set_up_with(void **state, const char *extra)
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

static inline int set_up(void **state)
{
    return set_up_with(state, "retention: {sent: 7d, failed: 30d, tmp: 36h}\n");
}

static inline int tear_down(void **state)
{
    struct world *world = *state;
    unsetenv("OUTTRAY_TEST_CLOCK");
    world_end(world);
    free(world);
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline unsigned run_in_slices(struct survey *survey)
{
    unsigned slices = 1;
    while (!survey->job.slice(&survey->job))
        assert_true(++slices < 100000);
    return slices;
}

static inline struct survey *survey_of(struct world *world, bool retention, bool release)
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

static inline void put_status(
    struct world *world, enum spool_state state, const char *name, int64_t next_attempt)
{
    struct status *status = status_new();
    status->inode = inode_in(world->acme, state, name);
    status->state = state == SPOOL_FAILED ? STATUS_FAILED : STATUS_DEFERRED;
    status->next_attempt = clock_timespec(next_attempt);
    assert_int_equal(status_write(dir_of(world->acme, state), name, status), 0);
    status_free(status);
}

static inline bool is_there(const struct world *world, enum spool_state state, const char *name)
{
    return inode_in(world->acme, state, name) != 0;
}

#endif
