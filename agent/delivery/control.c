// Acting on the operator's files.
#include "control.h"
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTROL_SLACK_NS CLOCK_SECOND // file times come from a coarser clock

struct control_account {
    char name[PAUSE_ACCOUNT_MAX + 1];
    bool paused, noted;
    struct pause pause, note;
};

struct control_job {
    struct desk_job job; // first
    struct dispatch *dispatch;
    int dir;         // STATE/paused, to be watched; -1: none
    int64_t flushed; // out
    size_t n;
    struct control_account accounts[]; // names in, the rest out
};

static void control_read(struct control_job *look)
{
    int state_fd = look->dispatch->state_fd;
    (void)pause_open(state_fd, true, &look->dir); // made, so that it can be watched
    look->flushed = pause_flushed(state_fd);
    for (size_t i = 0; i < look->n; i++) {
        struct control_account *account = &look->accounts[i];
        int error = pause_get(state_fd, account->name, &account->pause);
        account->paused = error != -ENOENT; // a file that cannot be read is there all the same
        // A note comes before the file goes: it is taken once that has happened.
        account->noted = !account->paused && pause_take_note(state_fd, account->name, &account->note) == 1;
    }
}

static struct control_job *control_job_new(struct dispatch *dispatch)
{
    struct control_job *look = calloc(1, sizeof *look + dispatch->n_pools * sizeof *look->accounts);
    if (!look)
        return NULL;
    look->dispatch = dispatch;
    look->dir = -1;
    look->n = dispatch->n_pools; // they never become fewer
    for (size_t i = 0; i < look->n; i++)
        (void)snprintf(
            look->accounts[i].name, sizeof look->accounts[i].name, "%s", dispatch->pools[i]->account->name);
    return look;
}

static void control_pause(struct pool *pool, const struct pause *pause)
{
    struct dispatch *dispatch = pool->dispatch;
    pool->paused = true;
    pool_wake(pool);
    (void)snprintf(pool->paused_words, sizeof pool->paused_words, "the account was paused by %s%s%s",
        *pause->by ? pause->by : "its operator", *pause->reason ? ": " : "", pause->reason);
    log_event(dispatch->log, LOG_NOTICE_LEVEL, "account_paused",
        "its operator paused the account; its mail waits until `outtray resume` is called for it", "account",
        pool->account->name, "breaker", breaker_name(pool->account->breaker), "by", pause->by, "why",
        *pause->reason ? pause->reason : NULL, NULL);
    events_operator(&dispatch->events, pool->account, true, pool->paused_words);
    pool_return_all(pool, pool->paused_words);
    pool_quit(pool); // what is on the wire is finished first
}

static void control_resume(struct pool *pool, const struct control_account *found)
{
    struct dispatch *dispatch = pool->dispatch;
    bool was = pool->paused;
    pool->paused = false;
    pool_wake(pool);
    if (was)
        events_operator(&dispatch->events, pool->account, false, found->noted ? found->note.reason : NULL);
    if (was)
        log_event(dispatch->log, LOG_NOTICE_LEVEL, "account_resumed",
            "its operator resumed the account; its waiting mail goes out now", "account", pool->account->name,
            "breaker", breaker_name(pool->account->breaker), "by", found->noted ? found->note.by : NULL,
            "why", found->noted && *found->note.reason ? found->note.reason : NULL, NULL);
    if (found->noted)
        account_retry_now(pool->account, loop_now(dispatch->loop));
}

// Everything due now: deferred mail, and the probes of accounts in trouble.
static void control_flush(struct dispatch *dispatch)
{
    log_event(
        dispatch->log, LOG_NOTICE_LEVEL, "flush", "everything that waits is due now, as asked for", NULL);
    for (size_t i = 0; i < dispatch->n_pools; i++) {
        account_retry_now(dispatch->pools[i]->account, loop_now(dispatch->loop));
        pool_wake(dispatch->pools[i]);
    }
    for (size_t i = 0; i < dispatch->n_tenants; i++)
        if (dispatch->tenants[i]->settings)
            dispatch_release(dispatch, dispatch->tenants[i]);
}

static void control_take(struct dispatch *dispatch, const struct control_job *look)
{
    struct control *control = &dispatch->control;
    if (look->dir >= 0) {
        int watch = watch_add(dispatch->watch, look->dir, WATCH_REMOVALS);
        if (watch >= 0 && watch != control->watch_paused) {
            control->look = true; // what came before it was watched told nobody
            control->watch_paused = watch;
        }
        close(look->dir);
    }
    for (size_t i = 0; i < look->n; i++) {
        const struct control_account *found = &look->accounts[i];
        struct pool *pool = dispatch->pools[i];
        if (found->paused && !pool->paused)
            control_pause(pool, &found->pause);
        else if (!found->paused && (pool->paused || found->noted))
            control_resume(pool, found);
    }
    if (look->flushed > control->flushed) {
        control->flushed = look->flushed;
        control_flush(dispatch);
    }
}

static void control_run(struct desk_job *job)
{
    control_read((struct control_job *)job);
}

static void control_done(struct desk_job *job)
{
    struct control_job *look = (struct control_job *)job;
    look->dispatch->control.looking = false;
    control_take(look->dispatch, look);
    free(look);
}

void control_start(struct dispatch *dispatch, int64_t began)
{
    struct control *control = &dispatch->control;
    struct control_job *look = control_job_new(dispatch);
    control->watch_paused = -1;
    control->watch_state = watch_add(dispatch->watch, dispatch->state_fd, WATCH_TOUCHES);
    control->flushed = began - CONTROL_SLACK_NS;
    control->look = true;
    if (!look)
        return;
    control_read(look);
    control_take(dispatch, look);
    free(look);
}

void control_new_pool(struct dispatch *dispatch, struct pool *pool)
{
    struct control_account found = {0};
    int error = pause_get(dispatch->state_fd, pool->account->name, &found.pause);
    if (!error)
        control_pause(pool, &found.pause);
    dispatch->control.look = true;
}

bool control_event(struct dispatch *dispatch, int watch, enum watch_what what, const char *name)
{
    struct control *control = &dispatch->control;
    if (watch < 0 || (watch != control->watch_state && watch != control->watch_paused))
        return false;
    bool ours = watch == control->watch_paused || strcmp(name, PAUSE_FLUSH) == 0;
    if (watch == control->watch_paused && what == WATCH_MOVED)
        control->watch_paused = -1; // gone: the next look makes it again
    control->look |= ours;
    return true;
}

void control_look(struct dispatch *dispatch)
{
    struct control *control = &dispatch->control;
    if (!control->look || control->looking || dispatch->stopping)
        return;
    struct control_job *look = control_job_new(dispatch);
    if (!look)
        return;
    look->job = (struct desk_job){.run = control_run, .done = control_done};
    control->look = false;
    control->looking = true;
    desk_submit(dispatch->intake, &look->job);
}
