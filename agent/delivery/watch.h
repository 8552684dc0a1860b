// inotify(7) on the directories of the spool: a hint that something happened, never the proof.
//
// Watches are set on open directories (by /proc/self/fd), so they are on the inode that the agent works with.
// After an overflow, and where no inotify instance or watch can be had, `lost` asks the owner to look for
// itself.
#ifndef OUTTRAY_AGENT_DELIVERY_WATCH_H
#define OUTTRAY_AGENT_DELIVERY_WATCH_H

#include "agent/base/loop.h"
#include <stdbool.h>

enum watch_what {
    WATCH_ARRIVED, // a name was renamed into the directory, or closed after writing: it is complete
    WATCH_CREATED, // a name appeared; it may still be written to
    WATCH_TOUCHED, // attributes changed (touch(1))
    WATCH_REMOVED, // a name was deleted or renamed away
    WATCH_MOVED,   // the directory itself was renamed, deleted or unmounted
};

struct watch_events {
    void (*event)(int watch, enum watch_what what, const char *name, void *arg);
    void (*lost)(void *arg); // events were lost: rescan everything
};

struct watch;
// Never fails for want of inotify: *ret_error then tells why there is none (negative errno), and watch_add
// gives that.
int watch_new(struct loop *loop, const struct watch_events *events, void *arg, struct watch **ret_watch,
    int *ret_error);
void watch_free(struct watch *watch); // takes NULL

// Watches the open directory dir; with WATCH_TOUCHES attribute changes too, with WATCH_REMOVALS names that
// go. A watch descriptor ≥ 0, or negative errno.
#define WATCH_TOUCHES  1u
#define WATCH_REMOVALS 2u
int watch_add(struct watch *watch, int dir, unsigned also);
void watch_remove(struct watch *watch, int descriptor);

#endif
