// Claims going out, outcomes coming back (wire thread).
#include "dispatch.h"
#include "agent/base/clock.h"
#include "agent/delivery/intake.h"
#include "agent/delivery/notice.h"
#include "agent/delivery/unreadable.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLAIM_PUT_OFF_NS (1 * CLOCK_SECOND) // after trouble with descriptors, memory or the disk

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

static void message_gone(struct dispatch *dispatch, struct message *message)
{
    pool_give_back(message);
    message->tenant->claimed--;
    if (dispatch->claimed-- == DISPATCH_CLAIMED_MAX) // others may wait for just this
        for (size_t i = 0; i < dispatch->n_pools; i++)
            pool_wake(dispatch->pools[i]);
    if (message->route->pool)
        pool_wake(message->route->pool);
    message_free(message);
}

static void claim_drop(struct message *message)
{
    backlog_drop(&message->tenant->backlog, message->entry);
    message->entry = NULL;
}

static void claim_later(struct dispatch *dispatch, struct message *message)
{
    struct backlog_entry *entry = message->entry;
    if (message->error == -EIO || message->error == -EROFS) {
        int none = 0;
        atomic_compare_exchange_strong(&dispatch->filing_state.broken, &none, message->error);
        dispatch_spool_trouble(dispatch);
    } else if (!dispatch->claim_error) {
        log_event(dispatch->log, LOG_WARNING_LEVEL, "claim_failed",
            "a message could not be claimed or read now; it is tried again", "tenant", message->tenant->name,
            "name", message->name, "reason", strerror(-message->error), NULL);
    }
    dispatch->claim_error = message->error;
    if (entry->settles < UCHAR_MAX)
        entry->settles++;
    if (message->error == -EMFILE || message->error == -ENFILE)
        for (size_t i = 0; i < dispatch->n_pools; i++)
            pool_quit(dispatch->pools[i]); // sessions give descriptors back
    backlog_put_off(&message->tenant->backlog, entry, loop_now(dispatch->loop) + CLAIM_PUT_OFF_NS);
}

static void claim_unsettled(struct dispatch *dispatch, struct message *message)
{
    struct backlog_entry *entry = message->entry;
    entry->size = message->seen_size;
    entry->mtime = message->seen_mtime;
    if (entry->settles < UCHAR_MAX)
        entry->settles++;
    if (entry->sure && !message->sure) { // it was closed while we looked
        backlog_put_off(&message->tenant->backlog, entry, loop_now(dispatch->loop));
        return;
    }
    entry->sure = false; // renamed with its writer still at it: its being closed makes it sure again
    backlog_put_off(&message->tenant->backlog, entry, loop_now(dispatch->loop) + INTAKE_SETTLE_MS * CLOCK_MS);
}

// Whether the account takes a claim that comes back now. A paused one has use for a single message, and only
// when its probe is due: another, claimed before it paused, would lie in cur/ until then.
static bool claim_is_wanted(const struct dispatch *dispatch, const struct pool *pool)
{
    int64_t wait = 0;
    if (pool->paused)
        return false;
    return pool->account->breaker == BREAKER_CLOSED ||
           (pool->ready == 0 && account_allows(pool->account, loop_now(dispatch->loop), &wait));
}

// Claimed: from here on the name belongs to us and not to the backlog.
static void claim_taken(struct dispatch *dispatch, struct message *message)
{
    struct conclude_context context = dispatch_context(dispatch, message->tenant->pool);
    claim_drop(message);
    dispatch->claim_error = 0;
    int error = 0;
    if (message->claim == CLAIM_READY) {
        struct tenant *route = strcmp(message->outgoing->tenant->name, message->tenant->name) == 0
                                   ? message->tenant
                                   : dispatch_find_tenant(dispatch, message->outgoing->tenant->name);
        if (route && route->pool && !dispatch->stopping && claim_is_wanted(dispatch, route->pool)) {
            message->route = route;
            pool_ready(route->pool, message, false);
            return;
        }
        conclude_return(message, &context,
            dispatch->stopping                            ? "the agent stops"
            : route && route->pool && route->pool->paused ? route->pool->paused_words
                                                          : "the account is paused");
    } else if (message->claim == CLAIM_REPEAT) {
        conclude_repeat(message, &context);
    } else {
        error = message->claim == CLAIM_FAULT ? conclude_fault(message, &context)
                                              : conclude_wait(message, &context);
    }
    if (error)
        dispatch_give_up(dispatch, message, error);
    else
        dispatch_file(dispatch, message);
}

static void claim_done(struct desk_job *job)
{
    struct message *message = (struct message *)job;
    struct dispatch *dispatch = message->dispatch;
    struct tenant *tenant = message->tenant;
    tenant->claiming--;
    if (tenant->pool) {
        tenant->pool->claiming--;
        pool_wake(tenant->pool);
    }
    switch (message->claim) {
    case CLAIM_READY:
    case CLAIM_FAULT:
    case CLAIM_REPEAT:
    case CLAIM_WAIT:
        claim_taken(dispatch, message);
        pool_tenant_changed(tenant);
        return;
    case CLAIM_IGNORED:
        dispatch_ignored(dispatch, tenant, message->claimed_name);
        claim_drop(message);
        break;
    case CLAIM_GONE:
        claim_drop(message);
        break;
    case CLAIM_NOT_DUE:
        claim_drop(message);
        dispatch_wait(dispatch, tenant, message->claimed_name, message->recorded);
        break;
    case CLAIM_UNSETTLED:
        claim_unsettled(dispatch, message);
        break;
    case CLAIM_UNREADABLE:
        unreadable_wait(dispatch, message);
        break;
    case CLAIM_LATER:
        claim_later(dispatch, message);
        break;
    }
    pool_tenant_changed(tenant);
    message_gone(dispatch, message);
}

bool dispatch_claim(struct dispatch *dispatch, struct tenant *tenant, struct backlog_entry *entry)
{
    struct message *message = message_new(dispatch->config, tenant, entry, dispatch->log);
    if (!message) {
        backlog_put_off(&tenant->backlog, entry, loop_now(dispatch->loop) + CLAIM_PUT_OFF_NS);
        return false;
    }
    message->dispatch = dispatch;
    message->express = tenant->claimed == 0;
    message->job = (struct desk_job){.run = intake_claim, .done = claim_done};
    tenant->claiming++;
    tenant->pool->claiming++;
    tenant->claimed++;
    dispatch->claimed++;
    desk_post(dispatch->intake, &message->job);
    return true;
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
    if (message->dirs != tenant->dirs || dispatch->stopping)
        return;
    if (message->origin == SPOOL_NEW)
        (void)backlog_add_new(
            &tenant->backlog, message->name, true, message->outgoing && message->outgoing->high_priority);
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
    tenant->changed = true;
    if (message->error) {
        dispatch->once_findings = true;
        if (message->error == -ENOENT)
            log_event(dispatch->log, LOG_ERROR_LEVEL, "message_vanished",
                "a claimed message was taken out of cur/ by somebody else; its outcome could not be filed",
                "tenant", tenant->name, "name", message->name, NULL);
        message_gone(dispatch, message);
        return;
    }
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
    message_gone(dispatch, message);
}

void dispatch_file(struct dispatch *dispatch, struct message *message)
{
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

bool dispatch_is_done(struct dispatch *dispatch)
{
    int64_t now = loop_now(dispatch->loop);
    if (dispatch->spool_broken)
        return true;
    if (dispatch->claimed || dispatch->spool_full)
        return false;
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        struct tenant *tenant = dispatch->tenants[i];
        if (!tenant->settings)
            continue;
        if (!tenant->dirs && (tenant->opening || !tenant->opened_failed))
            return false;
        if (tenant->dirs && (tenant->refilling || !tenant->surveyed || tenant->look || tenant->release))
            return false;
        if (tenant->dirs)
            notices_tick(dispatch, tenant);
        if (notices_busy(dispatch, tenant))
            return false;
        if (!tenant->pool || pool_is_blocked(tenant->pool)) {
            if (backlog_has_waiting(&tenant->backlog, now) || tenant->backlog.more_new)
                dispatch->once_findings = true;
            continue;
        }
        if (backlog_has_waiting(&tenant->backlog, now) || tenant->backlog.more_new ||
            backlog_settling(&tenant->backlog))
            return false;
    }
    return true;
}
