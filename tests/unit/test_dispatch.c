// The hub: what becomes of claims that come back, of outcomes that were filed, and of an account's pauses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dispatch_support.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_make, hub_end)

static void claim_all(struct hub *hub, struct tenant *tenant)
{
    while (backlog_has_waiting(&tenant->backlog, loop_now(hub->dispatch.loop)))
        assert_true(hub_claim(hub, tenant));
    hub_settle(hub);
}

static void logged(struct hub *hub, const char *what, size_t times)
{
    char *text = world_log(&hub->world);
    if (times_in(text, what) != times)
        fail_msg("not %zu times '%s' in:\n%s", times, what, text);
    free(text);
}

static struct message *take_ready(struct hub *hub, struct tenant *tenant)
{
    struct message *message = message_list_take(&tenant->ready);
    assert_non_null(message);
    hub->pool->ready--;
    return message;
}

static void concluded(struct hub *hub, struct message *message, enum filing_action action)
{
    message->filing = action;
    dispatch_file(&hub->dispatch, message);
    hub_settle(hub);
}

static void a_good_message_is_ready(void **state)
{
    struct hub *hub = *state;
    hub_put(hub->world.acme, "m", PLAIN);
    claim_all(hub, hub->world.acme);
    assert_int_equal(hub->pool->ready, 1);
    assert_int_equal(hub->world.acme->ready.n, 1);
    assert_int_equal(hub->world.acme->claiming, 0);
    assert_int_equal(hub->world.acme->claimed, 1);
    assert_int_equal(hub->dispatch.claimed, 1);
    assert_int_equal(hub->world.acme->backlog.n_new, 0); // its name belongs to the message now
    assert_false(dispatch_is_quiet(&hub->dispatch));
}

static void a_faulty_message_fails_at_once(void **state)
{
    struct hub *hub = *state;
    hub_put(hub->world.acme, "m", "");
    claim_all(hub, hub->world.acme);
    assert_int_equal(hub->pool->ready, 0);
    assert_int_equal(hub->dispatch.claimed, 0);
    assert_true(inode_in(hub->world.acme, SPOOL_FAILED, "m") != 0);
    assert_true(inode_in(hub->world.acme, SPOOL_FAILED, "m.status") != 0);
    assert_int_equal(hub->world.acme->failed[STATUS_REASON_MALFORMED - 1], 1);
    assert_true(hub->dispatch.once_findings);
    logged(hub, "event=failed tenant=acme name=m", 1);
}

static void a_message_for_later_waits_in_deferred_and_in_the_backlog(void **state)
{
    struct hub *hub = *state;
    hub_put(hub->world.acme, "m", "To: a@b.c\nX-Outtray-Not-Before: +2h\n\nbody\n");
    claim_all(hub, hub->world.acme);
    assert_true(inode_in(hub->world.acme, SPOOL_DEFERRED, "m") != 0);
    assert_int_equal(hub->world.acme->backlog.n_deferred, 1);
    int64_t due = backlog_next_due(&hub->world.acme->backlog) - clock_boot();
    assert_true(due > 7100 * CLOCK_SECOND && due <= 7200 * CLOCK_SECOND);
    assert_false(hub->dispatch.once_findings); // it is not due
    assert_int_equal(hub->dispatch.claimed, 0);
}

static void what_is_no_message_is_logged_once(void **state)
{
    struct hub *hub = *state;
    assert_int_equal(mkfifoat(dir_of(hub->world.acme, SPOOL_NEW), "fifo", 0600), 0);
    for (int i = 0; i < 3; i++) {
        backlog_add_new(&hub->world.acme->backlog, "fifo", true, false);
        claim_all(hub, hub->world.acme);
    }
    logged(hub, "event=ignored tenant=acme name=fifo", 1);
    assert_int_equal(hub->world.acme->backlog.n_new, 0);
    assert_int_equal(hub->dispatch.claimed, 0);
    assert_true(inode_in(hub->world.acme, SPOOL_NEW, "fifo") != 0);
}

static void what_may_still_be_written_to_is_looked_at_again(void **state)
{
    struct hub *hub = *state;
    put_in(hub->world.acme, SPOOL_NEW, "m", PLAIN);
    int writer = openat(dir_of(hub->world.acme, SPOOL_NEW), "m", O_WRONLY | O_CLOEXEC);
    struct backlog_entry *entry = backlog_add_new(&hub->world.acme->backlog, "m", false, false);
    claim_all(hub, hub->world.acme);
    assert_int_equal(entry->state, BACKLOG_LATER);
    assert_int_equal(entry->size, (int64_t)strlen(PLAIN));
    assert_int_equal(entry->settles, 1);
    int64_t due = entry->due - clock_boot();
    assert_true(due > 0 && due <= INTAKE_SETTLE_MS * CLOCK_MS);
    assert_int_equal(hub->dispatch.claimed, 0);
    close(writer);
    backlog_add_new(&hub->world.acme->backlog, "m", true, false); // the event of its closing
    claim_all(hub, hub->world.acme);
    assert_int_equal(hub->pool->ready, 1);
}

static void a_vanished_name_is_forgotten(void **state)
{
    struct hub *hub = *state;
    backlog_add_new(&hub->world.acme->backlog, "gone", true, false);
    claim_all(hub, hub->world.acme);
    assert_int_equal(hub->world.acme->backlog.n_new, 0);
    assert_int_equal(hub->dispatch.claimed, 0);
}

static void outcomes_are_counted_when_they_are_durable(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    hub_put(acme, "sent", PLAIN);
    hub_put(acme, "deferred", PLAIN);
    claim_all(hub, acme);
    concluded(hub, take_ready(hub, acme), FILING_SENT);
    assert_int_equal(acme->sent_total, 1);
    uint64_t delivered = 0;
    for (size_t i = 0; i <= OBSERVE_BUCKETS; i++)
        delivered += hub->pool->delivery[i];
    assert_int_equal(delivered, 1);
    struct message *message = take_ready(hub, acme);
    assert_int_equal(message_need_status(message), 0);
    message->status->next_attempt = clock_timespec(clock_wall() + 60 * CLOCK_SECOND);
    message->deferred_class = "greylist";
    concluded(hub, message, FILING_DEFER);
    assert_int_equal(acme->deferred[observe_class_index("greylist")], 1);
    assert_int_equal(acme->backlog.n_deferred, 1);
    int64_t due = backlog_next_due(&acme->backlog) - clock_boot();
    assert_true(due > 50 * CLOCK_SECOND && due <= 60 * CLOCK_SECOND);
    assert_true(hub->dispatch.once_findings);
    assert_int_equal(hub->dispatch.claimed, 0);
    assert_int_equal(acme->claimed, 0);
    assert_true(acme->changed);
}

static void a_recorded_message_goes_on_in_front(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    hub_put(acme, "m", PLAIN);
    hub_put(acme, "n", PLAIN);
    claim_all(hub, acme);
    struct message *message = take_ready(hub, acme);
    assert_int_equal(message_need_status(message), 0);
    concluded(hub, message, FILING_RECORD);
    assert_ptr_equal(acme->ready.first, message);
    assert_int_equal(hub->pool->ready, 2);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "m.status") != 0);
    // But not where its account is in trouble: then it goes back, to deferred/ where its status lies.
    message = take_ready(hub, acme);
    message->back = true;
    concluded(hub, message, FILING_RECORD);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "m") != 0);
    assert_int_equal(hub->dispatch.claimed, 1);
    logged(hub, "event=returned tenant=acme name=m", 1);
}

static void a_pause_returns_what_is_ready_and_a_success_releases_what_waits(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    hub_put(acme, "m", PLAIN);
    hub_put(acme, "n", PLAIN);
    claim_all(hub, acme);
    struct smtp_reply reply;
    assert_true(reply_parse("535 5.7.8 bad password", &reply));
    struct outcome outcome = outcome_of_reply(SMTP_STAGE_AUTH, &reply);
    enum account_change change = account_troubled(hub->pool->account, &outcome, reply.text, clock_boot());
    dispatch_account_changed(&hub->dispatch, hub->pool, change);
    hub_settle(hub);
    assert_int_equal(hub->dispatch.claimed, 0);
    assert_int_equal(entries_in(acme, SPOOL_NEW), 2);
    assert_int_equal(acme->backlog.n_new, 2); // known, for when it works again
    logged(hub, "event=returned", 2);
    logged(hub, "event=account_paused level=error", 1);
    logged(hub, "breaker=open_credentials", 1);
    // A claim that was under way comes back while it is paused: it does not lie in cur/ until the probe.
    assert_true(hub_claim(hub, acme));
    hub_settle(hub);
    assert_int_equal(hub->pool->ready, 0);
    assert_int_equal(entries_in(acme, SPOOL_CUR), 0);
    backlog_add_deferred(&acme->backlog, "d", 5, clock_boot() + 3600 * CLOCK_SECOND, clock_boot());
    acme->opening = true; // no survey here: it would read the directory
    dispatch_account_changed(&hub->dispatch, hub->pool, ACCOUNT_RESUMED);
    assert_true(backlog_next_due(&acme->backlog) == INT64_MAX);
    assert_true(acme->release || acme->survey_running);
    logged(hub, "event=account_resumed", 1);
    hub_settle(hub);
}

static void a_broken_spool_is_told_once_and_ends_all_claims(void **state)
{
    struct hub *hub = *state;
    struct dispatch *dispatch = &hub->dispatch;
    assert_true(dispatch_may_claim(dispatch));
    atomic_store(&dispatch->filing_state.full, -ENOSPC);
    dispatch_spool_trouble(dispatch);
    dispatch_spool_trouble(dispatch);
    assert_false(dispatch_may_claim(dispatch));
    logged(hub, "event=spool_full", 1);
    atomic_store(&dispatch->filing_state.full, 0);
    dispatch_spool_trouble(dispatch);
    assert_true(dispatch_may_claim(dispatch));
    logged(hub, "event=spool_ok", 1);
    atomic_store(&dispatch->filing_state.broken, -EIO);
    dispatch_spool_trouble(dispatch);
    dispatch_spool_trouble(dispatch);
    assert_false(dispatch_may_claim(dispatch));
    logged(hub, "event=spool_broken", 1);
}

static void a_message_that_somebody_deleted_is_reported(void **state)
{
    struct hub *hub = *state;
    for (size_t i = 0; i < 2; i++) {
        hub->dispatch.locked_max = i ? 0 : DISPATCH_CLAIMED_MAX;
        hub_put(hub->world.acme, "m", PLAIN);
        claim_all(hub, hub->world.acme);
        assert_int_equal(unlinkat(dir_of(hub->world.acme, i ? SPOOL_CUR : SPOOL_NEW), "m", 0), 0);
        concluded(hub, take_ready(hub, hub->world.acme), FILING_SENT);
        assert_int_equal(hub->dispatch.claimed, 0);
        assert_int_equal(hub->world.acme->sent_total, i + 1); // it was sent all the same
        assert_int_equal(hub->world.acme->backlog.n_claimed, 0);
        assert_true(dispatch_may_claim(&hub->dispatch));
        logged(hub, "event=message_vanished", i + 1);
    }
}

static void a_claimed_name_is_known_until_its_message_has_left(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    hub_put(acme, "m", PLAIN);
    claim_all(hub, acme);
    assert_int_equal(acme->backlog.n_claimed, 1);
    assert_int_equal(acme->backlog.n_new, 0);
    assert_non_null(backlog_add_new(&acme->backlog, "m", false, false)); // a scan meets it
    assert_false(backlog_has_waiting(&acme->backlog, loop_now(hub->dispatch.loop)));
    concluded(hub, take_ready(hub, acme), FILING_SENT);
    assert_int_equal(acme->backlog.n_claimed, 0);
    assert_false(backlog_has_waiting(&acme->backlog, loop_now(hub->dispatch.loop)));
}

static void a_message_that_comes_by_a_claimed_name_has_its_turn(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    hub_put(acme, "m", PLAIN);
    claim_all(hub, acme);
    assert_int_equal(unlinkat(dir_of(acme, SPOOL_NEW), "m", 0), 0);
    hub_put(acme, "m", PLAIN);
    concluded(hub, take_ready(hub, acme), FILING_SENT);
    assert_int_equal(acme->backlog.n_new, 1);
    claim_all(hub, acme);
    concluded(hub, take_ready(hub, acme), FILING_SENT);
    assert_int_equal(acme->sent_total, 2);
    assert_int_equal(entries_in(acme, SPOOL_SENT), 1);
    assert_int_equal(entries_in(acme, SPOOL_NEW), 0);
}

static void what_another_agent_has_is_looked_at_again(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    hub_put(acme, "m", PLAIN);
    int fd = openat(dir_of(acme, SPOOL_NEW), "m", O_RDONLY | O_CLOEXEC);
    assert_int_equal(spool_lock(fd), 0);
    claim_all(hub, acme);
    assert_int_equal(hub->dispatch.claimed, 0);
    assert_int_equal(acme->backlog.n_new, 1);
    assert_true(backlog_next_due(&acme->backlog) <= loop_now(hub->dispatch.loop) + CLOCK_SECOND);
    close(fd);
}

static void more_claims_than_files_may_be_open_are_moved(void **state)
{
    struct hub *hub = *state;
    struct tenant *acme = hub->world.acme;
    hub->dispatch.locked_max = 1;
    hub_put(acme, "a", PLAIN);
    hub_put(acme, "b", PLAIN);
    claim_all(hub, acme);
    assert_int_equal(entries_in(acme, SPOOL_NEW), 1);
    assert_int_equal(entries_in(acme, SPOOL_CUR), 1);
    concluded(hub, take_ready(hub, acme), FILING_SENT);
    concluded(hub, take_ready(hub, acme), FILING_SENT);
    assert_int_equal(entries_in(acme, SPOOL_SENT), 2);
}

static void tenants_are_found_by_name(void **state)
{
    struct hub *hub = *state;
    assert_ptr_equal(dispatch_find_tenant(&hub->dispatch, "acme"), hub->world.acme);
    assert_ptr_equal(dispatch_find_tenant(&hub->dispatch, "other"), hub->world.other);
    assert_null(dispatch_find_tenant(&hub->dispatch, "acm"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_good_message_is_ready),
        TEST(a_faulty_message_fails_at_once),
        TEST(a_message_for_later_waits_in_deferred_and_in_the_backlog),
        TEST(what_is_no_message_is_logged_once),
        TEST(what_may_still_be_written_to_is_looked_at_again),
        TEST(a_vanished_name_is_forgotten),
        TEST(outcomes_are_counted_when_they_are_durable),
        TEST(a_recorded_message_goes_on_in_front),
        TEST(a_pause_returns_what_is_ready_and_a_success_releases_what_waits),
        TEST(a_broken_spool_is_told_once_and_ends_all_claims),
        TEST(a_message_that_somebody_deleted_is_reported),
        TEST(a_claimed_name_is_known_until_its_message_has_left),
        TEST(a_message_that_comes_by_a_claimed_name_has_its_turn),
        TEST(what_another_agent_has_is_looked_at_again),
        TEST(more_claims_than_files_may_be_open_are_moved),
        TEST(tenants_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
