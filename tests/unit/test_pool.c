// An account's pool without its sessions: who is claimed from and sent first, and how far ahead.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dispatch_support.h"

#define HIGH "X-Outtray-Priority: high\n" PLAIN

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_make, hub_end)

static void put_many(struct tenant *tenant, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%03u", i);
        hub_put(tenant, name, PLAIN);
    }
}

// Returns everything that is ready; the log then has it in the order in which it would have been sent.
static void order_is(struct hub *hub, const char *const *expected, size_t n)
{
    pool_return_all(hub->pool, "returned");
    hub_settle(hub);
    char *text = world_log(&hub->world), *at = text;
    for (size_t i = 0; i < n; i++) {
        at = strstr(at, "event=returned");
        if (!at || !strstr(at, expected[i]) || strchr(at, '\n') < strstr(at, expected[i]))
            fail_msg("no '%s' in its place in:\n%s", expected[i], text);
        at++;
    }
    assert_null(strstr(at, "event=returned"));
    free(text);
}

static void tenants_take_turns_by_their_weight(void **state)
{
    struct hub *hub = *state;
    struct config_tenant heavy = *hub->world.acme->settings;
    heavy.weight = 2;
    for (int i = 0; i < 6; i++) {
        char name[8] = {'m', (char)('0' + i), 0};
        hub_put(hub->world.acme, name, PLAIN);
        hub_put(hub->world.other, name, PLAIN);
    }
    for (int i = 0; i < 6; i++) // acme's claims come first, all of them
        assert_true(hub_claim(hub, hub->world.acme));
    for (int i = 0; i < 6; i++)
        assert_true(hub_claim(hub, hub->world.other));
    hub->world.acme->settings = &heavy;
    hub_settle(hub);
    assert_int_equal(hub->pool->ready, 12);
    static const char *const expected[] = {"tenant=acme name=m0", "tenant=acme name=m1",
        "tenant=other name=m0", "tenant=acme name=m2", "tenant=acme name=m3", "tenant=other name=m1",
        "tenant=acme name=m4", "tenant=acme name=m5", "tenant=other name=m2", "tenant=other name=m3",
        "tenant=other name=m4", "tenant=other name=m5"};
    order_is(hub, expected, 12);
    hub->world.acme->settings = config_find_tenant(hub->world.config, "acme");
    assert_int_equal(hub->pool->ready, 0);
    assert_int_equal(entries_in(hub->world.acme, SPOOL_NEW), 6);
    assert_int_equal(entries_in(hub->world.other, SPOOL_NEW), 6);
}

static void who_has_nothing_on_its_way_comes_before_who_has(void **state)
{
    struct hub *hub = *state;
    hub->world.acme->flying = 3;
    for (int i = 0; i < 3; i++) {
        char name[8] = {'m', (char)('0' + i), 0};
        hub_put(hub->world.acme, name, PLAIN);
        assert_true(hub_claim(hub, hub->world.acme));
    }
    hub_put(hub->world.other, "quiet", PLAIN);
    assert_true(hub_claim(hub, hub->world.other));
    hub_settle(hub);
    static const char *const expected[] = {
        "tenant=other name=quiet", "tenant=acme name=m0", "tenant=acme name=m1", "tenant=acme name=m2"};
    order_is(hub, expected, 4);
    hub->world.acme->flying = 0;
}

// As with one message in flight at a time: whose is filed, has nothing on its way when the next is taken.
static void a_backlog_does_not_come_again_before_others(void **state)
{
    struct hub *hub = *state;
    hub->world.acme->flying = hub->world.other->flying = 1;
    for (int i = 0; i < 3; i++) {
        char name[8] = {'m', (char)('0' + i), 0};
        hub_put(hub->world.acme, name, PLAIN);
        hub_put(hub->world.other, name, PLAIN);
    }
    for (int i = 0; i < 3; i++)
        assert_true(hub_claim(hub, hub->world.acme));
    for (int i = 0; i < 3; i++)
        assert_true(hub_claim(hub, hub->world.other));
    hub_settle(hub);
    hub->world.acme->flying = hub->world.other->flying = 0;
    static const char *const expected[] = {"tenant=acme name=m0", "tenant=other name=m0",
        "tenant=acme name=m1", "tenant=other name=m1", "tenant=acme name=m2", "tenant=other name=m2"};
    order_is(hub, expected, 6);
}

static void high_priority_is_sent_first(void **state)
{
    struct hub *hub = *state;
    hub_put(hub->world.acme, "a", PLAIN);
    hub_put(hub->world.acme, "b", HIGH);
    hub_put(hub->world.acme, "c", PLAIN);
    for (int i = 0; i < 3; i++)
        assert_true(hub_claim(hub, hub->world.acme));
    hub_settle(hub);
    static const char *const expected[] = {"name=b", "name=a", "name=c"};
    order_is(hub, expected, 3);
}

static void what_goes_on_is_put_in_front(void **state)
{
    struct hub *hub = *state;
    hub_put(hub->world.acme, "a", PLAIN);
    hub_put(hub->world.acme, "b", PLAIN);
    for (int i = 0; i < 2; i++)
        assert_true(hub_claim(hub, hub->world.acme));
    hub_settle(hub);
    struct message *first = message_list_take(&hub->world.acme->ready);
    struct message *second = message_list_take(&hub->world.acme->ready);
    hub->pool->ready -= 2;
    pool_ready(hub->pool, first, false);
    pool_ready(hub->pool, second, true);
    static const char *const expected[] = {"name=b", "name=a"};
    order_is(hub, expected, 2);
}

static void claims_go_ahead_within_bounds_and_leave_everybody_a_share(void **state)
{
    struct hub *hub = *state;
    put_many(hub->world.acme, 300);
    put_many(hub->world.other, 3);
    pool_pump(hub->pool);
    const struct config_limits *limits = &hub->pool->account->settings->limits;
    assert_in_range(hub->dispatch.claimed, 4, limits->connections * limits->window + POOL_AHEAD);
    assert_int_equal(hub->world.other->claimed, 3); // few of them, all at once
    assert_int_equal(hub->world.acme->claimed + 3, hub->dispatch.claimed);
    assert_int_equal(hub->pool->claiming, hub->dispatch.claimed);
    hub_settle(hub);
    assert_int_equal(hub->pool->claiming, 0);
    assert_int_equal(hub->pool->ready, hub->dispatch.claimed);
}

static void a_quiet_tenant_has_a_reserved_place(void **state)
{
    struct hub *hub = *state;
    put_many(hub->world.acme, 300);
    pool_pump(hub->pool); // takes all there is ahead
    unsigned before = hub->dispatch.claimed;
    hub_put(hub->world.other, "late", PLAIN);
    pool_pump(hub->pool);
    assert_int_equal(hub->world.other->claimed, 1);
    assert_int_equal(hub->dispatch.claimed, before + 1);
    hub_settle(hub);
}

static void nothing_is_claimed_while_the_spool_is_in_trouble(void **state)
{
    struct hub *hub = *state;
    put_many(hub->world.acme, 3);
    for (int i = 0; i < 3; i++) {
        hub->dispatch.spool_full = i == 0;
        hub->dispatch.spool_broken = i == 1;
        hub->dispatch.stopping = i == 2;
        pool_pump(hub->pool);
        assert_int_equal(hub->dispatch.claimed, 0);
    }
    hub->dispatch.stopping = false;
    pool_pump(hub->pool);
    assert_int_equal(hub->dispatch.claimed, 3);
}

static void a_paused_account_claims_nothing(void **state)
{
    struct hub *hub = *state;
    put_many(hub->world.acme, 3);
    struct smtp_reply reply;
    assert_true(reply_parse("535 5.7.8 bad password", &reply));
    struct outcome outcome = outcome_of_reply(SMTP_STAGE_AUTH, &reply);
    assert_int_equal(outcome.verdict, VERDICT_ACCOUNT_CREDENTIALS);
    assert_int_equal(
        account_troubled(hub->pool->account, &outcome, reply.text, clock_boot()), ACCOUNT_PAUSED);
    pool_pump(hub->pool);
    assert_int_equal(hub->dispatch.claimed, 0);
    assert_true(pool_is_blocked(hub->pool));
    assert_false(pool_is_blocked(hub->second));
}

// A reload that gives a tenant another account while claims of it are under way.
static void claims_under_way_go_with_their_tenant(void **state)
{
    struct hub *hub = *state;
    put_many(hub->world.acme, 5);
    put_many(hub->world.other, 2);
    pool_pump(hub->pool);
    assert_int_equal(hub->pool->claiming, 7);
    pool_remove_tenant(hub->pool, hub->world.acme);
    assert_int_equal(hub->pool->claiming, 2);
    pool_add_tenant(hub->second, hub->world.acme);
    assert_int_equal(hub->second->claiming, 5);
    hub_settle(hub);
    assert_int_equal(hub->pool->claiming, 0);
    assert_int_equal(hub->second->claiming, 0);
    assert_int_equal(hub->pool->ready, 2);
    assert_int_equal(hub->second->ready, 5);
    assert_int_equal(hub->pool->n_tenants, 1);
    assert_int_equal(hub->second->n_tenants, 1);
}

// A reload that removes a tenant while claims of it are under way.
static void what_a_removed_tenant_had_claimed_goes_back(void **state)
{
    struct hub *hub = *state;
    put_many(hub->world.acme, 5);
    pool_pump(hub->pool);
    pool_remove_tenant(hub->pool, hub->world.acme);
    hub->world.acme->settings = NULL;
    hub_settle(hub);
    assert_int_equal(hub->pool->claiming, 0);
    assert_int_equal(hub->pool->ready, 0);
    assert_int_equal(hub->dispatch.claimed, 0);
    assert_int_equal(entries_in(hub->world.acme, SPOOL_NEW), 5);
    assert_int_equal(entries_in(hub->world.acme, SPOOL_CUR), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tenants_take_turns_by_their_weight),
        TEST(who_has_nothing_on_its_way_comes_before_who_has),
        TEST(a_backlog_does_not_come_again_before_others),
        TEST(high_priority_is_sent_first),
        TEST(what_goes_on_is_put_in_front),
        TEST(claims_go_ahead_within_bounds_and_leave_everybody_a_share),
        TEST(a_quiet_tenant_has_a_reserved_place),
        TEST(nothing_is_claimed_while_the_spool_is_in_trouble),
        TEST(a_paused_account_claims_nothing),
        TEST(claims_under_way_go_with_their_tenant),
        TEST(what_a_removed_tenant_had_claimed_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
