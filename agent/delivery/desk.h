// A desk: one thread that does what may wait for a disk, so that the wire thread never does.
//
// Jobs are handed over in order; a desk takes all that queued up while it was busy as one batch. When a job's
// work is done it goes back to the wire thread, where its `done` is called from the loop. Both ways jobs
// travel in groups, since each hand-over may wake a thread: what is posted goes over with the next flush,
// once a round of the loop, and a few finished jobs are collected before they go back. Slow jobs (scans,
// retention) are worked in slices, one between two batches, so they never delay what is urgent for longer
// than a slice.
#ifndef OUTTRAY_AGENT_DELIVERY_DESK_H
#define OUTTRAY_AGENT_DELIVERY_DESK_H

#include "agent/base/channel.h"
#include "agent/base/loop.h"

struct desk;

struct desk_job {
    struct channel_item item;            // first: a job is an item
    void (*run)(struct desk_job *job);   // on the desk's thread; NULL: it is what the desk is there for
    bool (*slice)(struct desk_job *job); // slow jobs: a piece of the work; true when all is done
    void (*done)(struct desk_job *job);  // on the wire thread; may free the job
    bool gentle; // slow jobs: rest after each slice so that no more than 5 % of a core is spent
};

// Starts the thread. batch is called with each batch: it does the work of the desk's own jobs, runs the
// others, and passes every one on with desk_return when it is done. `idle`, where given, is called about
// every idle_ms while nothing comes in.
struct desk_params {
    const char *name; // of the thread, at most 15 octets
    struct loop *loop;
    void (*batch)(struct desk *desk, struct desk_job *first, void *arg);
    void (*idle)(struct desk *desk, void *arg);
    unsigned idle_ms;
    void *arg;
};
int desk_start(const struct desk_params *params, struct desk **ret_desk);

void desk_submit(struct desk *desk, struct desk_job *job); // urgent, in order
void desk_post(struct desk *desk, struct desk_job *job);   // the same, handed over with the next flush
void desk_flush(struct desk *desk);
void desk_submit_slow(struct desk *desk, struct desk_job *job);  // in slices, in turn with other slow ones
void desk_return(struct desk *desk, struct desk_job *job);       // on the desk's thread: done with it
void desk_return_all(struct desk *desk, struct desk_job *first); // the same for a list linked by item.next

// From now on gentle jobs do not rest any more: the end is waiting for them (any thread).
void desk_hurry(struct desk *desk);

// On the desk's thread, in a batch function: what has queued up since the batch was handed to it; NULL:
// nothing.
struct desk_job *desk_more(struct desk *desk);

// The same, where a batch goes on for long: a slice of the next slow job, and one of a gentle one that has
// rested.
void desk_slices(struct desk *desk);

// A sign of life, on the desk's thread: for a batch function that takes long.
void desk_beat(struct desk *desk);

// Jobs submitted and not yet back: 0 means the desk is idle (wire thread).
unsigned desk_pending(const struct desk *desk);
// For how long (clock_work, ns) it has had work and given no sign of life, as far as those who ask have seen:
// 0 where all is well (wire thread).
int64_t desk_stalled_ns(struct desk *desk);

// Lets the desk finish all urgent jobs, drops unfinished slow ones through their done, joins the thread.
// Takes NULL.
void desk_stop(struct desk *desk);

#endif
