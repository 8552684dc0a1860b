// What the wire thread knows of one tenant's waiting messages: names, in the order they are to be tried.
//
// Bounded: at most BACKLOG_NEW_MAX names of new/ and BACKLOG_DEFERRED_MAX of deferred/. What finds no room is
// only remembered as "there is more" (more_new) or by the earliest due time that was left out (left_out_due);
// a later scan of the directory finds it again. The directory is the truth, this is a read-ahead.
//
// An entry is waiting (ready to be claimed), later (in the heap: a deferred message before its time, or a
// file that may still be written to), or busy (its claim is under way, or its message was claimed and lies in
// new/ still). backlog_next hands out due deferred messages and new ones in turn, high priority first. Times
// are clock_boot.
#ifndef OUTTRAY_AGENT_DELIVERY_BACKLOG_H
#define OUTTRAY_AGENT_DELIVERY_BACKLOG_H

#include "spool-format/spool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BACKLOG_NEW_MAX      1024  // names of new/ read ahead
#define BACKLOG_SETTLES_MAX  3     // `run --once` waits for a file at most this many times
#define BACKLOG_DEFERRED_MAX 16384 // deferred names whose due time is kept
// All backlogs together (about 150 octets a name). Once so many names are kept, a tenant gets no more than
// its least share of each kind.
#define BACKLOG_ALL_MAX  65536
#define BACKLOG_HELD_MAX 1024 // files of them that are held open
#define BACKLOG_LEAST    16

enum backlog_state { BACKLOG_WAITING, BACKLOG_LATER, BACKLOG_BUSY };

struct backlog_entry {
    struct backlog_entry *chain;           // in its hash slot
    struct backlog_entry *next, *previous; // in a waiting list
    int64_t due;                           // LATER: when it may be tried
    size_t slot;                           // LATER: place in the heap + 1
    enum backlog_state state;
    enum spool_state from;    // SPOOL_NEW or SPOOL_DEFERRED
    bool sure;                // known to be complete (renamed or closed), not only seen by a scan
    bool regular;             // was a regular file when it was looked at
    bool high;                // X-Outtray-Priority: high
    bool claimed;             // busy: its message is under way and has not left new/
    bool again;               // and a file came into new/ by this name meanwhile
    bool troubled;            // its claim failed for want of descriptors, memory or disk
    unsigned char settles;    // how often it was put off because it may still be written to
    unsigned char unreadable; // how often the disk did not give it
    int64_t size, mtime;      // as last seen where it was put off; -1: not seen
    int64_t recorded;         // DEFERRED: the due time as it stands in the directory, wall clock
    bool open;                // fd is the file, as it was read ahead; the entry's until a claim takes it
    int fd;
    char name[];
};

struct backlog_total {
    size_t names; // kept
    size_t held;  // files held open
};

struct backlog_list {
    struct backlog_entry *first, *last;
};

struct backlog {
    struct backlog_entry **slots; // hash table by (from, name)
    size_t n_slots;
    struct backlog_list high, fresh, due;
    struct backlog_entry **heap; // LATER, by due
    size_t n_heap, heap_size;
    size_t n_new, n_deferred; // entries, busy ones included
    size_t n_claimed;         // entries whose messages are claimed: not among n_new
    size_t n_waiting;
    struct backlog_total *all; // of all backlogs together; borrowed, NULL: not counted
    bool more_new;             // new/ holds names that found no room
    int64_t left_out_due;      // earliest due time of a deferred message that found no room; INT64_MAX: none
    bool turn;                 // whose turn it is: due (true) or fresh
};

void backlog_init(struct backlog *backlog);
// Counts its names, from now on, in *all as well.
void backlog_count_in(struct backlog *backlog, struct backlog_total *all);
// The entry takes over an open file, or gives it away: -1 where it has none.
void backlog_hold(struct backlog *backlog, struct backlog_entry *entry, int fd);
int backlog_take_file(struct backlog *backlog, struct backlog_entry *entry);
// How many names of new/ may be added now.
size_t backlog_new_room(const struct backlog *backlog);
void backlog_release(struct backlog *backlog);

// Adds a name of new/. NULL where there is no room or no memory (more_new is set). A known name is returned
// as it is, but becomes sure (and waiting) where the caller is.
struct backlog_entry *backlog_add_new(struct backlog *backlog, const char *name, bool sure, bool high);
// Adds or moves a name of deferred/ to its due time; at or before now it is waiting. recorded is the time
// that stands in the directory (wall clock): while that stays the same, an entry only ever moves nearer, so
// that a deadline far in the future, of which `due` is the clamped form, does come. NULL where there is no
// room.
struct backlog_entry *backlog_add_deferred(
    struct backlog *backlog, const char *name, int64_t recorded, int64_t due, int64_t now);

// Puts a busy entry off until due (its file may still be written to).
void backlog_put_off(struct backlog *backlog, struct backlog_entry *entry, int64_t due);
// The message of a busy entry is claimed where it lies: its name stays known, so that nobody reads it again,
// and takes no room any more.
void backlog_claimed(struct backlog *backlog, struct backlog_entry *entry);
// It has left new/: forgets the entry, or, true, has it wait where another file came by its name.
bool backlog_end_claim(struct backlog *backlog, struct backlog_entry *entry);
// It was given back and waits again; high: with high priority.
void backlog_unclaim(struct backlog *backlog, struct backlog_entry *entry, bool high);
// Forgets an entry in any state.
void backlog_drop(struct backlog *backlog, struct backlog_entry *entry);
// Forgets every entry that is not busy.
void backlog_forget(struct backlog *backlog);

// The next entry to claim (busy from now on), NULL where none is waiting. Moves what has become due first.
struct backlog_entry *backlog_next(struct backlog *backlog, int64_t now);
bool backlog_has_waiting(struct backlog *backlog, int64_t now);
// Gives a name of new/ that waits high priority.
void backlog_raise(struct backlog *backlog, const char *name);
// Whether files of new/ that may still be written to are to be looked at again (at most a few times each).
bool backlog_settling(const struct backlog *backlog);
// Whether a name of new/ waits because its claim failed.
bool backlog_troubled(const struct backlog *backlog);
// When the earliest LATER entry becomes due; INT64_MAX where there is none.
int64_t backlog_next_due(const struct backlog *backlog);
// Forgets deferred entries that wait for a time later than due, so that earlier ones find room; not those
// that were put off for trouble.
void backlog_forget_later(struct backlog *backlog, int64_t due);
// Makes every deferred entry due now (the account works again).
void backlog_release_deferred(struct backlog *backlog);

#endif
