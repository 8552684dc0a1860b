// Transactions prepared and judged (wire thread).
#include "agent/base/clock.h"
#include "agent/delivery/report.h"
#include "conclude_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

size_t conclude_prepare(struct message *message, size_t recipients_max)
{
    struct outgoing *outgoing = message->outgoing;
    size_t n = 0, most = message->settings->account->limits.recipients_per_message;
    if (!most || most > outgoing->n_recipients)
        most = outgoing->n_recipients;
    if (most > recipients_max)
        most = recipients_max;
    bool utf8 = false;
    for (size_t i = 0; i < outgoing->n_recipients && n < most; i++) {
        const struct outgoing_recipient *recipient = &outgoing->recipients[i];
        if (message->recipient_state[i] != STATUS_PENDING || message->recipient_tried[i] ||
            recipient->problem)
            continue;
        bool needs = recipient->smtputf8 || outgoing->smtputf8;
        if (n == 0)
            utf8 = needs;
        else if (utf8 != needs)
            continue;
        message->wire_recipients[n] = (struct smtp_recipient){
            .address = recipient->wire, .notify = recipient->notify, .orcpt = recipient->orcpt};
        message->recipient_index[n++] = i;
    }
    message->mail = (struct smtp_mail){
        .reverse_path = outgoing->envelope_from,
        .ret = outgoing->ret,
        .envid = outgoing->envid,
        .eight_bit = outgoing->eight_bit,
        .smtputf8 = utf8,
        .recipients = message->wire_recipients,
        .n_recipients = n,
        .body = outgoing->body,
        .owner = message,
    };
    return n;
}

int conclude_recipient(
    struct message *message, size_t index, enum status_recipient_state state, const char *reply, int64_t wall)
{
    message->recipient_state[index] = state;
    message->recipient_tried[index] = true;
    if (!message->status)
        return 0;
    struct timespec at = clock_timespec(wall);
    return status_set_recipient(message->status, index, state, reply, &at);
}

static const struct smtp_reply *rcpt_reply(const struct smtp_result *result, size_t k)
{
    const struct smtp_reply *reply = result->recipients ? result->recipients[k] : NULL;
    return reply && reply->code ? reply : NULL;
}

struct judged { // one wire recipient
    struct outcome outcome;
    const char *words;
    enum smtp_stage stage;
};

static struct judged judge(const struct smtp_result *result, const struct outcome *whole, size_t k)
{
    const struct smtp_reply *reply = rcpt_reply(result, k);
    if (reply && reply->code >= 400)
        return (struct judged){outcome_of_reply(SMTP_STAGE_RCPT, reply), reply->text, SMTP_STAGE_RCPT};
    const char *words = result->final.code ? result->final.text : result->problem ? result->problem : "";
    // A yes to the message is one to those that RCPT was a yes for, and to nobody else.
    if (!reply && whole->verdict == VERDICT_SENT)
        return (struct judged){
            {.verdict = VERDICT_RETRY, .class = "local"}, "the reply to RCPT is not known", SMTP_STAGE_RCPT};
    return (struct judged){*whole, words, result->stage};
}

static bool is_account(enum verdict verdict)
{
    return verdict == VERDICT_ACCOUNT_THROTTLED || verdict == VERDICT_ACCOUNT_CREDENTIALS ||
           verdict == VERDICT_ACCOUNT_UNREACHABLE;
}

// What one transaction came to, before it is written down.
struct tally {
    size_t sent, pending, refused, left; // wire recipients; left: no answer in this attempt yet
    struct judged first_pending, first_refused, trouble;
    bool has_trouble;
};

static void tally_note(struct tally *tally, const struct judged *judged, bool others_accepted,
    enum status_recipient_state *ret_state, bool *ret_left)
{
    enum verdict verdict = judged->outcome.verdict;
    *ret_left = false;
    *ret_state = STATUS_PENDING;
    if (is_account(verdict)) {
        if (!tally->has_trouble)
            tally->trouble = *judged;
        tally->has_trouble = *ret_left = true;
    } else if (judged->outcome.split && others_accepted) {
        *ret_left = true;
    } else if (verdict == VERDICT_SENT) {
        *ret_state = STATUS_SENT;
        tally->sent++;
        return;
    } else if (verdict == VERDICT_REJECT_RECIPIENT || verdict == VERDICT_REJECT_MESSAGE) {
        if (!tally->refused++)
            tally->first_refused = *judged;
        *ret_state = STATUS_REFUSED;
        return;
    } else if (!tally->pending++) {
        tally->first_pending = *judged;
    }
    if (*ret_left) {
        tally->left++;
    }
}

static int conclude_attempt(
    struct message *message, const struct conclude_context *context, const struct judged *judged)
{
    int error = message_need_status(message);
    struct timespec at = clock_timespec(context->wall);
    return error ? error
                 : status_add_attempt(message->status, &at, context->account, context->relay, context->tls,
                       smtp_stage_name(judged->stage), judged->words);
}

static void conclude_report(struct message *message, const struct conclude_context *context,
    const struct tally *tally, const struct smtp_result *result)
{
    struct report report = {.xfer_ms = result->xfer_ns / CLOCK_MS};
    if (tally->sent) {
        report.event = DELIVERY_SENT;
        report.state = STATUS_SENT;
        report.reply = result->final.text;
        report_line(message, context, &report);
    }
    if (tally->pending && message->gave_up) {
        report.event = DELIVERY_EXPIRED;
        report.state = STATUS_REFUSED;
        report.reply = message->detail;
        report.reason = status_reason_name(STATUS_REASON_EXPIRED);
        report_line(message, context, &report);
        return;
    }
    if (tally->pending) {
        report.event = DELIVERY_DEFERRED;
        report.state = STATUS_PENDING;
        report.reply = tally->first_pending.words;
        report.class = tally->first_pending.outcome.class;
        report.next = conclude_next_attempt(message, context->wall);
        report_line(message, context, &report);
        report.class = NULL;
        report.next = 0;
    }
    if (tally->refused) {
        report.event = DELIVERY_FAILED;
        report.state = STATUS_REFUSED;
        report.reply = tally->first_refused.words;
        report.reason = status_reason_name(tally->first_refused.outcome.reason);
        report_line(message, context, &report);
    }
}

// Judges every recipient of the transaction and notes it in message and status.
static int conclude_judge(struct message *message, const struct smtp_result *result,
    const struct conclude_context *context, struct tally *tally)
{
    struct outcome whole = outcome_of_result(result);
    size_t n = message->mail.n_recipients, accepted = 0;
    for (size_t k = 0; k < n; k++) {
        const struct smtp_reply *reply = rcpt_reply(result, k);
        accepted += reply && reply->code < 300;
    }
    // A status is needed as soon as there is anything to remember; all accepted at the first go leaves
    // nothing.
    bool plain = whole.verdict == VERDICT_SENT && accepted == n && n == message->outgoing->n_recipients;
    int error = plain || message->status ? 0 : message_need_status(message);
    for (size_t k = 0; !error && k < n; k++) {
        struct judged judged = judge(result, &whole, k);
        enum status_recipient_state state;
        bool left;
        tally_note(tally, &judged, accepted > 0 && whole.verdict == VERDICT_SENT, &state, &left);
        if (!left)
            error =
                conclude_recipient(message, message->recipient_index[k], state, judged.words, context->wall);
    }
    return error;
}

static bool message_has_left(const struct message *message)
{
    for (size_t i = 0; i < message->outgoing->n_recipients; i++)
        if (message->recipient_state[i] == STATUS_PENDING && !message->recipient_tried[i] &&
            !message->outgoing->recipients[i].problem)
            return true;
    return false;
}

// Whether its sender has to hear from us that from here on nobody tells of success, RFC 3461 section 5.2.2.
static bool is_relayed(const struct message *message)
{
    const struct outgoing *outgoing = message->outgoing;
    for (size_t i = 0; i < outgoing->n_recipients; i++)
        if (outgoing->recipients[i].notify && strcasestr(outgoing->recipients[i].notify, "SUCCESS") &&
            message->recipient_state[i] == STATUS_SENT)
            return true;
    return false;
}

int conclude_result(struct message *message, const struct smtp_result *result,
    const struct conclude_context *context, struct conclusion *ret_conclusion)
{
    struct tally tally = {0};
    *ret_conclusion = (struct conclusion){.next = CONCLUDE_BACK};
    if (!result->begun && result->failure != SMTP_FAILURE_REQUIRED && result->failure != SMTP_FAILURE_FILE &&
        result->failure != SMTP_FAILURE_DISK)
        return 0; // the session ended before this mail's turn
    int error = conclude_judge(message, result, context, &tally);
    if (error)
        return error;
    ret_conclusion->trouble = tally.has_trouble;
    ret_conclusion->outcome = tally.trouble.outcome;
    if (tally.has_trouble)
        (void)snprintf(ret_conclusion->words, sizeof ret_conclusion->words, "%s", tally.trouble.words);
    size_t said = tally.sent + tally.pending + tally.refused;
    ret_conclusion->delivered = tally.sent > 0;
    ret_conclusion->record = said > 0;
    if (said == 0) {
        ret_conclusion->next = tally.has_trouble ? CONCLUDE_BACK : CONCLUDE_AGAIN;
        return 0;
    }
    if (tally.refused && message->refused_reason == STATUS_REASON_NONE) {
        message->refused_reason = tally.first_refused.outcome.reason;
        message_set_detail(message, "%s", tally.first_refused.words);
    }
    struct judged accepted = {.words = result->final.text, .stage = result->stage};
    bool plain = !message->status;
    if (!plain)
        error = conclude_attempt(message, context,
            tally.pending   ? &tally.first_pending
            : tally.refused ? &tally.first_refused
                            : &accepted);
    if (error)
        return error;
    bool left = message_has_left(message);
    ret_conclusion->next = left ? (tally.has_trouble ? CONCLUDE_BACK : CONCLUDE_AGAIN) : CONCLUDE_FILE;
    if (tally.pending)
        message->deferred_class = tally.first_pending.outcome.class;
    if (plain && !left)
        message_set_detail(message, "%s", result->final.text);
    if (ret_conclusion->next == CONCLUDE_FILE) {
        message->relayed = context->no_dsn && is_relayed(message);
        error = conclude_rest(message, context);
    }
    if (!error)
        conclude_report(message, context, &tally, result);
    return error;
}
