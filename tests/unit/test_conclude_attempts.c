// One message over several transactions and attempts: who is sent to again, when, and when it is given up.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conclude_support.h"

static int set_up_jitter(void **state)
{
    return world_set_up(state, "retry: {first: 1h, max: 4h, give_up_after: 5d, jitter: 0.9}\n");
}

static void many_recipients_are_several_transactions(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", FIVE);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 3); // recipients_per_message
    struct conclusion conclusion = ANSWER(message, "250 first", "250 ok");
    assert_int_equal(conclusion.next, CONCLUDE_AGAIN);
    assert_true(conclusion.record); // durable before the rest goes
    assert_non_null(message->status);
    assert_int_equal(message->status->recipients[2].state, STATUS_SENT);
    assert_int_equal(message->status->recipients[3].state, STATUS_PENDING);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 2);
    assert_string_equal(message->mail.recipients[0].address, "d@example.net");
    conclusion = ANSWER(message, "250 second", "250 ok");
    filed_as(message, conclusion, FILING_SENT);
    assert_int_equal(times_in(lines_of(message), "event=sent"), 2);
    has_line(message, "to=d@example.net,e@example.net nrcpt=2");
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 0);
    message_free(message);
}

static void what_the_day_leaves_bounds_a_transaction(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", FIVE);
    assert_int_equal(conclude_prepare(message, 2), 2);
    assert_int_equal(conclude_prepare(message, 1), 1);
    assert_int_equal(message->mail.n_recipients, 1);
    message_free(message);
}

static void too_many_recipients_go_in_another_transaction_at_once(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion = ANSWER(message, "250 queued", "250 ok", "452 4.5.3 too many recipients");
    assert_int_equal(conclusion.next, CONCLUDE_AGAIN);
    assert_true(conclusion.record);
    assert_true(conclusion.delivered);
    assert_false(conclusion.trouble);
    lacks_line(message, "event=deferred"); // no attempt of theirs is counted
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 2);
    assert_string_equal(message->mail.recipients[0].address, "b@example.net");
    assert_string_equal(message->mail.recipients[1].address, "c@example.net");
    conclusion = ANSWER(message, "250 queued", "250 ok");
    filed_as(message, conclusion, FILING_SENT);
    message_free(message);
}

static void where_splitting_cannot_help_it_is_a_plain_retry(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    const char *full = "452 4.5.3 too many recipients";
    struct conclusion conclusion = answer(message, SMTP_STAGE_RCPT, NULL, &full, 1);
    filed_as(message, conclusion, FILING_DEFER);
    assert_int_equal(message->status->n_attempts, 1);
    message_free(message);
}

static void all_transactions_of_an_attempt_have_one_next_attempt(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", FIVE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion = ANSWER(message, "250 ok", "451 4.3.0 later", "250 ok", "250 ok");
    assert_int_equal(conclusion.next, CONCLUDE_AGAIN);
    conclude_prepare(message, SIZE_MAX);
    assert_string_equal(message->mail.recipients[0].address, "d@example.net"); // not a: it had its answer
    conclusion = ANSWER(message, "451 4.3.0 later too", "250 ok");
    filed_as(message, conclusion, FILING_DEFER);
    const char *first = strstr(lines_of(message), "next="),
               *second = first ? strstr(first + 1, "next=") : NULL;
    assert_non_null(second);
    assert_memory_equal(first, second, strlen("next=2033-05-18T03:34:20"));
    assert_true(clock_ns(&message->status->next_attempt) == message->next_attempt);
    char text[STATUS_TIME_SIZE];
    status_time_format(&message->status->next_attempt, 0, text);
    assert_memory_equal(first + 5, text, strlen(text) - 1);
    message_free(message);
}

static void recipients_that_need_smtputf8_go_apart(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m",
        "To: a@example.net, j\xc3\xbcrg@example.net, b@example.net\n\nbody\n");
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 2);
    assert_false(message->mail.smtputf8);
    assert_string_equal(message->mail.recipients[1].address, "b@example.net");
    struct conclusion conclusion = ANSWER(message, "250 ok", "250 ok");
    assert_int_equal(conclusion.next, CONCLUDE_AGAIN);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 1);
    assert_true(message->mail.smtputf8);
    // Not offered: that recipient fails, the others have it.
    struct told told;
    tell(&told, message, SMTP_STAGE_MAIL, "550 5.6.7 no SMTPUTF8", NULL, 0);
    told.result.failure = SMTP_FAILURE_REQUIRED;
    told.result.begun = false;
    told.result.problem = "the server does not offer SMTPUTF8";
    filed_as(message, conclude(message, &told), FILING_FAIL);
    assert_int_equal(message->recipient_state[0], STATUS_SENT);
    assert_int_equal(message->recipient_state[1], STATUS_REFUSED);
    assert_int_equal(message->recipient_state[2], STATUS_SENT);
    message_free(message);
}

static void addresses_nobody_can_send_to_are_refused_here(void **state)
{
    struct world *world = *state;
    char text[256];
    (void)snprintf(text, sizeof text, "To: a@example.net, %070d@example.net\n\nbody\n", 0);
    struct message *message = claimed(world, world->acme, "m", text);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 1);
    filed_as(message, ANSWER(message, "250 queued", "250 ok"), FILING_FAIL);
    assert_int_equal(message->recipient_state[0], STATUS_SENT);
    assert_int_equal(message->recipient_state[1], STATUS_REFUSED);
    assert_non_null(strstr(message->status->recipients[1].reply, "5.1.3"));
    assert_int_equal(message->status->reason, STATUS_REASON_RECIPIENT);
    message_free(message);
    (void)snprintf(text, sizeof text, "To: %070d@example.net\n\nbody\n", 0);
    message = claimed(world, world->acme, "n", text);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 0); // nobody to try from the start
    assert_int_equal(conclude_nobody(message, &context), 0);
    assert_int_equal(message->filing, FILING_FAIL);
    has_line(message, "event=failed");
    has_line(message, "reason=recipient");
    message_free(message);
}

// As after an earlier attempt of that age: states as given.
static void tried_before(struct message *message, int64_t age, const enum status_recipient_state *states)
{
    struct timespec at = clock_timespec(WALL - age);
    assert_int_equal(message_need_status(message), 0);
    assert_int_equal(status_add_attempt(message->status, &at, "relay", "r:25", "", "rcpt", "451 before"), 0);
    for (size_t i = 0; i < message->outgoing->n_recipients; i++) {
        assert_int_equal(status_set_recipient(message->status, i, states[i],
                             states[i] == STATUS_REFUSED ? "550 5.1.1 before" : "451 before", &at),
            0);
        message->recipient_state[i] = states[i];
    }
    message->attempt = 2;
}

static void whoever_has_it_is_never_sent_to_again(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    tried_before(message, 600 * CLOCK_SECOND,
        (enum status_recipient_state[]){STATUS_SENT, STATUS_PENDING, STATUS_SENT});
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 1);
    assert_string_equal(message->mail.recipients[0].address, "b@example.net");
    filed_as(message, ANSWER(message, "250 queued", "250 ok"), FILING_SENT);
    has_line(message, "to=b@example.net nrcpt=1");
    has_line(message, "attempt=2");
    message_free(message);
}

static void who_was_refused_before_fails_the_message_at_last(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    tried_before(message, 600 * CLOCK_SECOND,
        (enum status_recipient_state[]){STATUS_REFUSED, STATUS_PENDING, STATUS_SENT});
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 1);
    filed_as(message, ANSWER(message, "250 queued", "250 ok"), FILING_FAIL);
    assert_int_equal(message->status->reason, STATUS_REASON_RECIPIENT);
    assert_string_equal(message->status->detail, "550 5.1.1 before");
    message_free(message);
}

static void the_wait_is_the_age_within_its_bounds(void **state)
{
    struct world *world = *state;
    static const struct {
        int64_t age, wait;
    } rows[] = {{1, 60}, {600, 600}, {86400, 4 * 3600}};
    for (size_t i = 0; i < 3; i++) {
        char name[8] = {(char)('a' + (int)i), 0};
        struct message *message = claimed(world, world->acme, name, PLAIN);
        tried_before(message, rows[i].age * CLOCK_SECOND, (enum status_recipient_state[]){STATUS_PENDING});
        conclude_prepare(message, SIZE_MAX);
        filed_as(message, ANSWER(message, "451 4.3.0 later", "250 ok"), FILING_DEFER);
        assert_true(clock_ns(&message->status->next_attempt) == WALL + rows[i].wait * CLOCK_SECOND);
        assert_int_equal(message->status->n_attempts, 2);
        message_free(message);
    }
}

static void after_long_enough_it_is_given_up(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    tried_before(message, 6 * 86400 * CLOCK_SECOND,
        (enum status_recipient_state[]){STATUS_SENT, STATUS_PENDING, STATUS_PENDING});
    conclude_prepare(message, SIZE_MAX);
    filed_as(message, ANSWER(message, "451 4.3.0 still not", "250 ok"), FILING_FAIL);
    assert_true(message->gave_up);
    assert_int_equal(message->status->state, STATUS_FAILED);
    assert_int_equal(message->status->reason, STATUS_REASON_EXPIRED);
    assert_non_null(strstr(message->status->detail, "451 4.3.0 still not"));
    assert_int_equal(message->status->recipients[0].state, STATUS_SENT);
    assert_int_equal(message->status->recipients[1].state, STATUS_REFUSED);
    assert_int_equal(message->status->recipients[2].state, STATUS_REFUSED);
    has_line(message, "event=expired");
    has_line(message, "reason=expired");
    lacks_line(message, "event=deferred");
    message_free(message);
}

static void the_last_attempt_is_no_later_than_its_expires(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", PLAIN);
    message->outgoing->expires = WALL + 10 * CLOCK_SECOND; // before the minute is over
    conclude_prepare(message, SIZE_MAX);
    filed_as(message, ANSWER(message, "451 4.3.0 later", "250 ok"), FILING_DEFER);
    assert_true(clock_ns(&message->status->next_attempt) == WALL + 10 * CLOCK_SECOND);
    message_free(message);
    message = claimed(*state, ((struct world *)*state)->acme, "n", PLAIN);
    message->outgoing->expires = WALL;
    conclude_prepare(message, SIZE_MAX);
    filed_as(message, ANSWER(message, "451 4.3.0 later", "250 ok"), FILING_FAIL);
    assert_int_equal(message->status->reason, STATUS_REASON_EXPIRED);
    message_free(message);
}

static void a_message_for_later_waits_without_an_attempt(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", "To: a@example.net\nX-Outtray-Not-Before: +2h\n\nbody\n");
    struct message *message = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(message->claim, CLAIM_WAIT);
    assert_int_equal(conclude_wait(message, &context), 0);
    assert_int_equal(message->filing, FILING_DEFER);
    assert_int_equal(message->status->state, STATUS_DEFERRED);
    assert_true(clock_ns(&message->status->next_attempt) == message->outgoing->not_before);
    assert_int_equal(message->status->n_attempts, 0);
    has_line(message, "event=deferred");
    has_line(message, "class=not_before");
    message_free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_recipients_are_several_transactions),
        TEST(what_the_day_leaves_bounds_a_transaction),
        TEST(too_many_recipients_go_in_another_transaction_at_once),
        TEST(where_splitting_cannot_help_it_is_a_plain_retry),
        cmocka_unit_test_setup_teardown(
            all_transactions_of_an_attempt_have_one_next_attempt, set_up_jitter, world_tear_down),
        TEST(recipients_that_need_smtputf8_go_apart),
        TEST(addresses_nobody_can_send_to_are_refused_here),
        TEST(whoever_has_it_is_never_sent_to_again),
        TEST(who_was_refused_before_fails_the_message_at_last),
        TEST(the_wait_is_the_age_within_its_bounds),
        TEST(after_long_enough_it_is_given_up),
        TEST(the_last_attempt_is_no_later_than_its_expires),
        TEST(a_message_for_later_waits_without_an_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
