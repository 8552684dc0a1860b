// Applying a configuration: at the start, and again on SIGHUP.
#include "agent/base/clock.h"
#include "agent/delivery/agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct reload_job {
    struct desk_job job; // first
    struct agent *agent;
    const struct config *config; // NULL where it was refused
    struct config_findings findings;
    bool unsteady;    // it changed while it was read
    int broker_error; // of its reading the file
    char broker_words[BROKER_WORDS_MAX];
};

#define RELOAD_TRIES 3

static struct pool *reload_find_pool(const struct dispatch *dispatch, const char *name)
{
    for (size_t i = 0; i < dispatch->n_pools; i++)
        if (strcmp(dispatch->pools[i]->account->name, name) == 0)
            return dispatch->pools[i];
    return NULL;
}

static int reload_pools(struct dispatch *dispatch, const struct config *config)
{
    for (size_t i = 0; i < config->n_accounts; i++) {
        const struct config_account *settings = &config->accounts[i];
        struct pool *pool = reload_find_pool(dispatch, settings->name);
        if (pool) {
            account_configure(pool->account, config, settings, clock_boot());
            pool_quit(pool); // new sessions use the new settings
            pool_wake(pool);
            continue;
        }
        struct pool **pools = realloc(dispatch->pools, (dispatch->n_pools + 1) * sizeof(struct pool *));
        if (!pools)
            return -ENOMEM;
        dispatch->pools = pools;
        int error = pool_new(dispatch, config, settings, &pool);
        if (error)
            return error;
        dispatch->pools[dispatch->n_pools++] = pool;
        control_new_pool(dispatch, pool);
    }
    return 0;
}

static struct tenant *reload_tenant(struct dispatch *dispatch, const char *name)
{
    struct tenant *tenant = dispatch_find_tenant(dispatch, name);
    if (tenant)
        return tenant;
    struct tenant **tenants = realloc(dispatch->tenants, (dispatch->n_tenants + 1) * sizeof(struct tenant *));
    if (!tenants)
        return NULL;
    dispatch->tenants = tenants;
    tenant = tenant_new(name);
    if (tenant) {
        tenants[dispatch->n_tenants++] = tenant;
        backlog_count_in(&tenant->backlog, &dispatch->backlogs);
    }
    return tenant;
}

static int reload_tenants(struct dispatch *dispatch, const struct config *config)
{
    for (size_t i = 0; i < config->n_tenants; i++) {
        const struct config_tenant *settings = &config->tenants[i];
        struct tenant *tenant = reload_tenant(dispatch, settings->name);
        if (!tenant)
            return -ENOMEM;
        tenant->settings = settings;
        struct pool *pool = reload_find_pool(dispatch, settings->account->name);
        if (tenant->pool != pool) {
            if (tenant->pool)
                pool_remove_tenant(tenant->pool, tenant);
            pool_add_tenant(pool, tenant);
        }
        if (!tenant->dirs)
            dispatch_tenant_open(dispatch, tenant);
    }
    return 0;
}

// A tenant that left the configuration: what is in flight finishes, the rest stays where it is.
static void reload_retire(struct dispatch *dispatch, const struct config *config)
{
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        struct tenant *tenant = dispatch->tenants[i];
        const struct config_tenant *settings = config_find_tenant(config, tenant->name);
        if (settings)
            continue;
        if (tenant->pool)
            pool_remove_tenant(tenant->pool, tenant);
        tenant->settings = NULL;
        dispatch_tenant_close(dispatch, tenant);
    }
}

// Accounts that left keep their pool (its sessions end by themselves) but must not point into a configuration
// that goes. account_configure holds a reference of its own, so an old configuration lives as long as
// anything uses it.
int agent_apply(struct agent *agent, const struct config *config)
{
    struct dispatch *dispatch = &agent->dispatch;
    for (size_t i = 0; i < dispatch->n_pools; i++)
        pool_return_all(dispatch->pools[i], "the configuration is reloaded");
    int error = reload_pools(dispatch, config);
    if (!error)
        error = keeper_configure(dispatch->keeper, config);
    if (error)
        return error;
    const struct config *old = dispatch->config;
    dispatch->config = config_ref(config);
    hooks_configure(&agent->hooks, config);
    reload_retire(dispatch, config);
    error = reload_tenants(dispatch, config);
    for (size_t i = 0; i < dispatch->n_pools; i++)
        if (!config_find_account(config, dispatch->pools[i]->account->name))
            pool_quit(dispatch->pools[i]);
    config_unref(old);
    return error;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           clock_ns(&a->st_mtim) == clock_ns(&b->st_mtim) && clock_ns(&a->st_ctim) == clock_ns(&b->st_ctim);
}

// Two processes read the file, the broker and we; it has to be the same for both.
static void reload_run(struct desk_job *job)
{
    struct reload_job *reload = (struct reload_job *)job;
    const struct agent *agent = reload->agent;
    const char *path = agent->dispatch.config->path;
    reload->unsteady = true;
    for (unsigned i = 0; i < RELOAD_TRIES && reload->unsteady; i++) {
        struct stat before = {0}, after = {0};
        config_unref(reload->config);
        config_findings_release(&reload->findings);
        reload->config = NULL;
        reload->findings = (struct config_findings){0};
        (void)stat(path, &before);
        reload->broker_error = broker_load(&agent->broker, reload->broker_words);
        (void)config_load(path, &agent->checks, &reload->config, &reload->findings);
        (void)stat(path, &after);
        reload->unsteady = !same_file(&before, &after);
    }
}

static void reload_refused(struct agent *agent, const char *reason)
{
    struct buffer msg;
    buffer_init(&msg, LOG_VALUE_MAX);
    buffer_format(&msg, "the old configuration stays in use: %.*s", LOG_VALUE_MAX / 2, reason);
    log_event(agent->dispatch.log, LOG_ERROR_LEVEL, "reload_refused", msg.data ? msg.data : "", NULL);
    buffer_release(&msg);
}

static bool same_hooks(const struct config *a, const struct config *b)
{
    for (enum event_kind kind = 0; kind < EVENT_KINDS; kind++) {
        const char *const *one = hooks_argv(a, kind), *const *other = hooks_argv(b, kind);
        while (*one && *other && strcmp(*one, *other) == 0)
            one++, other++;
        if (*one || *other)
            return false;
    }
    return true;
}

static const char *reload_needs_restart(
    const struct reload_job *reload, const struct config *new, char *words, size_t size)
{
    const struct agent *agent = reload->agent;
    const struct config *old = agent->dispatch.config;
    if (reload->unsteady)
        return "the file changes while it is read; reload again when that is over";
    if (strcmp(old->spool, new->spool) != 0)
        return "spool changed: restart needed";
    if (strcmp(old->state, new->state) != 0)
        return "state changed: restart needed";
    if (strcmp(old->agent, new->agent) != 0)
        return "agent changed: restart needed";
    if (old->sandbox != new->sandbox)
        return "sandbox changed: restart needed";
    if (reload->broker_error && reload->broker_error != -EPIPE && new->sandbox && !same_hooks(old, new)) {
        (void)snprintf(words, size, "hooks changed: restart needed (%s)", reload->broker_words);
        return words;
    }
    const char *problem = reload->broker_error ? reload->broker_words : NULL;
    return agent_sandbox_allows(agent, new, problem, words, size) ? NULL : words;
}

static void reload_findings(struct agent *agent, const struct config_findings *findings)
{
    for (size_t i = 0; i < findings->n; i++)
        if (findings->items[i].warning)
            log_event(
                agent->dispatch.log, LOG_WARNING_LEVEL, "config_warning", findings->items[i].text, NULL);
        else
            reload_refused(agent, findings->items[i].text);
}

static void reload_done(struct desk_job *job)
{
    struct reload_job *reload = (struct reload_job *)job;
    struct agent *agent = reload->agent;
    struct dispatch *dispatch = &agent->dispatch;
    const struct config *config = reload->config ? reload->config : dispatch->config;
    char words[1024];
    agent->reloading = false;
    reload_findings(agent, &reload->findings);
    const char *restart =
        reload->config ? reload_needs_restart(reload, reload->config, words, sizeof words) : NULL;
    if (restart)
        reload_refused(agent, restart);
    if (restart)
        config = dispatch->config;
    // The log is reopened in any case: the old file may have been rotated away.
    struct log_target target = agent_log_target(agent, config);
    int error = log_reopen(dispatch->log, &target);
    if (error)
        log_event(dispatch->log, LOG_ERROR_LEVEL, "log_reopen_failed", "the old log file stays in use",
            "reason", strerror(-error), NULL);
    if (reload->config && !restart && !agent->ending) {
        error = agent_apply(agent, reload->config);
        broker_use(&agent->broker);
        log_event(dispatch->log, error ? LOG_ERROR_LEVEL : LOG_NOTICE_LEVEL, "reload",
            error ? "the configuration could only be applied in part"
                  : "configuration reloaded, log reopened",
            NULL);
    }
    config_unref(reload->config);
    config_findings_release(&reload->findings);
    free(reload);
    if (!agent->ending)
        notify_ready(agent->notify);
    if (agent->reload_again)
        agent_reload(agent);
}

void agent_reload(struct agent *agent)
{
    struct reload_job *reload = agent->reloading ? NULL : calloc(1, sizeof *reload);
    agent->reload_again = agent->reloading;
    if (!reload)
        return;
    *reload = (struct reload_job){.job = {.run = reload_run, .done = reload_done}, .agent = agent};
    agent->reloading = true;
    notify_reloading(agent->notify);
    desk_submit(agent->dispatch.intake, &reload->job);
}
