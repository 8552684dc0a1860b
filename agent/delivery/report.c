// Building a message's delivery lines.
#include "report.h"
#include "agent/base/clock.h"

#include <stddef.h>

// Whether recipient `index` belongs into the line.
static bool report_names(const struct message *message, const struct report *report, size_t index)
{
    return report->all || message->recipient_state[index] == report->state;
}

static size_t report_addresses(const struct message *message, const struct report *report,
    const char *to[static DELIVERY_LOG_ADDRESSES_MAX])
{
    size_t n = 0;
    const struct outgoing *outgoing = message->outgoing;
    if (!outgoing)
        return 0;
    size_t of =
        report->all || !message->mail.n_recipients ? outgoing->n_recipients : message->mail.n_recipients;
    for (size_t i = 0; i < of; i++) {
        size_t index = of == outgoing->n_recipients ? i : message->recipient_index[i];
        if (!report->all && !report_names(message, report, index))
            continue;
        if (n < DELIVERY_LOG_ADDRESSES_MAX)
            to[n] = outgoing->recipients[index].address;
        n++;
    }
    return n;
}

void report_line(struct message *message, const struct conclude_context *context, const struct report *report)
{
    const char *to[DELIVERY_LOG_ADDRESSES_MAX];
    const struct outgoing *outgoing = message->outgoing;
    int64_t submitted = clock_ns(&message->stat.st_mtim);
    int64_t begun = context->wall - (report->xfer_ms >= 0 ? report->xfer_ms * CLOCK_MS : 0);
    struct delivery_line line = {
        .time = context->wall,
        .event = report->event,
        .tenant = message->tenant->name,
        .name = message->claimed_name,
        .message_id = outgoing ? outgoing->message_id : NULL,
        .account = context->account,
        .from = outgoing ? outgoing->envelope_from : NULL,
        .to = to,
        .n_to = report_addresses(message, report, to),
        .size = outgoing ? (int64_t)outgoing->body.size : (int64_t)message->stat.st_size,
        .attempt = message->attempt,
        .relay = context->relay,
        .tls = context->tls,
        .conn_use = context->conn_use,
        .queue_ms = begun > submitted ? (begun - submitted) / CLOCK_MS : 0,
        .conn_ms = context->conn_ms,
        .xfer_ms = report->xfer_ms,
        .reply = report->reply,
        .next = report->next,
        .class = report->class,
        .reason = report->reason,
    };
    delivery_log_line(&message->lines, &line);
}
