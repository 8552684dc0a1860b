// What lies in a directory, kept up to date between two surveys of it, so that it need not be read again only
// to be counted.
//
// A survey gives the counts. From then on the agent tells of its own moves, which is all it can be exact
// about, and inotify tells of every name that came or went: as long as both agree, nobody else has moved
// anything, and the counts are those of the directory. Where they do not, or something happened while the
// survey was reading, the counts are near, and not sure.
#ifndef OUTTRAY_AGENT_DELIVERY_LEDGER_H
#define OUTTRAY_AGENT_DELIVERY_LEDGER_H

#include "agent/observe/snapshot.h"

#define LEDGER_OLDEST 64 // of the oldest messages so many times are kept

struct ledger_oldest {            // zeroed: none
    int64_t times[LEDGER_OLDEST]; // ns (wall), the earliest first
    size_t n;
    bool more; // there are others, none earlier than the last of these
};
// Adds a time; removes one. False where it is not among those kept, or was the last of them and there are
// more: then the oldest are not known any more.
void ledger_oldest_add(struct ledger_oldest *oldest, int64_t time);
bool ledger_oldest_remove(struct ledger_oldest *oldest, int64_t time);

struct ledger { // zeroed: nothing was counted
    uint64_t count, bytes;
    struct ledger_oldest oldest;
    uint64_t came, went;           // by the agent's own hand since the survey
    uint64_t seen_came, seen_went; // by events
    bool sure;                     // before the events are asked
};

// A survey begins to read; the directory is watched or not. What happens before it is taken is doubtful.
void ledger_begin(struct ledger *ledger, bool watched);
// What the survey found, of count and bytes.
void ledger_take(
    struct ledger *ledger, const struct observe_count *count, const struct ledger_oldest *oldest);

// A message of this size and mtime (ns) was moved here, or away, by the agent itself.
void ledger_came(struct ledger *ledger, uint64_t size, int64_t mtime);
void ledger_went(struct ledger *ledger, uint64_t size, int64_t mtime);
// Events: the name of a message came, or went; something else happened that may have changed what was
// counted.
void ledger_saw(struct ledger *ledger, bool came);
void ledger_doubt(struct ledger *ledger);

bool ledger_is_sure(const struct ledger *ledger);
// How old the oldest is at `now` (ns), in seconds; 0 where none is known.
int64_t ledger_oldest_s(const struct ledger *ledger, int64_t now);

#endif
