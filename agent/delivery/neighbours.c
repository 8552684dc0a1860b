// Agents that share the spool: a lock that can be taken belongs to one that is gone, and what it had claimed
// goes back.
#include "agent/base/clock.h"
#include "agent/delivery/agent.h"
#include "agent/delivery/notice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct neighbours_job {
    struct desk_job job; // first
    struct agent *agent;
    const struct config *config; // a reference
    int spool_fd;
    unsigned returned;
    struct notice_submitted *notices; // that were recovered, of each tenant of config; NULL: no memory
};

static void neighbour_recover(struct neighbours_job *job, const char *name)
{
    for (size_t i = 0; i < job->config->n_tenants; i++) {
        struct spool_tenant *spool;
        unsigned returned = 0;
        if (spool_tenant_open(job->spool_fd, job->config->tenants[i].name, name, false, &spool, NULL))
            continue;
        if (job->notices) // what cannot be done now is at the next visit
            (void)notice_file_recover(spool, true, clock_wall(), &job->notices[i]);
        if (spool_recover(spool, &returned) == 0)
            job->returned += returned;
        spool_tenant_close(spool);
    }
}

static int neighbour_visit(const char *name, void *arg)
{
    struct neighbours_job *job = arg;
    int lock;
    if (strcmp(name, job->config->agent) == 0 || spool_agent_lock(job->spool_fd, name, &lock))
        return 0;
    neighbour_recover(job, name);
    close(lock);
    return 0;
}

static void neighbours_run(struct desk_job *base)
{
    struct neighbours_job *job = (struct neighbours_job *)base;
    (void)spool_agents_visit(job->spool_fd, neighbour_visit, job);
}

static void neighbours_done(struct desk_job *base)
{
    struct neighbours_job *job = (struct neighbours_job *)base;
    struct dispatch *dispatch = &job->agent->dispatch;
    if (job->returned) {
        char n[24];
        (void)snprintf(n, sizeof n, "%u", job->returned);
        log_event(dispatch->log, LOG_NOTICE_LEVEL, "recovered",
            "messages that another agent had claimed were put back", "messages", n, NULL);
        dispatch_watch_lost(dispatch);
    }
    for (size_t i = 0; job->notices && i < job->config->n_tenants; i++) {
        struct tenant *tenant = dispatch_find_tenant(dispatch, job->config->tenants[i].name);
        if (tenant && job->notices[i].n)
            notices_submitted(dispatch, tenant, &job->notices[i]);
        notice_submitted_release(&job->notices[i]);
    }
    free(job->notices);
    config_unref(job->config);
    free(job);
}

void agent_visit_neighbours(struct agent *agent)
{
    struct neighbours_job *job = calloc(1, sizeof *job);
    if (!job)
        return;
    *job = (struct neighbours_job){.job = {.run = neighbours_run, .done = neighbours_done},
        .agent = agent,
        .config = config_ref(agent->dispatch.config),
        .spool_fd = agent->dispatch.spool_fd};
    job->notices = calloc(job->config->n_tenants, sizeof *job->notices);
    desk_submit(agent->dispatch.intake, &job->job);
}
