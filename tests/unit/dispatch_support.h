// What the tests of pools and of the hub share: both desks at work on a real spool, and no network. Nothing
// is pumped but by the test.
//
// Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_DISPATCH_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_DISPATCH_SUPPORT_H

#include "agent/delivery/dispatch.h"
#include "delivery_support.h"

struct hub {
    struct world world; // first
    struct dispatch dispatch;
    struct tenant *tenants[2];
    struct pool *pools[2];
    struct pool *pool, *second; // both tenants belong to the first
};

static inline bool hub_is_idle(struct world *world)
{
    const struct dispatch *dispatch = &((struct hub *)world)->dispatch;
    desk_flush(dispatch->intake);
    desk_flush(dispatch->filing);
    return desk_pending(dispatch->intake) == 0 && desk_pending(dispatch->filing) == 0;
}

static inline void hub_settle(struct hub *hub)
{
    world_run(&hub->world, hub_is_idle);
}

static inline struct pool *hub_pool(struct hub *hub)
{
    struct pool *pool = NULL;
    assert_int_equal(pool_new(&hub->dispatch, hub->world.config, &hub->world.config->accounts[0], &pool), 0);
    return pool;
}

static inline int hub_make(void **state)
{
    struct hub *hub = calloc(1, sizeof *hub);
    world_make(&hub->world, "retry: {first: 1m, max: 4h, give_up_after: 5d, jitter: 0}\n");
    hub->tenants[0] = hub->world.acme;
    hub->tenants[1] = hub->world.other;
    struct dispatch *dispatch = &hub->dispatch;
    *dispatch = (struct dispatch){.loop = hub->world.loop,
        .log = hub->world.log,
        .config = hub->world.config,
        .spool_fd = hub->world.spool_fd,
        .state_fd = -1,
        .tenants = hub->tenants,
        .n_tenants = 2};
    moves_init(&dispatch->moves);
    settle_init(dispatch);
    dispatch->settle.after = 3600 * CLOCK_SECOND; // a slow machine moves nothing by itself
    dispatch->locked_max = DISPATCH_CLAIMED_MAX;
    filing_init(&dispatch->filing_state, dispatch->log, &dispatch->moves);
    struct desk_params intake = {
        .name = "intake", .loop = dispatch->loop, .batch = intake_batch, .arg = &dispatch->moves};
    struct desk_params filing = {.name = "filing",
        .loop = dispatch->loop,
        .batch = filing_batch,
        .idle = filing_idle,
        .idle_ms = 2,
        .arg = &dispatch->filing_state};
    assert_int_equal(desk_start(&intake, &dispatch->intake), 0);
    assert_int_equal(desk_start(&filing, &dispatch->filing), 0);
    hub->pool = hub->pools[0] = hub_pool(hub);
    hub->second = hub->pools[1] = hub_pool(hub);
    dispatch->pools = hub->pools;
    dispatch->n_pools = 2;
    pool_add_tenant(hub->pool, hub->world.other);
    pool_add_tenant(hub->pool, hub->world.acme);
    *state = hub;
    return 0;
}

static inline int hub_end(void **state)
{
    struct hub *hub = *state;
    struct dispatch *dispatch = &hub->dispatch;
    hub_settle(hub);
    for (int i = 0; i < 2; i++)
        pool_return_all(hub->pools[i], "the test is over");
    hub_settle(hub);
    filing_abandon(&dispatch->filing_state);
    desk_stop(dispatch->filing);
    desk_stop(dispatch->intake);
    settle_stop(dispatch);
    moves_release(&dispatch->moves);
    assert_true(dispatch_is_quiet(dispatch));
    for (int i = 0; i < 2; i++)
        pool_free(hub->pools[i]);
    world_end(&hub->world);
    free(hub);
    return 0;
}

// Puts a message into new/ and lets the backlog know.
static inline void hub_put(struct tenant *tenant, const char *name, const char *text)
{
    put_in(tenant, SPOOL_NEW, name, text);
    assert_non_null(backlog_add_new(&tenant->backlog, name, true, false));
    pool_tenant_changed(tenant);
}

static inline bool hub_claim(struct hub *hub, struct tenant *tenant)
{
    struct backlog_entry *entry = backlog_next(&tenant->backlog, loop_now(hub->dispatch.loop));
    assert_non_null(entry);
    return dispatch_claim(&hub->dispatch, tenant, entry);
}

#endif
