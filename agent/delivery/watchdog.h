// Whether the agent gets on with its work, told to the service manager as long as it does.
//
// The manager restarts a service from which it has not heard for WATCHDOG_USEC. It hears from us a few times
// in that span while the loop turns, no desk has sat on its jobs for half of it without a sign of life, and
// no session is that far beyond the timeout it set itself. Else the pings stop and STATUS= says why.
#ifndef OUTTRAY_AGENT_DELIVERY_WATCHDOG_H
#define OUTTRAY_AGENT_DELIVERY_WATCHDOG_H

#include "agent/base/loop.h"
#include "agent/observe/notify.h"
#include <stdbool.h>

struct dispatch;

struct watchdog {
    struct dispatch *dispatch;
    struct notify *notify; // borrowed; NULL: nobody listens
    struct loop_timer timer;
    int64_t span; // ns: WATCHDOG_USEC; 0: no pings are wanted
    bool told;    // that something is stuck
};

// The desks are running; the first ping goes at once.
int watchdog_start(struct watchdog *watchdog, struct dispatch *dispatch, struct notify *notify);
void watchdog_stop(struct watchdog *watchdog);
// STATUS= in one line, but while something is stuck (every tick).
void watchdog_tell(struct watchdog *watchdog);

#endif
