// Showing what the agent does: a snapshot of tenants and accounts, written by the intake desk.
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/delivery/agent.h"
#include "agent/delivery/progress.h"
#include "agent/observe/listener.h"
#include "agent/observe/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OBSERVER_TEXT_MAX (64 * 1024 * 1024)
#define OBSERVER_MODE     0644 // monitoring reads it as somebody else

struct write_job {
    struct desk_job job; // first
    struct agent *agent;
    const struct config *config; // a reference: what it says of metrics
    struct listener_view view;
    char *accounts; // NULL: unchanged
    int error, accounts_error;
};

static void fill_tenant(const struct tenant *tenant, struct observe_tenant *shown)
{
    *shown = (struct observe_tenant){
        .name = tenant->name,
        .account = tenant->settings ? tenant->settings->account->name : "",
        .sent_total = tenant->sent_total,
        .ignored = tenant->ignored,
    };
    memcpy(shown->states, tenant->counts, sizeof shown->states);
    int64_t now = clock_wall();
    for (size_t i = 0; i < OBSERVE_STATES; i++) { // what waits has aged since it was counted
        int64_t at = i == OBSERVE_DEFERRED ? tenant->deferred_counted_at : tenant->counted_at;
        int64_t since = (now - at) / CLOCK_SECOND;
        shown->states[i].oldest_s += since > 0 && shown->states[i].count ? since : 0;
    }
    struct observe_count *deferred = &shown->states[OBSERVE_DEFERRED];
    deferred->count = tenant->ledger.count;
    deferred->bytes = tenant->ledger.bytes;
    if (tenant->ledger.oldest.n || !deferred->count)
        deferred->oldest_s = ledger_oldest_s(&tenant->ledger, now);
    memcpy(shown->failed, tenant->failed, sizeof shown->failed);
    memcpy(shown->deferred, tenant->deferred, sizeof shown->deferred);
}

static void fill_account(const struct pool *pool, struct observe_account *shown)
{
    const struct account *account = pool->account;
    int64_t to_probe = account->probe_at - clock_boot();
    *shown = (struct observe_account){
        .name = account->name,
        .breaker = breaker_name(account->breaker),
        .reason = account->reason,
        .fix = account->fix ? account->fix : "",
        .paused = pool->paused,
        .probe_at = account->breaker == BREAKER_CLOSED ? 0 : clock_wall() + (to_probe > 0 ? to_probe : 0),
        .sessions = pool->n_open,
        .window = account->window_one ? 1 : account->settings->limits.window,
        .in_flight = pool->unfiled,
        .sent_total = account->sent_total,
        .logins_total = account->logins_total,
        .token_expires_s = keeper_expires_s(pool->dispatch->keeper, account->name),
        .delivery_sum_s = pool->delivery_sum_s,
        .has_mail = progress_has_mail(pool),
        .stalled_s = progress_stalled_s(pool),
    };
    memcpy(shown->delivery, pool->delivery, sizeof shown->delivery);
}

static bool account_is_configured(const struct dispatch *dispatch, const struct pool *pool)
{
    return config_find_account(dispatch->config, pool->account->name) != NULL;
}

// Fills the arrays (of n_tenants and n_pools) and the snapshot over them.
static void fill_snapshot(const struct agent *agent, struct snapshot *snapshot,
    struct observe_tenant *tenants, struct observe_delivered *delivered, struct observe_account *accounts)
{
    const struct dispatch *dispatch = &agent->dispatch;
    size_t n_tenants = 0, n_accounts = 0;
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        const struct tenant *tenant = dispatch->tenants[i];
        if (!tenant->settings)
            continue;
        fill_tenant(tenant, &tenants[n_tenants]);
        delivered[n_tenants] = (struct observe_delivered){
            .tenant = tenant->name, .account = tenants[n_tenants].account, .total = tenant->sent_total};
        n_tenants++;
    }
    for (size_t i = 0; i < dispatch->n_pools; i++)
        if (account_is_configured(dispatch, dispatch->pools[i]))
            fill_account(dispatch->pools[i], &accounts[n_accounts++]);
    *snapshot = (struct snapshot){
        .time = clock_wall(),
        .started = agent->started,
        .agent = dispatch->config->agent,
        .config_path = dispatch->config->path,
        .version = OUTTRAY_VERSION,
        .pid = (int)getpid(),
        .spool = dispatch->spool_broken ? "broken"
                 : dispatch->spool_full ? "full"
                                        : "ok",
        .tenants = tenants,
        .n_tenants = n_tenants,
        .accounts = accounts,
        .n_accounts = n_accounts,
        .delivered = delivered,
        .n_delivered = n_tenants,
        .stopping = agent->ending,
        .landlock = agent->walls.landlock,
        .seccomp = agent->walls.seccomp,
        .filing_stalled_s = dispatch->filing ? desk_stalled_ns(dispatch->filing) / CLOCK_SECOND : 0,
        .log_lost = log_lost(dispatch->log),
    };
}

static void render_health(struct snapshot *snapshot, struct listener_view *view)
{
    struct buffer words;
    buffer_init(&words, sizeof view->words - 1);
    view->at = clock_work();
    view->healthy = observe_health(snapshot, &words);
    (void)snprintf(view->words, sizeof view->words, "%s", words.data ? words.data : "");
    buffer_release(&words);
    snapshot->healthy = view->healthy;
    snapshot->health = view->words;
}

static void render(const struct agent *agent, struct write_job *write)
{
    const struct dispatch *dispatch = &agent->dispatch;
    struct observe_tenant *tenants = calloc(dispatch->n_tenants + 1, sizeof *tenants);
    struct observe_delivered *delivered = calloc(dispatch->n_tenants + 1, sizeof *delivered);
    struct observe_account *accounts = calloc(dispatch->n_pools + 1, sizeof *accounts);
    struct snapshot snapshot;
    if (tenants && delivered && accounts) {
        fill_snapshot(agent, &snapshot, tenants, delivered, accounts);
        render_health(&snapshot, &write->view);
        (void)observe_status_json(&snapshot, &write->view.status);
        if (dispatch->config->metrics.textfile || *dispatch->config->metrics.listen)
            (void)observe_metrics(&snapshot, &write->view.metrics);
    }
    free(tenants);
    free(delivered);
    free(accounts);
}

// Parks and day counts: only when something of them changed.
static char *encode_accounts(struct dispatch *dispatch)
{
    struct account **accounts = calloc(dispatch->n_pools + 1, sizeof(struct account *));
    bool changed = false;
    if (!accounts)
        return NULL;
    for (size_t i = 0; i < dispatch->n_pools; i++) {
        accounts[i] = dispatch->pools[i]->account;
        changed |= accounts[i]->changed;
    }
    char *text = changed ? account_encode_all(accounts, dispatch->n_pools, clock_boot(), clock_wall()) : NULL;
    for (size_t i = 0; text && i < dispatch->n_pools; i++)
        accounts[i]->changed = false;
    free(accounts);
    return text;
}

static void write_text(struct write_job *write, const char *name, const struct buffer *text)
{
    int dir = write->agent->dispatch.state_fd, error = 0;
    if (text->length && !buffer_error(text))
        error = file_replace(dir, name, text->data, text->length, OBSERVER_MODE, FILE_FLEETING);
    if (error)
        write->error = error;
}

static void write_run(struct desk_job *job)
{
    struct write_job *write = (struct write_job *)job;
    int dir = write->agent->dispatch.state_fd;
    write_text(write, "status.json", &write->view.status);
    if (write->config->metrics.textfile)
        write_text(write, "metrics.prom", &write->view.metrics);
    if (write->accounts)
        write->accounts_error = account_store(dir, write->accounts);
    listener_publish(write->agent->listener, &write->view);
    (void)listener_listen(write->agent->listener, write->config->metrics.listen);
}

static void write_done(struct desk_job *job)
{
    struct write_job *write = (struct write_job *)job;
    struct agent *agent = write->agent;
    if (write->error && write->error != agent->write_error)
        log_event(agent->dispatch.log, LOG_ERROR_LEVEL, "state_unwritable",
            "status.json or metrics.prom cannot be written: monitoring sees what was; mail goes on", "reason",
            strerror(-write->error), NULL);
    else if (!write->error && agent->write_error)
        log_event(agent->dispatch.log, LOG_NOTICE_LEVEL, "state_ok",
            "status.json and metrics.prom are written again", NULL);
    agent->write_error = write->error;
    for (size_t i = 0; write->accounts_error && i < agent->dispatch.n_pools; i++)
        agent->dispatch.pools[i]->account->changed = true; // again with the next tick
    agent->writing = false;
    buffer_release(&write->view.status);
    buffer_release(&write->view.metrics);
    config_unref(write->config);
    free(write->accounts);
    free(write);
}

void agent_write_state(struct agent *agent)
{
    struct write_job *write = agent->writing ? NULL : calloc(1, sizeof *write);
    if (!write)
        return;
    *write = (struct write_job){.job = {.run = write_run, .done = write_done}, .agent = agent};
    write->config = config_ref(agent->dispatch.config);
    buffer_init(&write->view.status, OBSERVER_TEXT_MAX);
    buffer_init(&write->view.metrics, OBSERVER_TEXT_MAX);
    render(agent, write);
    write->accounts = encode_accounts(&agent->dispatch);
    agent->writing = true;
    desk_submit(agent->dispatch.intake, &write->job);
}
