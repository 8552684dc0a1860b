// Claims going to the intake desk and coming back (wire thread).
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/intake.h"
#include "agent/delivery/unreadable.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define CLAIM_PUT_OFF_NS (1 * CLOCK_SECOND) // after trouble with descriptors, memory or the disk, or others

static void claim_drop(struct message *message)
{
    backlog_drop(&message->tenant->backlog, message->entry);
    message->entry = NULL;
}

// What was in its way is in the way of others, too.
static void claim_trouble(struct dispatch *dispatch, struct message *message)
{
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
    if (message->error == -EMFILE || message->error == -ENFILE)
        for (size_t i = 0; i < dispatch->n_pools; i++)
            pool_quit(dispatch->pools[i]); // sessions give descriptors back
}

static void claim_later(struct dispatch *dispatch, struct message *message)
{
    struct backlog_entry *entry = message->entry;
    entry->troubled = true;
    if (entry->settles < UCHAR_MAX)
        entry->settles++;
    backlog_put_off(&message->tenant->backlog, entry, loop_now(dispatch->loop) + CLAIM_PUT_OFF_NS);
    message->entry = NULL;
}

static void claim_unsettled(struct dispatch *dispatch, struct message *message)
{
    struct backlog_entry *entry = message->entry;
    message->entry = NULL;
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

// Another has its lock, and may die before it is done.
static void claim_by_other(struct dispatch *dispatch, struct message *message)
{
    if (message->entry->settles < UCHAR_MAX)
        message->entry->settles++;
    backlog_put_off(&message->tenant->backlog, message->entry, loop_now(dispatch->loop) + CLAIM_PUT_OFF_NS);
    message->entry = NULL;
}

// The filing desk has put it back, or could not.
static void claim_rescued(struct desk_job *job)
{
    struct message *message = (struct message *)job;
    struct dispatch *dispatch = message->dispatch;
    struct tenant *tenant = message->tenant;
    dispatch_spool_trouble(dispatch);
    tenant_note_change(tenant);
    bool back = !message->error;
    dispatch->once_findings |= !back;
    if (back && message->dirs == tenant->dirs && message->origin == message->entry->from &&
        strcmp(message->name, message->entry->name) == 0) {
        claim_later(dispatch, message);
    } else {
        claim_drop(message);
        tenant->backlog.more_new |= back && message->origin == SPOOL_NEW;
        if (back && message->origin == SPOOL_DEFERRED && message->dirs == tenant->dirs)
            dispatch_wait(dispatch, tenant, message->name, 0);
    }
    pool_tenant_changed(tenant);
    dispatch_end_claim(dispatch, message);
}

// It lies in cur/, where nobody would find it before the next start. The filing desk tries until it is back.
static void claim_stranded(struct dispatch *dispatch, struct message *message)
{
    message->filing = FILING_RETURN;
    message->job.run = NULL;
    message->job.done = claim_rescued;
    desk_post(dispatch->filing, &message->job);
}

// Claimed: from here on the name belongs to us. The backlog knows it as long as it may meet it in new/.
static void claim_taken(struct dispatch *dispatch, struct message *message)
{
    struct conclude_context context = dispatch_context(dispatch, message->tenant->pool);
    if (message->place == SPOOL_NEW) {
        backlog_claimed(&message->tenant->backlog, message->entry);
        settle_watch(dispatch, message);
    } else {
        if (message->entry->from == SPOOL_DEFERRED && message->dirs == message->tenant->dirs)
            ledger_went(&message->tenant->ledger, (uint64_t)message->stat.st_size, message->mtime);
        claim_drop(message);
    }
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
    case CLAIM_TAKEN:
        claim_by_other(dispatch, message);
        break;
    case CLAIM_UNSETTLED:
        claim_unsettled(dispatch, message);
        break;
    case CLAIM_UNREADABLE:
        unreadable_wait(dispatch, message);
        break;
    case CLAIM_LATER:
        claim_trouble(dispatch, message);
        claim_later(dispatch, message);
        break;
    case CLAIM_STRANDED:
        claim_trouble(dispatch, message);
        claim_stranded(dispatch, message);
        pool_tenant_changed(tenant);
        return;
    }
    pool_tenant_changed(tenant);
    dispatch_end_claim(dispatch, message);
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
    message->keep_lock = dispatch->claimed < dispatch->locked_max;
    message->job = (struct desk_job){.done = claim_done};
    tenant->claiming++;
    tenant->pool->claiming++;
    tenant->claimed++;
    dispatch->claimed++;
    dispatch->n_claims++;
    desk_post(dispatch->intake, &message->job);
    return true;
}
