// Claims by lock: who has a message of new/, and where its file goes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/claim.h"
#include "filing_support.h"
#include <sys/file.h>

int renameat(int from, const char *old, int to, const char *new)
{
    return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

// The next look at a file by name fails once this is set.
static int fail_look;

int fstatat(int dir, const char *name, struct stat *stat, int flags)
{
    if (fail_look) {
        errno = fail_look;
        fail_look = 0;
        return -1;
    }
    return (int)syscall(SYS_newfstatat, dir, name, stat, flags);
}

static struct message *locked(struct archive *archive, const char *name)
{
    archive->world.locks = true;
    struct message *message = claimed(&archive->world, archive->world.acme, name, PLAIN);
    assert_true(message->keep_lock);
    return message;
}

static void a_message_of_new_is_claimed_where_it_lies(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    tap_start();
    struct message *message = locked(archive, "m");
    assert_int_equal(tap.n, 0); // nothing was moved, nothing synced
    assert_true(inode_in(acme, SPOOL_NEW, "m") == message->stat.st_ino);
    assert_int_equal(entries_in(acme, SPOOL_CUR), 0);
    assert_int_equal(message->place, SPOOL_NEW);
    assert_true(message->fd >= 0);
    message_free(message);
}

static void only_one_has_it(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *mine = locked(archive, "m");
    struct message *yours = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(yours->claim, CLAIM_TAKEN);
    message_free(yours);
    world->locks = false; // nor does one get it who would move it
    yours = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(yours->claim, CLAIM_TAKEN);
    message_free(yours);
    message_free(mine); // as a kernel does where an agent dies
    yours = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(yours->claim, CLAIM_READY);
    message_free(yours);
}

static void a_stranger_who_holds_the_lock_is_waited_for(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    int fd = openat(dir_of(world->acme, SPOOL_NEW), "m", O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_SH), 0);
    world->locks = true;
    struct message *message = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(message->claim, CLAIM_TAKEN);
    assert_true(inode_in(world->acme, SPOOL_NEW, "m") == message->stat.st_ino);
    message_free(message);
    close(fd);
}

static void what_is_deferred_is_claimed_by_its_move(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    put_in(world->acme, SPOOL_DEFERRED, "m", PLAIN);
    world->locks = true;
    struct message *message = claim(world, world->acme, SPOOL_DEFERRED, "m", true);
    assert_int_equal(message->claim, CLAIM_READY);
    assert_false(message->keep_lock);
    assert_true(inode_in(world->acme, SPOOL_CUR, "m") == message->stat.st_ino);
    message_free(message);
}

// One that takes long to send is where operators look for what is under way, from the beginning.
static void a_message_above_the_limit_is_moved_at_once(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    static char text[CLAIM_LOCK_MAX + 2];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, PLAIN, strlen(PLAIN));
    world->locks = true;
    for (int more = 1; more >= 0; more--) {
        text[CLAIM_LOCK_MAX + more] = '\0';
        put_in(world->acme, SPOOL_NEW, "m", text);
        struct message *message = claim(world, world->acme, SPOOL_NEW, "m", true);
        assert_int_equal(message->claim, CLAIM_READY);
        assert_int_equal(message->place, more ? SPOOL_CUR : SPOOL_NEW);
        assert_true(inode_in(world->acme, message->place, "m") == message->stat.st_ino);
        assert_int_equal(message->outgoing->body.fd, message->fd); // it is read from there
        message_free(message);
    }
}

static void a_sent_message_moves_once(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = locked(archive, "m");
    tap_start();
    file(archive, message, FILING_SENT);
    assert_int_equal(message->error, 0);
    assert_true(inode_in(acme, SPOOL_SENT, "m") == message->stat.st_ino);
    assert_int_equal(entries_in(acme, SPOOL_NEW), 0);
    assert_true(message->fd >= 0); // its lock goes with the message, when the outcome is known
    assert_int_equal(tap.n, 3);
    assert_int_equal(tap.steps[0].kind, STEP_MOVE);
    assert_true(tap.steps[1].kind == STEP_SYNC_DIR && tap.steps[1].dir == acme->dirs->spool->ino[SPOOL_SENT]);
    assert_true(tap.steps[2].kind == STEP_SYNC_DIR && tap.steps[2].dir == acme->dirs->spool->ino[SPOOL_NEW]);
    logged(archive, 1);
}

static void what_goes_back_is_not_moved_and_is_free_again(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *message = locked(archive, "m");
    tap_start();
    file(archive, message, FILING_RETURN);
    assert_int_equal(message->error, 0);
    assert_int_equal(tap.n, 0);
    assert_int_equal(message->filed_in, SPOOL_NEW);
    assert_true(inode_in(world->acme, SPOOL_NEW, "m") == message->stat.st_ino);
    struct message *again = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(again->claim, CLAIM_READY);
    message_free(again);
}

static void what_gets_a_status_lies_in_cur_before(void **state)
{
    static const enum filing_action actions[] = {FILING_DEFER, FILING_FAIL, FILING_RECORD};
    static const enum spool_state ends[] = {SPOOL_DEFERRED, SPOOL_FAILED, SPOOL_CUR};
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "m%zu", i);
        struct message *message =
            with_status(locked(archive, name), i == 1 ? STATUS_FAILED : STATUS_DEFERRED);
        tap_start();
        file(archive, message, actions[i]);
        assert_int_equal(message->error, 0);
        assert_int_equal(tap.steps[0].kind, STEP_MOVE);
        assert_true(tap.steps[0].dir == acme->dirs->spool->ino[SPOOL_CUR]);
        assert_true(inode_in(acme, ends[i], name) == message->stat.st_ino);
        assert_int_equal(inode_in(acme, SPOOL_NEW, name), 0);
        assert_int_equal(message->place, SPOOL_CUR);
    }
}

static void a_settled_message_ends_like_any_other(void **state)
{
    static const enum filing_action actions[] = {FILING_SENT, FILING_RETURN};
    static const enum spool_state ends[] = {SPOOL_SENT, SPOOL_NEW};
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        struct message *message = locked(archive, i ? "b" : "a");
        assert_int_equal(claim_move(message), 0);
        assert_int_equal(claim_move(message), 0); // once is enough
        assert_true(inode_in(acme, SPOOL_CUR, message->name) == message->stat.st_ino);
        file(archive, message, actions[i]);
        assert_int_equal(message->error, 0);
        assert_int_equal(entries_in(acme, SPOOL_CUR), 0);
        assert_true(inode_in(acme, ends[i], message->name) == message->stat.st_ino);
    }
}

static void one_that_was_moved_away_is_remembered(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct tenant *acme = world->acme;
    struct message *message = locked(archive, "m");
    message->recipient_state[0] = STATUS_SENT;
    message_set_detail(message, "250 2.0.0 taken");
    assert_int_equal(renameat2(dir_of(acme, SPOOL_NEW), "m", dir_of(acme, SPOOL_HOLD), "m", 0), 0);
    file(archive, message, FILING_SENT);
    assert_int_equal(message->error, -ENOENT);
    assert_true(inode_in(acme, SPOOL_HOLD, "m") == message->stat.st_ino);
    assert_int_equal(entries_in(acme, SPOOL_SENT), 0);
    logged(archive, 1); // it was sent
    struct status *status = read_status(acme, SPOOL_DEFERRED, "m");
    assert_non_null(status);
    assert_int_equal(status->recipients[0].state, STATUS_SENT);
    assert_string_equal(status->recipients[0].reply, "250 2.0.0 taken");
    status_free(status);
    // It comes back: nobody gets it again.
    assert_int_equal(renameat2(dir_of(acme, SPOOL_HOLD), "m", dir_of(acme, SPOOL_NEW), "m", 0), 0);
    struct message *again = claim(world, acme, SPOOL_NEW, "m", true);
    assert_int_equal(again->claim, CLAIM_READY);
    assert_int_equal(again->recipient_state[0], STATUS_SENT);
    message_free(again);
}

static void one_that_was_deleted_leaves_nothing(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = locked(archive, "m");
    message->recipient_state[0] = STATUS_SENT;
    assert_int_equal(unlinkat(dir_of(acme, SPOOL_NEW), "m", 0), 0);
    file(archive, message, FILING_SENT);
    assert_int_equal(message->error, -ENOENT);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 0);
    assert_int_equal(atomic_load(&archive->filing.broken), 0);
    logged(archive, 1);
}

static void another_file_by_its_name_is_left_alone(void **state)
{
    static const enum filing_action actions[] = {FILING_SENT, FILING_DEFER, FILING_FAIL};
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        struct message *message = locked(archive, "m");
        with_status(message, STATUS_DEFERRED);
        assert_int_equal(unlinkat(dir_of(acme, SPOOL_NEW), "m", 0), 0);
        ino_t other = put_in(acme, SPOOL_NEW, "m", PLAIN);
        assert_true(other != message->stat.st_ino); // ours is still open
        file(archive, message, actions[i]);
        assert_int_equal(message->error, -ENOENT);
        assert_true(inode_in(acme, SPOOL_NEW, "m") == other);
        assert_int_equal(entries_in(acme, SPOOL_SENT) + entries_in(acme, SPOOL_CUR), 0);
        assert_int_equal(unlinkat(dir_of(acme, SPOOL_NEW), "m", 0), 0);
    }
}

// A file that comes in between the look and the rename is what is renamed: it has to come back.
static struct tenant *swapped;
static ino_t swapped_in;
static void swap(void)
{
    before_rename = NULL;
    assert_int_equal(unlinkat(dir_of(swapped, SPOOL_NEW), "m", 0), 0);
    swapped_in = put_in(swapped, SPOOL_NEW, "m", PLAIN);
}

static void one_that_slips_in_goes_back(void **state)
{
    struct archive *archive = *state;
    swapped = archive->world.acme;
    for (int i = 0; i < 2; i++) {
        struct message *message = locked(archive, "m");
        before_rename = swap;
        assert_int_equal(i ? claim_move(message) : claim_file(message, SPOOL_SENT), 1);
        assert_null(before_rename);
        assert_int_equal(message->place, SPOOL_NEW);
        assert_true(inode_in(swapped, SPOOL_NEW, "m") == swapped_in);
        assert_int_equal(entries_in(swapped, SPOOL_SENT) + entries_in(swapped, SPOOL_CUR), 0);
        assert_int_equal(unlinkat(dir_of(swapped, SPOOL_NEW), "m", 0), 0);
        message_free(message);
    }
}

static void lose_sight(void)
{
    before_rename = NULL;
    fail_look = ENOMEM;
}

static void what_cannot_be_looked_at_goes_back(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *message = locked(archive, "m");
    for (int i = 0; i < 2; i++) {
        before_rename = lose_sight;
        assert_int_equal(i ? claim_move(message) : claim_file(message, SPOOL_SENT), -ENOMEM);
        assert_int_equal(fail_look, 0);
        assert_int_equal(message->place, SPOOL_NEW);
        assert_true(inode_in(world->acme, SPOOL_NEW, "m") == message->stat.st_ino);
    }
    file(archive, message, FILING_SENT); // nothing is lost of it
    assert_true(inode_in(world->acme, SPOOL_SENT, "m") == message->stat.st_ino);
    // A claim that is a move can be made again, too.
    put_in(world->acme, SPOOL_DEFERRED, "d", PLAIN);
    before_rename = lose_sight;
    struct message *deferred = claim(world, world->acme, SPOOL_DEFERRED, "d", true);
    assert_int_equal(deferred->claim, CLAIM_LATER);
    assert_true(inode_in(world->acme, SPOOL_DEFERRED, "d") == deferred->stat.st_ino);
    message_free(deferred);
    deferred = claim(world, world->acme, SPOOL_DEFERRED, "d", true);
    assert_int_equal(deferred->claim, CLAIM_READY);
    message_free(deferred);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_of_new_is_claimed_where_it_lies),
        TEST(only_one_has_it),
        TEST(a_stranger_who_holds_the_lock_is_waited_for),
        TEST(what_is_deferred_is_claimed_by_its_move),
        TEST(a_message_above_the_limit_is_moved_at_once),
        TEST(a_sent_message_moves_once),
        TEST(what_goes_back_is_not_moved_and_is_free_again),
        TEST(what_gets_a_status_lies_in_cur_before),
        TEST(a_settled_message_ends_like_any_other),
        TEST(one_that_was_moved_away_is_remembered),
        TEST(one_that_was_deleted_leaves_nothing),
        TEST(another_file_by_its_name_is_left_alone),
        TEST(one_that_slips_in_goes_back),
        TEST(what_cannot_be_looked_at_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
