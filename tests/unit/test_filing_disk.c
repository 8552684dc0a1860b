// In which order the filing desk tells the disk what it did, and what trouble with the disk does to it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "filing_support.h"

static bool same_dir(const struct step *step, const struct tenant *tenant, enum spool_state state)
{
    struct stat stat;
    assert_int_equal(fstat(dir_of(tenant, state), &stat), 0);
    return step->dir == stat.st_ino;
}

// How often a directory was synced from step `begin` on; *ret_last is the step of the last one.
static unsigned syncs_of(
    const struct tenant *tenant, enum spool_state state, unsigned begin, unsigned *ret_last)
{
    unsigned n = 0;
    for (unsigned i = begin; i < tap.n; i++)
        if (tap.steps[i].kind == STEP_SYNC_DIR && same_dir(&tap.steps[i], tenant, state)) {
            *ret_last = i;
            n++;
        }
    return n;
}

static void a_batch_syncs_each_directory_once_then_logs(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    enum { EACH = 10 };
    struct message *batch[2][3][EACH];
    for (int t = 0; t < 2; t++)
        for (int kind = 0; kind < 3; kind++)
            for (int i = 0; i < EACH; i++) {
                char name[32];
                (void)snprintf(name, sizeof name, "m%d.%d", kind, i);
                batch[t][kind][i] = claimed(world, t ? world->other : world->acme, name, PLAIN);
                if (kind)
                    with_status(batch[t][kind][i], kind == 1 ? STATUS_DEFERRED : STATUS_FAILED);
            }
    hold_desk(archive);
    for (int i = 0; i < EACH; i++)
        for (int t = 0; t < 2; t++)
            for (int kind = 0; kind < 3; kind++)
                submit(archive, batch[t][kind][i],
                    kind == 0   ? FILING_SENT
                    : kind == 1 ? FILING_DEFER
                                : FILING_FAIL);
    // The plug's own rename and syncs come first; find where the batch begins by the log: its line is
    // written.
    tap_start();
    release_desk(archive);
    assert_true(tap.n < STEPS_MAX);
    unsigned begin = 0;
    while (begin < tap.n && tap.steps[begin].logged == 0)
        begin++;
    assert_true(begin < tap.n);
    unsigned last_to = 0, first_from = UINT32_MAX, last_work = 0;
    for (int t = 0; t < 2; t++) {
        const struct tenant *tenant = t ? world->other : world->acme;
        static const enum spool_state states[] = {SPOOL_SENT, SPOOL_DEFERRED, SPOOL_FAILED, SPOOL_CUR};
        for (size_t s = 0; s < 4; s++) {
            unsigned at = 0;
            assert_int_equal(syncs_of(tenant, states[s], begin, &at), 1);
            if (states[s] != SPOOL_CUR && at > last_to)
                last_to = at;
            if (states[s] == SPOOL_CUR && at < first_from)
                first_from = at;
        }
    }
    size_t before = tap.steps[begin].logged;
    for (unsigned i = begin; i < tap.n; i++) {
        assert_true(tap.steps[i].logged == before); // not a line of the batch until all is durable
        if (tap.steps[i].kind != STEP_SYNC_DIR)
            last_work = i;
    }
    assert_true(last_work < last_to);  // what is synced is complete
    assert_true(last_to < first_from); // destinations before sources
    logged(archive, 6 * EACH + 1);
    for (unsigned i = 0; i < world->done; i++)
        assert_int_equal(archive->messages[i]->error, 0);
    for (int t = 0; t < 2; t++) {
        const struct tenant *tenant = t ? world->other : world->acme;
        assert_int_equal(entries_in(tenant, SPOOL_SENT), t ? EACH : EACH + 1);
        assert_int_equal(entries_in(tenant, SPOOL_DEFERRED), 2 * EACH);
        assert_int_equal(entries_in(tenant, SPOOL_FAILED), 2 * EACH);
        assert_int_equal(entries_in(tenant, SPOOL_CUR), 0);
    }
}

static void the_status_is_in_place_before_the_message(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    static const enum filing_action actions[] = {FILING_DEFER, FILING_FAIL};
    for (size_t i = 0; i < 2; i++) {
        struct message *message = with_status(
            claimed(&archive->world, acme, i ? "f" : "d", PLAIN), i ? STATUS_FAILED : STATUS_DEFERRED);
        tap_start();
        file(archive, message, actions[i]);
        int file_synced = -1, status_placed = -1, moved = -1;
        for (unsigned s = 0; s < tap.n; s++) {
            const struct step *step = &tap.steps[s];
            bool within = step->dir == step->from; // .INODE.status.tmp becomes NAME.status
            if (step->kind == STEP_SYNC_FILE)
                file_synced = (int)s;
            else if (step->kind == STEP_STATUS || (step->kind == STEP_MOVE && within))
                status_placed = (int)s;
            else if (step->kind == STEP_MOVE)
                moved = (int)s;
        }
        assert_true(file_synced >= 0);
        assert_true(file_synced < status_placed);
        assert_true(status_placed < moved);
    }
}

static void a_failed_sync_breaks_the_spool_and_logs_nothing(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *batch[5];
    for (int i = 0; i < 5; i++) {
        char name[8] = {(char)('a' + i), 0};
        batch[i] = claimed(world, i % 2 ? world->acme : world->other, name, PLAIN);
    }
    hold_desk(archive);
    for (int i = 0; i < 4; i++)
        submit(archive, batch[i], FILING_SENT);
    tap_fail(EIO, 0, 0, 3); // the plug's sent/ and cur/, and one of the batch
    release_desk(archive);
    assert_int_equal(atomic_load(&archive->filing.broken), -EIO);
    for (unsigned i = 0; i < world->done; i++) // the whole batch is distrusted, and nothing else
        assert_int_equal(
            archive->messages[i]->error, strcmp(archive->messages[i]->claimed_name, "plug") == 0 ? 0 : -EIO);
    logged(archive, 1);
    // The next fsync would return 0 and mean nothing: it stays broken.
    tap_fail(0, 0, 0, 0);
    tap_start();
    file(archive, batch[4], FILING_SENT);
    assert_int_equal(batch[4]->error, -EIO);
    assert_int_equal(tap.n, 0); // not touched any more
    assert_true(inode_in(world->other, SPOOL_CUR, "e") != 0);
    assert_int_equal(atomic_load(&archive->filing.broken), -EIO);
    logged(archive, 1);
}

static void a_read_only_file_system_breaks_the_spool(void **state)
{
    struct archive *archive = *state;
    struct message *message = claimed(&archive->world, archive->world.acme, "m", PLAIN);
    tap_fail(0, 0, EROFS, 0);
    file(archive, message, FILING_SENT);
    assert_int_equal(message->error, -EROFS);
    assert_int_equal(atomic_load(&archive->filing.broken), -EROFS);
    assert_int_equal(atomic_load(&archive->filing.full), 0);
    logged(archive, 0);
}

static void a_status_that_cannot_be_synced_breaks_the_spool(void **state)
{
    struct archive *archive = *state;
    struct message *message =
        with_status(claimed(&archive->world, archive->world.acme, "m", PLAIN), STATUS_DEFERRED);
    tap_fail(0, EIO, 0, 0);
    file(archive, message, FILING_DEFER);
    assert_int_equal(message->error, -EIO);
    assert_int_equal(atomic_load(&archive->filing.broken), -EIO);
    assert_true(inode_in(archive->world.acme, SPOOL_CUR, "m") != 0);
    logged(archive, 0);
}

static bool some_wait(struct world *world)
{
    (void)world;
    return atomic_load(&the_archive->filing.full) != 0;
}

static void without_space_outcomes_wait(struct archive *archive, int sync_file, int move, int expected)
{
    struct world *world = &archive->world;
    struct message *sent = claimed(world, world->acme, "sent", PLAIN);
    struct message *deferred = with_status(claimed(world, world->acme, "deferred", PLAIN), STATUS_DEFERRED);
    tap_fail(0, sync_file, move, 0);
    submit(archive, deferred, FILING_DEFER);
    world_run(world, some_wait);
    assert_int_equal(atomic_load(&archive->filing.full), expected);
    assert_int_equal(atomic_load(&archive->filing.broken), 0);
    submit(archive, sent, FILING_SENT);
    world_run(world, some_wait);
    assert_true(inode_in(world->acme, SPOOL_CUR, "deferred") == deferred->stat.st_ino);
    if (move)
        assert_int_equal(world->done, 0);
    tap_fail(0, 0, 0, 0); // there is room again: tried by itself while the desk idles
    world_run(world, all_back);
    assert_int_equal(atomic_load(&archive->filing.full), 0);
    assert_int_equal(world->done, 2);
    assert_int_equal(sent->error, 0);
    assert_int_equal(deferred->error, 0);
    assert_int_equal(entries_in(world->acme, SPOOL_CUR), 0);
    assert_true(inode_in(world->acme, SPOOL_SENT, "sent") != 0);
    assert_true(inode_in(world->acme, SPOOL_DEFERRED, "deferred.status") != 0);
    assert_int_equal(entries_in(world->acme, SPOOL_DEFERRED), 2);
    logged(archive, 2);
}

static void without_space_for_the_move_outcomes_wait(void **state)
{
    without_space_outcomes_wait(*state, 0, ENOSPC, -ENOSPC);
}

static void without_space_for_the_status_outcomes_wait(void **state)
{
    without_space_outcomes_wait(*state, EDQUOT, 0, -EDQUOT);
}

static void without_descriptors_outcomes_wait(void **state)
{
    without_space_outcomes_wait(*state, 0, EMFILE, -EMFILE);
}

static void at_the_end_nothing_is_waited_for(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *message = claimed(world, world->acme, "m", PLAIN);
    tap_fail(0, 0, ENOSPC, 0);
    submit(archive, message, FILING_SENT);
    world_run(world, some_wait);
    filing_abandon(&archive->filing);
    world_run(world, all_back);
    assert_int_equal(message->error, -ENOSPC);
    assert_true(inode_in(world->acme, SPOOL_CUR, "m") != 0); // for the next start to find
    logged(archive, 0);
}

static void an_io_error_also_ends_the_waiting(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *held = claimed(world, world->acme, "held", PLAIN);
    tap_fail(0, 0, ENOSPC, 0);
    submit(archive, held, FILING_SENT);
    world_run(world, some_wait);
    tap_fail(0, 0, EIO, 0);
    world_run(world, all_back);
    assert_int_equal(held->error, -EIO);
    assert_int_equal(atomic_load(&archive->filing.broken), -EIO);
    logged(archive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_syncs_each_directory_once_then_logs),
        TEST(the_status_is_in_place_before_the_message),
        TEST(a_failed_sync_breaks_the_spool_and_logs_nothing),
        TEST(a_read_only_file_system_breaks_the_spool),
        TEST(a_status_that_cannot_be_synced_breaks_the_spool),
        TEST(without_space_for_the_move_outcomes_wait),
        TEST(without_space_for_the_status_outcomes_wait),
        TEST(without_descriptors_outcomes_wait),
        TEST(at_the_end_nothing_is_waited_for),
        TEST(an_io_error_also_ends_the_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
