// Which names have a status file in a directory, remembered from one claim to the next.
//
// A claim asks whether deferred/ or failed/ holds a status of the message, left behind when somebody moved it
// back to new/ by hand. For nearly every message the answer is no, and asking the file system for each name
// costs more than everything else a claim does but its rename. So the base names of the status files are read
// once and kept as hashes for as long as the directory's times say that nothing changed; a changed directory
// is read again as far as that costs no more than one part in ORPHANS_REST of the time, and what is read of
// one that changed a moment ago, and may do so again unseen, is good for the group of claims under way. Where
// nothing is known the answer is "perhaps", and the caller looks. It is never a wrong no.
#ifndef OUTTRAY_AGENT_DELIVERY_ORPHANS_H
#define OUTTRAY_AGENT_DELIVERY_ORPHANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define ORPHANS_MAX  4096 // status files remembered; of a directory with more nothing is
#define ORPHANS_REST 20   // a directory is read again after so many times what reading it took

struct orphans {      // one directory; zeroed: nothing known. One thread's.
    uint64_t *hashes; // of base names, sorted; owned
    size_t n;
    bool known; // hashes are all of the directory as it was at mtime and ctime
    struct timespec mtime, ctime;
    int64_t rest_until; // clock_work: not read again before
    int64_t looked;     // clock_work: before the times were looked at last
};

void orphans_release(struct orphans *orphans);

// Whether dir may hold a status file of name or of one of its ~N. The directory's times are looked at where
// that was not done since `since` (clock_work): when the message was seen where it waits to be claimed, which
// is after its status was left behind.
bool orphans_may_have(struct orphans *orphans, int dir, const char *name, int64_t since);

#endif
