// What `outtray explain` found out about one message, and how it says so.
#ifndef OUTTRAY_AGENT_CLI_EXPLAIN_H
#define OUTTRAY_AGENT_CLI_EXPLAIN_H

#include "agent/compose/outgoing.h"
#include "spool-format/spool.h"
#include <stdio.h>

struct explanation {
    const struct config *config;
    const struct config_tenant *tenant; // whose spool it lies in, or would
    const char *state;                  // the directory it lies in; "" outside of the spool
    const char *ignored;                // why the agent leaves it alone where it lies; NULL where it does not
    int64_t now;                        // wall ns
    struct stat stat;                   // of the message
    struct status *status;              // what earlier attempts left; NULL where nothing
    struct stat status_stat;            // of that file: its mtime is the next attempt
    int result;                         // of outgoing_compose: 0, or -EBADMSG with `fault`
    struct outgoing *outgoing;          // where the result is 0
    struct outgoing_fault fault;
};

// Lines of "key: value", or one JSON object with the same keys. 0, or -EIO where out takes no more; -ENOMEM.
int explanation_print(const struct explanation *explanation, bool json, FILE *out);

#endif
