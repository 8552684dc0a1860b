// Whose names are claimed next: the lines of tenants with waiting names (wire thread).
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "pool_private.h"

#define POOL_AGAIN_NS (1 * CLOCK_SECOND) // after a claim for which there was no memory

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

// For when the first of its names that wait for their time has come. A timer that is early only looks again.
static void tenant_arm(struct pool *pool, struct tenant *tenant)
{
    int64_t due = tenant->dirs ? backlog_next_due(&tenant->backlog) : INT64_MAX;
    if (due != INT64_MAX && (!loop_timer_pending(&tenant->due) || tenant->due.due > due))
        (void)loop_timer_set(pool->dispatch->loop, &tenant->due, due);
}

void pool_tenant_changed(struct tenant *tenant)
{
    struct pool *pool = tenant->pool;
    if (!pool)
        return;
    if (hungry_update(pool, tenant) && tenant->hunger != TENANT_SATED)
        pool_wake(pool);
    tenant_arm(pool, tenant);
    dispatch_refill(pool->dispatch, tenant);
}

void pool_enter_lines(struct tenant *tenant)
{
    loop_timer_init(&tenant->due, tenant_is_due, tenant);
}

void pool_leave_lines(struct pool *pool, struct tenant *tenant)
{
    hungry_remove(pool, tenant);
    loop_timer_cancel(pool->dispatch->loop, &tenant->due);
}

// How many messages may be claimed and not yet sent.
static unsigned pool_ahead(const struct pool *pool)
{
    if (pool->account->breaker != BREAKER_CLOSED)
        return 1;
    unsigned window = pool->account->window_one ? 1 : pool->account->settings->limits.window;
    uint64_t ahead = (uint64_t)pool->account->connections * window / 2 + POOL_AHEAD;
    return ahead > POOL_AHEAD_MAX ? POOL_AHEAD_MAX : (unsigned)ahead;
}

// Whether the pool may claim one more now beyond reserved places.
static bool pool_has_room(const struct pool *pool, unsigned allows, unsigned ahead)
{
    unsigned all = pool->claiming + pool->ready;
    return all < allows && all < ahead && pool->claiming < POOL_CLAIMING_MAX;
}

// One claim for a tenant, which then is at the end of the line that it belongs to. False where memory is
// short: the pool tries again in a moment.
static bool pool_claim_one(struct pool *pool, struct tenant *tenant, int64_t now)
{
    struct backlog_entry *entry = backlog_next(&tenant->backlog, now);
    bool good = !entry || dispatch_claim(pool->dispatch, tenant, entry);
    hungry_remove(pool, tenant);
    (void)hungry_update(pool, tenant);
    dispatch_refill(pool->dispatch, tenant);
    if (!good) {
        tenant_arm(pool, tenant); // its entry was put off
        pool_wake_in(pool, POOL_AGAIN_NS);
    }
    return good;
}

// Claims ahead, shared among the tenants that have something waiting, who take turns; one place is always
// reserved for each, so a quiet tenant never waits behind another's backlog.
void pool_claim(struct pool *pool, unsigned allows, int64_t now)
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
