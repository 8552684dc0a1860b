// From replies to outcomes: who was accepted, what is tried again, what is written down, where a message
// goes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/conclude.h"
#include "delivery_support.h"

#define THREE  "To: a@example.net, b@example.net, c@example.net\nSubject: three\n\nbody\n"
#define FIVE   "To: a@example.net, b@example.net, c@example.net, d@example.net, e@example.net\n\nbody\n"
#define QUOTA  "550 5.4.5 Daily user sending limit exceeded"
#define WALL   (2000000000 * CLOCK_SECOND) // when everything here happens
#define MINUTE (60 * CLOCK_SECOND)

static const struct conclude_context context = {
    .account = "relay", .relay = "mail.example.com:25", .tls = "", .wall = WALL, .conn_use = 1};

static int set_up_with(void **state, const char *extra)
{
    struct world *world = calloc(1, sizeof *world);
    world_make(world, extra);
    *state = world;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, "retry: {first: 1m, max: 4h, give_up_after: 5d, jitter: 0}\n");
}

static int set_up_jitter(void **state)
{
    return set_up_with(state, "retry: {first: 1h, max: 4h, give_up_after: 5d, jitter: 0.9}\n");
}

static int tear_down(void **state)
{
    world_end(*state);
    free(*state);
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

// What a server says to one transaction.
#define RCPT_MAX 16
struct told {
    struct smtp_result result;
    struct smtp_reply replies[RCPT_MAX];
    const struct smtp_reply *recipients[RCPT_MAX];
};

// final: the reply that ended it, NULL: none. rcpt: of each wire recipient; the last one given counts for the
// rest too; NULL: none has one.
static void tell(struct told *told, const struct message *message, enum smtp_stage stage, const char *final,
    const char *const *rcpt, size_t n_rcpt)
{
    memset(told, 0, sizeof *told);
    told->result = (struct smtp_result){.mail = &message->mail,
        .stage = stage,
        .begun = true,
        .recipients = told->recipients,
        .xfer_ns = 21 * CLOCK_MS};
    if (final)
        assert_true(reply_parse(final, &told->result.final));
    for (size_t k = 0; rcpt && k < message->mail.n_recipients; k++) {
        const char *text = rcpt[k < n_rcpt ? k : n_rcpt - 1];
        if (!text)
            continue;
        assert_true(reply_parse(text, &told->replies[k]));
        told->recipients[k] = &told->replies[k];
    }
}

static struct conclusion conclude(struct message *message, const struct told *told)
{
    struct conclusion conclusion;
    assert_int_equal(conclude_result(message, &told->result, &context, &conclusion), 0);
    return conclusion;
}

// The server answers each RCPT and the end; one transaction.
#define ANSWER(message, final, ...)                                                                          \
    answer(message, SMTP_STAGE_FINAL, final, (const char *const[]){__VA_ARGS__},                             \
        sizeof(const char *const[]){__VA_ARGS__} / sizeof(char *))
static struct conclusion answer(
    struct message *message, enum smtp_stage stage, const char *final, const char *const *rcpt, size_t n_rcpt)
{
    struct told told;
    tell(&told, message, stage, final, rcpt, n_rcpt);
    return conclude(message, &told);
}

static const char *lines_of(const struct message *message)
{
    return message->lines.text.data ? message->lines.text.data : "";
}

static void has_line(const struct message *message, const char *what)
{
    if (!strstr(lines_of(message), what))
        fail_msg("no '%s' in:\n%s", what, lines_of(message));
}

static void lacks_line(const struct message *message, const char *what)
{
    if (strstr(lines_of(message), what))
        fail_msg("'%s' in:\n%s", what, lines_of(message));
}

static void filed_as(const struct message *message, struct conclusion conclusion, enum filing_action action)
{
    assert_int_equal(conclusion.next, CONCLUDE_FILE);
    assert_int_equal(message->filing, action);
}

static void accepted_by_all_it_leaves_no_status(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 3);
    assert_string_equal(message->mail.reverse_path, "noreply@example.com");
    assert_string_equal(message->mail.recipients[1].address, "b@example.net");
    assert_ptr_equal(message->mail.owner, message);
    struct conclusion conclusion = ANSWER(message, "250 2.0.0 Ok: queued as 4X", "250 2.1.5 ok");
    filed_as(message, conclusion, FILING_SENT);
    assert_true(conclusion.delivered);
    assert_false(conclusion.trouble);
    assert_null(message->status);
    assert_int_equal(times_in(lines_of(message), "event="), 1);
    has_line(message, "event=sent tenant=acme name=m message_id=<");
    has_line(message, "to=a@example.net,b@example.net,c@example.net nrcpt=3");
    has_line(message, "attempt=1 relay=mail.example.com:25");
    has_line(message, "reply=\"250 2.0.0 Ok: queued as 4X\"");
    has_line(message, "xfer_ms=21");
    message_free(message);
}

static void each_recipient_has_its_own_answer(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion =
        ANSWER(message, "250 2.0.0 queued", "250 2.1.5 ok", "451 4.3.0 later", "550 5.1.1 no such user");
    filed_as(message, conclusion, FILING_DEFER);
    assert_true(conclusion.delivered);
    const struct status *status = message->status;
    assert_non_null(status);
    assert_int_equal(status->state, STATUS_DEFERRED);
    assert_int_equal(status->recipients[0].state, STATUS_SENT);
    assert_string_equal(status->recipients[0].reply, "250 2.0.0 queued");
    assert_int_equal(status->recipients[1].state, STATUS_PENDING);
    assert_string_equal(status->recipients[1].reply, "451 4.3.0 later");
    assert_int_equal(status->recipients[2].state, STATUS_REFUSED);
    assert_string_equal(status->recipients[2].reply, "550 5.1.1 no such user");
    assert_int_equal(status->recipients[2].at.tv_sec, 2000000000);
    assert_int_equal(status->n_attempts, 1);
    assert_string_equal(status->attempts[0].account, "relay");
    assert_string_equal(status->attempts[0].relay, "mail.example.com:25");
    assert_string_equal(status->attempts[0].stage, "rcpt");
    assert_string_equal(status->attempts[0].reply, "451 4.3.0 later");
    assert_true(clock_ns(&status->next_attempt) == WALL + MINUTE);
    assert_string_equal(status->detail, "451 4.3.0 later");
    assert_int_equal(times_in(lines_of(message), "event="), 3);
    has_line(message, "event=sent");
    has_line(message, "to=a@example.net nrcpt=1");
    has_line(message, "event=deferred");
    has_line(message, "to=b@example.net nrcpt=1");
    has_line(message, "next=2033-05-18T03:34:20");
    has_line(message, "class=");
    has_line(message, "event=failed");
    has_line(message, "to=c@example.net nrcpt=1");
    has_line(message, "reason=recipient");
    message_free(message);
}

static void one_refused_recipient_fails_the_message_when_all_are_done(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion =
        ANSWER(message, "250 queued", "250 ok", "550 5.1.1 no such user", "250 ok");
    filed_as(message, conclusion, FILING_FAIL);
    assert_int_equal(message->status->state, STATUS_FAILED);
    assert_int_equal(message->status->reason, STATUS_REASON_RECIPIENT);
    assert_string_equal(message->status->detail, "550 5.1.1 no such user");
    assert_int_equal(message->status->next_attempt.tv_sec, 0);
    assert_int_equal(message->recipient_state[0], STATUS_SENT);
    assert_int_equal(message->recipient_state[1], STATUS_REFUSED);
    message_free(message);
}

static void nobody_accepted_is_not_delivered(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    const char *refused = "550 5.1.1 no such user";
    struct conclusion conclusion = answer(message, SMTP_STAGE_RCPT, NULL, &refused, 1);
    filed_as(message, conclusion, FILING_FAIL);
    assert_false(conclusion.delivered);
    assert_int_equal(message->status->reason, STATUS_REASON_RECIPIENT);
    lacks_line(message, "event=sent");
    has_line(message, "nrcpt=3");
    message_free(message);
}

static void a_temporary_refusal_defers_everybody(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion = ANSWER(message, "451 4.3.0 mail server temporarily rejected", "250 ok");
    filed_as(message, conclusion, FILING_DEFER);
    assert_false(conclusion.delivered);
    assert_false(conclusion.trouble);
    for (int i = 0; i < 3; i++)
        assert_int_equal(message->status->recipients[i].state, STATUS_PENDING);
    assert_int_equal(message->status->n_attempts, 1);
    assert_string_equal(message->status->attempts[0].stage, "final");
    lacks_line(message, "event=sent");
    message_free(message);
}

static void a_refused_message_fails_for_everybody_who_was_left(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion = ANSWER(message, "554 5.7.1 looks like spam", "250 ok");
    filed_as(message, conclusion, FILING_FAIL);
    assert_int_equal(message->status->reason, STATUS_REASON_POLICY);
    assert_string_equal(message->status->detail, "554 5.7.1 looks like spam");
    for (int i = 0; i < 3; i++)
        assert_int_equal(message->status->recipients[i].state, STATUS_REFUSED);
    message_free(message);
}

// Several transactions

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

// The account's trouble

static void trouble_of_the_account_leaves_the_message_untouched(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion = ANSWER(message, QUOTA, "250 ok");
    assert_int_equal(conclusion.next, CONCLUDE_BACK);
    assert_true(conclusion.trouble);
    assert_false(conclusion.record);
    assert_false(conclusion.delivered);
    assert_int_equal(conclusion.outcome.verdict, VERDICT_ACCOUNT_THROTTLED);
    assert_string_equal(conclusion.words, QUOTA);
    for (int i = 0; i < 3; i++)
        assert_int_equal(message->recipient_state[i], STATUS_PENDING);
    assert_true(!message->status || message->status->n_attempts == 0);
    lacks_line(message, "event=deferred");
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 3); // may be tried again as a whole
    message_free(message);
}

static void trouble_in_the_middle_keeps_what_was_accepted(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", FIVE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion = ANSWER(message, "250 ok", "250 ok", QUOTA, "550 5.1.1 no");
    assert_int_equal(conclusion.next, CONCLUDE_BACK);
    assert_true(conclusion.record);
    assert_true(conclusion.delivered);
    assert_true(conclusion.trouble);
    assert_string_equal(conclusion.words, QUOTA);
    assert_non_null(message->status);
    assert_int_equal(message->status->recipients[0].state, STATUS_SENT);
    assert_int_equal(message->status->recipients[1].state, STATUS_PENDING);
    assert_int_equal(message->status->recipients[2].state, STATUS_REFUSED);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 3); // b, d, e
    assert_string_equal(message->mail.recipients[0].address, "b@example.net");
    message_free(message);
}

// A reply to RCPT that could not be kept must not turn into a yes by the reply to the message.
static void without_a_reply_to_rcpt_nobody_counts_as_served(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    struct conclusion conclusion =
        ANSWER(message, "250 2.0.0 Ok: queued as 4X", "250 ok", NULL, "550 5.1.1 no");
    filed_as(message, conclusion, FILING_DEFER);
    assert_int_equal(message->status->recipients[0].state, STATUS_SENT);
    assert_int_equal(message->status->recipients[1].state, STATUS_PENDING);
    assert_int_equal(message->status->recipients[2].state, STATUS_REFUSED);
    lacks_line(message, "event=sent tenant=acme name=m nrcpt=2");
    message_free(message);
}

static void what_was_never_begun_goes_back(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    static const enum smtp_failure failures[] = {
        SMTP_FAILURE_CANCELLED, SMTP_FAILURE_CONNECTION, SMTP_FAILURE_TIMEOUT};
    for (size_t i = 0; i < 3; i++) {
        conclude_prepare(message, SIZE_MAX);
        struct told told;
        tell(&told, message, SMTP_STAGE_IDLE, NULL, NULL, 0);
        told.result.failure = failures[i];
        told.result.begun = false;
        told.result.recipients = NULL;
        told.result.problem = "the session was closed";
        struct conclusion conclusion = conclude(message, &told);
        assert_int_equal(conclusion.next, CONCLUDE_BACK);
        assert_false(conclusion.trouble);
        assert_false(conclusion.record);
        assert_null(message->status);
        assert_int_equal(conclude_prepare(message, SIZE_MAX), 3);
    }
    message_free(message);
}

static void a_connection_lost_over_this_mail_counts_as_an_attempt(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_prepare(message, SIZE_MAX);
    struct told told;
    const char *ok = "250 ok";
    tell(&told, message, SMTP_STAGE_FINAL, NULL, &ok, 1);
    told.result.failure = SMTP_FAILURE_CONNECTION;
    told.result.may_be_accepted = true;
    told.result.problem = "connection reset by peer";
    filed_as(message, conclude(message, &told), FILING_DEFER);
    assert_int_equal(message->status->n_attempts, 1);
    assert_string_equal(message->status->recipients[0].reply, "connection reset by peer");
    has_line(message, "class=connection");
    message_free(message);
}

// Attempts

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

// Without a transaction

static void a_fault_fails_with_its_reason(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", "Subject: nobody\n\nbody\n");
    struct message *message = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(message->claim, CLAIM_FAULT);
    (void)snprintf(message->fault.fix, sizeof message->fault.fix, "add a To");
    assert_int_equal(conclude_fault(message, &context), 0);
    assert_int_equal(message->filing, FILING_FAIL);
    assert_int_equal(message->status->state, STATUS_FAILED);
    assert_int_equal(message->status->reason, STATUS_REASON_MALFORMED);
    assert_true(message->status->inode == message->stat.st_ino);
    assert_non_null(strstr(message->status->detail, message->fault.detail));
    assert_non_null(strstr(message->status->detail, "add a To"));
    assert_int_equal(message->status->n_attempts, 0);
    has_line(message, "event=failed");
    has_line(message, "reason=malformed");
    message_free(message);
    put_in(world->acme, SPOOL_NEW, "x", PLAIN);
    message = claim(world, world->acme, SPOOL_NEW, "x", true);
    message->fault = (struct outgoing_fault){.reason = STATUS_REASON_EXPIRED, .detail = "too late"};
    assert_int_equal(conclude_fault(message, &context), 0);
    assert_int_equal(message->status->reason, STATUS_REASON_EXPIRED);
    has_line(message, "event=expired");
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

static void a_returned_message_is_told_of(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    conclude_return(message, &context, "the account is paused: 535 \"no\"");
    assert_int_equal(message->filing, FILING_RETURN);
    assert_null(message->status);
    has_line(message, "event=returned");
    has_line(message, "nrcpt=3");
    has_line(message, "reply=\"the account is paused: 535 \\\"no\\\"\"");
    message_free(message);
}

// Whatever a server says

static uint64_t seed;
static unsigned random_below(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

static const char *const any_rcpt[] = {
    "250 ok", "250 ok", "250 ok", "451 4.3.0 later", "550 5.1.1 no", "452 4.5.3 too many recipients", QUOTA};
static const char *const any_final[] = {
    "250 queued", "250 queued", "250 queued", "451 4.3.0 later", "554 5.7.1 spam", QUOTA};

// One transaction of a whimsical server; what it accepted is noted in has.
static struct conclusion whim(struct message *message, bool *has)
{
    const char *rcpt[RCPT_MAX], *final = any_final[random_below(6)];
    bool any = false;
    for (size_t k = 0; k < message->mail.n_recipients; k++) {
        rcpt[k] = any_rcpt[random_below(7)];
        any = any || rcpt[k][0] == '2';
    }
    for (size_t k = 0; k < message->mail.n_recipients; k++) {
        size_t index = message->recipient_index[k];
        assert_false(has[index]); // never again
        has[index] = any && rcpt[k][0] == '2' && final[0] == '2';
    }
    return answer(message, any ? SMTP_STAGE_FINAL : SMTP_STAGE_RCPT, any ? final : NULL, rcpt,
        message->mail.n_recipients);
}

static void whatever_a_server_says_every_message_ends_where_it_belongs(void **state)
{
    struct world *world = *state;
    for (seed = 1; seed < 400; seed++) {
        uint64_t start = seed;
        bool has[5] = {false};
        char name[16];
        (void)snprintf(name, sizeof name, "m%u", (unsigned)seed);
        struct message *message = claimed(world, world->acme, name, FIVE);
        struct conclusion conclusion = {.next = CONCLUDE_AGAIN};
        for (unsigned n = 0; conclusion.next != CONCLUDE_FILE; n++) {
            assert_true(n < 1000);
            assert_true(conclude_prepare(message, SIZE_MAX) > 0); // somebody is left, or it would be filed
            conclusion = whim(message, has);
            assert_int_equal(conclusion.trouble, conclusion.next == CONCLUDE_BACK);
        }
        unsigned n[3] = {0};
        for (size_t i = 0; i < 5; i++) {
            enum status_recipient_state is = message->recipient_state[i];
            n[is]++;
            assert_int_equal(is == STATUS_SENT, has[i]);
            assert_true(!message->status || message->status->recipients[i].state == is);
        }
        assert_int_equal(message->filing, n[STATUS_PENDING]   ? FILING_DEFER
                                          : n[STATUS_REFUSED] ? FILING_FAIL
                                                              : FILING_SENT);
        assert_true(message->filing == FILING_SENT || message->status);
        message_free(message);
        seed = start;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepted_by_all_it_leaves_no_status),
        TEST(each_recipient_has_its_own_answer),
        TEST(one_refused_recipient_fails_the_message_when_all_are_done),
        TEST(nobody_accepted_is_not_delivered),
        TEST(a_temporary_refusal_defers_everybody),
        TEST(a_refused_message_fails_for_everybody_who_was_left),
        TEST(many_recipients_are_several_transactions),
        TEST(what_the_day_leaves_bounds_a_transaction),
        TEST(too_many_recipients_go_in_another_transaction_at_once),
        TEST(where_splitting_cannot_help_it_is_a_plain_retry),
        cmocka_unit_test_setup_teardown(
            all_transactions_of_an_attempt_have_one_next_attempt, set_up_jitter, tear_down),
        TEST(recipients_that_need_smtputf8_go_apart),
        TEST(addresses_nobody_can_send_to_are_refused_here),
        TEST(trouble_of_the_account_leaves_the_message_untouched),
        TEST(trouble_in_the_middle_keeps_what_was_accepted),
        TEST(without_a_reply_to_rcpt_nobody_counts_as_served),
        TEST(what_was_never_begun_goes_back),
        TEST(a_connection_lost_over_this_mail_counts_as_an_attempt),
        TEST(whoever_has_it_is_never_sent_to_again),
        TEST(who_was_refused_before_fails_the_message_at_last),
        TEST(the_wait_is_the_age_within_its_bounds),
        TEST(after_long_enough_it_is_given_up),
        TEST(the_last_attempt_is_no_later_than_its_expires),
        TEST(a_fault_fails_with_its_reason),
        TEST(a_message_for_later_waits_without_an_attempt),
        TEST(a_returned_message_is_told_of),
        TEST(whatever_a_server_says_every_message_ends_where_it_belongs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
