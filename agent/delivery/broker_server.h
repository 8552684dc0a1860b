// The helper's side of the broker (agent/base/broker.h): hands over what the configuration names.
//
// What may be had is what the configuration in use names, or the one that was read last, which is in use as
// soon as the agent says so. Both were read from the file by this process, and the agent's sandbox must not
// let it write that file; where it does, nothing is read. Nothing here waits: connections are libcurl's
// (addresses in turn, timeouts), on the loop.
#ifndef OUTTRAY_AGENT_DELIVERY_BROKER_SERVER_H
#define OUTTRAY_AGENT_DELIVERY_BROKER_SERVER_H

#include "agent/base/broker.h"
#include "agent/base/multi.h"
#include "config/config.h"

#define BROKER_CALLS_MAX 1024 // connections that are being made at a time

struct broker_server {
    struct loop *loop;
    struct multi *multi; // made when it is needed first
    int fd;
    struct loop_watch watch;
    const struct config_checks *checks;
    const struct config *config, *next; // references: in use; the last one read, NULL where none
    struct sandbox agent;               // what the agent may do
    unsigned n_calls;
};

// fd: the helper's end, taken over. config: what the agent starts with. 0 or negative errno.
int broker_server_start(struct broker_server *server, struct loop *loop, int fd, const struct config *config,
    const struct config_checks *checks);

#endif
