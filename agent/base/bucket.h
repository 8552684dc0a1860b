// A token bucket: at most `amount` things in any `period`, spread evenly, with a burst of up to one tenth of
// the amount (at least one). Time is given by the caller (clock_boot), so it can be tested without waiting.
#ifndef OUTTRAY_AGENT_BASE_BUCKET_H
#define OUTTRAY_AGENT_BASE_BUCKET_H

#include <stdint.h>

struct bucket {
    int64_t interval; // ns per token; 0: no limit
    int64_t depth;    // ns of tokens that may be saved up
    int64_t full_at;  // when the bucket will be full again
};

// amount 0 means no limit. What was taken before keeps counting when a bucket is set anew.
void bucket_set(struct bucket *bucket, uint64_t amount, int64_t period, int64_t now);
// 0 where a token can be taken now, else the time (ns from now) until one can.
int64_t bucket_wait(const struct bucket *bucket, int64_t now);
void bucket_take(struct bucket *bucket, uint64_t tokens, int64_t now);

#endif
