// What the agent's sandbox lets through, from the configuration: one table of what every agent needs, and for
// each account its files and ports.
#ifndef OUTTRAY_AGENT_DELIVERY_POLICY_H
#define OUTTRAY_AGENT_DELIVERY_POLICY_H

#include "agent/base/sandbox.h"
#include "config/config.h"

// Adds all that an agent with this configuration needs (sandbox->error tells of short memory). As root, /etc
// is opened in single files, so that nothing is read there that only root may read; as any other user the
// modes of files do that, and /etc is opened as a whole, where resolv.conf and its like are replaced now and
// then.
void policy_add(struct sandbox *sandbox, const struct config *config);

#endif
