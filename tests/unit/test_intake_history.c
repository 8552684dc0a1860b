// Claiming what was here before: names taken in other states, and what their status files know.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "intake_support.h"

static void what_lies_in_a_higher_state_is_only_cleaned_up(void **state)
{
    struct world *world = *state;
    static const enum spool_state higher[] = {SPOOL_SENT, SPOOL_FAILED, SPOOL_DEFERRED, SPOOL_SENT};
    for (size_t i = 0; i < 4; i++) {
        char name[8] = {(char)('a' + (int)i), 0};
        char where[16];
        (void)snprintf(where, sizeof where, "%s%s", name, i == 3 ? "~2" : "");
        ino_t inode = put_in(world->acme, SPOOL_NEW, name, PLAIN);
        assert_int_equal(
            linkat(dir_of(world->acme, SPOOL_NEW), name, dir_of(world->acme, higher[i]), where, 0), 0);
        message_free(claim_new(world, name, true, CLAIM_GONE));
        assert_true(inode_in(world->acme, SPOOL_NEW, name) == 0);
        assert_true(inode_in(world->acme, higher[i], where) == inode);
    }
    ino_t inode = put_in(world->acme, SPOOL_DEFERRED, "d", PLAIN);
    assert_int_equal(
        linkat(dir_of(world->acme, SPOOL_DEFERRED), "d", dir_of(world->acme, SPOOL_SENT), "d", 0), 0);
    struct message *message = claim(world, world->acme, SPOOL_DEFERRED, "d", true);
    claim_is(message, CLAIM_GONE);
    message_free(message);
    assert_true(inode_in(world->acme, SPOOL_DEFERRED, "d") == 0);
    assert_true(inode_in(world->acme, SPOOL_SENT, "d") == inode);
    assert_int_equal(entries_in(world->acme, SPOOL_CUR), 0);
}

static void another_file_of_that_name_is_another_message(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_SENT, "m", PLAIN);
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    message_free(claim_new(world, "m", true, CLAIM_READY));
    assert_int_equal(entries_in(world->acme, SPOOL_SENT), 1);
    // Also where it has a second link: to another tenant's file, say.
    ino_t inode = put_in(world->other, SPOOL_NEW, "theirs", PLAIN);
    assert_int_equal(
        linkat(dir_of(world->other, SPOOL_NEW), "theirs", dir_of(world->acme, SPOOL_NEW), "theirs", 0), 0);
    message_free(claim_new(world, "theirs", true, CLAIM_READY));
    assert_true(inode_in(world->other, SPOOL_NEW, "theirs") == inode);
}

static void a_name_taken_in_cur_is_counted_up(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_CUR, "m", PLAIN);
    ino_t inode = put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    struct message *message = claim_new(world, "m", true, CLAIM_READY);
    assert_string_equal(message->name, "m~2");
    assert_string_equal(message->claimed_name, "m");
    assert_true(inode_in(world->acme, SPOOL_CUR, "m~2") == inode);
    message_free(message);
}

struct known {
    const char *address;
    enum status_recipient_state state;
};

// Writes the status of state/NAME into status_in, with two attempts behind it.
static void know(const struct tenant *tenant, enum spool_state state, const char *name,
    enum spool_state status_in, const struct known *known, size_t n, int64_t submitted)
{
    struct status *status = status_new();
    struct timespec at = {1700000000, 0};
    int fd = openat(dir_of(tenant, state), name, O_RDONLY | O_CLOEXEC);
    status->submitted = clock_timespec(submitted);
    assert_int_equal(status_identify(status, fd), 0);
    close(fd);
    status->state = status_in == SPOOL_FAILED ? STATUS_FAILED : STATUS_DEFERRED;
    status->next_attempt = at;
    status->delay_warned = at;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(status_add_recipient(status, known[i].address), 0);
        assert_int_equal(status_set_recipient(status, i, known[i].state, "250 or not", &at), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(status_add_attempt(status, &at, "relay", "r:25", "", "rcpt", "451 later"), 0);
    assert_int_equal(status_write(dir_of(tenant, status_in), name, status), 0);
    status_free(status);
}

static const struct known mixed[] = {
    {"b@example.net", STATUS_SENT}, {"gone@example.net", STATUS_SENT}, {"a@example.net", STATUS_REFUSED}};

static void mail_from_deferred_goes_on_where_it_was(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_DEFERRED, "m", "To: a@example.net, b@example.net, c@example.net\n\nbody\n");
    know(world->acme, SPOOL_DEFERRED, "m", SPOOL_DEFERRED, mixed, 3, 1600000000 * CLOCK_SECOND);
    struct message *message = message_for(world, world->acme, SPOOL_DEFERRED, "m", true);
    message->recorded = 1700000000 * CLOCK_SECOND;
    claim_now(message);
    claim_is(message, CLAIM_READY);
    assert_int_equal(message->origin, SPOOL_DEFERRED);
    assert_int_equal(message->status_in, SPOOL_DEFERRED);
    assert_string_equal(message->status_name, "m");
    assert_int_equal(message->attempt, 3);
    assert_int_equal(message->status->n_attempts, 2);
    assert_int_equal(message->status->delay_warned.tv_sec, 1700000000);
    // In the order of the message, with the one it does not name left out.
    assert_int_equal(message->status->n_recipients, 3);
    assert_string_equal(message->status->recipients[0].address, "a@example.net");
    assert_int_equal(message->recipient_state[0], STATUS_REFUSED);
    assert_int_equal(message->recipient_state[1], STATUS_SENT);
    assert_int_equal(message->recipient_state[2], STATUS_PENDING);
    assert_int_equal(message->status->recipients[1].state, STATUS_SENT);
    assert_string_equal(message->status->recipients[1].reply, "250 or not");
    assert_int_equal(message->stat.st_mtim.tv_sec, 1600000000);
    assert_true(inode_in(world->acme, SPOOL_DEFERRED, "m.status") != 0); // it stays while claimed
    message_free(message);
}

static void mail_that_came_back_through_new_starts_again(void **state)
{
    struct world *world = *state;
    static const enum spool_state places[] = {SPOOL_FAILED, SPOOL_DEFERRED};
    for (size_t i = 0; i < 2; i++) {
        const char *name = i ? "d" : "f";
        put_in(world->acme, SPOOL_NEW, name, TWO);
        know(world->acme, SPOOL_NEW, name, places[i], mixed, 3, 1600000000 * CLOCK_SECOND);
        struct message *message = claim_new(world, name, true, CLAIM_READY);
        assert_int_equal(message->origin, SPOOL_NEW);
        assert_int_equal(message->status_in, places[i]);
        assert_string_equal(message->status_name, name);
        assert_int_equal(message->attempt, 1);
        assert_int_equal(message->status->n_attempts, 0);
        assert_int_equal(message->status->attempts_total, 0);
        assert_int_equal(message->status->delay_warned.tv_sec, 0);
        assert_int_equal(message->recipient_state[0], STATUS_PENDING); // was refused: "try again"
        assert_int_equal(message->recipient_state[1], STATUS_SENT);    // whoever has it keeps it
        assert_int_equal(message->status->recipients[0].state, STATUS_PENDING);
        assert_int_equal(message->status->recipients[1].state, STATUS_SENT);
        message_free(message);
    }
}

// What an agent leaves that died between the status in failed/ and the message's move there.
static void who_is_sent_by_either_status_has_it(void **state)
{
    struct world *world = *state;
    static const struct known newer[] = {
        {"a@example.net", STATUS_REFUSED}, {"b@example.net", STATUS_SENT}, {"c@example.net", STATUS_SENT}};
    put_in(world->acme, SPOOL_DEFERRED, "m", "To: a@example.net, b@example.net, c@example.net\n\nbody\n");
    static const struct known older[] = {
        {"a@example.net", STATUS_PENDING}, {"b@example.net", STATUS_SENT}, {"c@example.net", STATUS_PENDING}};
    know(world->acme, SPOOL_DEFERRED, "m", SPOOL_DEFERRED, older, 3, 1600000000 * CLOCK_SECOND);
    know(world->acme, SPOOL_DEFERRED, "m", SPOOL_FAILED, newer, 3, 1600000000 * CLOCK_SECOND);
    struct message *message = message_for(world, world->acme, SPOOL_DEFERRED, "m", true);
    message->recorded = 1700000000 * CLOCK_SECOND;
    claim_now(message);
    claim_is(message, CLAIM_READY);
    assert_int_equal(message->status_in, SPOOL_DEFERRED);
    assert_int_equal(message->recipient_state[0], STATUS_PENDING);
    assert_int_equal(message->recipient_state[1], STATUS_SENT);
    assert_int_equal(message->recipient_state[2], STATUS_SENT);
    message_free(message);
}

static void another_messages_status_is_not_adopted(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", TWO);
    put_in(world->acme, SPOOL_HOLD, "m", TWO); // same name, same size, another file
    know(world->acme, SPOOL_HOLD, "m", SPOOL_FAILED, mixed, 3, 1600000000 * CLOCK_SECOND);
    struct message *message = claim_new(world, "m", true, CLAIM_READY);
    assert_null(message->status);
    assert_int_equal(message->status_in, SPOOL_STATES);
    assert_int_equal(message->recipient_state[1], STATUS_PENDING);
    message_free(message);
}

static void a_status_that_cannot_be_read_keeps_nobody_waiting(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", TWO);
    put_in(world->acme, SPOOL_FAILED, "m.status", "{{{ no yaml");
    message_free(claim_new(world, "m", true, CLAIM_READY));
}

static void touching_changes_neither_the_submission_time_nor_the_message_id(void **state)
{
    struct world *world = *state;
    int64_t submitted = 1764000000123456789;
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    set_mtime(world->acme, SPOOL_NEW, "m", submitted);
    struct message *first = claim_new(world, "m", true, CLAIM_READY);
    assert_int_equal(message_need_status(first), 0);
    assert_int_equal(
        renameat(dir_of(world->acme, SPOOL_CUR), "m", dir_of(world->acme, SPOOL_DEFERRED), "m"), 0);
    static const struct known pending[] = {{"a@example.net", STATUS_PENDING}};
    know(world->acme, SPOOL_DEFERRED, "m", SPOOL_DEFERRED, pending, 1, clock_ns(&first->status->submitted));
    set_mtime(world->acme, SPOOL_DEFERRED, "m", clock_wall()); // touch(1)
    struct message *again = claim(world, world->acme, SPOOL_DEFERRED, "m", true);
    claim_is(again, CLAIM_READY);
    assert_string_equal(again->outgoing->message_id, first->outgoing->message_id);
    assert_true(llabs(clock_ns(&again->stat.st_mtim) - submitted) < 1000); // the status has microseconds
    assert_non_null(strstr(again->outgoing->head, "Date: Mon, 24 Nov 2025 16:00:00 +0000"));
    message_free(first);
    message_free(again);
}

static void a_message_deferred_again_is_not_due(void **state)
{
    struct world *world = *state;
    static const struct known pending[] = {{"a@example.net", STATUS_PENDING}};
    put_in(world->acme, SPOOL_DEFERRED, "m", PLAIN);
    know(world->acme, SPOOL_DEFERRED, "m", SPOOL_DEFERRED, pending, 1, 1600000000 * CLOCK_SECOND);
    struct message *message = message_for(world, world->acme, SPOOL_DEFERRED, "m", true);
    message->recorded = 1650000000 * CLOCK_SECOND; // what the backlog last knew
    claim_now(message);
    claim_is(message, CLAIM_NOT_DUE);
    assert_true(message->recorded == 1700000000 * CLOCK_SECOND);
    assert_true(inode_in(world->acme, SPOOL_DEFERRED, "m") != 0);
    claim_now(message); // the backlog knows by now, and asks all the same: released
    claim_is(message, CLAIM_READY);
    message_free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_lies_in_a_higher_state_is_only_cleaned_up),
        TEST(another_file_of_that_name_is_another_message),
        TEST(a_name_taken_in_cur_is_counted_up),
        TEST(mail_from_deferred_goes_on_where_it_was),
        TEST(mail_that_came_back_through_new_starts_again),
        TEST(who_is_sent_by_either_status_has_it),
        TEST(another_messages_status_is_not_adopted),
        TEST(a_status_that_cannot_be_read_keeps_nobody_waiting),
        TEST(touching_changes_neither_the_submission_time_nor_the_message_id),
        TEST(a_message_deferred_again_is_not_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
