// What is under way for long lies in cur/.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock_support.h"
#include "dispatch_support.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_make, hub_end)

static size_t wanted; // entries of acme's cur/

static bool settled(struct world *world)
{
    clock_poll();
    return hub_is_idle(world) && entries_in(world->acme, SPOOL_CUR) == wanted;
}

static void run_until_settled(struct hub *hub, size_t n)
{
    hub->dispatch.settle.after = SETTLE_AFTER_MS * CLOCK_MS;
    hub->dispatch.settle.timer.fire(&hub->dispatch.settle.timer);
    wanted = n;
    world_run(&hub->world, settled);
}

static void claim_one(struct hub *hub, const char *name)
{
    hub_put(hub->world.acme, name, PLAIN);
    assert_true(hub_claim(hub, hub->world.acme));
    hub_settle(hub);
}

static void file_all(struct hub *hub, enum filing_action action)
{
    for (struct message *message; (message = message_list_take(&hub->world.acme->ready));) {
        hub->pool->ready--;
        message->filing = action;
        dispatch_file(&hub->dispatch, message);
    }
    hub_settle(hub);
}

static void what_is_claimed_for_long_is_moved_and_filed_from_there(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    char name[16];
    for (int i = 0; i < 100; i++) { // more than one job takes
        (void)snprintf(name, sizeof name, "m%d", i);
        claim_one(hub, name);
    }
    assert_int_equal(
        entries_in(acme, SPOOL_NEW) + entries_in(acme, SPOOL_CUR), 100); // a slow machine has moved some
    clock_move(1);
    clock_poll();
    hub_settle(hub);
    run_until_settled(hub, 100);
    assert_int_equal(entries_in(acme, SPOOL_NEW), 0);
    assert_null(hub->dispatch.settle.first);
    file_all(hub, FILING_SENT);
    assert_int_equal(entries_in(acme, SPOOL_SENT), 100);
    assert_int_equal(entries_in(acme, SPOOL_CUR), 0);
    assert_int_equal(acme->backlog.n_claimed, 0);
}

static void what_was_claimed_later_has_its_time(void **state)
{
    struct hub *hub = *state;
    claim_one(hub, "a");
    claim_one(hub, "b");
    struct message *a = hub->dispatch.settle.first, *b = hub->dispatch.settle.last;
    a->claimed_at -= SETTLE_AFTER_MS * CLOCK_MS;
    b->claimed_at += CLOCK_SECOND;
    run_until_settled(hub, 1);
    assert_true(inode_in(hub->world.acme, SPOOL_CUR, "a") != 0);
    assert_true(inode_in(hub->world.acme, SPOOL_NEW, "b") != 0);
    clock_move(2);
    run_until_settled(hub, 2);
    file_all(hub, FILING_SENT);
}

static void what_was_filed_in_time_never_sees_cur(void **state)
{
    struct hub *hub = *state;
    claim_one(hub, "m");
    file_all(hub, FILING_SENT);
    assert_null(hub->dispatch.settle.first);
    clock_move(1);
    clock_poll();
    hub_settle(hub);
    run_until_settled(hub, 0);
    assert_true(inode_in(hub->world.acme, SPOOL_SENT, "m") != 0);
}

// The outcome comes behind the move, also where both wait for the same batch.
static void a_move_and_an_outcome_at_once(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    for (int i = 0; i < 3; i++) {
        const char *name = (const char *[]){"sent", "later", "back"}[i];
        claim_one(hub, name);
        struct message *message = message_list_take(&acme->ready);
        hub->pool->ready--;
        message->claimed_at = 0;
        hub->dispatch.settle.timer.fire(&hub->dispatch.settle.timer);
        message->filing = (enum filing_action[]){FILING_SENT, FILING_DEFER, FILING_RETURN}[i];
        if (message->filing == FILING_DEFER) {
            assert_int_equal(message_need_status(message), 0);
            message->status->next_attempt = clock_timespec(clock_wall() + CLOCK_SECOND);
        }
        dispatch_file(&hub->dispatch, message);
        hub_settle(hub);
    }
    assert_true(inode_in(acme, SPOOL_SENT, "sent") != 0);
    assert_true(inode_in(acme, SPOOL_NEW, "back") != 0);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "later") != 0);
    assert_int_equal(entries_in(acme, SPOOL_CUR), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_claimed_for_long_is_moved_and_filed_from_there),
        TEST(what_was_claimed_later_has_its_time),
        TEST(what_was_filed_in_time_never_sees_cur),
        TEST(a_move_and_an_outcome_at_once),
    };
    return cmocka_run_group_tests(tests, clock_make, clock_remove);
}
