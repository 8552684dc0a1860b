// Which surveys are made, and what the hub makes of them: no directory is read again that need not be, and
// `run --once` leaves nothing that is due.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dispatch_support.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_make, hub_end)

// A message of deferred/ with an empty status file, which says when.
static void put_deferred(struct tenant *tenant, const char *name, int64_t due)
{
    char status[64];
    (void)snprintf(status, sizeof status, "%s.status", name);
    put_in(tenant, SPOOL_DEFERRED, name, PLAIN);
    put_in(tenant, SPOOL_DEFERRED, status, "");
    set_mtime(tenant, SPOOL_DEFERRED, status, due);
}

// As after the start: deferred/, then the rest.
static void surveyed(struct hub *hub, struct tenant *tenant)
{
    tenant->watch_deferred = 0; // as if it were
    dispatch_survey(&hub->dispatch, tenant);
    hub_settle(hub);
    assert_true(tenant->surveyed && tenant->counted && !tenant->survey_running);
}

static void a_survey_under_way_is_no_reason_for_another(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    put_deferred(acme, "m", clock_wall() + 3600 * CLOCK_SECOND);
    dispatch_survey(&hub->dispatch, acme);
    assert_true(acme->survey_running);
    dispatch_tick_tenant(&hub->dispatch, acme); // it takes longer than a tick
    assert_false(acme->survey_again);
    dispatch_survey(&hub->dispatch, acme); // something was moved: that is one
    assert_true(acme->survey_again);
    hub_settle(hub);
    assert_int_equal(acme->counts[OBSERVE_DEFERRED].count, 1);
}

static void what_costs_much_rests_and_the_rest_does_not_wait(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    surveyed(hub, acme);
    put_deferred(acme, "m", clock_wall() + 3600 * CLOCK_SECOND);
    put_in(acme, SPOOL_FAILED, "f", PLAIN);
    acme->deferred_cost = 30 * CLOCK_SECOND;
    acme->rest_cost = 0;
    acme->survey_ended = acme->deferred_ended = loop_now(hub->dispatch.loop) - 300 * CLOCK_SECOND;
    dispatch_tick_tenant(&hub->dispatch, acme);
    assert_true(acme->survey_running);
    hub_settle(hub);
    assert_int_equal(acme->counts[OBSERVE_FAILED].count, 1);
    assert_int_equal(acme->counts[OBSERVE_DEFERRED].count, 0);
    acme->deferred_ended = loop_now(hub->dispatch.loop) - 601 * CLOCK_SECOND; // twenty times its cost
    dispatch_tick_tenant(&hub->dispatch, acme);
    hub_settle(hub);
    assert_int_equal(acme->counts[OBSERVE_DEFERRED].count, 1);
    assert_true(acme->deferred_cost < 30 * CLOCK_SECOND);
}

static void retention_reads_deferred_too(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    surveyed(hub, acme);
    put_deferred(acme, "m", clock_wall() + 3600 * CLOCK_SECOND);
    acme->deferred_cost = 30 * CLOCK_SECOND;
    acme->retention_at = loop_now(hub->dispatch.loop);
    dispatch_survey_rest(&hub->dispatch, acme);
    hub_settle(hub);
    assert_int_equal(acme->counts[OBSERVE_DEFERRED].count, 1);
    assert_true(acme->retention_at > loop_now(hub->dispatch.loop));
}

static bool is_counted_at_the_end(struct hub *hub, struct tenant *tenant)
{
    tenant->counts[OBSERVE_DEFERRED].count = 77;
    hub->dispatch.stopping = true;
    tenant_note_change(tenant);
    while (dispatch_survey_last(&hub->dispatch))
        hub_settle(hub);
    hub->dispatch.stopping = false;
    assert_false(tenant->changed);
    return tenant->counts[OBSERVE_DEFERRED].count != 77;
}

static void at_the_end_deferred_is_read_where_its_count_is_not_sure(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    put_deferred(acme, "m", clock_wall() + 3600 * CLOCK_SECOND);
    surveyed(hub, acme);
    assert_int_equal(acme->ledger.count, 1);
    assert_true(ledger_is_sure(&acme->ledger));
    assert_false(is_counted_at_the_end(hub, acme));
    ledger_saw(&acme->ledger, true); // somebody else
    assert_true(is_counted_at_the_end(hub, acme));
    // An agent that is told to end does so soon; one that runs once has exact counts.
    for (int once = 0; once < 2; once++) {
        ledger_doubt(&acme->ledger);
        acme->deferred_cost = 30 * CLOCK_SECOND;
        hub->dispatch.once = once;
        assert_int_equal(is_counted_at_the_end(hub, acme), once);
    }
    assert_int_equal(acme->ledger.count, 1);
}

static void a_claim_and_its_end_are_counted(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    put_deferred(acme, "due", clock_wall() - CLOCK_SECOND);
    put_deferred(acme, "later", clock_wall() + 3600 * CLOCK_SECOND);
    set_mtime(acme, SPOOL_DEFERRED, "later", clock_wall() - 50 * CLOCK_SECOND);
    surveyed(hub, acme);
    assert_int_equal(acme->ledger.bytes, 2 * strlen(PLAIN));
    assert_true(hub_claim(hub, acme));
    hub_settle(hub);
    assert_int_equal(acme->ledger.count, 1);
    assert_int_equal(acme->ledger.bytes, strlen(PLAIN));
    assert_int_equal(acme->ledger.went, 1);
    assert_int_equal(acme->ledger.oldest.n, 1);
    pool_return_all(hub->pool, "a test");
    hub_settle(hub);
    assert_int_equal(acme->ledger.count, 2);
    assert_int_equal(acme->ledger.bytes, 2 * strlen(PLAIN));
    assert_int_equal(acme->ledger.came, 1);
    assert_int_equal(acme->ledger.oldest.n, 2);
}

static void names_without_room_are_fetched_before_the_end(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    const int64_t now = clock_wall();
    hub->dispatch.once = true;
    hub->world.other->settings = NULL;
    char name[32];
    for (unsigned i = 0; i < BACKLOG_DEFERRED_MAX + 3; i++) {
        (void)snprintf(name, sizeof name, "m%05u", i);
        put_deferred(acme, name, now - 3600 * CLOCK_SECOND + i * CLOCK_MS);
    }
    surveyed(hub, acme);
    assert_int_equal(acme->backlog.n_waiting, BACKLOG_DEFERRED_MAX);
    // All are tried, and are to be tried again later: they fill the backlog.
    for (struct backlog_entry *entry; (entry = backlog_next(&acme->backlog, loop_now(hub->dispatch.loop)));) {
        backlog_drop(&acme->backlog, entry);
    }
    for (unsigned i = 0; i < BACKLOG_DEFERRED_MAX; i++) {
        (void)snprintf(name, sizeof name, "m%05u.status", i);
        set_mtime(acme, SPOOL_DEFERRED, name, now + 600 * CLOCK_SECOND);
        (void)snprintf(name, sizeof name, "m%05u", i);
        dispatch_wait(&hub->dispatch, acme, name, now + 600 * CLOCK_SECOND);
    }
    assert_false(dispatch_is_done(&hub->dispatch));
    assert_true(acme->survey_running);
    hub_settle(hub);
    assert_int_equal(acme->backlog.n_waiting, 3);
    for (struct backlog_entry *entry; (entry = backlog_next(&acme->backlog, loop_now(hub->dispatch.loop)));) {
        assert_true(strcmp(entry->name, "m16384") >= 0);
        backlog_drop(&acme->backlog, entry);
    }
    assert_true(dispatch_is_done(&hub->dispatch));
    assert_false(hub->dispatch.once_findings);
}

static void what_finds_no_room_at_all_does_not_keep_it_from_ending(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    hub->dispatch.once = true;
    hub->world.other->settings = NULL;
    surveyed(hub, acme);
    char name[32];
    for (unsigned i = 0; i < BACKLOG_DEFERRED_MAX; i++) {
        (void)snprintf(name, sizeof name, "gone%u", i);
        dispatch_wait(&hub->dispatch, acme, name, clock_wall() + 600 * CLOCK_SECOND);
    }
    put_deferred(acme, "due", clock_wall() - CLOCK_SECOND);
    dispatch_wait(&hub->dispatch, acme, "due", clock_wall() - CLOCK_SECOND);
    assert_false(dispatch_is_done(&hub->dispatch));
    hub_settle(hub);
    assert_true(dispatch_is_done(&hub->dispatch));
    assert_true(hub->dispatch.once_findings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_survey_under_way_is_no_reason_for_another),
        TEST(what_costs_much_rests_and_the_rest_does_not_wait),
        TEST(retention_reads_deferred_too),
        TEST(at_the_end_deferred_is_read_where_its_count_is_not_sure),
        TEST(a_claim_and_its_end_are_counted),
        TEST(names_without_room_are_fetched_before_the_end),
        TEST(what_finds_no_room_at_all_does_not_keep_it_from_ending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
