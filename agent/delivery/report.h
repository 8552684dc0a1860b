// The delivery lines of one message, collected until its outcome is durable.
#ifndef OUTTRAY_AGENT_DELIVERY_REPORT_H
#define OUTTRAY_AGENT_DELIVERY_REPORT_H

#include "agent/delivery/conclude.h"
#include "agent/observe/delivery_log.h"

struct report {
    enum delivery_event event;
    const char *reply;  // NULL: none
    const char *class;  // deferred
    const char *reason; // failed, expired
    int64_t next;       // deferred: wall ns
    int64_t xfer_ms;    // -1: no transaction
    bool all;           // names every recipient, not only those of the transaction that fell to `state`
    enum status_recipient_state state;
};

// Appends a line to message->lines.
void report_line(
    struct message *message, const struct conclude_context *context, const struct report *report);

#endif
