// Outcomes going to the filing desk and coming back, and what concerns all tenants (wire thread).
#include "dispatch.h"
#include "agent/base/clock.h"
#include "agent/delivery/notice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tenant *dispatch_find_tenant(const struct dispatch *dispatch, const char *name)
{
    for (size_t i = 0; i < dispatch->n_tenants; i++)
        if (strcmp(dispatch->tenants[i]->name, name) == 0)
            return dispatch->tenants[i];
    return NULL;
}

struct conclude_context dispatch_context(const struct dispatch *dispatch, const struct pool *pool)
{
    return (struct conclude_context){
        .account = pool ? pool->account->name : NULL,
        .boot = loop_now(dispatch->loop),
        .wall = clock_wall(),
        .conn_use = -1,
        .conn_ms = -1,
    };
}

void dispatch_pump(struct dispatch *dispatch)
{
    struct pool *pumps = dispatch->pumps;
    dispatch->pumps = NULL;
    for (struct pool *pool; (pool = pumps);) {
        pumps = pool->next_pump;
        pool->woken = false;
        pool_pump(pool);
    }
}

bool dispatch_may_claim(const struct dispatch *dispatch)
{
    return !dispatch->stopping && !dispatch->spool_broken && !dispatch->spool_full &&
           dispatch->claimed < DISPATCH_CLAIMED_MAX;
}

void dispatch_spool_trouble(struct dispatch *dispatch)
{
    int broken = atomic_load(&dispatch->filing_state.broken),
        full = atomic_load(&dispatch->filing_state.full);
    if (broken && !dispatch->spool_broken) {
        log_event(dispatch->log, LOG_ERROR_LEVEL, "spool_broken",
            "the spool's disk failed; nothing is claimed any more. Check the disk, then start the agent "
            "again",
            "reason", strerror(-broken), NULL);
        events_spool_broken(&dispatch->events, broken);
    }
    dispatch->spool_broken = broken != 0;
    if (full && !dispatch->spool_full)
        log_event(dispatch->log, LOG_ERROR_LEVEL, "spool_full",
            "outcomes cannot be written; nothing is claimed until they can. Free space in the spool",
            "reason", strerror(-full), NULL);
    if (!full && dispatch->spool_full)
        log_event(dispatch->log, LOG_NOTICE_LEVEL, "spool_ok", "outcomes can be written again", NULL);
    if (dispatch->spool_full != (full != 0))
        for (size_t i = 0; i < dispatch->n_pools; i++)
            pool_wake(dispatch->pools[i]);
    dispatch->spool_full = full != 0;
}

void dispatch_end_claim(struct dispatch *dispatch, struct message *message)
{
    struct tenant *tenant = message->tenant;
    pool_give_back(message);
    tenant->claimed--;
    if (dispatch->claimed-- == DISPATCH_CLAIMED_MAX) // others may wait for just this
        for (size_t i = 0; i < dispatch->n_pools; i++)
            pool_wake(dispatch->pools[i]);
    if (message->route->pool)
        pool_wake(message->route->pool);
    if (message->entry && backlog_end_claim(&tenant->backlog, message->entry))
        pool_tenant_changed(tenant);
    message_free(message);
}

static void count_deferred(struct message *message)
{
    message->tenant->deferred[observe_class_index(message->deferred_class)]++;
}

static void count_sent(struct message *message)
{
    struct pool *pool = message->route->pool;
    message->tenant->sent_total++;
    if (!pool)
        return;
    double seconds = (double)(clock_wall() - clock_ns(&message->stat.st_mtim)) / (double)CLOCK_SECOND;
    size_t bucket = 0;
    while (bucket < OBSERVE_BUCKETS && seconds > observe_bucket_bounds[bucket])
        bucket++;
    pool->delivery[bucket]++;
    pool->delivery_sum_s += seconds > 0 ? seconds : 0;
}

// Recorded: the next transaction, or back to where it came from.
static void filed_record(struct dispatch *dispatch, struct message *message)
{
    struct pool *pool = message->route->pool;
    pool_give_back(message);
    if (pool && !message->back && !dispatch->stopping && !pool->paused &&
        pool->account->breaker == BREAKER_CLOSED) {
        pool_ready(pool, message, true);
        return;
    }
    struct conclude_context context = dispatch_context(dispatch, pool);
    conclude_return(message, &context,
        pool && pool->paused               ? pool->paused_words
        : pool && pool->account->reason[0] ? pool->account->reason
                                           : "the agent stops");
    dispatch_file(dispatch, message);
}

static void filed_back(struct dispatch *dispatch, struct message *message)
{
    struct tenant *tenant = message->tenant;
    bool high = message->outgoing && message->outgoing->high_priority;
    if (message->dirs != tenant->dirs) { // perhaps the same directory, opened again
        tenant->backlog.more_new = true;
        dispatch_refill(dispatch, tenant);
        return;
    }
    if (dispatch->stopping)
        return;
    if (message->origin == SPOOL_NEW && message->entry && strcmp(message->entry->name, message->name) == 0) {
        backlog_unclaim(&tenant->backlog, message->entry, high);
        message->entry = NULL;
    } else if (message->origin == SPOOL_NEW)
        (void)backlog_add_new(&tenant->backlog, message->name, true, high);
    else
        dispatch_wait(dispatch, tenant, message->name, 0);
    pool_tenant_changed(tenant);
}

static void filed_done(struct desk_job *job)
{
    struct message *message = (struct message *)job;
    struct dispatch *dispatch = message->dispatch;
    struct tenant *tenant = message->tenant;
    dispatch_spool_trouble(dispatch);
    tenant_note_change(tenant);
    if (message->error) {
        dispatch->once_findings = true;
        if (message->error == -ENOENT) {
            log_event(dispatch->log, LOG_ERROR_LEVEL, "message_vanished",
                "somebody moved or deleted a message that was under way; its outcome could not be filed",
                "tenant", tenant->name, "name", message->claimed_name, NULL);
            if (message->filing == FILING_SENT)
                count_sent(message);
        }
        dispatch_end_claim(dispatch, message);
        return;
    }
    if (message->filing != FILING_RECORD && message->filed_in == SPOOL_DEFERRED &&
        message->dirs == tenant->dirs)
        ledger_came(&tenant->ledger, (uint64_t)message->stat.st_size, message->mtime);
    switch (message->filing) {
    case FILING_RECORD:
        filed_record(dispatch, message);
        return;
    case FILING_SENT:
        if (message->claim != CLAIM_REPEAT)
            count_sent(message);
        break;
    case FILING_DEFER:
        count_deferred(message);
        dispatch->once_findings |= message->claim != CLAIM_WAIT; // what waits for its own time is not due
        if (message->dirs == tenant->dirs)
            dispatch_wait(dispatch, tenant, message->name, clock_ns(&message->status->next_attempt));
        break;
    case FILING_FAIL:
        if (message->refused_reason != STATUS_REASON_NONE)
            tenant->failed[message->refused_reason - 1]++;
        dispatch->once_findings = true;
        break;
    case FILING_RETURN:
        dispatch->once_findings = true;
        filed_back(dispatch, message);
        break;
    }
    events_message(&dispatch->events, message);
    dispatch_end_claim(dispatch, message);
}

void dispatch_file(struct dispatch *dispatch, struct message *message)
{
    settle_forget(dispatch, message);
    message->job.run = NULL;
    message->job.done = filed_done;
    desk_post(dispatch->filing, &message->job);
}

void dispatch_give_up(struct dispatch *dispatch, struct message *message, int error)
{
    struct conclude_context context = dispatch_context(dispatch, message->route->pool);
    conclude_return(message, &context, strerror(-error));
    dispatch_file(dispatch, message);
}

void dispatch_account_changed(struct dispatch *dispatch, struct pool *pool, enum account_change change)
{
    const struct account *account = pool->account;
    pool_wake(pool);
    if (change == ACCOUNT_PAUSED) {
        log_event(dispatch->log, account->own ? LOG_WARNING_LEVEL : LOG_ERROR_LEVEL, "account_paused",
            account->fix   ? account->fix
            : account->own ? "its mail waits where it is and goes out by itself later"
                           : "its mail waits where it is; it is tried again by itself",
            "account", account->name, "breaker", breaker_name(account->breaker), "reply", account->reason,
            NULL);
        dispatch->once_findings = true;
        pool_return_all(pool, account->reason);
    } else if (change == ACCOUNT_FREED) {
        log_event(dispatch->log, LOG_NOTICE_LEVEL, "account_resumed", "the account may send again", "account",
            account->name, NULL);
    } else if (change == ACCOUNT_RESUMED) {
        log_event(dispatch->log, LOG_NOTICE_LEVEL, "account_resumed",
            "the account works again; its waiting mail goes out now", "account", account->name, NULL);
        for (struct tenant *tenant = pool->tenants; tenant; tenant = tenant->next_in_pool)
            dispatch_release(dispatch, tenant);
    }
    events_account(&dispatch->events, account, change);
}

bool dispatch_is_quiet(const struct dispatch *dispatch)
{
    return dispatch->claimed == 0;
}

// What could not be read is read once more when all that was claimed meanwhile is filed: messages that were
// under way may have held the descriptors it takes.
static void read_once_more(const struct dispatch *dispatch, struct tenant *tenant)
{
    unsigned char *const counts[] = {&tenant->new_unread, &tenant->deferred_unread};
    uint64_t at = tenant->read_at_claims;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (*counts[i] == TENANT_READS_MAX && at != dispatch->n_claims) {
            --*counts[i];
            tenant->read_at_claims = dispatch->n_claims;
        }
}

// `run --once`, of a tenant: what is to be waited for, and whether something is left.
static bool tenant_is_done(struct dispatch *dispatch, struct tenant *tenant, bool *ret_left)
{
    int64_t now = loop_now(dispatch->loop);
    const struct backlog *backlog = &tenant->backlog;
    if (!tenant->dirs) { // nobody knows what lies there
        *ret_left = true;
        return !tenant->opening && tenant->opened_failed && !notices_busy(dispatch, tenant);
    }
    if (tenant->refilling || !tenant->surveyed || tenant->look || tenant->release)
        return false;
    read_once_more(dispatch, tenant);
    if (tenant_reads_again(tenant->new_unread) || tenant_reads_again(tenant->deferred_unread)) {
        desk_hurry(dispatch->intake); // for the surveys
        return false;
    }
    notices_tick(dispatch, tenant);
    if (notices_busy(dispatch, tenant))
        return false;
    bool waiting = backlog_has_waiting(&tenant->backlog, now);
    bool blocked = !tenant->pool || pool_is_blocked(tenant->pool);
    if (!blocked && (waiting || dispatch_refill_due(tenant) || backlog_settling(backlog) ||
                        dispatch_survey_due(dispatch, tenant)))
        return false;
    // Where it is not blocked, what is known can not be claimed now, and leaves no room for more.
    *ret_left = waiting || backlog->more_new || backlog->left_out_due <= now || backlog_troubled(backlog) ||
                tenant->new_unread || tenant->deferred_unread;
    return true;
}

bool dispatch_is_done(struct dispatch *dispatch)
{
    bool left = false;
    if (dispatch->spool_broken)
        return true;
    if (dispatch->claimed || dispatch->spool_full)
        return false;
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        bool of_this = false;
        if (dispatch->tenants[i]->settings && !tenant_is_done(dispatch, dispatch->tenants[i], &of_this))
            return false;
        left |= of_this;
    }
    dispatch->once_findings |= left;
    return true;
}
