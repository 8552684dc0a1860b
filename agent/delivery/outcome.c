// The judge: looks up the tables of outcome_rules.c and applies what depends on more than one row can say.
#include "outcome_rules.h"

#include <assert.h>
#include <string.h>

static bool verdict_is_account(enum verdict verdict)
{
    return verdict == VERDICT_ACCOUNT_THROTTLED || verdict == VERDICT_ACCOUNT_CREDENTIALS ||
           verdict == VERDICT_ACCOUNT_UNREACHABLE;
}

static bool rule_matches(
    const struct outcome_rule *rule, enum smtp_stage stage, const struct smtp_reply *reply)
{
    if (!(rule->stages & 1u << stage))
        return false;
    if (rule->code_max && (reply->code < rule->code_min || reply->code > rule->code_max))
        return false;
    if (rule->class_digit) {
        if (reply->enhanced[0] != rule->class_digit)
            return false;
        if (rule->subject >= 0 && reply->enhanced[1] != rule->subject)
            return false;
        if (rule->detail >= 0 &&
            (reply->enhanced[2] < rule->detail || reply->enhanced[2] > rule->detail_last))
            return false;
    }
    return !rule->text || strcasestr(reply->text, rule->text);
}

const struct outcome_rule *outcome_rule_find(enum smtp_stage stage, const struct smtp_reply *reply)
{
    const struct outcome_rule *rule = outcome_rules;
    while (!rule_matches(rule, stage, reply)) {
        rule++;
        assert(rule < outcome_rules + outcome_rules_n);
    }
    return rule;
}

const struct outcome_failure_rule *outcome_failure_rule_find(
    enum smtp_failure failure, CURLcode curl, long os_error)
{
    const struct outcome_failure_rule *rule = outcome_failure_rules;
    while (rule->failure != failure || (rule->curl >= 0 && rule->curl != (int)curl) ||
           (rule->os_error && rule->os_error != os_error)) {
        rule++;
        assert(rule < outcome_failure_rules + outcome_failure_rules_n);
    }
    return rule;
}

struct outcome outcome_of_reply(enum smtp_stage stage, const struct smtp_reply *reply)
{
    struct outcome outcome = *outcome_rule_find(stage, reply)->outcome;
    outcome.at_login = stage == SMTP_STAGE_AUTH && verdict_is_account(outcome.verdict);
    return outcome;
}

struct outcome outcome_of_result(const struct smtp_result *result)
{
    if (result->failure == SMTP_FAILURE_NONE)
        return outcome_of_reply(result->stage, &result->final);
    if (result->failure == SMTP_FAILURE_CONNECTION && result->final.code >= 400)
        return outcome_of_reply(result->stage, &result->final);
    if (result->failure == SMTP_FAILURE_REQUIRED && result->final.code)
        return outcome_of_reply(SMTP_STAGE_MAIL, &result->final);
    struct outcome outcome = *outcome_failure_rule_find(result->failure, CURLE_OK, 0)->outcome;
    // What the server did out of step while this mail was under way may be due to it, and so may the end of a
    // connection once the server has begun to answer about it.
    bool about_mail = result->begun &&
                      (result->failure == SMTP_FAILURE_PROTOCOL || result->stage > SMTP_STAGE_MAIL) &&
                      result->failure != SMTP_FAILURE_CANCELLED;
    if (about_mail && outcome.verdict == VERDICT_ACCOUNT_UNREACHABLE)
        outcome = (struct outcome){.verdict = VERDICT_RETRY, .class = outcome.class};
    outcome.at_login = result->failure == SMTP_FAILURE_LOGIN;
    return outcome;
}

struct outcome outcome_of_closing(const struct smtp_closing *closing)
{
    static const struct outcome no_trouble = {.verdict = VERDICT_SENT, .class = "sent"};
    struct outcome lost = *outcome_failure_rule_find(SMTP_FAILURE_CONNECTION, CURLE_OK, 0)->outcome;
    bool told =
        closing->reply.code >= 400 || (closing->reply.code == 334 && closing->failure == SMTP_FAILURE_LOGIN);
    struct outcome outcome;
    switch (closing->failure) {
    case SMTP_FAILURE_FILE:
    case SMTP_FAILURE_DISK:
    case SMTP_FAILURE_REQUIRED:
    case SMTP_FAILURE_CANCELLED:
        return no_trouble;
    case SMTP_FAILURE_NONE:
    case SMTP_FAILURE_CONNECTION:
    case SMTP_FAILURE_PROTOCOL:
    case SMTP_FAILURE_LOGIN:
        if (told) {
            enum smtp_stage stage = closing->failure == SMTP_FAILURE_LOGIN ? SMTP_STAGE_AUTH : closing->stage;
            outcome = outcome_of_reply(stage, &closing->reply);
            break;
        }
        if (closing->failure == SMTP_FAILURE_NONE)
            return no_trouble;
        __attribute__((fallthrough));
    case SMTP_FAILURE_TIMEOUT:
    case SMTP_FAILURE_TLS:
        outcome = *outcome_failure_rule_find(closing->failure, closing->curl, closing->os_error)->outcome;
        outcome.at_login = closing->stage == SMTP_STAGE_AUTH;
        break;
    }
    // A server that says goodbye to an idle connection is only tidy.
    if (closing->failure == SMTP_FAILURE_NONE && outcome.verdict != VERDICT_ACCOUNT_THROTTLED &&
        outcome.verdict != VERDICT_ACCOUNT_CREDENTIALS)
        return no_trouble;
    // The reply was about a message; what it means for the account is that the connection is gone.
    return verdict_is_account(outcome.verdict) ? outcome : lost;
}

const char *outcome_fix_find(const char *text)
{
    for (size_t i = 0; i < outcome_rules_n; i++)
        if (outcome_rules[i].outcome->fix && !strcmp(outcome_rules[i].outcome->fix, text))
            return outcome_rules[i].outcome->fix;
    for (size_t i = 0; i < outcome_failure_rules_n; i++)
        if (outcome_failure_rules[i].outcome->fix && !strcmp(outcome_failure_rules[i].outcome->fix, text))
            return outcome_failure_rules[i].outcome->fix;
    return NULL;
}
