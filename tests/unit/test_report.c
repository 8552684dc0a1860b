// The delivery lines of one message: whom each names, and what it says of time and size.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/report.h"
#include "delivery_support.h"

#define FIVE  "To: a@b.net, c@d.net, e@f.net, g@h.net, i@j.net\nMessage-ID: <x@y>\n\nbody\n"
#define BEGAN 1764000000

static const struct conclude_context context = {.account = "relay",
    .relay = "mail.example.com:25",
    .tls = "TLSv1.3",
    .wall = (BEGAN + 10) * CLOCK_SECOND,
    .conn_use = 12,
    .conn_ms = 34};

static struct message *message_at(struct world *world, const char *name, const char *text)
{
    put_in(world->acme, SPOOL_NEW, name, text);
    set_mtime(world->acme, SPOOL_NEW, name, BEGAN * CLOCK_SECOND);
    return claim(world, world->acme, SPOOL_NEW, name, true);
}

static void has(const struct message *message, const char *what)
{
    if (!message->lines.text.data || !strstr(message->lines.text.data, what))
        fail_msg("no '%s' in:\n%s", what, message->lines.text.data);
}

static void lacks(const struct message *message, const char *what)
{
    if (strstr(message->lines.text.data, what))
        fail_msg("'%s' in:\n%s", what, message->lines.text.data);
}

static void a_line_has_all_that_is_known(void **state)
{
    struct message *message = message_at(*state, "m", FIVE);
    report_line(message, &context,
        &(struct report){.event = DELIVERY_SENT, .reply = "250 ok", .xfer_ms = 4000, .all = true});
    char size[32];
    (void)snprintf(
        size, sizeof size, "size=%llu attempt=1", (unsigned long long)message->outgoing->body.size);
    has(message, "time=2025-11-24T16:00:10.000Z event=sent tenant=acme name=m message_id=<x@y> account=relay "
                 "from=noreply@example.com to=a@b.net,c@d.net,e@f.net,g@h.net,i@j.net nrcpt=5 ");
    has(message, size);
    has(message, "relay=mail.example.com:25 tls=TLSv1.3 conn_use=12 queue_ms=6000 conn_ms=34 xfer_ms=4000 "
                 "reply=\"250 ok\"\n");
    message_free(message);
}

static void it_names_those_of_the_transaction_it_is_about(void **state)
{
    struct message *message = message_at(*state, "m", FIVE);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 3);
    message->recipient_state[0] = STATUS_SENT;
    message->recipient_state[1] = STATUS_REFUSED;
    message->recipient_state[2] = STATUS_SENT;
    message->recipient_state[3] = STATUS_SENT; // an earlier attempt's: in no line of this one
    report_line(message, &context, &(struct report){.event = DELIVERY_SENT, .state = STATUS_SENT});
    has(message, "to=a@b.net,e@f.net nrcpt=2");
    report_line(message, &context,
        &(struct report){
            .event = DELIVERY_FAILED, .state = STATUS_REFUSED, .reason = "recipient", .reply = "550 no"});
    has(message, "event=failed tenant=acme");
    has(message, "to=c@d.net nrcpt=1");
    has(message, "reason=recipient");
    assert_int_equal(times_in(message->lines.text.data, "\n"), 2); // collected, in order
    message_free(message);
}

static void at_most_twenty_are_listed_and_all_are_counted(void **state)
{
    char text[4096] = "To: a0@example.net";
    for (int i = 1; i < 40; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), ",\n a%d@example.net", i);
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "\n\nbody\n");
    struct message *message = message_at(*state, "m", text);
    assert_int_equal(message->claim, CLAIM_READY);
    report_line(message, &context, &(struct report){.event = DELIVERY_RETURNED, .all = true, .xfer_ms = -1});
    has(message, "a19@example.net nrcpt=40");
    lacks(message, "a20@example.net");
    lacks(message, "xfer_ms"); // there was no transaction
    has(message, "queue_ms=10000");
    message_free(message);
}

static void a_message_that_was_never_composed_is_told_of_too(void **state)
{
    struct message *message = message_at(*state, "m", "");
    assert_int_equal(message->claim, CLAIM_FAULT);
    report_line(message, &context,
        &(struct report){
            .event = DELIVERY_FAILED, .all = true, .xfer_ms = -1, .reason = "malformed", .reply = "empty"});
    has(message, "event=failed tenant=acme name=m ");
    has(message, "size=0");
    has(message, "reason=malformed");
    message_free(message);
}

static void a_line_uses_the_name_it_was_claimed_under(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_CUR, "m", PLAIN);
    struct message *message = message_at(world, "m", FIVE);
    assert_string_equal(message->name, "m~2");
    report_line(message, &context, &(struct report){.event = DELIVERY_SENT, .all = true});
    has(message, " name=m ");
    message_free(message);
}

static void a_clock_that_went_back_gives_no_negative_time(void **state)
{
    struct message *message = message_at(*state, "m", FIVE);
    struct conclude_context before = context;
    before.wall = (BEGAN - 100) * CLOCK_SECOND;
    report_line(message, &before, &(struct report){.event = DELIVERY_SENT, .all = true});
    has(message, "queue_ms=0");
    message_free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_line_has_all_that_is_known),
        WORLD_TEST(it_names_those_of_the_transaction_it_is_about),
        WORLD_TEST(at_most_twenty_are_listed_and_all_are_counted),
        WORLD_TEST(a_message_that_was_never_composed_is_told_of_too),
        WORLD_TEST(a_line_uses_the_name_it_was_claimed_under),
        WORLD_TEST(a_clock_that_went_back_gives_no_negative_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
