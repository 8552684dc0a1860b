// `outtray submit --key`: a message that was submitted already is not submitted again.
//
// The guarantee is the agent's (spool-format/key.h): it looks at every message that has an X-Outtray-Key.
// Here the producer is told, as far as one can see from outside: a message with a key has a name made of it
// in new/, where link and rename refuse a second one, and what was claimed has a record.
#ifndef OUTTRAY_AGENT_CLI_SUBMIT_KEY_H
#define OUTTRAY_AGENT_CLI_SUBMIT_KEY_H

#include "agent/compose/key.h"
#include "config/config.h"
#include "spool-format/header.h"

struct submit_key {
    char *text; // owned; NULL: no key
    bool given; // by the command line and not in the message: a line is to be added
    char digest[SPOOL_KEY_DIGEST];
    char name[SPOOL_NAME_SIZE]; // of the message in new/
};

// Chooses the key: `given` (NULL: none), else the message's own X-Outtray-Key. NULL, or a reason why it
// cannot be.
const char *submit_key_choose(struct submit_key *key, const char *given, const struct header_block *block);
void submit_key_release(struct submit_key *key);

// Whether a message with this key was submitted: 1 with its name and inode, 0, or negative errno. One that is
// still in new/ is made durable there, since its producer may not have come so far.
int submit_key_find(const struct submit_key *key, const struct config *config,
    const struct spool_tenant *spool, char ret_name[static SPOOL_NAME_SIZE], ino_t *ret_inode);

#endif
