// A claimed message that can neither be read nor put back now: it comes back as soon as that works again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/scan.h"
#include "dispatch_support.h"
#include <sys/syscall.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_make, hub_end)

// So many of the next opens of status files fail; what happens at the last of them.
static _Atomic int failing;
static struct tenant *taken; // its deferred/d is another message from then on

int openat(int dir, const char *name, int flags, ...)
{
    const char *end = strrchr(name, '.');
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    if (failing && end && strcmp(end, ".status") == 0) {
        if (failing-- == 1 && taken)
            put_in(taken, SPOOL_DEFERRED, "d", PLAIN);
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_openat, dir, name, flags, mode);
}

static void defer(struct tenant *tenant)
{
    put_in(tenant, SPOOL_DEFERRED, "d", PLAIN);
    struct status *status = status_new();
    int fd = openat(dir_of(tenant, SPOOL_DEFERRED), "d", O_RDONLY | O_CLOEXEC);
    assert_int_equal(status_identify(status, fd), 0);
    close(fd);
    status->state = STATUS_DEFERRED;
    assert_int_equal(status_write(dir_of(tenant, SPOOL_DEFERRED), "d", status), 0);
    status_free(status);
}

// What is in the way is there when it is read, when it is put back, and when the filing desk tries.
static void strand(struct hub *hub)
{
    struct tenant *acme = hub->world.acme;
    int64_t recorded;
    defer(acme);
    assert_int_equal(scan_due(acme->dirs->spool, "d", &recorded, NULL), 0);
    assert_non_null(backlog_add_deferred(&acme->backlog, "d", recorded, 0, loop_now(hub->dispatch.loop)));
    failing = 3;
    assert_true(hub_claim(hub, acme));
    hub_settle(hub);
    assert_int_equal(failing, 0);
    assert_int_equal(entries_in(acme, SPOOL_CUR), 0);
    assert_int_equal(hub->dispatch.claimed, 0);
    assert_int_equal(acme->claiming, 0);
    assert_int_equal(acme->backlog.n_deferred, 1);
    assert_false(hub->dispatch.once_findings); // it may still go out; what is left in the end counts
}

static void claim_again(struct hub *hub, int64_t after)
{
    struct tenant *acme = hub->world.acme;
    struct backlog_entry *entry = backlog_next(&acme->backlog, loop_now(hub->dispatch.loop) + after);
    assert_non_null(entry);
    assert_true(dispatch_claim(&hub->dispatch, acme, entry));
    hub_settle(hub);
    assert_int_equal(hub->pool->ready, 1);
}

static void it_is_tried_again_in_a_moment(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    taken = NULL;
    strand(hub);
    assert_true(backlog_troubled(&acme->backlog));
    assert_true(inode_in(acme, SPOOL_DEFERRED, "d") != 0);
    assert_false(backlog_has_waiting(&acme->backlog, loop_now(hub->dispatch.loop))); // not at once
    claim_again(hub, 2 * CLOCK_SECOND);
}

static void it_is_found_by_the_name_it_got(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    taken = acme;
    strand(hub);
    taken = NULL;
    assert_true(inode_in(acme, SPOOL_DEFERRED, "d~2") != 0);
    claim_again(hub, 0);
    struct message *message = acme->ready.first;
    assert_string_equal(message->claimed_name, "d~2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_tried_again_in_a_moment), TEST(it_is_found_by_the_name_it_got)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
