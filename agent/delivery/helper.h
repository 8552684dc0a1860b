// The helper process: what the agent itself must not do once it is in its sandbox.
//
// It is forked first of all, outside the sandbox. It runs hooks (agent/observe/hook_helper.h) and hands over
// what a later configuration needs beyond the sandbox (broker_server.h). The agent could be somebody else's
// by then, so the helper does nothing on the agent's word alone: what it runs, opens and connects to must
// stand in the configuration file, which it reads itself.
//
// It ends when the agent's ends of the pairs are closed, or the agent dies: hooks that wait or run then are
// finished first, within hooks.timeout.
#ifndef OUTTRAY_AGENT_DELIVERY_HELPER_H
#define OUTTRAY_AGENT_DELIVERY_HELPER_H

#include "config/config.h"
#include <sys/types.h>

struct helper_ends { // the agent's ends of the pairs, and who is at the other
    int hooks, broker;
    pid_t pid;
};

// Forks the helper, which closes all descriptors but its own. 0 or negative errno. To be called while there
// is one thread, and before the sandbox is entered.
int helper_start(
    const struct config *config, const struct config_checks *checks, struct helper_ends *ret_ends);

#endif
