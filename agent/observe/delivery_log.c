// One line per transaction and outcome, its keys in one fixed order.
#include "agent/observe/delivery_log.h"

#include "agent/base/clock.h"
#include "spool-format/status.h"

#include <string.h>

static const char *const event_names[] = {
    [DELIVERY_SENT] = "sent",
    [DELIVERY_DEFERRED] = "deferred",
    [DELIVERY_FAILED] = "failed",
    [DELIVERY_RETURNED] = "returned",
    [DELIVERY_IGNORED] = "ignored",
    [DELIVERY_EXPIRED] = "expired",
};

// A refusal is worth a look, a delay may be; success is no error, whatever the target is.
static const enum log_level event_levels[] = {
    [DELIVERY_SENT] = LOG_INFO_LEVEL,
    [DELIVERY_DEFERRED] = LOG_NOTICE_LEVEL,
    [DELIVERY_FAILED] = LOG_WARNING_LEVEL,
    [DELIVERY_RETURNED] = LOG_INFO_LEVEL,
    [DELIVERY_IGNORED] = LOG_WARNING_LEVEL,
    [DELIVERY_EXPIRED] = LOG_WARNING_LEVEL,
};

// always: the key stands in the line also where there is nothing to say.
static void add_text(struct log_lines *lines, bool always, const char *key, const char *value)
{
    if (always || (value && *value))
        log_line_text(lines, key, value ? value : "");
}

static void add_number(struct log_lines *lines, const char *key, int64_t value)
{
    if (value >= 0)
        log_line_number(lines, key, value);
}

// The first addresses, comma separated: whole ones only, as many as one value may hold.
static void add_recipients(struct log_lines *lines, bool always, const struct delivery_line *line)
{
    char list[LOG_VALUE_MAX + 1];
    size_t used = 0;
    for (size_t i = 0; i < line->n_to && i < DELIVERY_LOG_ADDRESSES_MAX; i++) {
        size_t length = strlen(line->to[i]);
        if (used + length + 1 > LOG_VALUE_MAX)
            break;
        if (used > 0)
            list[used++] = ',';
        memcpy(list + used, line->to[i], length);
        used += length;
    }
    list[used] = '\0';
    add_text(lines, always, "to", list);
    if (always || line->n_to > 0)
        log_line_number(lines, "nrcpt", (int64_t)line->n_to);
}

void delivery_log_line(struct log_lines *lines, const struct delivery_line *line)
{
    bool sent = line->event == DELIVERY_SENT; // such a line has all its keys, so that columns stay columns
    log_line_begin(lines, line->time, event_levels[line->event], event_names[line->event]);
    add_text(lines, sent, "tenant", line->tenant);
    add_text(lines, sent, "name", line->name);
    add_text(lines, sent, "message_id", line->message_id);
    add_text(lines, sent, "account", line->account);
    add_text(lines, sent, "from", line->from);
    add_recipients(lines, sent, line);
    add_number(lines, "size", line->size);
    add_number(lines, "attempt", line->attempt);
    add_text(lines, sent, "relay", line->relay);
    add_text(lines, sent, "tls", line->tls);
    add_number(lines, "conn_use", line->conn_use);
    add_number(lines, "queue_ms", line->queue_ms);
    add_number(lines, "conn_ms", line->conn_ms);
    add_number(lines, "xfer_ms", line->xfer_ms);
    add_text(lines, sent, "reply", line->reply);
    if (line->next != 0) {
        char next[STATUS_TIME_SIZE];
        struct timespec time = clock_timespec(line->next);
        status_time_format(&time, 0, next);
        log_line_text(lines, "next", next);
    }
    add_text(lines, false, "class", line->class);
    add_text(lines, false, "reason", line->reason);
    log_line_end(lines);
}
