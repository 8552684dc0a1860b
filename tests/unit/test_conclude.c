// From replies to outcomes: who was accepted, who was refused, where the message goes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conclude_support.h"

#define QUOTA "550 5.4.5 Daily user sending limit exceeded"

#define MINUTE (60 * CLOCK_SECOND)

static void accepted_by_all_it_leaves_no_status(void **state)
{
    struct message *message = claimed(*state, ((struct world *)*state)->acme, "m", THREE);
    assert_int_equal(conclude_prepare(message, SIZE_MAX), 3);
    char size[32];
    (void)snprintf(size, sizeof size, " size=%zu ", strlen(message->outgoing->head));
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
    has_line(message, size);
    assert_string_equal(message->detail, "250 2.0.0 Ok: queued as 4X"); // for hooks
    assert_null(message->outgoing->head);                               // nobody will send it again
    assert_non_null(message->outgoing->message_id);
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

static void a_fault_fails_with_its_reason(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", "Subject: nobody\n\nbody\n");
    struct message *message = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(message->claim, CLAIM_FAULT);
    (void)snprintf(message->fault->fix, sizeof message->fault->fix, "add a To");
    assert_int_equal(conclude_fault(message, &context), 0);
    assert_int_equal(message->filing, FILING_FAIL);
    assert_int_equal(message->status->state, STATUS_FAILED);
    assert_int_equal(message->status->reason, STATUS_REASON_MALFORMED);
    assert_true(message->status->inode == message->stat.st_ino);
    assert_non_null(strstr(message->status->detail, message->fault->detail));
    assert_non_null(strstr(message->status->detail, "add a To"));
    assert_int_equal(message->status->n_attempts, 0);
    has_line(message, "event=failed");
    has_line(message, "reason=malformed");
    message_free(message);
    put_in(world->acme, SPOOL_NEW, "x", PLAIN);
    message = claim(world, world->acme, SPOOL_NEW, "x", true);
    message->fault = calloc(1, sizeof *message->fault);
    assert_non_null(message->fault);
    *message->fault = (struct outgoing_fault){.reason = STATUS_REASON_EXPIRED, .detail = "too late"};
    assert_int_equal(conclude_fault(message, &context), 0);
    assert_int_equal(message->status->reason, STATUS_REASON_EXPIRED);
    has_line(message, "event=expired");
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
        TEST(trouble_of_the_account_leaves_the_message_untouched),
        TEST(trouble_in_the_middle_keeps_what_was_accepted),
        TEST(without_a_reply_to_rcpt_nobody_counts_as_served),
        TEST(what_was_never_begun_goes_back),
        TEST(a_connection_lost_over_this_mail_counts_as_an_attempt),
        TEST(a_fault_fails_with_its_reason),
        TEST(a_returned_message_is_told_of),
        TEST(whatever_a_server_says_every_message_ends_where_it_belongs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
