// When to try again: a message's age clamped to [first, max], with jitter. Pure.
#ifndef OUTTRAY_AGENT_DELIVERY_RETRY_H
#define OUTTRAY_AGENT_DELIVERY_RETRY_H

#include "config/config.h"
#include <stdint.h>

// The wait in ns before the next attempt of something that has been tried for age_ns (since its first counted
// attempt). random is uniform in [0, 1): the wait is multiplied by 1 ± jitter, and stays within [first, max].
int64_t retry_wait(const struct config *config, int64_t age_ns, double random);

// Whether a message first tried age_ns ago is to be given up.
bool retry_is_over(const struct config *config, int64_t age_ns);

// A stored deadline (wall clock) as it counts now: clamped to [now, now + max_ns], so that a clock that was
// wrong costs at most one interval.
int64_t retry_clamp(int64_t deadline, int64_t now, int64_t max_ns);

// A uniform random number in [0, 1) (getrandom(2)).
double retry_random(void);

#endif
