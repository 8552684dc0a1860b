// The filing desk's work in a real spool: where each outcome ends.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "filing_support.h"

// What a status file is put in place with.
int renameat(int from, const char *old, int to, const char *new)
{
    pthread_mutex_lock(&tap.lock);
    if (tap.on)
        tap_note(STEP_STATUS, to, from);
    pthread_mutex_unlock(&tap.lock);
    return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

static void a_delivered_message_ends_in_sent(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = claimed(&archive->world, acme, "m", PLAIN);
    ino_t inode = inode_in(acme, SPOOL_CUR, "m");
    file(archive, message, FILING_SENT);
    assert_int_equal(message->error, 0);
    assert_int_equal(message->filed_in, SPOOL_SENT);
    assert_true(inode_in(acme, SPOOL_SENT, "m") == inode);
    assert_int_equal(entries_in(acme, SPOOL_CUR), 0);
    assert_int_equal(entries_in(acme, SPOOL_SENT), 1);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 0);
    logged(archive, 1);
    assert_int_equal(message->lines.text.length, 0);
}

static void a_deferred_message_has_its_status_beside_it(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = with_status(claimed(&archive->world, acme, "m", PLAIN), STATUS_DEFERRED);
    ino_t inode = message->stat.st_ino;
    file(archive, message, FILING_DEFER);
    assert_int_equal(message->error, 0);
    assert_int_equal(message->filed_in, SPOOL_DEFERRED);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "m") == inode);
    struct stat status_stat;
    assert_int_equal(fstatat(dir_of(acme, SPOOL_DEFERRED), "m.status", &status_stat, 0), 0);
    assert_int_equal(status_stat.st_mtim.tv_sec, 2000000000);
    struct status *status = read_status(acme, SPOOL_DEFERRED, "m");
    assert_non_null(status);
    assert_true(status->inode == inode);
    assert_string_equal(status->tenant, "acme");
    assert_string_equal(status->name, "m");
    assert_int_equal(status->state, STATUS_DEFERRED);
    assert_true(status->born.tv_sec != 0); // so that a reused inode inherits nothing
    assert_int_equal(status->n_recipients, 1);
    status_free(status);
}

static void a_failed_message_says_how_to_try_it_again(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    static const struct {
        const char *name, *fix;
    } rows[] = {
        {"1764000000.M1P2.host", "mv failed/1764000000.M1P2.host new/"},
        {"a b", "mv 'failed/a b' new/"},
        {"it's $HOME", "mv 'failed/it'\\''s $HOME' new/"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message *message =
            with_status(claimed(&archive->world, acme, rows[i].name, PLAIN), STATUS_FAILED);
        file(archive, message, FILING_FAIL);
        assert_int_equal(message->filed_in, SPOOL_FAILED);
        assert_true(inode_in(acme, SPOOL_FAILED, rows[i].name) == message->stat.st_ino);
        struct status *status = read_status(acme, SPOOL_FAILED, rows[i].name);
        assert_non_null(status);
        assert_int_equal(status->state, STATUS_FAILED);
        assert_string_equal(status->fix, rows[i].fix);
        status_free(status);
    }
}

static void a_returned_message_goes_where_it_came_from(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = claimed(&archive->world, acme, "m", PLAIN);
    file(archive, message, FILING_RETURN);
    assert_int_equal(message->filed_in, SPOOL_NEW);
    assert_true(inode_in(acme, SPOOL_NEW, "m") == message->stat.st_ino);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 0);
    // And from deferred/ back to deferred/, its status untouched.
    message = with_status(claimed(&archive->world, acme, "d", PLAIN), STATUS_DEFERRED);
    file(archive, message, FILING_DEFER);
    ino_t status = inode_in(acme, SPOOL_DEFERRED, "d.status");
    message = claim(&archive->world, acme, SPOOL_DEFERRED, "d", true);
    if (message->claim == CLAIM_NOT_DUE) { // say what the backlog would know
        struct message *again = message_for(&archive->world, acme, SPOOL_DEFERRED, "d", true);
        again->recorded = message->recorded;
        message_free(message);
        message = again;
        claim_now(message);
    }
    assert_int_equal(message->claim, CLAIM_READY);
    file(archive, message, FILING_RETURN);
    assert_int_equal(message->filed_in, SPOOL_DEFERRED);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "d") == message->stat.st_ino);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "d.status") == status);
}

static void a_record_keeps_the_message_claimed(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = with_status(
        claimed(&archive->world, acme, "m", "To: a@example.net, b@example.net\n\nbody\n"), STATUS_DEFERRED);
    struct timespec at = {1, 0};
    assert_int_equal(status_set_recipient(message->status, 1, STATUS_SENT, "250 ok", &at), 0);
    tap_start();
    file(archive, message, FILING_RECORD);
    assert_int_equal(message->error, 0);
    assert_true(inode_in(acme, SPOOL_CUR, "m") == message->stat.st_ino);
    struct status *status = read_status(acme, SPOOL_DEFERRED, "m");
    assert_non_null(status);
    assert_int_equal(status->recipients[0].state, STATUS_PENDING);
    assert_int_equal(status->recipients[1].state, STATUS_SENT);
    status_free(status);
    struct stat deferred;
    assert_int_equal(fstat(dir_of(acme, SPOOL_DEFERRED), &deferred), 0);
    assert_int_equal(tap.steps[tap.n - 1].kind, STEP_SYNC_DIR); // durable before the rest is sent
    assert_true(tap.steps[tap.n - 1].dir == deferred.st_ino);
    // What is recorded is where it goes back to, so that a recovery finds both together.
    file(archive, message, FILING_RETURN);
    archive->world.done--; // came back twice
    assert_int_equal(message->filed_in, SPOOL_DEFERRED);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "m") == message->stat.st_ino);
}

static void a_recorded_message_that_is_delivered_leaves_no_status(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = with_status(claimed(&archive->world, acme, "m", PLAIN), STATUS_DEFERRED);
    file(archive, message, FILING_RECORD);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 1);
    file(archive, message, FILING_SENT);
    archive->world.done--;
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 0);
    assert_int_equal(entries_in(acme, SPOOL_SENT), 1);
}

static void a_taken_name_gets_another_and_the_status_goes_with_it(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    static const enum spool_state places[] = {SPOOL_SENT, SPOOL_DEFERRED, SPOOL_FAILED};
    for (size_t i = 0; i < 3; i++) {
        enum spool_state place = places[i];
        ino_t first = put_in(acme, place, "m", "somebody else\n");
        struct message *message = claimed(&archive->world, acme, "m", PLAIN);
        if (place != SPOOL_SENT)
            with_status(message, place == SPOOL_DEFERRED ? STATUS_DEFERRED : STATUS_FAILED);
        file(archive, message,
            place == SPOOL_SENT       ? FILING_SENT
            : place == SPOOL_DEFERRED ? FILING_DEFER
                                      : FILING_FAIL);
        assert_int_equal(message->error, 0);
        assert_string_equal(message->name, "m~2");
        assert_true(inode_in(acme, place, "m") == first);
        assert_true(inode_in(acme, place, "m~2") == message->stat.st_ino);
        assert_true(inode_in(acme, place, "m.status") == 0);
        if (place == SPOOL_SENT)
            continue;
        struct status *status = read_status(acme, place, "m~2");
        assert_non_null(status);
        assert_string_equal(status->name, "m~2");
        if (place == SPOOL_FAILED)
            assert_string_equal(status->fix, "mv failed/m~2 new/");
        status_free(status);
    }
}

static void another_messages_status_counts_as_a_taken_name(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct status *other = status_new();
    other->inode = 1;
    other->state = STATUS_FAILED;
    assert_int_equal(status_write(dir_of(acme, SPOOL_FAILED), "m", other), 0);
    status_free(other);
    ino_t before = inode_in(acme, SPOOL_FAILED, "m.status");
    struct message *message = with_status(claimed(&archive->world, acme, "m", PLAIN), STATUS_FAILED);
    file(archive, message, FILING_FAIL);
    assert_string_equal(message->name, "m~2");
    assert_true(inode_in(acme, SPOOL_FAILED, "m.status") == before);
    assert_true(inode_in(acme, SPOOL_FAILED, "m~2") != 0);
    assert_true(inode_in(acme, SPOOL_FAILED, "m~2.status") != 0);
}

static void an_adopted_status_goes_when_the_message_was_delivered(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    static const enum filing_action actions[] = {FILING_SENT, FILING_DEFER, FILING_FAIL};
    for (size_t i = 0; i < 3; i++) {
        char name[8] = {(char)('a' + (int)i), 0}, status_name[SPOOL_STATUS_SIZE];
        spool_name_status(name, status_name);
        struct message *message = with_status(claimed(&archive->world, acme, name, PLAIN), STATUS_FAILED);
        file(archive, message, FILING_FAIL);
        // mv failed/NAME new/
        assert_int_equal(renameat(dir_of(acme, SPOOL_FAILED), name, dir_of(acme, SPOOL_NEW), name), 0);
        message = claim(&archive->world, acme, SPOOL_NEW, name, true);
        assert_int_equal(message->claim, CLAIM_READY);
        assert_int_equal(message->status_in, SPOOL_FAILED);
        if (actions[i] != FILING_SENT)
            with_status(message, actions[i] == FILING_DEFER ? STATUS_DEFERRED : STATUS_FAILED);
        file(archive, message, actions[i]);
        assert_int_equal(message->error, 0);
        assert_true((inode_in(acme, SPOOL_FAILED, status_name) != 0) == (actions[i] == FILING_FAIL));
        assert_true((inode_in(acme, SPOOL_DEFERRED, status_name) != 0) == (actions[i] == FILING_DEFER));
    }
    assert_int_equal(entries_in(acme, SPOOL_SENT), 1);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 2);
    assert_int_equal(entries_in(acme, SPOOL_FAILED), 2);
}

static void a_message_that_is_gone_is_reported_and_holds_nobody_up(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *gone = claimed(world, world->acme, "gone", PLAIN);
    struct message *there = claimed(world, world->acme, "there", PLAIN);
    assert_int_equal(unlinkat(dir_of(world->acme, SPOOL_CUR), "gone", 0), 0);
    hold_desk(archive);
    submit(archive, gone, FILING_SENT);
    submit(archive, there, FILING_SENT);
    release_desk(archive);
    assert_int_equal(gone->error, -ENOENT);
    assert_int_equal(there->error, 0);
    assert_int_equal(atomic_load(&archive->filing.broken), 0);
    assert_int_equal(atomic_load(&archive->filing.full), 0);
    char *text = world_log(world);
    assert_null(strstr(text, "name=gone"));
    assert_non_null(strstr(text, "name=there"));
    free(text);
}

static void waits(struct desk_job *job)
{
    (void)job;
    sem_post(&tap.reached);
    sem_wait(&tap.gate);
}

static void is_over(struct desk_job *job)
{
    (void)job;
}

// What is in a batch keeps its places in the windows until all of it is durable.
static void many_outcomes_are_made_durable_in_parts(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct desk_job plug = {.run = waits, .done = is_over};
    char name[16];
    desk_submit(archive->desk, &plug);
    sem_wait(&tap.reached);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof name, "m%d", i);
        submit(archive, claimed(world, world->acme, name, PLAIN), FILING_SENT);
    }
    tap_start();
    release_desk(archive);
    unsigned moved = 0, syncs = 0, first = 0;
    for (size_t i = 0; i < tap.n; i++) {
        moved += tap.steps[i].kind == STEP_MOVE;
        syncs += tap.steps[i].kind == STEP_SYNC_DIR;
        if (syncs && !first)
            first = moved;
    }
    assert_int_equal(moved, 200);
    assert_in_range(first, 1, 64);
    assert_int_equal(tap.steps[tap.n - 1].kind, STEP_SYNC_DIR);
    assert_int_equal(syncs % 2, 0);
    assert_int_equal(entries_in(world->acme, SPOOL_SENT), 200);
    logged(archive, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_delivered_message_ends_in_sent),
        TEST(a_deferred_message_has_its_status_beside_it),
        TEST(a_failed_message_says_how_to_try_it_again),
        TEST(a_returned_message_goes_where_it_came_from),
        TEST(a_record_keeps_the_message_claimed),
        TEST(a_recorded_message_that_is_delivered_leaves_no_status),
        TEST(a_taken_name_gets_another_and_the_status_goes_with_it),
        TEST(another_messages_status_counts_as_a_taken_name),
        TEST(an_adopted_status_goes_when_the_message_was_delivered),
        TEST(a_message_that_is_gone_is_reported_and_holds_nobody_up),
        TEST(many_outcomes_are_made_durable_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
