// A survey of deferred/ costs one reading of the names, and the times of each message and of its status file;
// what else it finds out costs nothing more.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/scan.h"
#include "delivery_support.h"

#include <sys/syscall.h>

#define MESSAGES (3 * SCAN_SLICE)

static unsigned looks; // of any thread; there is but one

// In the place of the library's: every look at a file by its name is counted.
int fstatat(int dir, const char *restrict name, struct stat *restrict stat, int flags)
{
    looks++;
    return (int)syscall(SYS_newfstatat, dir, name, stat, flags);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world_make(world, "retention: {sent: never, failed: never, tmp: never}\n");
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    world_end(*state);
    free(*state);
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void name_of(char name[32], unsigned number, bool status)
{
    (void)snprintf(name, 32, "m%u%s", number, status ? ".status" : "");
}

static void fill(struct world *world, int64_t due)
{
    char name[32];
    for (unsigned i = 0; i < MESSAGES; i++) {
        name_of(name, i, false);
        put_in(world->acme, SPOOL_DEFERRED, name, "12345");
        struct status *status = status_new();
        status->inode = inode_in(world->acme, SPOOL_DEFERRED, name);
        status->next_attempt = clock_timespec(due);
        assert_int_equal(status_write(dir_of(world->acme, SPOOL_DEFERRED), name, status), 0);
        status_free(status);
    }
}

static void move(struct world *world, unsigned number, enum spool_state to)
{
    char name[32];
    name_of(name, number, false);
    assert_int_equal(renameat(dir_of(world->acme, SPOOL_DEFERRED), name, dir_of(world->acme, to), name), 0);
}

static bool has_status(struct world *world, unsigned number)
{
    char name[32];
    name_of(name, number, true);
    return inode_in(world->acme, SPOOL_DEFERRED, name) != 0;
}

static struct survey *survey_of(struct world *world, bool first)
{
    struct survey *survey = survey_new(NULL, world->acme, world->config, world->spool_fd, NULL);
    assert_non_null(survey);
    survey->part = SURVEY_DEFERRED;
    survey->first = first;
    return survey;
}

// Returns how many slices it took.
static unsigned run(struct survey *survey)
{
    unsigned slices = 1;
    while (!survey->job.slice(&survey->job))
        assert_true(++slices < 100000);
    assert_int_equal(survey->error, 0);
    return slices;
}

static void each_message_and_each_status_is_looked_at_once(void **state)
{
    struct world *world = *state;
    fill(world, clock_wall() + 3600 * CLOCK_SECOND);
    unsigned few = 0, slices[2];
    for (int first = 0; first < 2; first++) {
        struct survey *survey = survey_of(world, first);
        looks = 0;
        slices[first] = run(survey);
        few = looks;
        assert_int_equal(survey->counts[OBSERVE_DEFERRED].count, MESSAGES);
        assert_int_equal(survey->deferred.n, MESSAGES);
        survey_free(survey);
        // Besides the directories themselves, whether they were replaced.
        assert_in_range(few, 2 * MESSAGES, 2 * MESSAGES + 2 * SPOOL_STATES);
    }
    assert_int_equal(slices[0], slices[1]); // and read once, also after a start
}

static void the_last_one_only_counts(void **state)
{
    struct world *world = *state;
    fill(world, clock_wall());
    struct survey *survey = survey_of(world, false);
    survey->count_only = true;
    looks = 0;
    run(survey);
    assert_in_range(looks, MESSAGES, MESSAGES + 2 * SPOOL_STATES);
    assert_int_equal(survey->counts[OBSERVE_DEFERRED].count, MESSAGES);
    assert_int_equal(survey->counts[OBSERVE_DEFERRED].bytes, 5 * MESSAGES);
    assert_int_equal(survey->deferred.n, 0);
    survey_free(survey);
}

static void an_orphan_costs_a_second_reading_and_few_looks(void **state)
{
    struct world *world = *state;
    fill(world, clock_wall());
    move(world, 17, SPOOL_SENT);
    move(world, 18, SPOOL_HOLD);
    struct survey *survey = survey_of(world, true);
    looks = 0;
    run(survey);
    assert_in_range(looks, 2 * MESSAGES - 4, 2 * MESSAGES + 200);
    assert_int_equal(survey->counts[OBSERVE_DEFERRED].count, MESSAGES - 2);
    survey_free(survey);
    for (unsigned i = 0; i < MESSAGES; i++)
        assert_int_equal(has_status(world, i), i != 17); // what is held may come back
}

static void many_orphans_are_all_found(void **state)
{
    struct world *world = *state;
    fill(world, clock_wall());
    for (unsigned i = 0; i < MESSAGES; i++)
        if (i % 7)
            move(world, i, SPOOL_FAILED);
    struct survey *survey = survey_of(world, true);
    run(survey);
    survey_free(survey);
    for (unsigned i = 0; i < MESSAGES; i++)
        assert_int_equal(has_status(world, i), i % 7 == 0);
}

static void without_memory_for_sums_orphans_are_found_all_the_same(void **state)
{
    struct world *world = *state;
    fill(world, clock_wall());
    move(world, 3, SPOOL_SENT);
    struct survey *survey = survey_of(world, true);
    assert_false(survey->job.slice(&survey->job));
    assert_non_null(survey->pairs.sums);
    pairs_release(&survey->pairs); // as if there had been none from the beginning
    run(survey);
    survey_free(survey);
    assert_false(has_status(world, 3));
    assert_true(has_status(world, 4));
}

// Between the two readings: a claim, an outcome, and one that is deferred.
static void what_moves_meanwhile_is_judged_by_where_it_is_then(void **state)
{
    struct world *world = *state;
    fill(world, clock_wall());
    move(world, 1, SPOOL_SENT);
    struct survey *survey = survey_of(world, true);
    while (!survey->again)
        assert_false(survey->job.slice(&survey->job));
    move(world, 2, SPOOL_CUR);
    move(world, 3, SPOOL_FAILED);
    run(survey);
    survey_free(survey);
    assert_false(has_status(world, 1));
    assert_true(has_status(world, 2));
    survey = survey_of(world, true);
    run(survey);
    survey_free(survey);
    assert_true(has_status(world, 2)); // it is being delivered
    assert_false(has_status(world, 3));
}

static void messages_without_a_status_are_no_orphans(void **state)
{
    struct world *world = *state;
    char name[32];
    fill(world, clock_wall());
    for (unsigned i = 0; i < 10; i++) {
        name_of(name, i, true);
        assert_int_equal(unlinkat(dir_of(world->acme, SPOOL_DEFERRED), name, 0), 0);
    }
    struct survey *survey = survey_of(world, true);
    run(survey);
    assert_int_equal(survey->counts[OBSERVE_DEFERRED].count, MESSAGES);
    assert_true(survey->deferred.items[9].time == 0 && survey->deferred.items[10].time != 0);
    survey_free(survey);
    for (unsigned i = 0; i < MESSAGES; i++)
        assert_int_equal(has_status(world, i), i >= 10);
}

static void it_brings_the_oldest(void **state)
{
    struct world *world = *state;
    int64_t now = clock_wall();
    fill(world, now + 60 * CLOCK_SECOND);
    set_mtime(world->acme, SPOOL_DEFERRED, "m5", now - 500 * CLOCK_SECOND);
    set_mtime(world->acme, SPOOL_DEFERRED, "m9", now - 900 * CLOCK_SECOND);
    struct survey *survey = survey_of(world, false);
    run(survey);
    assert_int_equal(survey->oldest.n, LEDGER_OLDEST);
    assert_true(survey->oldest.more);
    assert_true(survey->oldest.times[0] == now - 900 * CLOCK_SECOND);
    assert_true(survey->oldest.times[1] == now - 500 * CLOCK_SECOND);
    assert_true(survey->deferred_cost > 0 && survey->deferred_cost <= survey->cost);
    survey_free(survey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_message_and_each_status_is_looked_at_once),
        TEST(the_last_one_only_counts),
        TEST(an_orphan_costs_a_second_reading_and_few_looks),
        TEST(many_orphans_are_all_found),
        TEST(without_memory_for_sums_orphans_are_found_all_the_same),
        TEST(what_moves_meanwhile_is_judged_by_where_it_is_then),
        TEST(messages_without_a_status_are_no_orphans),
        TEST(it_brings_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
