// What replies mean: a case per rule of the table, from the providers' documentation and the RFCs, a check
// that no rule is without one, and soundness for any reply.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outcome_support.h"

#define HOUR_MS ((int64_t)3600000)

struct reply_case {
    enum smtp_stage stage;
    const char *text;
    enum verdict verdict;
    const char *class;
    enum status_reason reason;
    const char *flags; // of f(ewer) r(efresh) s(plit) l(ogin)
    int64_t park_ms;
};

#define RECIPIENT VERDICT_REJECT_RECIPIENT, "recipient", STATUS_REASON_RECIPIENT
#define POLICY    VERDICT_REJECT_MESSAGE, "policy", STATUS_REASON_POLICY
#define MESSAGE   VERDICT_REJECT_MESSAGE, "message", STATUS_REASON_POLICY
#define SIZE      VERDICT_REJECT_MESSAGE, "message", STATUS_REASON_SIZE
#define ADDRESSEE VERDICT_REJECT_MESSAGE, "recipient", STATUS_REASON_RECIPIENT

#define RETRY(c) VERDICT_RETRY, c, NO_REASON

#define SLOW  VERDICT_ACCOUNT_THROTTLED, "throttled", NO_REASON
#define QUOTA VERDICT_ACCOUNT_THROTTLED, "quota", NO_REASON

static const struct reply_case reply_cases[] = {
    {FINAL, "250 2.0.0 Ok: queued as 4X", SENT, "", 0},
    {FINAL, "250 5.0.0 a success all the same", SENT, "", 0},
    {RCPT, "251 2.1.5 User not local; will forward", SENT, "", 0},
    {RCPT, "252 2.1.5 Cannot VRFY", SENT, "", 0},
    {AUTH, "235 2.7.0 Accepted", SENT, "", 0},
    {DATA, "354 go ahead", SENT, "", 0},

    // Google
    {AUTH, "334 eyJzdGF0dXMiOiI0MDAifQ==", LOGIN, "rl", 0},
    {AUTH, "534 5.7.9 Application-specific password required", LOGIN, "l", 0},
    {AUTH, "535 5.7.8 Application-specific password required", LOGIN, "l", 0},
    {AUTH, "535 5.7.8 Username and Password not accepted", LOGIN, "rl", 0},
    {AUTH, "454 4.7.0 Too many login attempts, please try again later", SLOW, "l", 0},
    {MAIL, "421 4.7.0 Try again later, closing connection", SLOW, "", 0},
    {CONNECT, "421 4.7.0 Try again later, closing connection", SLOW, "", 0},
    {FINAL, "421 4.7.28 Our system has detected an unusual rate", RETRY("throttled"), "", 0},
    {MAIL, "550 5.4.5 Daily user sending limit exceeded", QUOTA, "", 6 * HOUR_MS},
    {RCPT, "550 5.4.5 Daily user sending limit exceeded", QUOTA, "", 6 * HOUR_MS},
    {FINAL, "550 5.4.5 Daily user sending limit exceeded", QUOTA, "", 6 * HOUR_MS},
    {RCPT, "452 4.5.3 Your message has too many recipients", RETRY("recipient"), "s", 0},
    {FINAL, "552 5.3.4 Message exceeds fixed size limit", SIZE, "", 0},
    {MAIL, "552 5.2.3 Your message exceeded size limits", SIZE, "", 0},
    {FINAL, "552 5.7.0 blocked: potential security issue", POLICY, "", 0},

    // Microsoft
    {AUTH, "535 5.7.3 Authentication unsuccessful", LOGIN, "rl", 0},
    {AUTH, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled", LOGIN, "l", 0},
    {AUTH, "550 5.7.30 Basic authentication is not supported for Client Submission", LOGIN, "l", 0},
    {FINAL, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", POLICY, "", 0},
    {FINAL, "554 5.2.252 SendAsDenied; a not allowed to send as b", POLICY, "", 0},
    {FINAL, "554 5.2.252 not allowed to send as b", POLICY, "", 0},
    {FINAL, "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException", POLICY, "", 0},
    {FINAL, "550 5.2.251 throttled", SLOW, "", 4 * HOUR_MS},
    {MAIL, "550 5.2.252 throttled", SLOW, "", 4 * HOUR_MS},
    {FINAL, "550 5.2.255 throttled", SLOW, "", 4 * HOUR_MS},
    {FINAL, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", SLOW, "f", 0},
    {MAIL, "432 4.3.2 Concurrent connections limit exceeded", SLOW, "f", 0},
    {MAIL, "421 4.4.2 Connection dropped", DOWN("connection"), "", 0},
    {IDLE, "421 4.4.2 Connection dropped due to timeout", DOWN("connection"), "", 0},
    {RCPT, "451 4.7.1 Please try again later", RETRY("greylist"), "", 0},
    {FINAL, "451 4.7.0 Temporary server error. PRX2", RETRY("policy"), "", 0},
    {MAIL, "451 4.7.0 Temporary server error. PRX2", RETRY("policy"), "", 0},
    {MAIL, "451 4.7.500 Server busy. Please try again later", SLOW, "", 0},
    {FINAL, "554 5.2.0 SubmissionQuotaExceededException", QUOTA, "", 24 * HOUR_MS},
    {FINAL, "550 5.1.90 Your message can't be sent because you've reached your daily limit", QUOTA, "",
        24 * HOUR_MS},
    {FINAL, "550 5.1.8 Access denied, bad outbound sender", LOGIN, "", 0},
    {FINAL, "554 5.2.270 message too large", SIZE, "", 0},
    {AUTH, "501 5.5.127 token expires too soon", LOGIN, "rl", 0},

    // Others
    {FINAL, "454 Throttling failure: Maximum sending rate exceeded.", SLOW, "", 2000},
    {MAIL, "454 Throttling failure: Daily message quota exceeded.", QUOTA, "", HOUR_MS},
    {AUTH, "451 Authentication failed: Maximum credits exceeded", QUOTA, "l", 6 * HOUR_MS},
    {CONNECT, "421 mailgun is busy", DOWN("connection"), "", 0},
    {RCPT, "421 lost it", RETRY("connection"), "", 0},
    {FINAL, "421 4.3.0 lost it", RETRY("connection"), "", 0},
    {FINAL, "550 5.4.6 Unusual sending activity detected", SLOW, "", 24 * HOUR_MS},
    {FINAL, "554 5.1.8 Email Outgoing Blocked", SLOW, "", 24 * HOUR_MS},
    {FINAL, "554 5.4.6 Error: too many hops", MESSAGE, "", 0},
    {MAIL, "550 5.1.8 <a@b>: Sender address rejected: Domain not found", POLICY, "", 0},
    {RCPT, "554 5.1.8 <a@b>: Sender address rejected: Domain not found", POLICY, "", 0},

    // Common words
    {CONNECT, "421 4.7.0 mx Error: too many connections from 192.0.2.1", SLOW, "f", 0},
    {CONNECT, "554 Too many concurrent SMTP connections", SLOW, "f", 0},
    {AUTH, "451 too many connections", SLOW, "fl", 0},
    {FINAL, "550 You have reached your sending limit", QUOTA, "", 6 * HOUR_MS},
    {RCPT, "450 4.7.1 Error: too much mail from 192.0.2.1", SLOW, "", 60000},
    {MAIL, "451 4.7.1 Rate limit reached", SLOW, "", 0},
    {MAIL, "421 Throttled, try later", SLOW, "", 0},

    // AUTH
    {AUTH, "421 4.3.0 closing", DOWN("connection"), "l", 0},
    {AUTH, "432 4.7.12 A password transition is needed", LOGIN, "l", 0},
    {AUTH, "454 4.7.0 Temporary authentication failure", SLOW, "l", 0},
    {AUTH, "451 no", SLOW, "l", 0},
    {AUTH, "535 4.7.8 try later", SLOW, "l", 0},
    {AUTH, "550 4.7.0 try later", SLOW, "l", 0},
    {AUTH, "534 5.7.9 Authentication mechanism is too weak", LOGIN, "l", 0},
    {AUTH, "534 too weak", LOGIN, "l", 0},
    {AUTH, "538 5.7.11 Encryption required", LOGIN, "l", 0},
    {AUTH, "530 5.7.0 Must issue a STARTTLS command first", LOGIN, "l", 0},
    {AUTH, "535 no", LOGIN, "rl", 0},
    {MAIL, "535 5.7.8 who are you", LOGIN, "r", 0},
    {AUTH, "525 5.7.13 User account disabled", LOGIN, "l", 0},
    {AUTH, "504 5.5.4 Unrecognized authentication type", LOGIN, "l", 0},
    {AUTH, "500 unknown command", LOGIN, "l", 0},
    {AUTH, "550 denied", LOGIN, "rl", 0},

    // A transaction that needs more than it has
    {MAIL, "530 5.7.0 Must issue a STARTTLS command first", LOGIN, "", 0},
    {MAIL, "530 5.7.57 Client not authenticated to send mail", LOGIN, "", 0},
    {RCPT, "530 5.7.0 Authentication required", LOGIN, "", 0},
    {MAIL, "503 5.5.4 Error: send AUTH command first", LOGIN, "", 0},

    // Greeting, TLS, EHLO
    {CONNECT, "554 5.7.1 Service unavailable; client host blocked", DOWN("connection"), "", 0},
    {CONNECT, "554 No SMTP service here", DOWN("connection"), "", 0},
    {CONNECT, "450 not now", DOWN("connection"), "", 0},
    {TLS, "454 4.7.0 TLS not available due to local problem", DOWN("tls"), "", 0},
    {EHLO, "501 5.5.4 Invalid domain name", DOWN("protocol"), "", 0},
    {EHLO, "451 not now", DOWN("connection"), "", 0},

    // Out of step
    {RCPT, "503 5.5.1 bad sequence of commands", RETRY("protocol"), "", 0},
    {FINAL, "503 5.5.1 bad sequence of commands", RETRY("protocol"), "", 0},
    {DATA, "554 5.5.1 Error: no valid recipients", RETRY("protocol"), "", 0},
    {DATA, "250 too early", RETRY("protocol"), "", 0},
    {MAIL, "354 too early", RETRY("protocol"), "", 0},
    {FINAL, "999 what", RETRY("protocol"), "", 0},
    {CONNECT, "999 what", DOWN("protocol"), "", 0},
    {AUTH, "354 what", DOWN("protocol"), "l", 0},

    // Recipients
    {RCPT, "552 5.5.3 too many", RETRY("recipient"), "s", 0},
    {RCPT, "552 too many recipients", RETRY("recipient"), "s", 0},
    {RCPT, "452 Too many recipients", RETRY("recipient"), "s", 0},
    {RCPT, "452 4.2.2 mailbox full", RETRY("recipient"), "", 0},
    {RCPT, "452 insufficient system storage", RETRY("recipient"), "", 0},
    {RCPT, "450 4.2.0 <a@b>: Recipient address rejected: Greylisted", RETRY("greylist"), "", 0},
    {MAIL, "451 Graylisted, come again", RETRY("greylist"), "", 0},
    {RCPT, "450 mailbox busy", RETRY("recipient"), "", 0},
    {RCPT, "550 4.2.1 class before code", RETRY("recipient"), "", 0},
    {RCPT, "450 5.1.1 class before code", RECIPIENT, "", 0},
    {RCPT, "550 5.1.1 no such user", RECIPIENT, "", 0},
    {RCPT, "550 5.7.1 relaying denied", RECIPIENT, "", 0},
    {RCPT, "554 5.7.1 <a@b>: Relay access denied", RECIPIENT, "", 0},
    {RCPT, "552 5.2.2 mailbox full", RECIPIENT, "", 0},
    {RCPT, "552 mailbox full", RECIPIENT, "", 0},
    {RCPT, "550 no", RECIPIENT, "", 0},
    {RCPT, "553 mailbox name not allowed", RECIPIENT, "", 0},
    {MAIL, "553 5.6.7 non-ASCII address not permitted", RECIPIENT, "", 0},
    {RCPT, "550 5.6.7 non-ASCII address not permitted", RECIPIENT, "", 0},

    // Messages
    {MAIL, "451 4.3.0 try later", RETRY("message"), "", 0},
    {FINAL, "554 4.3.0 class before code", RETRY("message"), "", 0},
    {MAIL, "452 insufficient system storage", RETRY("message"), "", 0},
    {FINAL, "452 4.3.1 insufficient system storage", RETRY("message"), "", 0},
    {DATA, "451 local error", RETRY("message"), "", 0},
    {FINAL, "550 5.7.1 spam", POLICY, "", 0},
    {MAIL, "550 5.7.1 sender refused", POLICY, "", 0},
    {MAIL, "550 5.1.7 bad sender", POLICY, "", 0},
    {MAIL, "550 refused", POLICY, "", 0},
    {MAIL, "553 5.5.4 strange parameter", MESSAGE, "", 0},
    {FINAL, "550 5.1.1 no such user", ADDRESSEE, "", 0},
    {FINAL, "552 5.2.2 mailbox full", ADDRESSEE, "", 0},
    {FINAL, "554 5.6.0 malformed", POLICY, "", 0},
    {MAIL, "554 5.6.3 conversion required but not supported", POLICY, "", 0},
    {FINAL, "552 5.0.0 too big", SIZE, "", 0},
    {FINAL, "552 too big", SIZE, "", 0},
    {MAIL, "552 too big", SIZE, "", 0},
    {FINAL, "554 5.3.0 no", MESSAGE, "", 0},
    {FINAL, "554 transaction failed", MESSAGE, "", 0},
    {DATA, "554 transaction failed", MESSAGE, "", 0},
};

static void flags_of(const struct outcome *outcome, char flags[static 5])
{
    size_t n = 0;
    if (outcome->fewer_connections)
        flags[n++] = 'f';
    if (outcome->refresh_token)
        flags[n++] = 'r';
    if (outcome->split)
        flags[n++] = 's';
    if (outcome->at_login)
        flags[n++] = 'l';
    flags[n] = '\0';
}

static void every_reply_means_what_its_source_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof reply_cases / sizeof *reply_cases; i++) {
        const struct reply_case *wanted = &reply_cases[i];
        struct smtp_reply reply = reply_of(wanted->text);
        struct outcome got = outcome_of_reply(wanted->stage, &reply);
        char flags[5];
        flags_of(&got, flags);
        if (got.verdict != wanted->verdict || strcmp(got.class, wanted->class) != 0 ||
            got.reason != wanted->reason || strcmp(flags, wanted->flags) != 0 ||
            got.park_ms != wanted->park_ms)
            fail_msg("stage %d %s: %s class %s reason %d flags \"%s\" park %lld", (int)wanted->stage,
                wanted->text, verdict_name(got.verdict), got.class, (int)got.reason, flags,
                (long long)got.park_ms);
        if (is_account(got.verdict) && (!got.fix || !*got.fix))
            fail_msg("stage %d %s: nobody is told what to do", (int)wanted->stage, wanted->text);
    }
}

static void every_rule_about_replies_has_a_case(void **state)
{
    (void)state;
    for (size_t rule = 0; rule < outcome_rules_n; rule++) {
        unsigned hits = 0;
        for (size_t i = 0; i < sizeof reply_cases / sizeof *reply_cases; i++) {
            struct smtp_reply reply = reply_of(reply_cases[i].text);
            hits += outcome_rule_find(reply_cases[i].stage, &reply) == &outcome_rules[rule];
        }
        if (!hits)
            fail_msg("rule %zu (%s: stages %x, %d-%d, %d.%d.%d, \"%s\") decides no case", rule,
                outcome_rules[rule].source, outcome_rules[rule].stages, outcome_rules[rule].code_min,
                outcome_rules[rule].code_max, outcome_rules[rule].class_digit, outcome_rules[rule].subject,
                outcome_rules[rule].detail, outcome_rules[rule].text ? outcome_rules[rule].text : "");
    }
}

static void texts_are_found_in_any_case(void **state)
{
    (void)state;
    struct smtp_reply reply = reply_of("452 TOO MANY RECIPIENTS in this one");
    assert_true(outcome_of_reply(RCPT, &reply).split);
}

// Whatever a server sends, something is decided, and what is decided fits together.
static void any_reply_is_judged_soundly(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "quota", "too many recipients", "greylist", "throttle", "auth"};
    for (int stage = CONNECT; stage <= (int)IDLE; stage++)
        for (int code = 0; code < 1000; code++)
            for (int class = 0; class <= 5; class ++)
                for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
                    struct smtp_reply reply = {
                        .code = code, .enhanced = {class, class ? 7 : 0, class ? 1 : 0}};
                    (void)snprintf(reply.text, sizeof reply.text, "%03d %s", code, texts[t]);
                    struct outcome got = outcome_of_reply((enum smtp_stage)stage, &reply);
                    bool mailing = stage == MAIL || stage == RCPT || stage == DATA || stage == FINAL;
                    bool reject =
                        got.verdict == VERDICT_REJECT_MESSAGE || got.verdict == VERDICT_REJECT_RECIPIENT;
                    assert_non_null(got.class);
                    assert_true(got.verdict != VERDICT_SPOOL);
                    // For good only what the server refused, never what it said in set-up.
                    assert_true(!reject || (mailing && (code / 100 == 5 || (code / 100 == 4 && class == 5))));
                    assert_true(reject == (got.reason != STATUS_REASON_NONE));
                    assert_true(got.verdict != VERDICT_SENT || code / 100 == 2 || code == 354);
                    assert_true(mailing || got.verdict != VERDICT_RETRY);
                    assert_true(got.park_ms >= 0 && got.park_ms <= 24 * HOUR_MS);
                    assert_true(!got.park_ms || got.verdict == VERDICT_ACCOUNT_THROTTLED);
                    assert_true(!got.refresh_token || got.verdict == VERDICT_ACCOUNT_CREDENTIALS);
                }
}

static void a_fix_is_found_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < outcome_rules_n; i++) {
        const char *fix = outcome_rules[i].outcome->fix;
        if (!fix)
            continue;
        char copy[512];
        assert_true(strlen(fix) < sizeof copy);
        (void)snprintf(copy, sizeof copy, "%s", fix);
        assert_string_equal(outcome_fix_find(copy), fix);
    }
    assert_null(outcome_fix_find("rm -rf /"));
    assert_null(outcome_fix_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reply_means_what_its_source_says),
        cmocka_unit_test(every_rule_about_replies_has_a_case),
        cmocka_unit_test(texts_are_found_in_any_case),
        cmocka_unit_test(any_reply_is_judged_soundly),
        cmocka_unit_test(a_fix_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
