// The filing desk's work: making outcomes durable, in batches.
//
// A batch is whatever queued up while the last one was synced, and then while it was moved itself: no timer.
// Of each message the status file is written (temporary, fsync, rename), then the message is renamed; then
// each touched destination directory is synced once, then each source directory, and only then the log lines
// are written and the messages go back to the wire thread, which gives their slots back. So a log line never
// tells what a power cut can undo.
//
// Trouble with our own disk is never a message's fault: without space (or descriptors) the outcome is kept
// and tried again every second; after an I/O error or on a read-only file system the spool counts as broken
// for good (a failed fsync cannot be repeated: fsync(2)), and the batch comes back with its error, unlogged.
#ifndef OUTTRAY_AGENT_DELIVERY_FILING_H
#define OUTTRAY_AGENT_DELIVERY_FILING_H

#include "agent/delivery/message.h"
#include "agent/delivery/moves.h"
#include <stdatomic.h>

struct filing {
    struct log *log;             // borrowed
    struct moves *moves;         // borrowed; NULL: no other desk moves files
    unsigned run;                // renames in the turn that it has; 0: it has none (filing desk only)
    _Atomic int broken;          // negative errno of the I/O error that broke the spool; 0: none
    _Atomic int full;            // negative errno while outcomes wait for space; 0: none
    _Atomic bool abandon;        // the agent ends: nothing is held any longer
    struct desk_job *held;       // outcomes that could not be filed yet (filing desk only)
    struct tenant_dirs *touched; // directories to sync in this batch (filing desk only)
    int64_t sync_ns;             // how long the last sync took (filing desk only)
};

// Sets status->fix: the command that tries failed/NAME again, quoted for a shell where the name needs it. 0
// or -ENOMEM.
int filing_fix_text(struct status *status, const char *name);

void filing_init(struct filing *filing, struct log *log, struct moves *moves);
// For desk_params: batch and idle, with arg a struct filing.
void filing_batch(struct desk *desk, struct desk_job *first, void *arg);
void filing_idle(struct desk *desk, void *arg);
// Before the desk stops: what cannot be filed is not waited for any longer.
void filing_abandon(struct filing *filing);

#endif
