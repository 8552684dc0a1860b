// Tenants' directories on the wire thread: opened, watched, read again when it is time (what is found in them
// is taken in by arrivals.c and surveys.c).
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/notice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SURVEY_EVERY_NS   (30 * CLOCK_SECOND) // whatever events say
#define SURVEY_OFTEN_NS   (5 * CLOCK_SECOND)  // where all tenants' surveys together take next to nothing
#define SURVEY_CHANGED_NS (2 * CLOCK_SECOND)  // where something changed, or nothing can be watched
#define SURVEY_REST       20                  // a survey rests this many times as long as it took
#define REOPEN_EVERY_NS   (5 * CLOCK_SECOND)
#define WATCHES_MAX       (1 << 20)

struct open_job {
    struct desk_job job; // first
    struct dispatch *dispatch;
    struct tenant *tenant;
    bool recover, again; // again: they were there before, or should have been
    bool missing;        // what is at fault is not there
    struct tenant_dirs *dirs;
    unsigned returned;
    struct notice_submitted notices; // that were recovered
    int notices_error;
    enum spool_state at_fault;
    int error;
};

// Whether the directory at fault is missing, rather than one that cannot be used.
static bool open_is_missing(const struct open_job *open)
{
    char path[2 * SPOOL_NAME_SIZE];
    bool root = open->at_fault == SPOOL_STATES;
    (void)snprintf(path, sizeof path, "%s%s%s", open->tenant->name, root ? "" : "/",
        root ? "" : spool_state_name(open->at_fault));
    return faccessat(open->dispatch->spool_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT;
}

static void open_run(struct desk_job *job)
{
    struct open_job *open = (struct open_job *)job;
    struct spool_tenant *spool;
    open->error = spool_tenant_open(open->dispatch->spool_fd, open->tenant->name,
        open->dispatch->config->agent, true, &spool, &open->at_fault);
    if (open->error) {
        open->missing = open_is_missing(open);
        return;
    }
    if (open->recover) { // notices first: a message that was put back may be taken by another agent
        open->notices_error = notice_file_recover(spool, true, clock_wall(), &open->notices);
        open->error = spool_recover(spool, &open->returned);
    }
    if (open->error) {
        spool_tenant_close(spool);
        return;
    }
    open->dirs = tenant_dirs_new(spool);
    open->error = open->dirs ? 0 : -ENOMEM;
}

static void watch_register(
    struct dispatch *dispatch, int descriptor, struct tenant *tenant, enum spool_state state)
{
    size_t at = (size_t)descriptor;
    if (descriptor < 0 || at >= WATCHES_MAX)
        return;
    if (at >= dispatch->n_watches) {
        size_t n = (at + 64) & ~(size_t)63;
        struct dispatch_watch *watches = realloc(dispatch->watches, n * sizeof *watches);
        if (!watches)
            return;
        memset(watches + dispatch->n_watches, 0, (n - dispatch->n_watches) * sizeof *watches);
        dispatch->watches = watches;
        dispatch->n_watches = n;
    }
    dispatch->watches[at] = (struct dispatch_watch){tenant, state};
}

static void watch_forget(struct dispatch *dispatch, int *descriptor)
{
    if (*descriptor >= 0 && (size_t)*descriptor < dispatch->n_watches)
        dispatch->watches[*descriptor].tenant = NULL;
    watch_remove(dispatch->watch, *descriptor);
    *descriptor = -1;
}

// Watches first, then the first scan: what arrives in between is seen twice rather than never.
static void directories_install(struct dispatch *dispatch, struct tenant *tenant, struct tenant_dirs *dirs)
{
    watch_forget(dispatch, &tenant->watch_new);
    watch_forget(dispatch, &tenant->watch_deferred);
    tenant_dirs_unref(tenant->dirs);
    tenant->dirs = dirs;
    tenant->surveyed = tenant->counted = false;
    tenant->watch_new = watch_add(dispatch->watch, dirs->spool->dir[SPOOL_NEW], 0);
    tenant->watch_deferred =
        watch_add(dispatch->watch, dirs->spool->dir[SPOOL_DEFERRED], WATCH_TOUCHES | WATCH_REMOVALS);
    int error = tenant->watch_new < 0 ? tenant->watch_new : tenant->watch_deferred;
    if (error < 0 && !dispatch->watch_error) {
        dispatch->watch_error = error;
        log_event(dispatch->log, LOG_WARNING_LEVEL, "watch_missing",
            "directories cannot be watched; they are scanned every few seconds instead "
            "(raise fs.inotify.max_user_watches)",
            "reason", strerror(-error), NULL);
    }
    watch_register(dispatch, tenant->watch_new, tenant, SPOOL_NEW);
    watch_register(dispatch, tenant->watch_deferred, tenant, SPOOL_DEFERRED);
    tenant->backlog.more_new = true;
    tenant->refill_position = 0;
    dispatch_refill(dispatch, tenant);
    dispatch_survey(dispatch, tenant);
    pool_tenant_changed(tenant);
}

static void open_log_failed(const struct open_job *open)
{
    log_event(open->dispatch->log, LOG_ERROR_LEVEL, "tenant_unavailable",
        open->error == -EXDEV ? "a state directory is on another file system; all of a tenant must lie on one"
        : open->error == -EMFILE || open->error == -ENFILE
            ? "too many open files; raise the limit (LimitNOFILE=, ulimit -n): a tenant takes eight"
        : open->missing
            ? "a directory of the tenant is missing and cannot be made; run outtray init"
            : "the tenant's directories cannot be opened; see owner and mode, or run outtray init",
        "tenant", open->tenant->name, "directory",
        open->at_fault == SPOOL_STATES ? "." : spool_state_name(open->at_fault), "reason",
        strerror(-open->error), NULL);
}

// Empty directories in the place of what a producer's group could write to: nobody would know.
static void open_log_made(const struct open_job *open)
{
    unsigned made = open->dirs->spool->made;
    char names[128] = "";
    size_t used = 0;
    for (unsigned state = 0; state < SPOOL_STATES; state++)
        if (made & 1u << state && used < sizeof names)
            used += (size_t)snprintf(
                names + used, sizeof names - used, "%s%s", used ? "," : "", spool_state_name(state));
    if (made)
        log_event(open->dispatch->log, LOG_WARNING_LEVEL, "directory_made",
            "directories of the tenant were missing and were made again, empty; find out who took them away, "
            "and run outtray init, which gives them the tenant's group",
            "tenant", open->tenant->name, "directory", made & 1u << SPOOL_STATES ? "." : names, NULL);
}

static void open_log_recovered(const struct open_job *open)
{
    char n[24];
    (void)snprintf(n, sizeof n, "%u", open->returned);
    if (open->returned)
        log_event(open->dispatch->log, LOG_NOTICE_LEVEL, "recovered",
            "messages that a stopped agent had claimed were put back", "tenant", open->tenant->name,
            "messages", n, NULL);
}

static void open_done(struct desk_job *job)
{
    struct open_job *open = (struct open_job *)job;
    struct dispatch *dispatch = open->dispatch;
    struct tenant *tenant = open->tenant;
    tenant->opening = false;
    if (open->error) {
        bool first = !tenant->opened_failed;
        tenant->opened_failed = clock_boot();
        if (tenant->dirs) // replaced by what cannot be used: what is still open is not the tenant's any more
            dispatch_tenant_close(dispatch, tenant);
        if (first)
            open_log_failed(open);
    } else if (dispatch->stopping || !tenant->settings) {
        tenant_dirs_unref(open->dirs);
    } else {
        tenant->opened_failed = 0;
        open_log_recovered(open);
        if (open->again)
            open_log_made(open);
        directories_install(dispatch, tenant, open->dirs);
        notices_submitted(dispatch, tenant, &open->notices);
        tenant->notices.scanned &= !open->notices_error; // tried again by the next run
    }
    notice_submitted_release(&open->notices);
    free(open);
}

void dispatch_tenant_open(struct dispatch *dispatch, struct tenant *tenant)
{
    struct open_job *open = tenant->opening ? NULL : calloc(1, sizeof *open);
    if (!open)
        return;
    *open = (struct open_job){
        .job = {.run = open_run, .done = open_done}, .dispatch = dispatch, .tenant = tenant};
    // With messages on their way, what lies in cur/ may be ours and alive.
    open->recover = tenant->claimed == 0 && tenant->claiming == 0;
    open->again = tenant->dirs || tenant->opened_failed;
    tenant->opening = true;
    desk_submit(dispatch->intake, &open->job);
}

// Busy entries belong to claims under way, which drop them when they come back.
void dispatch_tenant_close(struct dispatch *dispatch, struct tenant *tenant)
{
    watch_forget(dispatch, &tenant->watch_new);
    watch_forget(dispatch, &tenant->watch_deferred);
    backlog_forget(&tenant->backlog);
    tenant_dirs_unref(tenant->dirs);
    tenant->dirs = NULL;
}

static bool survey_has_rested(int64_t since, int64_t cost, int64_t every)
{
    int64_t rest = cost * SURVEY_REST;
    return since >= (rest > every ? rest : every);
}

void dispatch_tick_tenant(struct dispatch *dispatch, struct tenant *tenant)
{
    int64_t now = loop_now(dispatch->loop);
    if (!tenant->settings)
        return;
    if (!tenant->dirs) {
        if (!tenant->opened_failed || now - tenant->opened_failed >= REOPEN_EVERY_NS)
            dispatch_tenant_open(dispatch, tenant);
        return;
    }
    if (tenant_reads_again(tenant->new_unread)) {
        tenant->backlog.more_new = true;
        dispatch_refill(dispatch, tenant);
        if (!tenant->refilling) // there is no room: as good as not read
            tenant_count_read(&tenant->new_unread, true);
    }
    if (tenant->survey_running || tenant->survey_queued)
        return; // one that takes long is no reason for another one
    int64_t both = tenant->deferred_cost + tenant->rest_cost;
    bool cheap = both * (int64_t)dispatch->n_tenants * SURVEY_REST * 5 < SURVEY_OFTEN_NS;
    bool changed = tenant->changed || tenant->deferred_changed || dispatch->watch_error;
    int64_t every = changed ? SURVEY_CHANGED_NS : cheap ? SURVEY_OFTEN_NS : SURVEY_EVERY_NS;
    // What is in deferred/ may take a hundred times as long as all else, which then need not wait for it.
    if (tenant_reads_again(tenant->deferred_unread) ||
        survey_has_rested(now - tenant->deferred_ended, both, every) || now >= tenant->backlog.left_out_due)
        dispatch_survey(dispatch, tenant);
    else if (survey_has_rested(now - tenant->survey_ended, tenant->rest_cost, every))
        dispatch_survey_rest(dispatch, tenant);
}

void dispatch_watch_lost(void *arg)
{
    struct dispatch *dispatch = arg;
    dispatch->control.look = true;
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        if (!dispatch->tenants[i]->dirs)
            continue; // read when they are opened
        dispatch->tenants[i]->backlog.more_new = true;
        ledger_doubt(&dispatch->tenants[i]->ledger);
        dispatch_refill(dispatch, dispatch->tenants[i]);
        dispatch_survey(dispatch, dispatch->tenants[i]);
    }
}
