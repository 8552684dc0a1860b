// A tenant as the agent runs it: its open directories, its backlog, its counts.
#ifndef OUTTRAY_AGENT_DELIVERY_TENANT_H
#define OUTTRAY_AGENT_DELIVERY_TENANT_H

#include "agent/base/loop.h"
#include "agent/delivery/backlog.h"
#include "agent/delivery/ledger.h"
#include "agent/delivery/notice_queue.h"
#include "agent/delivery/orphans.h"
#include "agent/observe/snapshot.h"
#include "config/config.h"
#include "spool-format/spool.h"
#include <stdalign.h>
#include <stdatomic.h>

#define TENANT_LINE 64 // octets of a cache line, or a multiple

// Open directories, shared with the desks. A directory that was replaced gives a new struct; the old one
// lives until the last message claimed through it is filed.
// What one thread writes for every message lies in a cache line of its own.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): the padding is the point
struct tenant_dirs {
    struct spool_tenant *spool;           // owned
    struct orphans orphans[SPOOL_STATES]; // the intake desk's: of deferred/ and failed/
    bool atimes;                          // the intake desk's: not our files, O_NOATIME is refused
    // The filing desk's: which states (bits) are to be synced in the batch under way.
    alignas(TENANT_LINE) unsigned sync_to;
    unsigned sync_from;
    struct tenant_dirs *next_touched;
    alignas(TENANT_LINE) _Atomic unsigned references;
};
struct tenant_dirs *tenant_dirs_new(
    struct spool_tenant *spool); // takes spool over; NULL where memory is short (spool is closed)
struct tenant_dirs *tenant_dirs_ref(struct tenant_dirs *dirs);
void tenant_dirs_unref(struct tenant_dirs *dirs); // takes NULL
// Opens a message for reading, without a trace in its atime where that is allowed: the first read of a new
// file costs a journalled write of its inode else (intake desk). -1 and errno.
int tenant_dirs_open(struct tenant_dirs *dirs, enum spool_state state, const char *name);

#define TENANT_IGNORED_MAX 64 // ignored entries remembered by name, so that each is logged once

struct message;
struct pool;
struct look;

struct message_list { // messages that are claimed and wait for a session
    struct message *first, *last;
    unsigned n;
};

// Which of its pool's lists of tenants with waiting names a tenant is in.
enum tenant_hunger {
    TENANT_SATED,  // none: nothing waits
    TENANT_HUNGRY, // names wait, and none is claimed: its reserved place is free
    TENANT_EATING, // names wait, and some are claimed
};

// Wire thread only. Lives until the agent ends; a tenant that left the configuration has settings NULL.
struct tenant {
    char *name;                           // owned
    const struct config_tenant *settings; // of the agent's current configuration
    struct pool *pool;                    // of the tenant's account; NULL without settings
    struct tenant *next_in_pool, *next_active;
    bool active; // in the pool's list of tenants with ready messages
    enum tenant_hunger hunger;
    struct tenant *next_hungry, *previous_hungry;
    struct loop_timer due;       // when the first of its names that wait for their time has come
    struct tenant *next_looking; // in the hub's list of those with a look
    struct tenant *next_survey;  // in the hub's queue of surveys
    bool survey_queued;
    struct tenant_dirs *dirs; // NULL while they cannot be opened
    struct backlog backlog;
    struct message_list ready_high, ready;
    unsigned claiming;                       // claims under way
    unsigned claimed;                        // messages claimed and not yet filed
    unsigned flying;                         // messages routed to it that hold a place of a window
    int64_t credit;                          // weighted round robin
    struct look *look;                       // names to be looked at, not submitted yet
    long refill_position;                    // where the next refill goes on
    char *ignored_names[TENANT_IGNORED_MAX]; // owned
    size_t n_ignored_names;
    bool opening;   // a job that opens dirs is under way
    bool surveyed;  // what is deferred was read once since dirs was opened
    bool counted;   // and the other directories as well
    bool refilling; // a refill of the backlog is under way
    // How often in a row new/ (by a refill) and deferred/ (by a survey) could not be read whole.
    unsigned char new_unread, deferred_unread;
    uint64_t read_at_claims; // `run --once`: of all claims, how many there were when they were read once more
    // Something happened since the last survey of deferred/, of the rest: its counts are out of date.
    bool deferred_changed, changed;
    // ns: what the last survey of each spent.
    int64_t deferred_cost, rest_cost;
    bool survey_running, survey_again;
    bool wants_deferred;           // the next survey reads deferred/, too
    bool wants_due;                // it reads nothing else, for what is due and was left out
    bool due_read;                 // the last one of deferred/ was such a survey
    bool stuck;                    // what is due was left out and finds no room, or cannot be claimed
    bool release;                  // the next survey makes every deferred message due
    bool release_more;             // so does the one after it: there were more than the backlog holds
    int64_t release_before;        // of the file's clock: what was deferred later has had its chance
    int64_t retention_at;          // boot: when the next survey removes what is old
    int64_t survey_ended;          // boot: when the last survey came back
    int64_t deferred_ended;        // boot: when the last one of deferred/ did
    int64_t opened_failed;         // boot: when opening failed last; 0: never
    int watch_new, watch_deferred; // inotify descriptors, -1: none
    struct notice_queue notices;   // what people are to be told
    bool backlog_told;             // that its oldest message lies for too long
    int64_t counted_at;            // wall: when these counts were taken
    int64_t deferred_counted_at;   // wall: the one of deferred/
    struct observe_count counts[OBSERVE_STATES]; // as the last survey found them
    struct ledger ledger;                        // of deferred/, from then on
    uint64_t sent_total, failed[OBSERVE_REASONS], deferred[OBSERVE_CLASSES], ignored;
};

struct tenant *tenant_new(const char *name); // NULL where memory is short
void tenant_free(struct tenant *tenant);     // takes NULL; nothing of it may be claimed

// new_unread and deferred_unread: counts a reading; whether what could not be read so often is read again
// with the next tick (then regular surveys are enough).
#define TENANT_READS_MAX 3
static inline void tenant_count_read(unsigned char *unread, bool failed)
{
    *unread = failed ? (unsigned char)(*unread + (*unread < TENANT_READS_MAX)) : 0;
}
static inline bool tenant_reads_again(unsigned char unread)
{
    return unread && unread < TENANT_READS_MAX;
}

// Something happened in its directories.
void tenant_note_change(struct tenant *tenant);

// Remembers an entry that is no message; true the first time (it is to be logged).
bool tenant_note_ignored(struct tenant *tenant, const char *name);

#endif
