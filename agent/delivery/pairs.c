// Sums of hashes of names: what cancels out is paired.
#include "pairs.h"

#include <stdlib.h>

// FNV-1a, mixed so that its low bits depend on all octets alike; never zero, which would not show.
static uint64_t pairs_hash(const char *name, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15u;
    return (hash ^ hash >> 29) | 1;
}

// The lowest bit is the same for all.
static uint64_t *pairs_slot(const struct pairs *pairs, uint64_t hash)
{
    return &pairs->sums[(hash >> 1) % PAIRS_SLOTS];
}

void pairs_init(struct pairs *pairs)
{
    pairs->sums = calloc(PAIRS_SLOTS, sizeof *pairs->sums);
}

void pairs_release(struct pairs *pairs)
{
    free(pairs->sums);
    pairs->sums = NULL;
}

void pairs_add_status(struct pairs *pairs, const char *name, size_t length)
{
    uint64_t hash = pairs_hash(name, length);
    if (pairs->sums)
        *pairs_slot(pairs, hash) += hash;
}

void pairs_add_message(struct pairs *pairs, const char *name, size_t length)
{
    uint64_t hash = pairs_hash(name, length);
    if (pairs->sums)
        *pairs_slot(pairs, hash) -= hash;
}

bool pairs_any_alone(const struct pairs *pairs)
{
    for (size_t i = 0; pairs->sums && i < PAIRS_SLOTS; i++)
        if (pairs->sums[i])
            return true;
    return !pairs->sums;
}

bool pairs_may_be_alone(const struct pairs *pairs, const char *name, size_t length)
{
    return !pairs->sums || *pairs_slot(pairs, pairs_hash(name, length)) != 0;
}
