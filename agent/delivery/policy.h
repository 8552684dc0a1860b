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
//
// The log's directory is opened for new files, so that the log can be begun anew after a rotation; not where
// the configuration file lies in it, since an agent must not be able to write that. Then the broker opens the
// log.
void policy_add(struct sandbox *sandbox, const struct config *config);

// Whether this configuration names a file for one of its accounts, of which *ret_secret tells whether it
// holds a secret; and whether it names this host and port to connect to.
bool policy_names_file(const struct config *config, const char *path, bool *ret_secret);
bool policy_names_place(const struct config *config, const char *host, uint16_t port);

#endif
