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
    struct pool *pool = timer->arg;
    pool->pump = true;
}

int pool_new(struct dispatch *dispatch, const struct config *config, const struct config_account *settings,
    struct pool **ret_pool)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return -ENOMEM;
    pool->dispatch = dispatch;
    loop_timer_init(&pool->wake, pool_woken, pool);
    int error = account_new(config, settings, clock_boot(), clock_wall(), &pool->account);
    if (error) {
        free(pool);
        return error;
    }
    pool->pump = true;
    *ret_pool = pool;
    return 0;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
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
    pool->pump = true;
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
    if (pool->turn == tenant)
        pool->turn = NULL;
    tenant->next_in_pool = NULL;
    tenant->pool = NULL;
}

void pool_ready(struct pool *pool, struct message *message, bool in_front)
{
    struct tenant *tenant = message->route;
    struct message_list *list = message->outgoing->high_priority ? &tenant->ready_high : &tenant->ready;
    (in_front ? message_list_prepend : message_list_append)(list, message);
    pool->ready++;
    pool->pump = true;
    if (tenant->active)
        return;
    tenant->active = true;
    tenant->credit = tenant->settings ? tenant->settings->weight : 1;
    tenant->next_active = NULL;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): where one is active, there is a last one
    *(pool->active ? &pool->active_end->next_active : &pool->active) = tenant;
    pool->active_end = tenant;
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
    bool empty = !tenant->ready_high.first && !tenant->ready.first;
    if (!empty && --tenant->credit > 0)
        return message;
    pool_deactivate(pool, tenant);
    if (!empty) {
        tenant->active = true;
        tenant->credit = tenant->settings ? tenant->settings->weight : 1;
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): where one is active, there is a last one
        *(pool->active ? &pool->active_end->next_active : &pool->active) = tenant;
        pool->active_end = tenant;
    }
    return message;
}

void pool_give_back(struct message *message)
{
    struct carrier *carrier = message->carrier;
    if (!carrier)
        return;
    message->carrier = NULL;
    carrier->unfiled--;
    carrier->pool->unfiled--;
    atomic_fetch_sub(&carrier->pool->dispatch->filing_state.in_flight, 1);
    carrier->pool->pump = true;
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
    int64_t boot = loop_now(dispatch->loop), wall = clock_wall();
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
    account_started(pool->account, (unsigned)n, boot, wall);
    message->started = boot;
    message->carrier = carrier;
    carrier->unfiled++;
    pool->unfiled++;
    atomic_fetch_add(&dispatch->filing_state.in_flight, 1);
    smtp_session_send(carrier->session, &message->mail);
    message->conn_use = smtp_session_mails(carrier->session);
    return true;
}

static unsigned tenant_own(const struct tenant *tenant)
{
    return tenant->claiming + tenant->ready.n + tenant->ready_high.n;
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

// Claims ahead, shared among the tenants that have something waiting; one place is always reserved for each,
// so a quiet tenant never waits behind another's backlog.
static void pool_claim(struct pool *pool, unsigned allows, int64_t now)
{
    struct dispatch *dispatch = pool->dispatch;
    unsigned waiting = 0, ahead = pool_ahead(pool);
    for (struct tenant *tenant = pool->tenants; tenant; tenant = tenant->next_in_pool) {
        dispatch_refill(dispatch, tenant);
        waiting += backlog_has_waiting(&tenant->backlog, now);
    }
    if (!waiting)
        return;
    unsigned share = ahead / waiting > 1 ? ahead / waiting : 1;
    struct tenant *tenant = pool->turn ? pool->turn : pool->tenants;
    for (size_t i = 0; i < pool->n_tenants; i++) {
        while (tenant->dirs && tenant_own(tenant) < share && pool->claiming + pool->ready < allows &&
               ((pool->claiming < POOL_CLAIMING_MAX && pool->claiming + pool->ready < ahead) ||
                   tenant_own(tenant) == 0) &&
               dispatch_may_claim(dispatch)) {
            struct backlog_entry *entry = backlog_next(&tenant->backlog, now);
            if (!entry || !dispatch_claim(dispatch, tenant, entry))
                break;
        }
        tenant = tenant->next_in_pool ? tenant->next_in_pool : pool->tenants;
    }
    pool->turn = tenant->next_in_pool; // NULL: the first
}

static void pool_wake_in(struct pool *pool, int64_t wait)
{
    if (wait == INT64_MAX)
        return;
    int64_t at = loop_now(pool->dispatch->loop) + wait;
    if (!loop_timer_pending(&pool->wake) || pool->wake.due > at)
        (void)loop_timer_set(pool->dispatch->loop, &pool->wake, at);
}

// The earliest time at which something of the backlog becomes due.
static void pool_wake_for_due(struct pool *pool)
{
    int64_t due = INT64_MAX, now = loop_now(pool->dispatch->loop);
    for (const struct tenant *tenant = pool->tenants; tenant; tenant = tenant->next_in_pool) {
        int64_t next = backlog_next_due(&tenant->backlog);
        due = next < due ? next : due;
    }
    if (due != INT64_MAX)
        pool_wake_in(pool, due > now ? due - now : 0);
}

// Says once that nothing goes out for a while and why, and once that it does again. Mail that was claimed
// goes back.
static void pool_set_waiting(struct pool *pool, bool waiting, int64_t wait, const char *words)
{
    struct dispatch *dispatch = pool->dispatch;
    pool->waiting_until = loop_now(dispatch->loop) + wait;
    if (waiting == pool->waiting)
        return;
    pool->waiting = waiting;
    if (!waiting) {
        log_event(dispatch->log, LOG_NOTICE_LEVEL, "account_resumed", "the account may send again", "account",
            pool->account->name, NULL);
        return;
    }
    (void)snprintf(pool->waiting_words, sizeof pool->waiting_words, "%s", words);
    log_event(dispatch->log, LOG_WARNING_LEVEL, "account_paused",
        "its mail waits where it is and goes out by itself later", "account", pool->account->name, "breaker",
        breaker_name(BREAKER_QUOTA), "reply", words, NULL);
    dispatch->once_findings = true;
    pool_return_all(pool, words);
}

// How many messages may be started now, and what is said of it where there is nothing for longer than a
// moment.
static unsigned pool_allowance(struct pool *pool)
{
    int64_t now = loop_now(pool->dispatch->loop), wait = INT64_MAX, login = 0;
    unsigned allows = account_allows(pool->account, now, clock_wall(), &wait);
    bool closed = pool->account->breaker == BREAKER_CLOSED;
    bool may_connect = pool->n_open || !closed || account_may_connect(pool->account, 0, now, &login);
    bool no_login = closed && !may_connect && login > POOL_PATIENCE_NS;
    bool limited = closed && !allows && wait > POOL_LIMIT_NS;
    if (no_login) {
        allows = 0;
        wait = login;
    }
    pool_set_waiting(pool, no_login || limited, wait == INT64_MAX ? 0 : wait,
        limited ? "the account's limit for a day is reached (messages_per_day, recipients_per_day)"
        : *pool->login_words ? pool->login_words
                             : "logins are held back for a while");
    if (allows == 0)
        pool_wake_in(pool, wait);
    return allows;
}

void pool_pump(struct pool *pool)
{
    struct dispatch *dispatch = pool->dispatch;
    pool->pump = false;
    loop_timer_cancel(dispatch->loop, &pool->wake);
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
        while (allows && pool->ready && carrier_room(carrier) && pool_send(pool, carrier))
            allows--;
        room += carrier_room(carrier);
        if (carrier->session && !carrier->ready)
            room += carrier->window;
    }
    if (allows && pool->ready > room)
        pool_connect(pool);
    pool_wake_for_due(pool);
}

bool pool_is_blocked(const struct pool *pool)
{
    int64_t wait = 0;
    unsigned allows = account_allows(pool->account, clock_boot(), clock_wall(), &wait);
    if (pool->paused)
        return true;
    if (pool->account->breaker != BREAKER_CLOSED && !pool->account->probing && !allows)
        return true;
    return pool->waiting || (!allows && wait > POOL_LIMIT_NS); // a day's limit: not in this run
}
