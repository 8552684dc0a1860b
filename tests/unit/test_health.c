// What /healthz says: one judgement for every trouble that keeps mail from going out.
#include "agent/observe/snapshot.h"

// cmocka.h wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void expect(const struct snapshot *snapshot, bool healthy, const char *words)
{
    struct buffer text;
    buffer_init(&text, 2000);
    assert_int_equal(observe_health(snapshot, &text), healthy);
    assert_string_equal(text.data, words);
    buffer_release(&text);
}

static void all_is_well(void **state)
{
    (void)state;
    struct observe_account account = {.name = "relay", .breaker = "closed", .reason = "", .has_mail = true};
    account.stalled_s = OBSERVE_MAIL_STALLED_S;
    struct snapshot snapshot = {.spool = "ok", .accounts = &account, .n_accounts = 1};
    snapshot.filing_stalled_s = OBSERVE_DESK_STALLED_S;
    expect(&snapshot, true, "ok");
    snapshot.n_accounts = 0;
    expect(&snapshot, true, "ok");
}

static void the_house_is_in_trouble(void **state)
{
    (void)state;
    struct snapshot snapshot = {.spool = "full"};
    expect(&snapshot, false, "the spool is full; nothing is claimed until outcomes can be written");
    snapshot.spool = "broken";
    expect(&snapshot, false, "the spool's disk failed; nothing is claimed until the agent is started again");
    snapshot.spool = "ok";
    snapshot.filing_stalled_s = OBSERVE_DESK_STALLED_S + 1;
    expect(&snapshot, false, "the filing desk has finished nothing for 31 s: the spool's disk hangs");
    snapshot.stopping = true;
    expect(&snapshot, false, "the agent is stopping");
}

static void mail_does_not_move(void **state)
{
    (void)state;
    struct observe_account accounts[] = {
        {.name = "a", .breaker = "closed", .reason = "", .has_mail = true, .stalled_s = 301},
        {.name = "b", .breaker = "open_quota", .reason = "", .has_mail = true, .stalled_s = 999},
        {.name = "c", .breaker = "closed", .reason = "", .has_mail = true, .stalled_s = 400},
    };
    struct snapshot snapshot = {.spool = "ok", .accounts = accounts, .n_accounts = 3};
    expect(&snapshot, false,
        "account a: mail waits and nothing has moved for 301 s; "
        "account c: mail waits and nothing has moved for 400 s");
}

static void paused_accounts(void **state)
{
    (void)state;
    struct observe_account accounts[] = {
        {.name = "good", .breaker = "closed", .reason = ""},
        {.name = "bad", .breaker = "open_credentials", .reason = "535 5.7.8 no"},
    };
    struct snapshot snapshot = {.spool = "ok", .accounts = accounts, .n_accounts = 2};
    expect(&snapshot, true, "ok; paused: bad (open_credentials: 535 5.7.8 no)");
    accounts[1].has_mail = true;
    expect(
        &snapshot, false, "all mail that waits is for paused accounts: bad (open_credentials: 535 5.7.8 no)");
    accounts[0].has_mail = true;
    expect(&snapshot, true, "ok; paused: bad (open_credentials: 535 5.7.8 no)");
}

static void many_accounts_are_not_all_named(void **state)
{
    (void)state;
    struct observe_account accounts[12];
    for (size_t i = 0; i < 12; i++)
        accounts[i] = (struct observe_account){.name = "x", .breaker = "open_quota", .reason = ""};
    struct snapshot snapshot = {.spool = "ok", .accounts = accounts, .n_accounts = 12};
    expect(&snapshot, true,
        "ok; paused: x (open_quota); x (open_quota); x (open_quota); x (open_quota); x (open_quota); "
        "x (open_quota); x (open_quota); x (open_quota); x (open_quota); x (open_quota); and 2 more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_well),
        cmocka_unit_test(the_house_is_in_trouble),
        cmocka_unit_test(mail_does_not_move),
        cmocka_unit_test(paused_accounts),
        cmocka_unit_test(many_accounts_are_not_all_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
