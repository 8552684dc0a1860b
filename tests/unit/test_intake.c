// Claiming: what is a message, when it is complete, what cannot be sent.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "intake_support.h"
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#define NOBODY 65534

static void a_complete_message_is_claimed_and_composed(void **state)
{
    struct world *world = *state;
    ino_t inode = put_in(world->acme, SPOOL_NEW, "m", TWO);
    struct message *message = claim_new(world, "m", true, CLAIM_READY);
    assert_true(inode_in(world->acme, SPOOL_CUR, "m") == inode);
    assert_true(inode_in(world->acme, SPOOL_NEW, "m") == 0);
    assert_int_equal(message->origin, SPOOL_NEW);
    assert_true(message->stat.st_ino == inode);
    assert_non_null(message->outgoing);
    assert_int_equal(message->outgoing->n_recipients, 2);
    assert_string_equal(message->outgoing->envelope_from, "noreply@example.com");
    assert_int_equal(message->recipient_state[0], STATUS_PENDING);
    assert_int_equal(message->recipient_state[1], STATUS_PENDING);
    assert_null(message->status);
    assert_int_equal(message->status_in, SPOOL_STATES);
    assert_int_equal(message->attempt, 1);
    assert_int_equal(message->error, 0);
    assert_ptr_equal(message->settings, world->acme->settings);
    message_free(message);
}

static void a_large_message_keeps_its_file_open_and_a_small_one_does_not(void **state)
{
    struct world *world = *state;
    static char text[OUTGOING_INLINE_MAX * 2];
    (void)snprintf(text, sizeof text, "To: a@example.net\n\n");
    for (size_t n = strlen(text); n < sizeof text - 1; n++)
        text[n] = n % 70 ? 'x' : '\n';
    put_in(world->acme, SPOOL_NEW, "large", text);
    put_in(world->acme, SPOOL_NEW, "small", PLAIN);
    struct message *large = claim_new(world, "large", true, CLAIM_READY);
    struct message *small = claim_new(world, "small", true, CLAIM_READY);
    assert_true(large->fd >= 0);
    assert_int_equal(large->outgoing->body.fd, large->fd);
    assert_int_equal(small->fd, -1);
    message_free(large);
    message_free(small);
}

static void what_is_no_regular_file_is_left_untouched(void **state)
{
    struct world *world = *state;
    int dir = dir_of(world->acme, SPOOL_NEW);
    static const char *const names[] = {
        "link", "dangling", "to-dir", "fifo", "directory", "socket", "device", "-rf"};
    put_in(world->acme, SPOOL_HOLD, "target", PLAIN);
    assert_int_equal(symlinkat("../hold/target", dir, "link"), 0);
    assert_int_equal(symlinkat("nowhere", dir, "dangling"), 0);
    assert_int_equal(symlinkat("../hold", dir, "to-dir"), 0);
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    assert_int_equal(mkdirat(dir, "directory", 0700), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/socket", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    if (mknodat(dir, "device", S_IFCHR | 0600, makedev(1, 3)))
        assert_int_equal(mkfifoat(dir, "device", 0600), 0); // no right to make devices here
    assert_int_equal(mkdirat(dir, "-rf", 0700), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int sure = 0; sure < 2; sure++) {
            ino_t inode = inode_in(world->acme, SPOOL_NEW, names[i]);
            struct message *message = claim_new(world, names[i], sure, CLAIM_IGNORED);
            assert_true(inode_in(world->acme, SPOOL_NEW, names[i]) == inode);
            message_free(message);
        }
    assert_int_equal(entries_in(world->acme, SPOOL_CUR), 0);
}

static void a_name_that_is_gone_is_no_error(void **state)
{
    struct world *world = *state;
    message_free(claim_new(world, "gone", true, CLAIM_GONE));
    struct message *message = claim(world, world->acme, SPOOL_DEFERRED, "gone", true);
    claim_is(message, CLAIM_GONE);
    message_free(message);
}

static void a_file_that_is_open_for_writing_waits(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    set_mtime(world->acme, SPOOL_NEW, "m", clock_wall() - 3600 * CLOCK_SECOND);
    int writer = openat(dir_of(world->acme, SPOOL_NEW), "m", O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(writer >= 0);
    for (int i = 0; i < 3; i++) { // however often, and however old it looks
        struct message *message = claim_new(world, "m", false, CLAIM_UNSETTLED);
        assert_true(inode_in(world->acme, SPOOL_NEW, "m") != 0);
        assert_int_equal(message->seen_size, (int64_t)strlen(PLAIN));
        message_free(message);
    }
    assert_int_equal(entries_in(world->acme, SPOOL_CUR), 0);
    close(writer);
    message_free(claim_new(world, "m", false, CLAIM_READY)); // the lease says so at once
}

static void a_link_in_tmp_says_that_it_is_complete(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_TMP, "m", PLAIN);
    int writer = openat(dir_of(world->acme, SPOOL_TMP), "m", O_WRONLY | O_CLOEXEC);
    assert_int_equal(linkat(dir_of(world->acme, SPOOL_TMP), "m", dir_of(world->acme, SPOOL_NEW), "m", 0), 0);
    message_free(claim_new(world, "m", false, CLAIM_READY));
    assert_true(inode_in(world->acme, SPOOL_TMP, "m") != 0); // the producer's to remove
    close(writer);
}

static void a_link_elsewhere_says_nothing(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    put_in(world->acme, SPOOL_TMP, "m", "another file of that name\n");
    assert_int_equal(linkat(dir_of(world->acme, SPOOL_NEW), "m", dir_of(world->acme, SPOOL_HOLD), "x", 0), 0);
    int writer = openat(dir_of(world->acme, SPOOL_NEW), "m", O_WRONLY | O_CLOEXEC);
    message_free(claim_new(world, "m", false, CLAIM_UNSETTLED));
    close(writer);
    message_free(claim_new(world, "m", false, CLAIM_READY));
}

// As somebody who owns none of the files and may not ask for a lease. False where the tests do not run as
// root: then that cannot be had.
static bool become_nobody(struct world *world)
{
    if (geteuid() != 0)
        return false;
    static const enum spool_state states[] = {
        SPOOL_TMP, SPOOL_NEW, SPOOL_CUR, SPOOL_DEFERRED, SPOOL_SENT, SPOOL_FAILED};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        assert_int_equal(fchmod(dir_of(world->acme, states[i]), 0777), 0);
    assert_int_equal(seteuid(NOBODY), 0);
    return true;
}

static void become_root(void)
{
    assert_int_equal(seteuid(0), 0);
}

static void without_a_lease_a_file_must_stay_as_it_is(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    put_in(world->acme, SPOOL_NEW, "old", PLAIN);
    assert_int_equal(fchmodat(dir_of(world->acme, SPOOL_NEW), "m", 0666, 0), 0);
    assert_int_equal(fchmodat(dir_of(world->acme, SPOOL_NEW), "old", 0666, 0), 0);
    set_mtime(world->acme, SPOOL_NEW, "old", clock_wall() - (INTAKE_SETTLE_MS + 1) * CLOCK_MS);
    // A second ahead, so that the test may take as long as it likes.
    int64_t mtime = clock_wall() + 60 * CLOCK_SECOND;
    set_mtime(world->acme, SPOOL_NEW, "m", mtime);
    if (!become_nobody(world))
        skip();
    struct message *message = claim(world, world->acme, SPOOL_NEW, "m", false);
    enum claim_result first = message->claim;
    int64_t size = message->seen_size, seen = message->seen_mtime;
    message_free(message);
    // It grew since.
    int writer = openat(dir_of(world->acme, SPOOL_NEW), "m", O_WRONLY | O_APPEND | O_CLOEXEC);
    bool written = write(writer, "more\n", 5) == 5;
    close(writer);
    message = message_for(world, world->acme, SPOOL_NEW, "m", false);
    message->seen_size = size;
    message->seen_mtime = seen;
    claim_now(message);
    enum claim_result grown = message->claim;
    int64_t grown_size = message->seen_size;
    // And now it did not.
    claim_now(message);
    enum claim_result unchanged = message->claim;
    struct message *old = claim(world, world->acme, SPOOL_NEW, "old", false);
    become_root();
    assert_true(written);
    assert_int_equal(first, CLAIM_UNSETTLED);
    assert_int_equal(size, (int64_t)strlen(PLAIN));
    assert_true(seen == mtime);
    assert_int_equal(grown, CLAIM_UNSETTLED);
    assert_int_equal(grown_size, (int64_t)strlen(PLAIN) + 5);
    assert_int_equal(unchanged, CLAIM_READY);
    claim_is(old, CLAIM_READY);
    message_free(message);
    message_free(old);
}

static void a_file_the_agent_may_not_read_is_a_fault(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    assert_int_equal(fchmodat(dir_of(world->acme, SPOOL_NEW), "m", 0, 0), 0);
    if (!become_nobody(world))
        skip();
    struct message *message = claim(world, world->acme, SPOOL_NEW, "m", true);
    become_root();
    claim_is(message, CLAIM_FAULT);
    assert_int_equal(message->fault->reason, STATUS_REASON_MALFORMED);
    assert_true(message->fault->detail[0] != 0);
    assert_true(inode_in(world->acme, SPOOL_CUR, "m") == message->stat.st_ino);
    assert_null(message->outgoing);
    message_free(message);
}

static void faults_are_claimed_and_say_why(void **state)
{
    struct world *world = *state;
    static char large[65 * 1024 + 1];
    memset(large, 'x', sizeof large - 1);
    memcpy(large, PLAIN, strlen(PLAIN));
    const struct {
        const char *text;
        enum status_reason reason;
    } rows[] = {
        {"", STATUS_REASON_MALFORMED},
        {"Subject: nobody\n\nbody\n", STATUS_REASON_MALFORMED},
        {"To: this is no address at all @@\n\nbody\n", STATUS_REASON_MALFORMED},
        {large, STATUS_REASON_MALFORMED},
        {"To: a@b.c\nX-Outtray-Expires: Mon, 01 Jan 2024 00:00:00 +0000\n\nbody\n", STATUS_REASON_EXPIRED},
        {"To: a@b.c\nX-Outtray-Not-Before: whenever\n\nbody\n", STATUS_REASON_MALFORMED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%zu", i);
        put_in(world->acme, SPOOL_NEW, name, rows[i].text);
        struct message *message = claim_new(world, name, true, CLAIM_FAULT);
        if (message->fault->reason != rows[i].reason || !message->fault->detail[0])
            fail_msg("%zu: reason %d '%s'", i, (int)message->fault->reason, message->fault->detail);
        assert_true(inode_in(world->acme, SPOOL_CUR, name) == message->stat.st_ino);
        message_free(message);
    }
}

static void a_message_for_later_waits(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", "To: a@b.c\nX-Outtray-Not-Before: +2h\n\nbody\n");
    struct message *message = claim_new(world, "m", true, CLAIM_WAIT);
    assert_true(message->outgoing->not_before == clock_ns(&message->stat.st_mtim) + 7200 * CLOCK_SECOND);
    message_free(message);
    put_in(world->acme, SPOOL_NEW, "past", "To: a@b.c\nX-Outtray-Not-Before: +2h\n\nbody\n");
    set_mtime(world->acme, SPOOL_NEW, "past", clock_wall() - 7201 * CLOCK_SECOND);
    message_free(claim_new(world, "past", true, CLAIM_READY));
}

static void without_descriptors_it_is_put_back(void **state)
{
    struct world *world = *state;
    ino_t inode = put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    struct message *message = message_for(world, world->acme, SPOOL_NEW, "m", true);
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    claim_now(message);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    claim_is(message, CLAIM_LATER);
    assert_int_equal(message->error, -EMFILE);
    assert_true(inode_in(world->acme, SPOOL_NEW, "m") == inode);
    assert_int_equal(entries_in(world->acme, SPOOL_CUR), 0);
    claim_now(message); // and may be tried again
    claim_is(message, CLAIM_READY);
    message_free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_complete_message_is_claimed_and_composed),
        TEST(a_large_message_keeps_its_file_open_and_a_small_one_does_not),
        TEST(what_is_no_regular_file_is_left_untouched),
        TEST(a_name_that_is_gone_is_no_error),
        TEST(a_file_that_is_open_for_writing_waits),
        TEST(a_link_in_tmp_says_that_it_is_complete),
        TEST(a_link_elsewhere_says_nothing),
        TEST(without_a_lease_a_file_must_stay_as_it_is),
        TEST(a_file_the_agent_may_not_read_is_a_fault),
        TEST(faults_are_claimed_and_say_why),
        TEST(a_message_for_later_waits),
        TEST(without_descriptors_it_is_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
