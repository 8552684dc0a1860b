// Which messages are moved to cur/, and their moves.
#include "settle.h"
#include "agent/base/clock.h"
#include "agent/delivery/claim.h"
#include "agent/delivery/dispatch.h"

#include <stdlib.h>

#define SETTLE_MAX 64 // messages of one job

// The filing desk works in order: it has the messages to itself until their outcomes come, which come after
// this.
struct settle_job {
    struct desk_job job; // first
    struct moves *moves; // borrowed
    size_t n;
    struct message *messages[SETTLE_MAX]; // claimed; not this job's
};

// What cannot be moved now stays claimed where it is; its outcome will tell why.
static void settle_run(struct desk_job *job)
{
    struct settle_job *settle = (struct settle_job *)job;
    moves_begin(settle->moves);
    for (size_t i = 0; i < settle->n; i++)
        (void)claim_move(settle->messages[i]);
    moves_end(settle->moves);
}

static void settle_done(struct desk_job *job)
{
    free(job);
}

// For when the first of them has its time, or, where it could not be moved now, as much later.
static void settle_arm(struct dispatch *dispatch)
{
    const struct settle *settle = &dispatch->settle;
    if (!settle->first)
        return;
    int64_t now = loop_now(dispatch->loop), due = settle->first->claimed_at + settle->after;
    (void)loop_timer_set(dispatch->loop, &dispatch->settle.timer, due > now ? due : now + settle->after);
}

static void settle_due(struct loop_timer *timer)
{
    struct dispatch *dispatch = timer->arg;
    int64_t before = loop_now(dispatch->loop) - dispatch->settle.after;
    while (dispatch->settle.first && dispatch->settle.first->claimed_at <= before) {
        struct settle_job *settle = malloc(sizeof *settle);
        if (!settle)
            break;
        *settle =
            (struct settle_job){.job = {.run = settle_run, .done = settle_done}, .moves = &dispatch->moves};
        while (settle->n < SETTLE_MAX && dispatch->settle.first &&
               dispatch->settle.first->claimed_at <= before) {
            settle->messages[settle->n++] = dispatch->settle.first;
            settle_forget(dispatch, dispatch->settle.first);
        }
        desk_post(dispatch->filing, &settle->job);
    }
    settle_arm(dispatch);
}

void settle_init(struct dispatch *dispatch)
{
    dispatch->settle.after = SETTLE_AFTER_MS * CLOCK_MS;
    loop_timer_init(&dispatch->settle.timer, settle_due, dispatch);
}

void settle_stop(struct dispatch *dispatch)
{
    loop_timer_cancel(dispatch->loop, &dispatch->settle.timer);
}

void settle_watch(struct dispatch *dispatch, struct message *message)
{
    struct settle *settle = &dispatch->settle;
    message->loose = true;
    message->claimed_at = loop_now(dispatch->loop);
    message->next_loose = NULL;
    message->previous_loose = settle->last;
    *(settle->last ? &settle->last->next_loose : &settle->first) = message;
    settle->last = message;
    if (!loop_timer_pending(&settle->timer)) // one that is early only looks again
        settle_arm(dispatch);
}

void settle_forget(struct dispatch *dispatch, struct message *message)
{
    struct settle *settle = &dispatch->settle;
    if (!message->loose)
        return;
    message->loose = false;
    *(message->previous_loose ? &message->previous_loose->next_loose : &settle->first) = message->next_loose;
    *(message->next_loose ? &message->next_loose->previous_loose : &settle->last) = message->previous_loose;
}
