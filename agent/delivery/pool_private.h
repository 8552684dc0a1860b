// What the parts of a pool share.
#ifndef OUTTRAY_AGENT_DELIVERY_POOL_PRIVATE_H
#define OUTTRAY_AGENT_DELIVERY_POOL_PRIVATE_H

#include "pool.h"

// Claims for the pool's tenants: at most what may be started (pool_claim.c).
void pool_claim(struct pool *pool, unsigned allows, int64_t now);
// A tenant comes to the pool, or leaves it.
void pool_enter_lines(struct tenant *tenant);
void pool_leave_lines(struct pool *pool, struct tenant *tenant);

// Pumps it in `wait` ns at the latest; INT64_MAX: never (pool.c).
void pool_wake_in(struct pool *pool, int64_t wait);

#endif
