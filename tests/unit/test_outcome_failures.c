// What failures without a reply mean, and which of several replies decides.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outcome_support.h"

struct failure_case {
    enum smtp_failure failure;
    CURLcode curl;
    long os_error;
    enum verdict verdict; // of the session's end
    const char *class;
    enum status_reason reason; // none: nothing that fails so is for good
};

static const struct failure_case failure_cases[] = {
    {SMTP_FAILURE_NONE, CURLE_OK, 0, SENT},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_RESOLVE_HOST, 0, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_RESOLVE_PROXY, 0, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_OUT_OF_MEMORY, 0, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_FAILED_INIT, 0, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, EMFILE, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, ENFILE, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, ENOMEM, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, ENOBUFS, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, ENETUNREACH, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, ENETDOWN, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, EADDRNOTAVAIL, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, EACCES, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, EPERM, DOWN("local")},
    {SMTP_FAILURE_CONNECTION, CURLE_OPERATION_TIMEDOUT, 0, DOWN("timeout")},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_CONNECT, ECONNREFUSED, DOWN("connection")},
    {SMTP_FAILURE_TIMEOUT, CURLE_OK, 0, DOWN("timeout")},
    {SMTP_FAILURE_TLS, CURLE_PEER_FAILED_VERIFICATION, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_SSL_ISSUER_ERROR, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_SSL_INVALIDCERTSTATUS, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_SSL_PINNEDPUBKEYNOTMATCH, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_SSL_CACERT_BADFILE, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_SSL_CRL_BADFILE, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_SSL_CERTPROBLEM, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_SSL_CLIENTCERT, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_USE_SSL_FAILED, 0, DOWN("tls")},
    {SMTP_FAILURE_TLS, CURLE_SSL_CONNECT_ERROR, 0, DOWN("tls")},
    {SMTP_FAILURE_PROTOCOL, CURLE_WEIRD_SERVER_REPLY, 0, DOWN("protocol")},
    {SMTP_FAILURE_LOGIN, CURLE_LOGIN_DENIED, 0, LOGIN},
    // A message's own trouble is nobody's when the session ends with it.
    {SMTP_FAILURE_FILE, CURLE_OK, 0, SENT},
    {SMTP_FAILURE_DISK, CURLE_OK, 0, SENT},
    {SMTP_FAILURE_REQUIRED, CURLE_OK, 0, SENT},
    {SMTP_FAILURE_CANCELLED, CURLE_OK, 0, SENT},
};

static void every_failure_means_what_it_should(void **state)
{
    (void)state;
    size_t n = sizeof failure_cases / sizeof *failure_cases;
    for (size_t i = 0; i < n; i++) {
        const struct failure_case *wanted = &failure_cases[i];
        struct smtp_closing closing = {
            .stage = CONNECT, .failure = wanted->failure, .curl = wanted->curl, .os_error = wanted->os_error};
        struct outcome got = outcome_of_closing(&closing);
        if (got.verdict != wanted->verdict || strcmp(got.class, wanted->class) != 0 ||
            got.reason != wanted->reason)
            fail_msg("failure %d curl %d errno %ld: %s %s", (int)wanted->failure, (int)wanted->curl,
                wanted->os_error, verdict_name(got.verdict), got.class);
        assert_true(!is_account(got.verdict) || got.fix);
    }
    for (size_t rule = 0; rule < outcome_failure_rules_n; rule++) {
        unsigned hits = 0;
        for (size_t i = 0; i < n; i++)
            hits += outcome_failure_rule_find(failure_cases[i].failure, failure_cases[i].curl,
                        failure_cases[i].os_error) == &outcome_failure_rules[rule];
        if (!hits)
            fail_msg("failure rule %zu decides no case", rule);
    }
}

static struct outcome closing_with(enum smtp_stage stage, enum smtp_failure failure, const char *reply)
{
    struct smtp_closing closing = {.stage = stage, .failure = failure, .reply = reply_of(reply)};
    return outcome_of_closing(&closing);
}

static void the_reply_that_ended_a_session_decides(void **state)
{
    (void)state;
    assert_int_equal(
        closing_with(AUTH, SMTP_FAILURE_LOGIN, "535 5.7.3 no").verdict, VERDICT_ACCOUNT_CREDENTIALS);
    assert_true(closing_with(AUTH, SMTP_FAILURE_LOGIN, "535 5.7.3 no").refresh_token);
    assert_true(closing_with(AUTH, SMTP_FAILURE_LOGIN, "334 eyJzdGF0dXMiOiI0MDAifQ==").refresh_token);
    assert_false(closing_with(AUTH, SMTP_FAILURE_LOGIN, "535 5.7.139 disabled").refresh_token);
    assert_int_equal(closing_with(AUTH, SMTP_FAILURE_LOGIN, "454 4.7.0 Too many login attempts").verdict,
        VERDICT_ACCOUNT_THROTTLED);
    assert_int_equal(
        closing_with(MAIL, SMTP_FAILURE_CONNECTION, "421 4.7.0 later").verdict, VERDICT_ACCOUNT_THROTTLED);
    // What was said about one message is told by its result; the account only lost a connection.
    assert_int_equal(
        closing_with(FINAL, SMTP_FAILURE_CONNECTION, "421 bye").verdict, VERDICT_ACCOUNT_UNREACHABLE);
    assert_int_equal(
        closing_with(FINAL, SMTP_FAILURE_CONNECTION, "554 5.6.0 bad").verdict, VERDICT_ACCOUNT_UNREACHABLE);
    // An ordinary end.
    assert_int_equal(closing_with(IDLE, SMTP_FAILURE_NONE, "421 4.4.2 idle").verdict, VERDICT_SENT);
    assert_int_equal(closing_with(IDLE, SMTP_FAILURE_NONE, "221 bye").verdict, VERDICT_SENT);
    assert_int_equal(closing_with(FINAL, SMTP_FAILURE_NONE, "550 5.1.1 nobody").verdict, VERDICT_SENT);
    // A broken certificate is no matter of replies.
    assert_string_equal(closing_with(TLS, SMTP_FAILURE_TLS, "220 go ahead").class, "tls");
}

static struct smtp_result result_with(enum smtp_stage stage, enum smtp_failure failure, bool begun)
{
    return (struct smtp_result){.stage = stage, .failure = failure, .begun = begun, .problem = "words"};
}

static void expect_result(struct smtp_result result, enum verdict verdict, const char *class)
{
    struct outcome got = outcome_of_result(&result);
    if (got.verdict != verdict || strcmp(got.class, class) != 0)
        fail_msg("stage %d failure %d: %s %s, not %s %s", (int)result.stage, (int)result.failure,
            verdict_name(got.verdict), got.class, verdict_name(verdict), class);
}

static void a_mail_without_a_final_reply(void **state)
{
    (void)state;
    // Nothing was said about it: it goes back, no attempt counted.
    expect_result(
        result_with(CONNECT, SMTP_FAILURE_CONNECTION, false), VERDICT_ACCOUNT_UNREACHABLE, "connection");
    expect_result(
        result_with(MAIL, SMTP_FAILURE_CONNECTION, true), VERDICT_ACCOUNT_UNREACHABLE, "connection");
    expect_result(result_with(TLS, SMTP_FAILURE_TLS, false), VERDICT_ACCOUNT_UNREACHABLE, "tls");
    expect_result(result_with(EHLO, SMTP_FAILURE_TIMEOUT, false), VERDICT_ACCOUNT_UNREACHABLE, "timeout");
    expect_result(result_with(EHLO, SMTP_FAILURE_PROTOCOL, false), VERDICT_ACCOUNT_UNREACHABLE, "protocol");
    expect_result(result_with(AUTH, SMTP_FAILURE_LOGIN, false), VERDICT_ACCOUNT_CREDENTIALS, "credentials");
    expect_result(result_with(IDLE, SMTP_FAILURE_CANCELLED, false), VERDICT_ACCOUNT_UNREACHABLE, "local");
    expect_result(result_with(FINAL, SMTP_FAILURE_CANCELLED, true), VERDICT_ACCOUNT_UNREACHABLE, "local");
    // It may be this very mail that breaks the connection: it backs off, the others go on.
    expect_result(result_with(RCPT, SMTP_FAILURE_CONNECTION, true), VERDICT_RETRY, "connection");
    expect_result(result_with(DATA, SMTP_FAILURE_CONNECTION, true), VERDICT_RETRY, "connection");
    expect_result(result_with(FINAL, SMTP_FAILURE_TIMEOUT, true), VERDICT_RETRY, "timeout");
    expect_result(result_with(MAIL, SMTP_FAILURE_PROTOCOL, true), VERDICT_RETRY, "protocol");
    expect_result(result_with(FINAL, SMTP_FAILURE_FILE, true), VERDICT_REJECT_MESSAGE, "message");
    expect_result(result_with(FINAL, SMTP_FAILURE_DISK, true), VERDICT_RETRY, "local");

    struct smtp_result result = result_with(FINAL, SMTP_FAILURE_CONNECTION, true);
    result.final = reply_of("421 4.3.2 going down");
    expect_result(result, VERDICT_RETRY, "connection");
    result = result_with(MAIL, SMTP_FAILURE_REQUIRED, false);
    expect_result(result, VERDICT_REJECT_MESSAGE, "policy");
    result.final = reply_of("552 5.3.4 larger than the server's limit");
    expect_result(result, VERDICT_REJECT_MESSAGE, "message");
    assert_int_equal(outcome_of_result(&result).reason, STATUS_REASON_SIZE);
    result.final = reply_of("554 5.6.3 no 8BITMIME");
    expect_result(result, VERDICT_REJECT_MESSAGE, "policy");
    result.final = reply_of("553 5.6.7 no SMTPUTF8");
    expect_result(result, VERDICT_REJECT_RECIPIENT, "recipient");
    result = result_with(FINAL, SMTP_FAILURE_NONE, true);
    result.final = reply_of("250 2.0.0 ok");
    expect_result(result, VERDICT_SENT, "sent");
}

// Nothing that failed on this side of the wire, or on it, may end a message; but a producer who changed the
// file while it was sent has.
static void only_the_servers_words_are_for_good(void **state)
{
    (void)state;
    for (int failure = SMTP_FAILURE_CONNECTION; failure <= (int)SMTP_FAILURE_CANCELLED; failure++)
        for (int stage = CONNECT; stage <= (int)IDLE; stage++)
            for (int begun = 0; begun < 2; begun++) {
                if (failure == SMTP_FAILURE_REQUIRED || failure == SMTP_FAILURE_FILE)
                    continue;
                struct smtp_result result =
                    result_with((enum smtp_stage)stage, (enum smtp_failure)failure, begun);
                enum verdict verdict = outcome_of_result(&result).verdict;
                assert_true(verdict == VERDICT_RETRY || is_account(verdict));
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure_means_what_it_should),
        cmocka_unit_test(the_reply_that_ended_a_session_decides),
        cmocka_unit_test(a_mail_without_a_final_reply),
        cmocka_unit_test(only_the_servers_words_are_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
