// Counts between two surveys: our own moves against what events tell.
#include "ledger.h"
#include "agent/base/clock.h"

#include <string.h>

// Where the time stands or would stand: behind all that are not later.
static size_t oldest_place(const struct ledger_oldest *oldest, int64_t time)
{
    size_t low = 0, high = oldest->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (oldest->times[middle] <= time)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void ledger_oldest_add(struct ledger_oldest *oldest, int64_t time)
{
    size_t at = oldest_place(oldest, time);
    if (at == LEDGER_OLDEST || (at == oldest->n && oldest->more)) {
        oldest->more = true;
        return;
    }
    oldest->more |= oldest->n == LEDGER_OLDEST;
    oldest->n -= oldest->n == LEDGER_OLDEST;
    memmove(&oldest->times[at + 1], &oldest->times[at], (oldest->n - at) * sizeof *oldest->times);
    oldest->times[at] = time;
    oldest->n++;
}

bool ledger_oldest_remove(struct ledger_oldest *oldest, int64_t time)
{
    size_t at = oldest_place(oldest, time);
    if (at == 0 || oldest->times[at - 1] != time)
        return at == oldest->n && oldest->more; // later than those that are kept
    oldest->n--;
    memmove(&oldest->times[at - 1], &oldest->times[at], (oldest->n - at + 1) * sizeof *oldest->times);
    return oldest->n > 0 || !oldest->more;
}

void ledger_begin(struct ledger *ledger, bool watched)
{
    ledger->came = ledger->went = ledger->seen_came = ledger->seen_went = 0;
    ledger->sure = watched;
}

void ledger_take(struct ledger *ledger, const struct observe_count *count, const struct ledger_oldest *oldest)
{
    bool quiet = !ledger->came && !ledger->went && !ledger->seen_came && !ledger->seen_went;
    ledger->sure &= quiet;
    ledger->count = count->count;
    ledger->bytes = count->bytes;
    ledger->oldest = *oldest;
}

void ledger_came(struct ledger *ledger, uint64_t size, int64_t mtime)
{
    ledger->came++;
    ledger->count++;
    ledger->bytes += size;
    ledger_oldest_add(&ledger->oldest, mtime);
}

void ledger_went(struct ledger *ledger, uint64_t size, int64_t mtime)
{
    ledger->went++;
    ledger->count -= ledger->count > 0;
    ledger->bytes -= ledger->bytes < size ? ledger->bytes : size;
    ledger->sure &= ledger_oldest_remove(&ledger->oldest, mtime);
}

void ledger_saw(struct ledger *ledger, bool came)
{
    *(came ? &ledger->seen_came : &ledger->seen_went) += 1;
}

void ledger_doubt(struct ledger *ledger)
{
    ledger->sure = false;
}

bool ledger_is_sure(const struct ledger *ledger)
{
    return ledger->sure && ledger->came == ledger->seen_came && ledger->went == ledger->seen_went;
}

int64_t ledger_oldest_s(const struct ledger *ledger, int64_t now)
{
    int64_t age = ledger->oldest.n ? now - ledger->oldest.times[0] : 0;
    return age > 0 ? age / CLOCK_SECOND : 0;
}
