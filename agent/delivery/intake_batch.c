// Claiming in groups, so that what is looked up for all is looked up once and renames come in runs (intake
// desk).
#include "agent/base/clock.h"
#include "agent/delivery/intake.h"

#define INTAKE_GROUP   32 // claimed together, at most: what a message waits for behind others
#define INTAKE_EXPRESS 8  // of those that go first; where there are more, nobody waits behind a backlog
#define INTAKE_GROUPS  8  // after which a slice of a slow job has its turn
#define INTAKE_RETURN  8  // go back to the wire thread together, since each return may wake it

static void intake_examine_all(struct desk_job *first)
{
    for (struct desk_job *job = first; job; job = (struct desk_job *)job->item.next) {
        struct message *message = (struct message *)job;
        message->error = 0;
        message->claim = intake_examine(message);
    }
    int64_t now = clock_work();
    for (struct desk_job *job = first; job; job = (struct desk_job *)job->item.next)
        ((struct message *)job)->examined = now;
}

static bool intake_is_to_move(const struct desk_job *job)
{
    const struct message *message = (const struct message *)job;
    return message->claim == CLAIM_READY && !message->keep_lock;
}

// Renames those that a lock does not claim.
static void intake_move_all(struct moves *moves, struct desk_job *first)
{
    struct desk_job *job = first;
    while (job && !intake_is_to_move(job))
        job = (struct desk_job *)job->item.next;
    if (!job)
        return;
    moves_begin(moves);
    for (; job; job = (struct desk_job *)job->item.next)
        if (intake_is_to_move(job))
            ((struct message *)job)->claim = intake_move((struct message *)job);
    moves_end(moves);
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

// A batch under way.
struct intake {
    struct desk *desk;
    struct moves *moves;
    struct intake_list express; // claims that go before those that wait
    struct intake_list waiting; // claims
    struct intake_list others;  // jobs that are no claims
    struct intake_list done;    // to go back to the wire thread
};

static void intake_return(struct intake *intake)
{
    if (intake->done.first)
        desk_return_all(intake->desk, intake->done.first);
    intake->done = (struct intake_list){0};
}

// Claims a group and reads it; a few go back to the wire thread together.
static void intake_group(struct intake *intake, struct intake_list group)
{
    intake_examine_all(group.first);
    desk_beat(intake->desk);
    intake_move_all(intake->moves, group.first);
    while (group.first) {
        struct desk_job *job = intake_list_take(&group);
        struct message *message = (struct message *)job;
        desk_beat(intake->desk);
        if (message->claim == CLAIM_READY)
            message->claim = intake_read(message);
        intake_list_add(&intake->done, job);
        if (intake->done.n >= INTAKE_RETURN)
            intake_return(intake);
    }
}

static struct intake_list intake_cut(struct intake_list *waiting)
{
    struct intake_list group = {0};
    while (waiting->first && group.n < INTAKE_GROUP)
        intake_list_add(&group, intake_list_take(waiting));
    return group;
}

static void intake_collect(struct intake *intake, struct desk_job *first)
{
    while (first) {
        struct desk_job *job = first;
        first = (struct desk_job *)job->item.next;
        bool claim = !job->run;
        bool express = claim && ((struct message *)job)->express && intake->express.n < INTAKE_EXPRESS;
        intake_list_add(express ? &intake->express : claim ? &intake->waiting : &intake->others, job);
    }
}

// Jobs that are no claims may take long.
static void intake_run_others(struct intake *intake)
{
    intake_return(intake);
    while (intake->others.first) {
        struct desk_job *job = intake_list_take(&intake->others);
        job->item.next = NULL;
        job->run(job);
        desk_beat(intake->desk);
        desk_return(intake->desk, job);
    }
}

void intake_batch(struct desk *desk, struct desk_job *first, void *arg)
{
    struct intake intake = {.desk = desk, .moves = arg};
    unsigned groups = 0;
    for (intake_collect(&intake, first); intake.express.first || intake.waiting.first || intake.others.first;
         intake_collect(&intake, desk_more(desk))) {
        if (intake.express.first) { // a group of its own, which goes back at once
            intake_group(&intake, intake.express);
            intake.express = (struct intake_list){0};
            intake_return(&intake);
        } else if (intake.others.first) {
            intake_run_others(&intake);
        } else {
            intake_group(&intake, intake_cut(&intake.waiting));
            groups++;
        }
        if (groups == INTAKE_GROUPS) {
            intake_return(&intake);
            desk_slices(desk);
            groups = 0;
        }
    }
    intake_return(&intake);
}
