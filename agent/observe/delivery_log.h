// The delivery log: one line per transaction and outcome, in the order and with the keys that outtray-log(5)
// promises.
#ifndef OUTTRAY_AGENT_OBSERVE_DELIVERY_LOG_H
#define OUTTRAY_AGENT_OBSERVE_DELIVERY_LOG_H

#include "agent/base/log.h"
#include <stddef.h>
#include <stdint.h>

#define DELIVERY_LOG_ADDRESSES_MAX 20 // addresses listed in to=; nrcpt counts all

enum delivery_event {
    DELIVERY_SENT,
    DELIVERY_DEFERRED,
    DELIVERY_FAILED,
    DELIVERY_RETURNED, // went back to where it was claimed from; no attempt counted
    DELIVERY_IGNORED,  // an entry of new/ that is no message
    DELIVERY_EXPIRED,
};

// One line. Strings are borrowed; NULL or "" leaves a key out (but in a sent line, which always has every
// text key, as key=""), a negative number too. Times in ms.
struct delivery_line {
    int64_t time; // wall ns
    enum delivery_event event;
    const char *tenant, *name, *message_id, *account, *from;
    const char *const *to; // n_to addresses; the first DELIVERY_LOG_ADDRESSES_MAX are listed
    size_t n_to;
    int64_t size, attempt;
    const char *relay, *tls;
    int64_t conn_use, queue_ms, conn_ms, xfer_ms;
    const char *reply;
    int64_t next;       // wall ns; deferred only; 0: absent
    const char *class;  // deferred
    const char *reason; // failed, expired
};

void delivery_log_line(struct log_lines *lines, const struct delivery_line *line);

#endif
