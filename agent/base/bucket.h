// A rate limit: at most `amount` things in any `period`, wherever the period begins. Exact, not a token
// bucket: the server may count in fixed or in sliding periods, and what it allows can be used up to the last
// one.
//
// Takes are remembered in groups with the time of their youngest. Up to BUCKET_GROUPS things each has its own
// group; above, the grouping errs on the side of waiting, by less than 1 %. Time is given by the caller
// (clock_boot) and never goes back, so it can be tested without waiting.
#ifndef OUTTRAY_AGENT_BASE_BUCKET_H
#define OUTTRAY_AGENT_BASE_BUCKET_H

#include <stdint.h>

#define BUCKET_GROUPS 256

struct bucket {
    uint64_t amount; // 0: no limit
    uint64_t grain;  // takes that may share a group
    int64_t period;  // ns
    unsigned oldest, n;
    uint64_t taken; // in all groups
    struct bucket_group {
        int64_t last; // when the youngest was taken
        uint64_t count;
    } groups[BUCKET_GROUPS]; // a ring, oldest first
};

// amount 0 means no limit. What was taken before keeps counting when a bucket is set anew. A zeroed struct is
// a bucket without a limit that nothing was taken from.
void bucket_set(struct bucket *bucket, uint64_t amount, int64_t period, int64_t now);
// How many can be taken now; UINT64_MAX without a limit.
uint64_t bucket_available(const struct bucket *bucket, int64_t now);
// 0 where one can be taken now, else the time (ns from now) until one can.
int64_t bucket_wait(const struct bucket *bucket, int64_t now);
// Takes so many, available or not: what is over the limit has to be waited for twice.
void bucket_take(struct bucket *bucket, uint64_t amount, int64_t now);

#endif
