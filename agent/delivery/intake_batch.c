// Claiming in groups, so that renames come in runs (intake desk).
#include "agent/base/clock.h"
#include "agent/delivery/intake.h"

#define INTAKE_GROUP   32 // claimed together, at most: what a message waits for behind others
#define INTAKE_EXPRESS 8  // of those that go first; where there are more, nobody waits behind a backlog
#define INTAKE_ROUNDS  8  // groups after which slices of slow jobs have their turn
#define INTAKE_RETURN  8  // go back to the wire thread together, since each return may wake it

// Looks at all messages from `first` up to, and without, `end`.
static void intake_examine_all(struct desk_job *first, const struct desk_job *end)
{
    for (struct desk_job *job = first; job != end; job = (struct desk_job *)job->item.next) {
        struct message *message = (struct message *)job;
        message->error = 0;
        message->claim = intake_examine(message);
    }
    int64_t now = clock_work();
    for (struct desk_job *job = first; job != end; job = (struct desk_job *)job->item.next)
        ((struct message *)job)->examined = now;
}

static void intake_move_all(struct desk_job *first, const struct desk_job *end)
{
    for (struct desk_job *job = first; job != end; job = (struct desk_job *)job->item.next) {
        struct message *message = (struct message *)job;
        if (message->claim == CLAIM_READY)
            message->claim = intake_move(message);
    }
}

static void intake_read_message(struct desk_job *job)
{
    struct message *message = (struct message *)job;
    if (message->claim == CLAIM_READY)
        message->claim = intake_read(message);
}

void intake_claim(struct desk_job *job)
{
    const struct desk_job *end = (struct desk_job *)job->item.next;
    intake_examine_all(job, end);
    intake_move_all(job, end);
    intake_read_message(job);
}

// A list of jobs, linked by item.next.
struct intake_list {
    struct desk_job *first, *last;
    unsigned n;
};

static void intake_list_add(struct intake_list *list, struct desk_job *job)
{
    if (list->first)
        list->last->item.next = &job->item;
    else
        list->first = job;
    list->last = job;
    job->item.next = NULL;
    list->n++;
}

static struct desk_job *intake_list_take(struct intake_list *list)
{
    struct desk_job *job = list->first;
    list->first = (struct desk_job *)job->item.next;
    list->n--;
    return job;
}

static void intake_return(struct desk *desk, struct intake_list *done)
{
    if (done->first)
        desk_return_all(desk, done->first);
    *done = (struct intake_list){0};
}

// Reads the first of those that were renamed; a few go back to the wire thread together.
static void intake_read_one(struct desk *desk, struct intake_list *moved, struct intake_list *done)
{
    struct desk_job *job = intake_list_take(moved);
    intake_read_message(job);
    intake_list_add(done, job);
    desk_beat(desk);
    if (done->n == INTAKE_RETURN)
        intake_return(desk, done);
}

// One group: `moved` is the group before, which is read while another desk has the turn; then this one is it.
static void intake_group(struct desk *desk, struct moves *moves, struct intake_list *group,
    struct intake_list *moved, struct intake_list *done)
{
    intake_examine_all(group->first, NULL);
    desk_beat(desk);
    while (!moves_try(moves)) {
        if (!moved->first) {
            moves_begin(moves);
            break;
        }
        intake_read_one(desk, moved, done);
    }
    intake_move_all(group->first, NULL);
    moves_end(moves);
    desk_beat(desk);
    while (moved->first)
        intake_read_one(desk, moved, done);
    *moved = *group;
    *group = (struct intake_list){0};
}

// Takes in jobs: claims that go first, in order, before those that wait; others are run where they stand.
static void intake_collect(struct desk *desk, struct desk_job *first, struct intake_list *express,
    struct intake_list *waiting, struct intake_list *done)
{
    while (first) {
        struct desk_job *job = first;
        first = (struct desk_job *)job->item.next;
        if (job->run == intake_claim) {
            bool now = ((struct message *)job)->first && express->n < INTAKE_EXPRESS;
            intake_list_add(now ? express : waiting, job);
            continue;
        }
        job->run(job);
        desk_beat(desk);
        intake_list_add(done, job);
    }
}

static struct intake_list intake_cut(struct intake_list *waiting)
{
    struct intake_list group = {0};
    while (waiting->first && group.n < INTAKE_GROUP)
        intake_list_add(&group, intake_list_take(waiting));
    return group;
}

// A group of its own, which goes back at once.
static void intake_express(
    struct desk *desk, struct moves *moves, struct intake_list *express, struct intake_list *done)
{
    struct intake_list moved = {0};
    intake_group(desk, moves, express, &moved, done);
    while (moved.first)
        intake_read_one(desk, &moved, done);
    intake_return(desk, done);
}

void intake_batch(struct desk *desk, struct desk_job *first, void *arg)
{
    struct moves *moves = arg;
    struct intake_list express = {0}, waiting = {0}, moved = {0}, done = {0};
    unsigned rounds = 0;
    intake_collect(desk, first, &express, &waiting, &done);
    while (express.first || waiting.first) {
        if (express.first) {
            intake_express(desk, moves, &express, &done);
        } else {
            struct intake_list group = intake_cut(&waiting);
            intake_group(desk, moves, &group, &moved, &done);
        }
        if (++rounds < INTAKE_ROUNDS)
            intake_collect(desk, desk_more(desk), &express, &waiting, &done);
    }
    while (moved.first)
        intake_read_one(desk, &moved, &done);
    intake_return(desk, &done);
}
