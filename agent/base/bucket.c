// The rate limit as a ring of what was taken lately.
#include "bucket.h"

void bucket_set(struct bucket *bucket, uint64_t amount, int64_t period, int64_t now)
{
    (void)now; // groups carry their own times
    bucket->amount = amount;
    bucket->period = period;
    bucket->grain = amount / BUCKET_GROUPS + (amount % BUCKET_GROUPS ? 1 : 0);
}

static const struct bucket_group *bucket_group(const struct bucket *bucket, unsigned index)
{
    return &bucket->groups[(bucket->oldest + index) % BUCKET_GROUPS];
}

// How many of the groups, and of what was taken, still count.
static uint64_t bucket_counting(const struct bucket *bucket, int64_t now, unsigned *ret_first)
{
    uint64_t taken = bucket->taken;
    unsigned i = 0;
    while (i < bucket->n && now - bucket_group(bucket, i)->last >= bucket->period)
        taken -= bucket_group(bucket, i++)->count;
    *ret_first = i;
    return taken;
}

uint64_t bucket_available(const struct bucket *bucket, int64_t now)
{
    unsigned first;
    if (!bucket->amount)
        return UINT64_MAX;
    uint64_t taken = bucket_counting(bucket, now, &first);
    return taken < bucket->amount ? bucket->amount - taken : 0;
}

int64_t bucket_wait(const struct bucket *bucket, int64_t now)
{
    unsigned i;
    if (!bucket->amount)
        return 0;
    uint64_t taken = bucket_counting(bucket, now, &i);
    int64_t wait = 0;
    for (; taken >= bucket->amount; i++) {
        wait = bucket_group(bucket, i)->last + bucket->period - now;
        taken -= bucket_group(bucket, i)->count;
    }
    return wait;
}

void bucket_take(struct bucket *bucket, uint64_t amount, int64_t now)
{
    unsigned expired;
    if (!bucket->amount || !amount)
        return;
    bucket->taken = bucket_counting(bucket, now, &expired);
    bucket->oldest = (bucket->oldest + expired) % BUCKET_GROUPS;
    bucket->n -= expired;
    while (amount) {
        struct bucket_group *last =
            &bucket->groups[(bucket->oldest + bucket->n + BUCKET_GROUPS - 1) % BUCKET_GROUPS];
        uint64_t room = bucket->n && last->count < bucket->grain ? bucket->grain - last->count : 0;
        // A full ring (a limit that was lowered, or overdrawn) puts everything into its youngest group.
        if (bucket->n == BUCKET_GROUPS)
            room = amount;
        if (!room) {
            last = &bucket->groups[(bucket->oldest + bucket->n++) % BUCKET_GROUPS];
            *last = (struct bucket_group){0};
            room = bucket->grain;
        }
        uint64_t count = amount < room ? amount : room;
        last->last = now;
        last->count += count;
        bucket->taken += count;
        amount -= count;
    }
}
