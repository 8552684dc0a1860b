// Composing notices (see notice_text.h).
#include "notice_text.h"
#include "agent/base/clock.h"
#include "agent/compose/mail_date.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A line of text that came from elsewhere, in printable ASCII and cut.
static void append_plain(struct buffer *out, const char *text)
{
    for (size_t i = 0; i < NOTICE_TEXT_MAX && text[i]; i++) {
        char c = (unsigned char)text[i] < ' ' || (unsigned char)text[i] >= 0x7F ? '?' : text[i];
        buffer_append(out, &c, 1);
    }
}

// Return-Path is the null sender where the account lets messages say so (RFC 3464 section 2); an account that
// does not sends it under its own address, which is nobody's loop either: what comes back to it is not ours
// to answer.
static void append_head(
    struct buffer *out, const struct notice_source *source, const struct notice_item *item, const char *kind)
{
    buffer_text(out, "Return-Path: <>\r\nX-Outtray-Notice: ");
    buffer_text(out, kind);
    buffer_format(out,
        "\r\nFrom: Mail Delivery System <root@%s>\r\nTo: <%s>\r\nAuto-Submitted: auto-replied\r\n",
        source->config->domain, item->target);
}

static void append_date(struct buffer *out, const char *field, const struct timespec *time)
{
    char date[MAIL_DATE_SIZE];
    if (!time->tv_sec)
        return;
    mail_date_format(clock_ns(time), date);
    buffer_format(out, "%s: %s\r\n", field, date);
}

static void append_words(
    struct buffer *out, const struct notice_source *source, const struct notice_item *item, int64_t until)
{
    char date[MAIL_DATE_SIZE];
    bool failed = item->kind == NOTICE_FAILED, relayed = notice_kind_relayed(item->kind);
    buffer_format(out, "This is the mail system of %s.\r\n\r\n%s\r\n\r\n", source->config->domain,
        failed    ? "Your message could not be delivered to:"
        : relayed ? "Your message was handed on, to a server that does not tell of success. This is the last "
                    "that\r\nyou hear of it, unless it cannot be delivered there. It is on its way to:"
                  : "Your message has not been delivered yet. You need not send it again. It waits for:");
    for (size_t i = 0; i < item->n_recipients; i++) {
        const struct notice_recipient *recipient = &item->recipients[i];
        buffer_format(out, "  %s\r\n", recipient->address);
        if (recipient->reply)
            buffer_format(out, "      %s\r\n", recipient->reply);
    }
    if (item->kind == NOTICE_DELAYED) {
        mail_date_format(until, date);
        buffer_format(out, "\r\nIt is tried again until %s.\r\n", date);
    } else if (failed && item->status->reason == STATUS_REASON_EXPIRED) {
        buffer_text(out, "\r\nIt was tried again and again, and is given up now.\r\n");
    }
    buffer_format(out, "\r\n%s%s is attached.\r\n", failed ? "Nobody tries it any more. " : "",
        item->whole ? "Your message" : "The header of your message");
}

// The part that programs read, RFC 3464 section 2.
static void append_status(
    struct buffer *out, const struct notice_source *source, const struct notice_item *item, int64_t until)
{
    const struct status *status = item->status;
    const struct status_attempt *last = status->n_attempts ? &status->attempts[status->n_attempts - 1] : NULL;
    struct timespec end = clock_timespec(until);
    buffer_format(out, "Reporting-MTA: dns; %s\r\n", source->config->domain);
    if (item->envid)
        buffer_format(out, "Original-Envelope-Id: %s\r\n", item->envid);
    append_date(out, "Arrival-Date", &status->submitted);
    for (size_t i = 0; i < item->n_recipients; i++) {
        const struct notice_recipient *recipient = &item->recipients[i];
        buffer_text(out, "\r\n");
        if (recipient->original)
            buffer_format(out, "Original-Recipient: %s\r\n", recipient->original);
        buffer_format(out, "Final-Recipient: %s\r\nAction: %s\r\nStatus: %s\r\n", recipient->final,
            notice_kind_name(item->kind), recipient->status);
        const char *reply = recipient->reply;
        bool smtp = reply && strspn(reply, "0123456789") == 3;
        if (smtp && last && last->relay && !notice_kind_relayed(item->kind))
            buffer_format(out, "Remote-MTA: dns; %.*s\r\n", (int)strcspn(last->relay, ":"), last->relay);
        if (reply && !notice_kind_relayed(item->kind))
            buffer_format(out, "Diagnostic-Code: %s; %s\r\n", smtp ? "smtp" : "x-outtray", reply);
        if (last)
            append_date(out, "Last-Attempt-Date", &last->at);
        if (item->kind == NOTICE_DELAYED)
            append_date(out, "Will-Retry-Until", &end);
    }
}

int notice_text_one(
    const struct notice_source *source, struct notice_item *item, int64_t now, struct buffer *out)
{
    if (!item->n_recipients)
        return notice_text_summary(source, &item, 1, out);
    const struct status *status = item->status;
    static const char *const subjects[NOTICE_KINDS] = {[NOTICE_FAILED] = "Undelivered mail",
        [NOTICE_DELAYED] = "Delayed mail (it is still being tried)",
        [NOTICE_RELAYED] = "Mail handed on",
        [NOTICE_RELAYED_PARTLY] = "Mail handed on"};
    char boundary[64];
    int64_t first = status->n_attempts ? clock_ns(&status->attempts[0].at) : now;
    int64_t until = first + source->config->retry.give_up_after_ms * CLOCK_MS;
    (void)snprintf(boundary, sizeof boundary, "=_%llu.%lld", (unsigned long long)item->inode, (long long)now);
    append_head(out, source, item, notice_kind_name(item->kind));
    buffer_format(out, "Subject: %s\r\n", subjects[item->kind]);
    if (status->message_id && strlen(status->message_id) < NOTICE_TEXT_MAX) {
        buffer_text(out, "References: ");
        append_plain(out, status->message_id);
        buffer_text(out, "\r\n");
    }
    buffer_format(out,
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n "
        "boundary=\"%s\"\r\n\r\n"
        "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Description: Notification\r\n\r\n",
        boundary, boundary);
    append_words(out, source, item, until);
    buffer_format(out, "\r\n--%s\r\nContent-Type: message/delivery-status\r\n\r\n", boundary);
    append_status(out, source, item, until);
    if (item->head)
        buffer_format(out, "\r\n--%s\r\nContent-Type: %s\r\n%s\r\n%s", boundary,
            item->whole ? "message/rfc822" : "text/rfc822-headers",
            item->head_encoded ? "Content-Transfer-Encoding: quoted-printable\r\n" : "", item->head);
    buffer_format(out, "\r\n--%s--\r\n", boundary);
    return buffer_error(out);
}

static void append_item(struct buffer *out, const struct notice_item *item)
{
    char time[STATUS_TIME_SIZE] = "";
    const struct status *status = item->status;
    if (status->submitted.tv_sec)
        status_time_format(&status->submitted, 0, time);
    buffer_format(out, "\r\n%s %s, submitted %s\r\n    ", item->kind == NOTICE_FAILED ? "FAILED " : "DELAYED",
        status->reason != STATUS_REASON_NONE ? status_reason_name(status->reason) : "(still being tried)",
        time);
    append_plain(out, item->name);
    buffer_text(out, "\r\n");
    for (size_t i = 0; i < item->n_recipients && i < NOTICE_SUMMARY_LISTS; i++)
        buffer_format(out, "    to %s: %s\r\n", item->recipients[i].address,
            item->recipients[i].reply ? item->recipients[i].reply : "not tried");
    if (!item->n_recipients && status->detail) {
        buffer_text(out, "    ");
        append_plain(out, status->detail);
        buffer_text(out, "\r\n");
    }
    if (status->fix && item->kind == NOTICE_FAILED) {
        buffer_text(out, "    to retry: ");
        append_plain(out, status->fix);
        buffer_text(out, "\r\n");
    }
}

int notice_text_summary(
    const struct notice_source *source, struct notice_item *const *items, size_t n, struct buffer *out)
{
    size_t failed = 0;
    for (size_t i = 0; i < n; i++)
        failed += items[i]->kind == NOTICE_FAILED;
    append_head(out, source, items[0], "summary");
    buffer_format(out,
        "Subject: Mail trouble: %zu failed, %zu delayed\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; "
        "charset=us-ascii\r\n\r\nThis is the mail system of %s. Tenant ",
        failed, n - failed, source->config->domain);
    append_plain(out, source->settings->name);
    buffer_format(out, ": %zu messages failed, %zu are delayed.\r\n", failed, n - failed);
    for (size_t i = 0; i < n && i < NOTICE_SUMMARY_LISTS; i++)
        append_item(out, items[i]);
    if (n > NOTICE_SUMMARY_LISTS)
        buffer_format(out, "\r\nand %zu more: see `outtray queue`.\r\n", n - NOTICE_SUMMARY_LISTS);
    return buffer_error(out);
}
