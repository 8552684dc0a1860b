// The user that outtray runs as: whoever owns the state directory.
//
// A verb that root calls becomes that user before it opens anything: it then reads and writes what the agent
// could, and leaves nothing behind that the agent may not use.
#ifndef OUTTRAY_AGENT_CLI_SERVICE_USER_H
#define OUTTRAY_AGENT_CLI_SERVICE_USER_H

#include "agent/cli/cli.h"
#include <sys/types.h>

#define SERVICE_USER_NAME_MAX 64 // octets of a name that is shown

struct service_user {
    uid_t uid;  // the owner of the state directory
    bool other; // we are neither that user nor root
    char name[SERVICE_USER_NAME_MAX + 1];
};

// As root: becomes the owner for good, with that user's groups. For everybody else nothing changes. 0; or -1
// with words printed and the code in *ret_code (78 where there is no state directory, 77, 71).
int service_user_become(
    const struct cli_verb *verb, const struct config *config, struct service_user *ret_user, int *ret_code);

// The name of a user, or the number where there is none of that number.
void service_user_name(uid_t uid, char name[static SERVICE_USER_NAME_MAX + 1]);

#endif
