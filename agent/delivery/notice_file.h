// Submitting a notice so that a crash neither loses nor repeats it (intake desk).
//
// T/.notices/NAME.list says whom a notice is about, then T/.notices/NAME is the notice, complete and durable.
// From there on it will be sent: every message of the list is marked in its status file (`notified`,
// `delay_warned`), and the notice is renamed to new/NAME. A crash in between leaves the notice and its list,
// and notice_file_recover goes on where it stopped; before, it leaves a list or a temporary alone, which is
// removed, and nothing was marked.
#ifndef OUTTRAY_AGENT_DELIVERY_NOTICE_FILE_H
#define OUTTRAY_AGENT_DELIVERY_NOTICE_FILE_H

#include "agent/delivery/notice_item.h"

#define NOTICES_DIRECTORY ".notices"

// 0 and the notice's name in new/, or negative errno: then nothing was marked, or recovery will go on.
int notice_file_submit(const struct spool_tenant *spool, struct notice_item *const *items, size_t n,
    const char *data, size_t length, int64_t now, char ret_name[static SPOOL_NAME_SIZE]);

// Finishes what a crash interrupted. submitted is called with the name of each notice that came to new/.
int notice_file_recover(
    const struct spool_tenant *spool, int64_t now, void (*submitted)(const char *name, void *arg), void *arg);

#endif
