// Telling the service manager how the agent is: the protocol of sd_notify(3), without its library.
//
// One datagram of lines NAME=VALUE to the socket that $NOTIFY_SOCKET names, a path or an abstract one ("@…").
// Without that variable every call does nothing. It never blocks: what the manager does not take now is lost,
// and the caller says it again with the next turn.
#ifndef OUTTRAY_AGENT_OBSERVE_NOTIFY_H
#define OUTTRAY_AGENT_OBSERVE_NOTIFY_H

#include <stdint.h>

#define NOTIFY_STATUS_MAX 512 // octets of STATUS=

struct notify;

// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and removes them from the environment. *ret_notify is
// NULL where nobody wants to be told. 0 or negative errno (the socket cannot be reached, or the name is no
// socket's).
int notify_open(struct notify **ret_notify);
void notify_close(struct notify *notify); // takes NULL, as all calls here

// How often the manager wants to hear WATCHDOG=1 at least, in ns; 0: it does not.
int64_t notify_watchdog_ns(const struct notify *notify);

void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify); // until notify_ready
void notify_stopping(struct notify *notify);
void notify_alive(struct notify *notify); // WATCHDOG=1
// One line for people; control characters become blanks. Sent only where it changed.
void notify_status(struct notify *notify, const char *text);

#endif
