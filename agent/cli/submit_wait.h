// `outtray submit --wait`: what becomes of a message, read from the directories alone.
#ifndef OUTTRAY_AGENT_CLI_SUBMIT_WAIT_H
#define OUTTRAY_AGENT_CLI_SUBMIT_WAIT_H

#include "agent/cli/cli.h"
#include "spool-format/key.h"
#include <signal.h>

struct submit_wait {
    const struct cli_verb *verb;
    const struct spool_tenant *spool; // opened as a reader
    char name[SPOOL_NAME_SIZE];       // as it lies or lay in new/
    ino_t inode;
    int message;                   // the file (O_PATH), wherever it is moved to; -1 where it is not known
    char digest[SPOOL_KEY_DIGEST]; // of its key, "" where it has none
    int64_t wait_ms;
    const sigset_t *waiting; // the signal mask while waiting
};

// Waits until the message is sent, has failed, was removed by somebody, or is deferred for longer than there
// is time left. Says on standard error what became of it and returns the exit code: 0 sent; 75 deferred,
// expired, or nothing yet; 65 malformed or too large, 66 removed, 68 recipients refused, 77 refused by
// policy. A message that the agent took for a repeat is followed to the one that came first.
int submit_wait(struct submit_wait *wait);

#endif
