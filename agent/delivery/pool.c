// Claiming for, and sending over, the sessions of an account.
#include "pool.h"
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"

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

static unsigned tenant_own(const struct tenant *tenant)
{
    return tenant->claiming + tenant->ready.n + tenant->ready_high.n;
}

static void hungry_remove(struct pool *pool, struct tenant *tenant)
{
    struct tenant_line *line = &pool->hungry[tenant->hunger];
    if (tenant->hunger == TENANT_SATED)
        return;
    *(tenant->previous_hungry ? &tenant->previous_hungry->next_hungry : &line->first) = tenant->next_hungry;
    *(tenant->next_hungry ? &tenant->next_hungry->previous_hungry : &line->last) = tenant->previous_hungry;
    line->n--;
    tenant->hunger = TENANT_SATED;
}

static void hungry_append(struct pool *pool, struct tenant *tenant, enum tenant_hunger hunger)
{
    struct tenant_line *line = &pool->hungry[hunger];
    tenant->hunger = hunger;
    tenant->next_hungry = NULL;
    tenant->previous_hungry = line->last;
    *(line->last ? &line->last->next_hungry : &line->first) = tenant;
    line->last = tenant;
    line->n++;
}

static void tenant_is_due(struct loop_timer *timer)
{
    pool_tenant_changed(timer->arg);
}

// Puts the tenant into the line that it belongs to, at its end; true where it is another than before.
static bool hungry_update(struct pool *pool, struct tenant *tenant)
{
    struct loop *loop = pool->dispatch->loop;
    enum tenant_hunger before = tenant->hunger, after = TENANT_SATED;
    if (tenant->dirs && backlog_has_waiting(&tenant->backlog, loop_now(loop)))
        after = tenant_own(tenant) ? TENANT_EATING : TENANT_HUNGRY;
    if (before == after)
        return false;
    hungry_remove(pool, tenant);
    if (after != TENANT_SATED)
        hungry_append(pool, tenant, after);
    return true;
}

void pool_tenant_changed(struct tenant *tenant)
{
    struct pool *pool = tenant->pool;
    if (!pool)
        return;
    if (hungry_update(pool, tenant) && tenant->hunger != TENANT_SATED)
        pool_wake(pool);
    // A timer that is early only looks again.
    int64_t due = tenant->dirs ? backlog_next_due(&tenant->backlog) : INT64_MAX;
    if (due != INT64_MAX && (!loop_timer_pending(&tenant->due) || tenant->due.due > due))
        (void)loop_timer_set(pool->dispatch->loop, &tenant->due, due);
    dispatch_refill(pool->dispatch, tenant);
}

void pool_add_tenant(struct pool *pool, struct tenant *tenant)
{
    tenant->pool = pool;
    tenant->next_in_pool = pool->tenants;
    pool->tenants = tenant;
    pool->n_tenants++;
    pool->claiming += tenant->claiming;
    loop_timer_init(&tenant->due, tenant_is_due, tenant);
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
    hungry_remove(pool, tenant);
    loop_timer_cancel(pool->dispatch->loop, &tenant->due);
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

static unsigned carrier_room(const struct carrier *carrier)
{
    if (!carrier->session || !carrier->ready)
        return 0;
    unsigned room = smtp_session_room(carrier->session);
    unsigned slots = carrier->window > carrier->unfiled ? carrier->window - carrier->unfiled : 0;
    return room < slots ? room : slots;
}

// How many messages it takes from the tenant whose turn it is. The last place of a window is kept for a
// tenant that has nothing on its way, where tenants share the account: else each would have to wait until
// others' are durable.
static unsigned carrier_places(const struct pool *pool, const struct carrier *carrier)
{
    unsigned room = carrier_room(carrier);
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

// How many messages may be claimed and not yet sent.
static unsigned pool_ahead(const struct pool *pool)
{
    if (pool->account->breaker != BREAKER_CLOSED)
        return 1;
    unsigned window = pool->account->window_one ? 1 : pool->account->settings->limits.window;
    uint64_t ahead = (uint64_t)pool->account->connections * window + POOL_AHEAD;
    return ahead > POOL_AHEAD_MAX ? POOL_AHEAD_MAX : (unsigned)ahead;
}

// Whether the pool may claim one more now beyond reserved places.
static bool pool_has_room(const struct pool *pool, unsigned allows, unsigned ahead)
{
    unsigned all = pool->claiming + pool->ready;
    return all < allows && all < ahead && pool->claiming < POOL_CLAIMING_MAX;
}

// One claim for a tenant, which then is at the end of the line that it belongs to. False where memory is
// short.
static bool pool_claim_one(struct pool *pool, struct tenant *tenant, int64_t now)
{
    struct backlog_entry *entry = backlog_next(&tenant->backlog, now);
    bool good = !entry || dispatch_claim(pool->dispatch, tenant, entry);
    hungry_remove(pool, tenant);
    (void)hungry_update(pool, tenant);
    dispatch_refill(pool->dispatch, tenant);
    return good;
}

// Claims ahead, shared among the tenants that have something waiting, who take turns; one place is always
// reserved for each, so a quiet tenant never waits behind another's backlog.
static void pool_claim(struct pool *pool, unsigned allows, int64_t now)
{
    struct dispatch *dispatch = pool->dispatch;
    struct tenant_line *hungry = &pool->hungry[TENANT_HUNGRY], *eating = &pool->hungry[TENANT_EATING];
    unsigned ahead = pool_ahead(pool), n = (unsigned)(hungry->n + eating->n);
    unsigned share = n ? (ahead + n - 1) / n : 0;
    for (size_t left = hungry->n; left && pool->claiming + pool->ready < allows; left--)
        if (!dispatch_may_claim(dispatch) || !pool_claim_one(pool, hungry->first, now))
            return;
    // Who has its share goes to the end of the line; the rest of the line is looked at once.
    for (size_t left = eating->n; left && pool_has_room(pool, allows, ahead) && dispatch_may_claim(dispatch);
         left--) {
        struct tenant *tenant = eating->first;
        while (tenant->hunger == TENANT_EATING && tenant_own(tenant) < share &&
               pool_has_room(pool, allows, ahead) && dispatch_may_claim(dispatch))
            if (!pool_claim_one(pool, tenant, now))
                return;
        if (tenant->hunger == TENANT_EATING) {
            hungry_remove(pool, tenant);
            hungry_append(pool, tenant, TENANT_EATING);
        }
    }
}

static void pool_wake_in(struct pool *pool, int64_t wait)
{
    if (wait == INT64_MAX)
        return;
    int64_t at = loop_now(pool->dispatch->loop) + wait;
    if (!loop_timer_pending(&pool->wake) || pool->wake.due > at)
        (void)loop_timer_set(pool->dispatch->loop, &pool->wake, at);
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
    for (struct carrier *carrier = pool->carriers; carrier; carrier = carrier->next) {
        while (allows && pool->ready && carrier_places(pool, carrier) && pool_send(pool, carrier))
            allows--;
        room += carrier_places(pool, carrier);
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
