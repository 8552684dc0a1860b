// What becomes of a message when nobody is left to try: sent, deferred, failed, given up, or back untouched
// (wire thread).
#include "agent/base/clock.h"
#include "agent/delivery/report.h"
#include "agent/delivery/retry.h"
#include "conclude_private.h"

#include <stdio.h>
#include <string.h>

int64_t conclude_age(const struct message *message, int64_t wall)
{
    if (!message->status || !message->status->n_attempts)
        return 0;
    int64_t age = wall - clock_ns(&message->status->attempts[0].at);
    return age > 0 ? age : 0;
}

int64_t conclude_next_attempt(struct message *message, int64_t wall)
{
    if (!message->next_attempt) {
        int64_t wait = retry_wait(message->config, conclude_age(message, wall), retry_random());
        message->next_attempt = wall + wait;
        int64_t expires = message->outgoing->expires;
        if (expires && message->next_attempt > expires)
            message->next_attempt = expires;
    }
    return message->next_attempt;
}

// Addresses that no server can be asked about, refused with the code a server would use.
static int conclude_refuse_unsendable(struct message *message, int64_t wall)
{
    for (size_t i = 0; i < message->outgoing->n_recipients; i++) {
        const char *problem = message->outgoing->recipients[i].problem;
        if (!problem || message->recipient_state[i] != STATUS_PENDING)
            continue;
        char words[256];
        (void)snprintf(words, sizeof words, "5.1.3 bad address: %s", problem);
        int error = message_need_status(message);
        if (!error)
            error = conclude_recipient(message, i, STATUS_REFUSED, words, wall);
        if (error)
            return error;
        if (message->refused_reason == STATUS_REASON_NONE) {
            message->refused_reason = STATUS_REASON_RECIPIENT;
            message_set_detail(message, "%s", words);
        }
    }
    return 0;
}

// The pending ones have been tried for too long: they are refused now.
static int conclude_give_up(struct message *message, int64_t wall)
{
    message->gave_up = true;
    message->refused_reason = STATUS_REASON_EXPIRED;
    char last[STATUS_TEXT_MAX] = "";
    for (size_t i = 0; i < message->outgoing->n_recipients; i++) {
        if (message->recipient_state[i] != STATUS_PENDING)
            continue;
        const char *reply = message->status->recipients[i].reply;
        (void)snprintf(last, sizeof last, "%s", reply ? reply : "");
        int error = conclude_recipient(message, i, STATUS_REFUSED, last, wall);
        if (error)
            return error;
    }
    int64_t minutes = conclude_age(message, wall) / CLOCK_SECOND / 60;
    bool expires = message->outgoing->expires && message->outgoing->expires <= wall;
    message_set_detail(message, "given up after %lldh%02lldm%s%s%.1900s", (long long)(minutes / 60),
        (long long)(minutes % 60), expires ? " (X-Outtray-Expires)" : "", last[0] ? "; last: " : "", last);
    return 0;
}

static int conclude_defer(struct message *message, const struct conclude_context *context)
{
    struct status *status = message->status;
    status->state = STATUS_DEFERRED;
    status->reason = STATUS_REASON_NONE;
    status->next_attempt = clock_timespec(conclude_next_attempt(message, context->wall));
    message->filing = FILING_DEFER;
    const char *detail = NULL;
    for (size_t i = 0; i < status->n_recipients && !detail; i++)
        if (status->recipients[i].state == STATUS_PENDING)
            detail = status->recipients[i].reply;
    int error = status_set_text(&status->fix, NULL);
    return error ? error : status_set_text(&status->detail, detail);
}

static int conclude_fail(struct message *message, const char *detail)
{
    int error = message_need_status(message);
    if (error)
        return error;
    struct status *status = message->status;
    status->state = STATUS_FAILED;
    status->next_attempt = (struct timespec){0};
    status->reason = message->refused_reason;
    message->filing = FILING_FAIL;
    return status_set_text(&status->detail, detail);
}

int conclude_rest(struct message *message, const struct conclude_context *context)
{
    int error = conclude_refuse_unsendable(message, context->wall);
    size_t pending = 0, refused = 0;
    for (size_t i = 0; i < message->outgoing->n_recipients; i++) {
        pending += message->recipient_state[i] == STATUS_PENDING;
        refused += message->recipient_state[i] == STATUS_REFUSED;
    }
    if (!error && pending) {
        bool over = retry_is_over(message->config, conclude_age(message, context->wall)) ||
                    (message->outgoing->expires && message->outgoing->expires <= context->wall);
        if (!over)
            return conclude_defer(message, context);
        error = conclude_give_up(message, context->wall);
        refused += pending;
    }
    if (error)
        return error;
    message->filing = FILING_SENT;
    if (!refused) {
        outgoing_drop_octets(message->outgoing); // half of its memory, and the filing desk has a queue
        return 0;
    }
    if (message->refused_reason == STATUS_REASON_NONE) {
        message->refused_reason = STATUS_REASON_RECIPIENT; // refused in an earlier attempt
        for (size_t i = 0; i < message->outgoing->n_recipients; i++)
            if (message->recipient_state[i] == STATUS_REFUSED && message->status->recipients[i].reply) {
                message_set_detail(message, "%s", message->status->recipients[i].reply);
                break;
            }
    }
    return conclude_fail(message, message->detail);
}

int conclude_fault(struct message *message, const struct conclude_context *context)
{
    const struct outgoing_fault *fault = message->fault;
    message->refused_reason = fault->reason;
    message_set_detail(message, "%s%s%s", fault->detail, fault->fix[0] ? "; " : "", fault->fix);
    int error = conclude_fail(message, message->detail);
    if (error)
        return error;
    bool expired = fault->reason == STATUS_REASON_EXPIRED;
    report_line(message, context,
        &(struct report){.event = expired ? DELIVERY_EXPIRED : DELIVERY_FAILED,
            .xfer_ms = -1,
            .all = true,
            .reason = status_reason_name(fault->reason),
            .reply = message->detail});
    return 0;
}

int conclude_wait(struct message *message, const struct conclude_context *context)
{
    int error = message_need_status(message);
    if (error)
        return error;
    message->deferred_class = "not_before";
    message->status->state = STATUS_DEFERRED;
    message->status->next_attempt = clock_timespec(message->outgoing->not_before);
    message->filing = FILING_DEFER;
    report_line(message, context,
        &(struct report){.event = DELIVERY_DEFERRED,
            .xfer_ms = -1,
            .all = true,
            .class = "not_before",
            .next = message->outgoing->not_before,
            .reply = "its X-Outtray-Not-Before is in the future"});
    return status_set_text(&message->status->detail, "waits for its X-Outtray-Not-Before");
}

void conclude_repeat(struct message *message, const struct conclude_context *context)
{
    message->filing = FILING_SENT;
    report_line(message, context,
        &(struct report){.event = DELIVERY_IGNORED,
            .xfer_ms = -1,
            .all = true,
            .reason = "duplicate",
            .reply = message->detail});
}

void conclude_return(struct message *message, const struct conclude_context *context, const char *words)
{
    message->filing = FILING_RETURN;
    report_line(message, context,
        &(struct report){.event = DELIVERY_RETURNED, .xfer_ms = -1, .all = true, .reply = words});
}

int conclude_nobody(struct message *message, const struct conclude_context *context)
{
    int error = conclude_rest(message, context);
    if (error)
        return error;
    struct report report = {.event = DELIVERY_SENT, .xfer_ms = -1, .all = true, .reply = message->detail};
    if (message->filing == FILING_FAIL) {
        report.event = message->gave_up ? DELIVERY_EXPIRED : DELIVERY_FAILED;
        report.reason = status_reason_name(message->refused_reason);
    } else if (message->filing == FILING_DEFER) {
        report.event = DELIVERY_DEFERRED;
        report.class = "message";
        report.next = message->next_attempt;
    }
    report_line(message, context, &report);
    return 0;
}
