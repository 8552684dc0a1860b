// What subscribers are told of messages, accounts, backlogs and a broken disk; and when: after the outcome is
// filed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dispatch_support.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_make, hub_end)

#define TOLD_MAX 8

struct told { // copies of what an event said
    enum event_kind kind;
    char tenant[32], account[32], name[32], from[64], reason[64], reply[128], fix[128], class[32];
    char recipients[256];
    int64_t next_attempt, age_s;
    uint64_t count;
    bool filed; // the message lay where the event says when it came
};

struct ear {
    struct events_subscriber subscriber;
    struct told told[TOLD_MAX];
    unsigned n;
};

static void keep(char *to, size_t size, const char *text)
{
    (void)snprintf(to, size, "%s", text ? text : "-");
}

static void hear(const struct event *event, void *arg)
{
    struct ear *ear = arg;
    assert_true(ear->n < TOLD_MAX);
    struct told *told = &ear->told[ear->n++];
    *told = (struct told){.kind = event->kind,
        .next_attempt = event->next_attempt,
        .age_s = event->age_s,
        .count = event->count};
    keep(told->tenant, sizeof told->tenant, event->tenant);
    keep(told->account, sizeof told->account, event->account);
    keep(told->name, sizeof told->name, event->name);
    keep(told->from, sizeof told->from, event->from);
    keep(told->reason, sizeof told->reason, event->reason);
    keep(told->reply, sizeof told->reply, event->reply);
    keep(told->fix, sizeof told->fix, event->fix);
    keep(told->class, sizeof told->class, event->class);
    for (size_t i = 0; i < event->n_recipients; i++) {
        size_t at = strlen(told->recipients);
        (void)snprintf(told->recipients + at, sizeof told->recipients - at, "%s%s:%s:%s", i ? " " : "",
            event->recipients[i].address, status_recipient_state_name(event->recipients[i].state),
            event->recipients[i].reply ? event->recipients[i].reply : "-");
    }
    if (event->message)
        told->filed = inode_in(event->message->tenant, event->message->filed_in, event->name) != 0;
}

static void listen_to(struct hub *hub, struct ear *ear, unsigned kinds)
{
    ear->subscriber = (struct events_subscriber){.kinds = kinds, .happened = hear, .arg = ear};
    events_subscribe(&hub->dispatch.events, &ear->subscriber);
}

static struct message *ready(struct hub *hub, const char *name, const char *text)
{
    struct tenant *acme = hub->world.acme;
    hub_put(acme, name, text);
    assert_true(hub_claim(hub, acme));
    hub_settle(hub);
    struct message *message = message_list_take(&acme->ready);
    assert_non_null(message);
    hub->pool->ready--;
    return message;
}

static void file(struct hub *hub, struct message *message, enum filing_action action)
{
    message->filing = action;
    dispatch_file(&hub->dispatch, message);
    hub_settle(hub);
}

static void a_sent_message_names_every_recipient(void **state)
{
    struct hub *hub = *state;
    struct ear ear = {0};
    listen_to(hub, &ear, 1u << EVENT_SENT);
    struct message *message = ready(hub, "m", "To: a@example.net, b@example.net\n\nhello\n");
    message_set_detail(message, "250 2.0.0 Ok: queued as 4X");
    assert_int_equal(ear.n, 0);
    file(hub, message, FILING_SENT);
    assert_int_equal(ear.n, 1);
    assert_int_equal(ear.told[0].kind, EVENT_SENT);
    assert_true(ear.told[0].filed);
    assert_string_equal(ear.told[0].tenant, "acme");
    assert_string_equal(ear.told[0].account, "relay");
    assert_string_equal(ear.told[0].name, "m");
    assert_string_equal(ear.told[0].from, "noreply@example.com");
    assert_string_equal(ear.told[0].recipients,
        "a@example.net:sent:250 2.0.0 Ok: queued as 4X b@example.net:sent:250 2.0.0 Ok: queued as 4X");
}

static void a_deferred_message_says_until_when(void **state)
{
    struct hub *hub = *state;
    struct ear ear = {0};
    listen_to(hub, &ear, 1u << EVENT_DEFERRED);
    struct message *message = ready(hub, "m", PLAIN);
    assert_int_equal(message_need_status(message), 0);
    int64_t next = clock_wall() + 60 * CLOCK_SECOND;
    message->status->next_attempt = clock_timespec(next);
    assert_int_equal(status_set_text(&message->status->detail, "451 4.7.1 greylisted"), 0);
    message->deferred_class = "greylist";
    file(hub, message, FILING_DEFER);
    assert_int_equal(ear.n, 1);
    assert_true(ear.told[0].filed);
    assert_true(ear.told[0].next_attempt == next);
    assert_string_equal(ear.told[0].class, "greylist");
    assert_string_equal(ear.told[0].reply, "451 4.7.1 greylisted");
    assert_string_equal(ear.told[0].recipients, "a@example.net:pending:-");
}

static void a_failed_message_says_why_and_what_to_do(void **state)
{
    struct hub *hub = *state;
    struct ear ear = {0};
    listen_to(hub, &ear, 1u << EVENT_FAILED);
    hub_put(hub->world.acme, "m", ""); // malformed: it never reaches an account
    assert_true(hub_claim(hub, hub->world.acme));
    hub_settle(hub);
    assert_int_equal(ear.n, 1);
    assert_true(ear.told[0].filed);
    assert_string_equal(ear.told[0].reason, "malformed");
    assert_string_equal(ear.told[0].fix, "mv failed/m new/");
    assert_string_equal(ear.told[0].from, "-");
    assert_string_not_equal(ear.told[0].reply, "-");
}

static void a_returned_message_is_an_event_of_its_own(void **state)
{
    struct hub *hub = *state;
    struct ear ear = {0};
    listen_to(hub, &ear, ~0u);
    struct message *message = ready(hub, "m", PLAIN);
    file(hub, message, FILING_RETURN);
    assert_int_equal(ear.n, 1);
    assert_int_equal(ear.told[0].kind, EVENT_RETURNED);
    assert_true(ear.told[0].filed);
}

static void a_message_that_could_not_be_filed_is_no_event(void **state)
{
    struct hub *hub = *state;
    struct ear ear = {0};
    listen_to(hub, &ear, ~0u);
    struct message *message = ready(hub, "m", PLAIN);
    assert_int_equal(unlinkat(dir_of(hub->world.acme, SPOOL_NEW), "m", 0), 0);
    file(hub, message, FILING_SENT);
    assert_int_equal(ear.n, 0);
}

static void accounts_pause_and_resume(void **state)
{
    struct hub *hub = *state;
    struct ear ear = {0};
    listen_to(hub, &ear, ~0u);
    hub->world.acme->opening = hub->world.other->opening = true; // no surveys here
    struct outcome refused = {.verdict = VERDICT_ACCOUNT_CREDENTIALS,
        .class = "credentials",
        .at_login = true,
        .fix = "check the password"};
    dispatch_account_changed(
        &hub->dispatch, hub->pool, account_troubled(hub->pool->account, &refused, "535 no", clock_boot()));
    assert_int_equal(ear.n, 1);
    assert_int_equal(ear.told[0].kind, EVENT_ACCOUNT_PAUSED);
    assert_string_equal(ear.told[0].account, "relay");
    assert_string_equal(ear.told[0].reason, "open_credentials");
    assert_string_equal(ear.told[0].reply, "535 no");
    assert_string_equal(ear.told[0].fix, "check the password");
    dispatch_account_changed(&hub->dispatch, hub->pool, ACCOUNT_SAME);
    assert_int_equal(ear.n, 1);
    dispatch_account_changed(&hub->dispatch, hub->pool, account_mended(hub->pool->account));
    assert_int_equal(ear.n, 2);
    assert_int_equal(ear.told[1].kind, EVENT_ACCOUNT_RESUMED);
}

static void a_backlog_is_told_once_until_it_was_gone(void **state)
{
    struct hub *hub = *state;
    struct ear ear = {0};
    struct tenant *acme = hub->world.acme;
    struct observe_count *new = &acme->counts[OBSERVE_NEW];
    listen_to(hub, &ear, 1u << EVENT_BACKLOG);
    *new = (struct observe_count){.count = 3, .oldest_s = 60};
    events_backlog(&hub->dispatch.events, acme, 60000);
    assert_int_equal(ear.n, 0);
    new->oldest_s = 61;
    events_backlog(&hub->dispatch.events, acme, 60000);
    events_backlog(&hub->dispatch.events, acme, 60000);
    assert_int_equal(ear.n, 1);
    assert_string_equal(ear.told[0].tenant, "acme");
    assert_int_equal(ear.told[0].age_s, 61);
    assert_int_equal(ear.told[0].count, 3);
    *new = (struct observe_count){0};
    events_backlog(&hub->dispatch.events, acme, 60000);
    *new = (struct observe_count){.count = 1, .oldest_s = 100};
    events_backlog(&hub->dispatch.events, acme, 60000);
    assert_int_equal(ear.n, 2);
}

static void a_broken_disk_is_told_once(void **state)
{
    struct hub *hub = *state;
    struct ear ear = {0};
    listen_to(hub, &ear, ~0u);
    atomic_store(&hub->dispatch.filing_state.broken, -EIO);
    dispatch_spool_trouble(&hub->dispatch);
    dispatch_spool_trouble(&hub->dispatch);
    assert_int_equal(ear.n, 1);
    assert_int_equal(ear.told[0].kind, EVENT_SPOOL_BROKEN);
    assert_string_equal(ear.told[0].reason, "Input/output error");
}

static void only_the_kinds_that_were_asked_for(void **state)
{
    struct hub *hub = *state;
    struct ear sent = {0}, both = {0};
    assert_false(events_wanted(&hub->dispatch.events, EVENT_SENT));
    listen_to(hub, &sent, 1u << EVENT_SENT);
    listen_to(hub, &both, 1u << EVENT_SENT | 1u << EVENT_RETURNED);
    assert_true(events_wanted(&hub->dispatch.events, EVENT_SENT));
    assert_false(events_wanted(&hub->dispatch.events, EVENT_FAILED));
    file(hub, ready(hub, "a", PLAIN), FILING_SENT);
    file(hub, ready(hub, "b", PLAIN), FILING_RETURN);
    assert_int_equal(sent.n, 1);
    assert_int_equal(both.n, 2);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(event_name(EVENT_SENT), "sent");
    assert_string_equal(event_name(EVENT_SPOOL_BROKEN), "spool_broken");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sent_message_names_every_recipient),
        TEST(a_deferred_message_says_until_when),
        TEST(a_failed_message_says_why_and_what_to_do),
        TEST(a_returned_message_is_an_event_of_its_own),
        TEST(a_message_that_could_not_be_filed_is_no_event),
        TEST(accounts_pause_and_resume),
        TEST(a_backlog_is_told_once_until_it_was_gone),
        TEST(a_broken_disk_is_told_once),
        TEST(only_the_kinds_that_were_asked_for),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
