// Signs of life of each account's mail: an outcome, octets taken by a server, or a reason to wait.
#include "progress.h"

bool progress_has_mail(const struct pool *pool)
{
    if (pool->ready || pool->unfiled || pool->claiming)
        return true;
    for (const struct tenant *tenant = pool->tenants; tenant; tenant = tenant->next_in_pool)
        if (tenant->backlog.n_waiting || tenant->backlog.more_new)
            return true;
    return false;
}

// When a server took octets or said something last.
static int64_t pool_moved(const struct pool *pool)
{
    int64_t moved = 0;
    for (const struct carrier *carrier = pool->carriers; carrier; carrier = carrier->next) {
        int64_t at = carrier->session ? smtp_session_progress(carrier->session) : 0;
        moved = at > moved ? at : moved;
    }
    return moved;
}

// Whether mail of this account may go out now: no breaker, no pause, no limit keeps it.
static bool pool_could(const struct pool *pool, int64_t now)
{
    int64_t wait = 0;
    return pool->account->breaker == BREAKER_CLOSED &&
           (pool->unfiled || account_allows(pool->account, now, &wait) > 0);
}

void progress_look(struct dispatch *dispatch)
{
    int64_t now = loop_now(dispatch->loop);
    bool slept = now - dispatch->progress_looked > PROGRESS_ROUND_NS;
    dispatch->progress_looked = now;
    for (size_t i = 0; i < dispatch->n_pools; i++) {
        struct pool *pool = dispatch->pools[i];
        int64_t moved = pool_moved(pool);
        if (slept || !dispatch_may_claim(dispatch) || !progress_has_mail(pool) || !pool_could(pool, now))
            pool->progress_at = now;
        else if (moved > pool->progress_at)
            pool->progress_at = moved;
    }
}

int64_t progress_stalled_s(const struct pool *pool)
{
    int64_t stalled = pool->dispatch->progress_looked - pool->progress_at;
    return stalled > 0 ? stalled / CLOCK_SECOND : 0;
}
