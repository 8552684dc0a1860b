// Reading a tenant's directories on the intake desk: refills of the backlog, looks at single names, and
// surveys.
//
// A refill is urgent and bounded: it reads as many names of new/ as the backlog has room for and hands them
// over oldest first; it goes on where the last one stopped, so that no name starves. A look finds out what
// an event was about. A survey is slow: it reads everything in slices, counts, finds due times and what
// events missed, notices replaced directories, and removes what retention says.
#ifndef OUTTRAY_AGENT_DELIVERY_SCAN_H
#define OUTTRAY_AGENT_DELIVERY_SCAN_H

#include "agent/delivery/desk.h"
#include "agent/delivery/names.h"
#include "agent/delivery/pairs.h"
#include "agent/delivery/tenant.h"
#include "config/config.h"

#define SCAN_REFILL_SLICE 64  // directory entries of one slice of a refill: claims wait no longer than that
#define SCAN_SLICE        128 // directory entries of one slice of a survey
#define SCAN_LOOKS_MAX    512 // names of one look

struct dispatch;

struct refill {
    struct desk_job job; // first
    struct dispatch *dispatch;
    struct tenant *tenant;
    struct tenant_dirs *dirs; // a reference
    void *dir;                // DIR, while it is read
    bool from_start;
    bool read;            // the directory was, as far as is wanted
    size_t peeked;        // of names: whose priority is known
    size_t room;          // how many names are wanted
    size_t hold;          // so many of them stay open: a claim need not open them again
    long position;        // in: where to go on (telldir), 0: at the start; out: where it stopped
    bool complete;        // out: every name of new/ was seen and kept
    struct names names;   // out: sorted
    struct names ignored; // out: some of them, by name
    int error;
};
// room: how many names are wanted, at least 1. hold is the caller's to set.
struct refill *refill_new(struct dispatch *dispatch, struct tenant *tenant, size_t room, long position,
    void (*done)(struct desk_job *));
void refill_free(struct refill *refill);

enum look_kind { LOOK_PRIORITY, LOOK_DUE };
struct look_item {
    enum look_kind kind;
    char name[SPOOL_NAME_SIZE];
    bool found, high; // out
    int64_t due;      // out: wall ns; 0: now
};
struct look {
    struct desk_job job; // first
    struct dispatch *dispatch;
    struct tenant *tenant;
    struct tenant_dirs *dirs; // a reference
    size_t n;
    struct look_item items[SCAN_LOOKS_MAX];
};
struct look *look_new(struct dispatch *dispatch, struct tenant *tenant, void (*done)(struct desk_job *));
void look_free(struct look *look);

enum survey_part { SURVEY_ALL, SURVEY_DEFERRED, SURVEY_REST }; // all, deferred/ alone, all but that

struct survey {
    struct desk_job job;   // first
    enum survey_part part; // in: what is read
    struct dispatch *dispatch;
    struct tenant *tenant;
    struct tenant_dirs *dirs;                    // a reference
    const struct config *config;                 // a reference
    int spool_fd;                                // borrowed
    bool retention;                              // in: remove what is old enough
    bool first;                                  // in: looks for what a crash left
    bool count_only;                             // in: nobody will ask when deferred messages are due
    bool release;                                // in: every deferred message is due
    int64_t release_before;                      // in: that was deferred before this (file clock)
    int step;                                    // of the survey's steps
    void *dir;                                   // DIR of the step under way
    bool again;                                  // it is read a second time
    struct pairs pairs;                          // of the step under way
    int64_t began;                               // boot
    struct timespec began_files;                 // the clock of file times
    struct observe_count counts[OBSERVE_STATES]; // out
    struct names fresh;                          // out: the oldest names of new/, sorted
    struct ledger_oldest oldest;                 // out: of deferred/
    struct names deferred;                       // out: the earliest due times, sorted
    struct names ignored;                        // out: some of them, by name
    uint64_t n_ignored;                          // out: all of them
    uint64_t removed;                            // out: files that retention removed
    int stale;                                   // out: as spool_tenant_stale
    int error;                                   // out: the first error
    bool deferred_unread;                        // out: there was one in deferred/
    int64_t cost;                                // out: ns spent
    int64_t deferred_cost;                       // out: of it, on deferred/
};
struct survey *survey_new(struct dispatch *dispatch, struct tenant *tenant, const struct config *config,
    int spool_fd, void (*done)(struct desk_job *));
void survey_free(struct survey *survey);

// When a deferred message may be tried (wall ns, 0: now): its status file's mtime, or now where it has none
// or was touched. -ENOENT where it is gone.
int scan_due(
    const struct spool_tenant *spool, const char *name, int64_t *ret_due, struct timespec *ret_ctime);
// The same of a message that has been looked at.
int scan_due_of(const struct spool_tenant *spool, const char *name, const struct stat *message,
    int64_t *ret_due, struct timespec *ret_ctime);

#endif
