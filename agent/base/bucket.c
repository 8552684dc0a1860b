// The token bucket as a single due time (the virtual scheduling form of the leaky bucket).
#include "bucket.h"

void bucket_set(struct bucket *bucket, uint64_t amount, int64_t period, int64_t now)
{
    uint64_t burst = amount / 10 ? amount / 10 : 1;
    // The burst is part of the amount: in any period at most `amount` are let through.
    uint64_t spread = amount > burst ? amount - burst : 1;
    bucket->interval = amount ? period / (int64_t)spread : 0;
    bucket->depth = bucket->interval * (int64_t)burst;
    if (bucket->full_at < now)
        bucket->full_at = now;
}

int64_t bucket_wait(const struct bucket *bucket, int64_t now)
{
    if (!bucket->interval)
        return 0;
    // Taking one moves full_at by one interval; it may be at most `depth` ahead afterwards.
    int64_t start = bucket->full_at > now ? bucket->full_at : now;
    int64_t over = start + bucket->interval - (now + bucket->depth);
    return over > 0 ? over : 0;
}

void bucket_take(struct bucket *bucket, uint64_t tokens, int64_t now)
{
    if (bucket->full_at < now)
        bucket->full_at = now;
    bucket->full_at += bucket->interval * (int64_t)tokens;
}
