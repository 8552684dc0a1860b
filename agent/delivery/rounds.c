// What the agent does while it runs: signals, ticks, and once a round what many events asked for; and its
// end.
#include "agent.h"
#include "agent/base/clock.h"
#include "agent/delivery/notice.h"
#include "agent/delivery/progress.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define AGENT_STEP_NS (1 * CLOCK_SECOND) // a change of wall less boot above this is a step of the clock

static void agent_end(struct agent *agent)
{
    struct dispatch *dispatch = &agent->dispatch;
    if (agent->ending)
        return;
    agent->ending = true;
    dispatch->stopping = true;
    notify_stopping(agent->notify);
    desk_hurry(dispatch->intake);
    (void)keeper_end(dispatch->keeper);
    for (size_t i = 0; i < dispatch->n_pools; i++) {
        pool_return_all(dispatch->pools[i], "the agent stops");
        pool_quit(dispatch->pools[i]);
    }
    (void)loop_timer_set(dispatch->loop, &agent->grace, clock_boot() + AGENT_GRACE_NS);
}

static void agent_signal(struct loop_watch *watch, uint32_t events)
{
    struct agent *agent = watch->arg;
    struct signalfd_siginfo info;
    (void)events;
    while (read(agent->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            agent_reload(agent);
            continue;
        }
        if (!agent->ending)
            log_event(agent->dispatch.log, LOG_NOTICE_LEVEL, "stopping",
                "what is in flight is finished first", NULL);
        agent_end(agent);
    }
}

static void agent_grace_over(struct loop_timer *timer)
{
    struct agent *agent = timer->arg;
    agent->grace_over = true;
    for (size_t i = 0; i < agent->dispatch.n_pools; i++)
        pool_abort(agent->dispatch.pools[i]);
    filing_abandon(&agent->dispatch.filing_state); // space may never come; the next start finds what waited
}

// Deadlines are wall clock on disk and boot clock in memory: after a step they are read again.
static void agent_check_clock(struct agent *agent)
{
    struct dispatch *dispatch = &agent->dispatch;
    int64_t drift = clock_wall() - clock_boot(), moved = drift - agent->drift;
    agent->drift = drift;
    if (moved < AGENT_STEP_NS && moved > -AGENT_STEP_NS)
        return;
    log_event(dispatch->log, LOG_NOTICE_LEVEL, "clock_step",
        "the clock was set; waiting times are read again", NULL);
    for (size_t i = 0; i < dispatch->n_tenants; i++)
        dispatch_survey(dispatch, dispatch->tenants[i]);
}

static void agent_tick(struct loop_timer *timer)
{
    struct agent *agent = timer->arg;
    struct dispatch *dispatch = &agent->dispatch;
    int64_t now = loop_now(dispatch->loop);
    (void)loop_timer_set(dispatch->loop, timer, now + AGENT_TICK_NS);
    agent_check_clock(agent);
    dispatch_spool_trouble(dispatch);
    progress_look(dispatch);
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        dispatch_tick_tenant(dispatch, dispatch->tenants[i]);
        notices_tick(dispatch, dispatch->tenants[i]);
        events_backlog(&dispatch->events, dispatch->tenants[i], dispatch->config->hooks.backlog_age_ms);
    }
    for (size_t i = 0; i < dispatch->n_pools; i++)
        pool_check_secret(dispatch->pools[i]);
    if (now >= agent->neighbours_at) {
        agent->neighbours_at = now + AGENT_NEIGHBOURS_NS;
        agent_visit_neighbours(agent);
    }
    dispatch->control.look = true;
    agent_write_state(agent);
    watchdog_tell(&agent->watchdog);
}

static bool agent_has_sessions(const struct dispatch *dispatch)
{
    for (size_t i = 0; i < dispatch->n_pools; i++)
        if (dispatch->pools[i]->n_open)
            return true;
    return false;
}

void agent_round(void *arg)
{
    struct agent *agent = arg;
    struct dispatch *dispatch = &agent->dispatch;
    control_look(dispatch);
    dispatch_flush_looks(dispatch);
    dispatch_pump(dispatch);
    dispatch_flush_looks(dispatch);
    if (dispatch->once && !agent->ending && dispatch_is_done(dispatch))
        agent_end(agent);
    if (agent->ending && dispatch_is_quiet(dispatch) && !agent_has_sessions(dispatch) &&
        !keeper_end(dispatch->keeper) && !dispatch_survey_last(dispatch) &&
        (agent->grace_over || hooks_are_idle(&agent->hooks)))
        loop_stop(dispatch->loop);
    desk_flush(dispatch->intake);
    desk_flush(dispatch->filing);
}

int agent_watch_signals(struct agent *agent)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGIO, SIG_IGN); // leases are asked for, never kept
    agent->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (agent->signal_fd < 0)
        return -errno;
    loop_watch_init(&agent->signals, agent_signal, agent);
    return loop_watch_add(agent->dispatch.loop, &agent->signals, agent->signal_fd, EPOLLIN);
}

int agent_start_ticking(struct agent *agent)
{
    loop_timer_init(&agent->tick, agent_tick, agent);
    loop_timer_init(&agent->grace, agent_grace_over, agent);
    return loop_timer_set(agent->dispatch.loop, &agent->tick, clock_boot());
}
