// Sending over the sessions of an account.
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "pool_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void pool_woken(struct loop_timer *timer)
{
    pool_wake(timer->arg);
}

void pool_wake(struct pool *pool)
{
    struct dispatch *dispatch = pool->dispatch;
    if (pool->woken)
        return;
    pool->woken = true;
    pool->next_pump = dispatch->pumps;
    dispatch->pumps = pool;
}

void pool_wake_in(struct pool *pool, int64_t wait)
{
    if (wait == INT64_MAX)
        return;
    int64_t at = loop_now(pool->dispatch->loop) + wait;
    if (!loop_timer_pending(&pool->wake) || pool->wake.due > at)
        (void)loop_timer_set(pool->dispatch->loop, &pool->wake, at);
}

int pool_new(struct dispatch *dispatch, const struct config *config, const struct config_account *settings,
    struct pool **ret_pool)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return -ENOMEM;
    pool->dispatch = dispatch;
    loop_timer_init(&pool->wake, pool_woken, pool);
    int error = account_new(config, settings, clock_boot(), &pool->account);
    if (error) {
        free(pool);
        return error;
    }
    pool_wake(pool);
    *ret_pool = pool;
    return 0;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    while (pool->tenants)
        pool_remove_tenant(pool, pool->tenants);
    struct pool **at = &pool->dispatch->pumps;
    while (*at && *at != pool)
        at = &(*at)->next_pump;
    if (*at)
        *at = pool->next_pump;
    loop_timer_cancel(pool->dispatch->loop, &pool->wake);
    account_free(pool->account);
    free(pool);
}

void pool_add_tenant(struct pool *pool, struct tenant *tenant)
{
    tenant->pool = pool;
    tenant->next_in_pool = pool->tenants;
    pool->tenants = tenant;
    pool->n_tenants++;
    pool->claiming += tenant->claiming;
    pool_enter_lines(tenant);
    pool_tenant_changed(tenant);
    pool_wake(pool);
}

// It has its weight's worth of messages when its turn comes: after everybody else's, or, where it is idle
// (nothing of it is on its way), after the idle ones only.
static void pool_activate(struct pool *pool, struct tenant *tenant, bool idle)
{
    if (pool->active && pool->active->flying) // the first of them had its message
        pool->idle_end = NULL;
    struct tenant *before = idle ? pool->idle_end : pool->active_end;
    struct tenant **place = before ? &before->next_active : &pool->active;
    tenant->active = true;
    tenant->credit = tenant->settings ? tenant->settings->weight : 1;
    tenant->next_active = *place;
    *place = tenant;
    if (!tenant->next_active)
        pool->active_end = tenant;
    if (idle)
        pool->idle_end = tenant;
}

static void pool_deactivate(struct pool *pool, struct tenant *tenant)
{
    struct tenant *previous = NULL;
    for (struct tenant *at = pool->active; at; previous = at, at = at->next_active) {
        if (at != tenant)
            continue;
        *(previous ? &previous->next_active : &pool->active) = at->next_active;
        if (pool->active_end == at)
            pool->active_end = previous;
        if (pool->idle_end == at)
            pool->idle_end = previous;
        break;
    }
    tenant->next_active = NULL;
    tenant->active = false;
}

void pool_remove_tenant(struct pool *pool, struct tenant *tenant)
{
    struct tenant **at = &pool->tenants;
    while (*at && *at != tenant)
        at = &(*at)->next_in_pool;
    if (*at) {
        *at = tenant->next_in_pool;
        pool->n_tenants--;
        pool->claiming -= tenant->claiming; // they come back to the tenant's next pool, if any
    }
    if (tenant->active)
        pool_deactivate(pool, tenant);
    pool_leave_lines(pool, tenant);
    tenant->next_in_pool = NULL;
    tenant->pool = NULL;
}

void pool_ready(struct pool *pool, struct message *message, bool in_front)
{
    struct tenant *tenant = message->route;
    struct message_list *list = message->outgoing->high_priority ? &tenant->ready_high : &tenant->ready;
    (in_front ? message_list_prepend : message_list_append)(list, message);
    pool->ready++;
    pool_wake(pool);
    pool_tenant_changed(tenant);
    if (!tenant->active)
        pool_activate(pool, tenant, tenant->flying == 0);
}

// The next message by weighted round robin: a tenant sends `weight` messages, then the next one's turn comes.
static struct message *pool_next(struct pool *pool)
{
    struct tenant *tenant = pool->active;
    if (!tenant)
        return NULL;
    struct message *message =
        message_list_take(tenant->ready_high.first ? &tenant->ready_high : &tenant->ready);
    pool->ready--;
    pool_tenant_changed(tenant);
    bool empty = !tenant->ready_high.first && !tenant->ready.first;
    if (!empty && --tenant->credit > 0)
        return message;
    pool_deactivate(pool, tenant);
    if (!empty)
        pool_activate(pool, tenant, false); // what was just taken is on its way
    return message;
}

void pool_give_back(struct message *message)
{
    struct carrier *carrier = message->carrier;
    if (!carrier)
        return;
    message->carrier = NULL;
    message->route->flying--;
    carrier->unfiled--;
    carrier->pool->unfiled--;
    pool_wake(carrier->pool);
    carrier->pool->progress_at = loop_now(carrier->pool->dispatch->loop);
}

void pool_return_all(struct pool *pool, const char *words)
{
    struct conclude_context context = dispatch_context(pool->dispatch, pool);
    struct message *message;
    while ((message = pool_next(pool))) {
        conclude_return(message, &context, words);
        dispatch_file(pool->dispatch, message);
    }
}

static unsigned carrier_room(const struct carrier *carrier, bool now)
{
    if (!carrier->session || !carrier->ready)
        return 0;
    unsigned room = now ? smtp_session_room_now(carrier->session) : smtp_session_room(carrier->session);
    unsigned slots = carrier->window > carrier->unfiled ? carrier->window - carrier->unfiled : 0;
    return room < slots ? room : slots;
}

// How many messages it takes from the tenant whose turn it is, of those that can go on the wire now, or also
// of one that would lie ready behind them; that one only where no tenants share the account, so that nobody's
// waits behind it. The last place of a window is kept for a tenant that has nothing on its way, where tenants
// share the account: else each would have to wait until others' are durable.
static unsigned carrier_places(const struct pool *pool, const struct carrier *carrier, bool now)
{
    unsigned room = carrier_room(carrier, now || pool->n_tenants > 1);
    bool shared = pool->n_tenants > 1 && carrier->window >= POOL_RESERVE_MIN;
    if (room == 0 || !shared || !pool->active || pool->active->flying == 0)
        return room;
    unsigned left = carrier->window - carrier->unfiled - 1;
    return room < left ? room : left;
}

// Sends one message; false where nothing could be sent.
static bool pool_send(struct pool *pool, struct carrier *carrier)
{
    struct dispatch *dispatch = pool->dispatch;
    struct message *message = pool_next(pool);
    if (!message)
        return false;
    if (message->config != dispatch->config) { // claimed before a reload: envelope and From may be others now
        struct conclude_context context = dispatch_context(dispatch, pool);
        conclude_return(message, &context, "the configuration was reloaded");
        dispatch_file(dispatch, message);
        return true;
    }
    int64_t boot = loop_now(dispatch->loop);
    size_t left = account_recipients_left(pool->account, boot);
    size_t n = left ? conclude_prepare(message, left) : 0;
    if (!left) {
        pool_ready(pool, message, true);
        return false;
    }
    if (n == 0) { // everybody has been answered, or cannot be sent to
        struct conclude_context context = dispatch_context(dispatch, pool);
        int error = conclude_nobody(message, &context);
        if (error)
            dispatch_give_up(dispatch, message, error);
        else
            dispatch_file(dispatch, message);
        return true;
    }
    account_started(pool->account, (unsigned)n, boot);
    message->started = boot;
    message->carrier = carrier;
    carrier->unfiled++;
    pool->unfiled++;
    message->route->flying++;
    smtp_session_send(carrier->session, &message->mail);
    message->conn_use = smtp_session_mails(carrier->session);
    return true;
}

// How many messages may be started now.
static unsigned pool_allowance(struct pool *pool)
{
    struct dispatch *dispatch = pool->dispatch;
    int64_t now = loop_now(dispatch->loop), wait = INT64_MAX;
    enum account_change change = account_review(pool->account, pool->n_open, now);
    if (change != ACCOUNT_SAME)
        dispatch_account_changed(dispatch, pool, change);
    unsigned allows = account_allows(pool->account, now, &wait);
    if (allows == 0)
        pool_wake_in(pool, wait);
    return allows;
}

// Each mail of a session that does not stream costs a round trip, so each session at rest has one before any
// has two. Where they stream, one session takes what it can: fewer and larger writes. Returns what is left of
// allows.
static unsigned pool_spread(struct pool *pool, unsigned allows)
{
    for (struct carrier *carrier = pool->carriers; carrier && allows && pool->ready; carrier = carrier->next)
        if (carrier_places(pool, carrier, true) && !smtp_session_streams(carrier->session) &&
            smtp_session_in_flight(carrier->session) == 0 && pool_send(pool, carrier))
            allows--;
    return allows;
}

static unsigned pool_fill(struct pool *pool, unsigned allows, bool now)
{
    for (struct carrier *carrier = pool->carriers; carrier; carrier = carrier->next)
        while (allows && pool->ready && carrier_places(pool, carrier, now) && pool_send(pool, carrier))
            allows--;
    return allows;
}

void pool_pump(struct pool *pool)
{
    struct dispatch *dispatch = pool->dispatch;
    loop_timer_cancel(dispatch->loop, &pool->wake);
    pool_sweep(pool);
    if (dispatch->stopping)
        return;
    if (pool->paused) { // what comes back from the wire with more to do goes back to where it was claimed
        pool_return_all(pool, pool->paused_words);
        return;
    }
    unsigned allows = pool_allowance(pool);
    if (allows)
        pool_claim(pool, allows, loop_now(dispatch->loop));
    unsigned room = 0;
    allows = pool_spread(pool, allows);
    allows = pool_fill(pool, allows, true);
    allows = pool_fill(pool, allows, false);
    for (struct carrier *carrier = pool->carriers; carrier; carrier = carrier->next) {
        room += carrier_places(pool, carrier, false);
        if (carrier->session && !carrier->ready)
            room += carrier->window;
    }
    if (allows && pool->ready > room)
        pool_connect(pool);
}

bool pool_is_blocked(const struct pool *pool)
{
    int64_t wait = 0;
    if (pool->paused)
        return true;
    return pool->account->breaker != BREAKER_CLOSED && !pool->account->probing &&
           !account_allows(pool->account, clock_boot(), &wait);
}
