// The backoff: a message is tried again after as long as it has been tried already, within bounds. That
// doubles its age with every attempt.
#include "retry.h"

#include <sys/random.h>

#define MS ((int64_t)1000000)

// Durations of the configuration in ns, saturating.
static int64_t retry_ns(int64_t ms)
{
    int64_t ns;
    return __builtin_mul_overflow(ms, MS, &ns) ? INT64_MAX : ns;
}

static int64_t retry_bound(int64_t value, int64_t least, int64_t most)
{
    if (most < least)
        most = least;
    return value < least ? least : value > most ? most : value;
}

int64_t retry_wait(const struct config *config, int64_t age_ns, double random)
{
    int64_t first = retry_ns(config->retry.first_ms), most = retry_ns(config->retry.max_ms);
    int64_t wait = retry_bound(age_ns, first, most);
    double factor = 1.0 + config->retry.jitter * (2.0 * random - 1.0);
    double spread = (double)wait * factor;
    // Above this a double would not fit back into an int64_t.
    if (spread >= 9.2e18)
        return retry_bound(INT64_MAX, first, most);
    return retry_bound((int64_t)spread, first, most);
}

bool retry_is_over(const struct config *config, int64_t age_ns)
{
    return config->retry.give_up_after_ms != CONFIG_NEVER &&
           age_ns >= retry_ns(config->retry.give_up_after_ms);
}

int64_t retry_clamp(int64_t deadline, int64_t now, int64_t max_ns)
{
    int64_t latest;
    if (__builtin_add_overflow(now, max_ns, &latest))
        latest = INT64_MAX;
    return retry_bound(deadline, now, latest);
}

double retry_random(void)
{
    uint64_t bits;
    // Never blocks after boot; where it fails all the same, the middle of the range is as good a choice.
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        return 0.5;
    return (double)(bits >> 11) * 0x1p-53;
}
