// Looking for signs of life (wire thread).
#include "watchdog.h"
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"

#include <stdio.h>
#include <string.h>

#define WATCHDOG_PINGS 4 // in the span that the manager allows

static bool watchdog_session_is_overdue(const struct watchdog *watchdog)
{
    const struct dispatch *dispatch = watchdog->dispatch;
    int64_t limit = loop_now(dispatch->loop) - watchdog->span / 2;
    for (size_t i = 0; i < dispatch->n_pools; i++)
        for (const struct carrier *carrier = dispatch->pools[i]->carriers; carrier; carrier = carrier->next)
            if (carrier->session && smtp_session_due(carrier->session) < limit)
                return true;
    return false;
}

static const char *watchdog_trouble(const struct watchdog *watchdog)
{
    const struct dispatch *dispatch = watchdog->dispatch;
    if (desk_stalled_ns(dispatch->filing) > watchdog->span / 2)
        return "stuck: the filing desk waits for the disk or the log";
    if (desk_stalled_ns(dispatch->intake) > watchdog->span / 2)
        return "stuck: the intake desk waits for the disk";
    return watchdog_session_is_overdue(watchdog) ? "stuck: a session is beyond its timeouts" : NULL;
}

static void watchdog_fire(struct loop_timer *timer)
{
    struct watchdog *watchdog = timer->arg;
    const char *trouble = watchdog_trouble(watchdog);
    (void)loop_timer_set(watchdog->dispatch->loop, timer, clock_boot() + watchdog->span / WATCHDOG_PINGS);
    watchdog->told = trouble != NULL;
    if (trouble)
        notify_status(watchdog->notify, trouble); // not to the log: it may be what is stuck
    else
        notify_alive(watchdog->notify);
}

int watchdog_start(struct watchdog *watchdog, struct dispatch *dispatch, struct notify *notify)
{
    *watchdog = (struct watchdog){.dispatch = dispatch, .notify = notify, .span = notify_watchdog_ns(notify)};
    loop_timer_init(&watchdog->timer, watchdog_fire, watchdog);
    return watchdog->span ? loop_timer_set(dispatch->loop, &watchdog->timer, clock_boot()) : 0;
}

void watchdog_stop(struct watchdog *watchdog)
{
    if (watchdog->dispatch)
        loop_timer_cancel(watchdog->dispatch->loop, &watchdog->timer);
}

void watchdog_tell(struct watchdog *watchdog)
{
    const struct dispatch *dispatch = watchdog->dispatch;
    char text[NOTIFY_STATUS_MAX];
    if (!watchdog->notify || watchdog->told)
        return;
    if (dispatch->spool_broken || dispatch->spool_full) {
        notify_status(watchdog->notify,
            dispatch->spool_broken ? "the spool's disk failed; nothing goes out. Check it, then start again"
                                   : "the spool is full; nothing is claimed until there is space");
        return;
    }
    size_t paused = 0, tenants = 0;
    uint64_t sent = 0;
    const char *name = "";
    for (size_t i = 0; i < dispatch->n_pools; i++)
        if (dispatch->pools[i]->account->breaker != BREAKER_CLOSED && !paused++)
            name = dispatch->pools[i]->account->name;
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        tenants += dispatch->tenants[i]->settings != NULL;
        sent += dispatch->tenants[i]->sent_total;
    }
    if (paused)
        (void)snprintf(text, sizeof text, "%zu of %zu accounts paused, the first is %s; %llu messages sent",
            paused, dispatch->n_pools, name, (unsigned long long)sent);
    else
        (void)snprintf(text, sizeof text, "%zu tenants, %zu accounts; %llu messages sent", tenants,
            dispatch->n_pools, (unsigned long long)sent);
    notify_status(watchdog->notify, text);
}
