// Submitting a notice so that a crash neither loses nor repeats it (intake desk).
//
// Each agent has a directory of its own, T/.notices/AGENT. NAME.list there says whom a notice is about, then
// NAME is the notice, complete and durable. From there on it will be sent: every message of the list is
// marked in its status file (`notified`, `delay_warned`), and the notice is renamed to new/NAME. A crash in
// between leaves the notice and its list, and notice_file_recover goes on where it stopped; before, it leaves
// a list or a temporary alone, which is removed, and nothing was marked. A message that is under way cannot
// be marked, and would be told about once more. So what a crash left is marked while the message still lies
// in the cur/ of the agent that died, and what an error left waits until the message is back.
#ifndef OUTTRAY_AGENT_DELIVERY_NOTICE_FILE_H
#define OUTTRAY_AGENT_DELIVERY_NOTICE_FILE_H

#include "agent/delivery/notice_item.h"

#define NOTICES_DIRECTORY ".notices"

// Names of notices that came to new/; zeroed at first.
struct notice_submitted {
    char (*names)[SPOOL_NAME_SIZE];
    size_t n, capacity;
};
void notice_submitted_add(struct notice_submitted *submitted, const char *name);
void notice_submitted_release(struct notice_submitted *submitted);

// 0 and the notice's name in new/, or negative errno: then nothing was marked, or recovery will go on.
int notice_file_submit(const struct spool_tenant *spool, struct notice_item *const *items, size_t n,
    const char *data, size_t length, int64_t now, char ret_name[static SPOOL_NAME_SIZE]);

// Finishes what a crash or an error interrupted, of the agent that the tenant was opened for, with its lock
// held. died: a crash, and what lies in its cur/ is nobody's; to be called before spool_recover puts that
// back. 0, -EBUSY where a message that is to be marked is under way (to be called again), or another negative
// errno.
int notice_file_recover(
    const struct spool_tenant *spool, bool died, int64_t now, struct notice_submitted *submitted);

#endif
