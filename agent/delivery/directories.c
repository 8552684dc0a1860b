// What the wire thread does about tenants' directories: opening them, watching them, taking in what scans
// found.
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/intake.h"
#include "agent/delivery/retry.h"
#include "agent/delivery/scan.h"
#include "agent/observe/delivery_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SURVEY_EVERY_NS    (30 * CLOCK_SECOND) // whatever events say
#define SURVEY_OFTEN_NS    (5 * CLOCK_SECOND)  // where all tenants' surveys together take next to nothing
#define SURVEY_CHANGED_NS  (2 * CLOCK_SECOND)  // where something changed, or nothing can be watched
#define SURVEY_REST        20                  // a survey rests this many times as long as it took
#define SURVEY_CHEAP_NS    (100 * CLOCK_MS)    // one more at the end costs nobody anything
#define RETENTION_EVERY_NS (3600 * CLOCK_SECOND)
#define REOPEN_EVERY_NS    (5 * CLOCK_SECOND)
#define WATCHES_MAX        (1 << 20)

struct open_job {
    struct desk_job job; // first
    struct dispatch *dispatch;
    struct tenant *tenant;
    bool recover;
    struct tenant_dirs *dirs;
    unsigned returned;
    enum spool_state at_fault;
    int error;
};

static void open_run(struct desk_job *job)
{
    struct open_job *open = (struct open_job *)job;
    struct spool_tenant *spool;
    open->error = spool_tenant_open(open->dispatch->spool_fd, open->tenant->name,
        open->dispatch->config->agent, true, &spool, &open->at_fault);
    if (open->error)
        return;
    if (open->recover)
        open->error = spool_recover(spool, &open->returned);
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
    tenant->surveyed = false;
    tenant->watch_new = watch_add(dispatch->watch, dirs->spool->dir[SPOOL_NEW], false);
    tenant->watch_deferred = watch_add(dispatch->watch, dirs->spool->dir[SPOOL_DEFERRED], true);
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
        if (first)
            log_event(dispatch->log, LOG_ERROR_LEVEL, "tenant_unavailable",
                open->error == -EXDEV
                    ? "a state directory is on another file system; all of a tenant must lie on one"
                : open->error == -EMFILE || open->error == -ENFILE
                    ? "too many open files; raise the limit (LimitNOFILE=, ulimit -n): a tenant takes eight"
                    : "the tenant's directories cannot be opened; see owner and mode, or run outtray init",
                "tenant", tenant->name, "directory",
                open->at_fault == SPOOL_STATES ? "." : spool_state_name(open->at_fault), "reason",
                strerror(-open->error), NULL);
    } else if (dispatch->stopping || !tenant->settings) {
        tenant_dirs_unref(open->dirs);
    } else {
        tenant->opened_failed = 0;
        if (open->returned) {
            char n[24];
            (void)snprintf(n, sizeof n, "%u", open->returned);
            log_event(dispatch->log, LOG_NOTICE_LEVEL, "recovered",
                "messages that a stopped agent had claimed were put back", "tenant", tenant->name, "messages",
                n, NULL);
        }
        directories_install(dispatch, tenant, open->dirs);
    }
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

static int64_t dispatch_due(const struct dispatch *dispatch, int64_t wall_due)
{
    int64_t wall = clock_wall();
    int64_t due = retry_clamp(wall_due, wall, dispatch->config->retry.max_ms * CLOCK_MS);
    return loop_now(dispatch->loop) + (due - wall);
}

void dispatch_wait(struct dispatch *dispatch, struct tenant *tenant, const char *name, int64_t wall_due)
{
    (void)backlog_add_deferred(
        &tenant->backlog, name, wall_due, dispatch_due(dispatch, wall_due), loop_now(dispatch->loop));
}

void dispatch_ignored(struct dispatch *dispatch, struct tenant *tenant, const char *name)
{
    if (!tenant_note_ignored(tenant, name))
        return;
    struct log_lines lines;
    log_lines_init(&lines, dispatch->log);
    delivery_log_line(&lines,
        &(struct delivery_line){.time = clock_wall(),
            .event = DELIVERY_IGNORED,
            .tenant = tenant->name,
            .name = name,
            .size = -1,
            .attempt = -1,
            .conn_use = -1,
            .queue_ms = -1,
            .conn_ms = -1,
            .xfer_ms = -1,
            .reply = "not a message (a name or a kind of file that new/ does not take); left untouched"});
    log_write(dispatch->log, &lines);
    log_lines_release(&lines);
}

static void refill_done(struct desk_job *job)
{
    struct refill *refill = (struct refill *)job;
    struct dispatch *dispatch = refill->dispatch;
    struct tenant *tenant = refill->tenant;
    tenant->refilling = false;
    if (refill->dirs == tenant->dirs) {
        tenant->refill_position = refill->position;
        tenant->backlog.more_new |= !refill->complete && !refill->error;
        for (size_t i = 0; i < refill->names.n; i++) {
            const struct name_at *name = &refill->names.items[i];
            struct backlog_entry *entry = backlog_add_new(&tenant->backlog, name->text, false, name->high);
            if (entry)
                entry->regular = true;
        }
        for (size_t i = 0; i < refill->ignored.n; i++)
            dispatch_ignored(dispatch, tenant, refill->ignored.items[i].text);
        if (tenant->pool)
            tenant->pool->pump = true;
    }
    refill_free(refill);
}

void dispatch_refill(struct dispatch *dispatch, struct tenant *tenant)
{
    if (!tenant->dirs || tenant->refilling || !tenant->backlog.more_new || !tenant->settings ||
        tenant->backlog.n_new > BACKLOG_NEW_MAX / 4 || dispatch->stopping)
        return;
    struct refill *refill = refill_new(
        dispatch, tenant, BACKLOG_NEW_MAX - tenant->backlog.n_new, tenant->refill_position, refill_done);
    if (!refill)
        return;
    tenant->refilling = true;
    tenant->backlog.more_new = false; // what finds no room from now on sets it again
    desk_submit_slow(dispatch->intake, &refill->job);
}

static void survey_take_deferred(
    struct dispatch *dispatch, struct tenant *tenant, const struct name_at *found)
{
    if (found->time < found->recorded) { // released: due before its time
        int64_t now = loop_now(dispatch->loop);
        (void)backlog_add_deferred(&tenant->backlog, found->text, found->recorded, now, now);
    } else {
        dispatch_wait(dispatch, tenant, found->text, found->recorded);
    }
}

static void survey_take(struct dispatch *dispatch, struct tenant *tenant, struct survey *survey)
{
    memcpy(tenant->counts, survey->counts, sizeof tenant->counts);
    tenant->counted_at = clock_wall();
    tenant->ignored = survey->n_ignored;
    for (size_t i = 0; i < survey->ignored.n; i++)
        dispatch_ignored(dispatch, tenant, survey->ignored.items[i].text);
    tenant->backlog.left_out_due = INT64_MAX;
    for (size_t i = 0; i < survey->deferred.n; i++)
        survey_take_deferred(dispatch, tenant, &survey->deferred.items[i]);
    if (survey->deferred.left_out) {
        int64_t due = dispatch_due(dispatch, survey->deferred.left_out_time);
        if (due < tenant->backlog.left_out_due)
            tenant->backlog.left_out_due = due;
    }
    // Only where the backlog believes to know everything can the survey have found something that events
    // missed.
    if (!tenant->backlog.more_new && !tenant->refilling) {
        for (size_t i = 0; i < survey->fresh.n; i++)
            (void)backlog_add_new(&tenant->backlog, survey->fresh.items[i].text, false, false);
        tenant->backlog.more_new |= survey->fresh.left_out;
    }
}

static void survey_done(struct desk_job *job)
{
    struct survey *survey = (struct survey *)job;
    struct dispatch *dispatch = survey->dispatch;
    struct tenant *tenant = survey->tenant;
    int64_t now = loop_now(dispatch->loop);
    tenant->survey_running = false;
    bool whole = survey->step > 0 && !survey->dir;
    if (survey->stale == 1 && !dispatch->stopping && tenant->settings) {
        log_event(dispatch->log, LOG_WARNING_LEVEL, "directory_replaced",
            "a directory of the tenant was moved, deleted or mounted over; it is opened again", "tenant",
            tenant->name, NULL);
        dispatch_tenant_open(dispatch, tenant);
    } else if (survey->dirs == tenant->dirs && whole && survey->error) {
        log_event(dispatch->log, LOG_ERROR_LEVEL, "scan_failed", "a directory could not be read", "tenant",
            tenant->name, "reason", strerror(-survey->error), NULL);
    }
    if (survey->dirs == tenant->dirs && whole) {
        survey_take(dispatch, tenant, survey);
        tenant->surveyed = true;
        if (survey->retention)
            tenant->retention_at = now + RETENTION_EVERY_NS;
    }
    tenant->survey_cost = survey->cost;
    tenant->survey_ended = now;
    if (tenant->survey_again)
        dispatch_survey(dispatch, tenant);
    if (tenant->pool)
        tenant->pool->pump = true;
    survey_free(survey);
}

void dispatch_survey(struct dispatch *dispatch, struct tenant *tenant)
{
    tenant->survey_again = tenant->survey_running && !dispatch->stopping;
    if (tenant->survey_running || !tenant->dirs || !tenant->settings)
        return;
    struct survey *survey = survey_new(dispatch, tenant, dispatch->config, dispatch->spool_fd, survey_done);
    if (!survey)
        return;
    survey->retention = loop_now(dispatch->loop) >= tenant->retention_at;
    survey->release = tenant->release;
    survey->job.gentle = tenant->surveyed && !tenant->release && !dispatch->stopping;
    tenant->release = false;
    tenant->changed = false;
    tenant->survey_running = true;
    desk_submit_slow(dispatch->intake, &survey->job);
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
    bool cheap = tenant->survey_cost * (int64_t)dispatch->n_tenants * SURVEY_REST * 5 < SURVEY_OFTEN_NS;
    int64_t every = tenant->changed || dispatch->watch_error ? SURVEY_CHANGED_NS
                    : cheap                                  ? SURVEY_OFTEN_NS
                                                             : SURVEY_EVERY_NS;
    int64_t rest = tenant->survey_cost * SURVEY_REST;
    if (now - tenant->survey_ended >= (rest > every ? rest : every) || now >= tenant->backlog.left_out_due)
        dispatch_survey(dispatch, tenant);
}

bool dispatch_survey_last(struct dispatch *dispatch)
{
    bool running = false;
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        struct tenant *tenant = dispatch->tenants[i];
        if (tenant->changed && tenant->survey_cost < SURVEY_CHEAP_NS)
            dispatch_survey(dispatch, tenant);
        running |= tenant->survey_running;
    }
    return running;
}

static void look_done(struct desk_job *job)
{
    struct look *look = (struct look *)job;
    struct tenant *tenant = look->tenant;
    for (size_t i = 0; i < look->n && look->dirs == tenant->dirs; i++) {
        const struct look_item *item = &look->items[i];
        if (item->kind == LOOK_DUE && item->found)
            dispatch_wait(look->dispatch, tenant, item->name, item->due);
        else if (item->kind == LOOK_PRIORITY && item->high)
            backlog_raise(&tenant->backlog, item->name);
    }
    if (tenant->pool)
        tenant->pool->pump = true;
    look_free(look);
}

static void look_submit(struct dispatch *dispatch, struct tenant *tenant)
{
    if (tenant->look)
        desk_submit(dispatch->intake, &tenant->look->job);
    tenant->look = NULL;
}

static void look_add(struct dispatch *dispatch, struct tenant *tenant, enum look_kind kind, const char *name)
{
    if (tenant->look && tenant->look->n == SCAN_LOOKS_MAX)
        look_submit(dispatch, tenant);
    if (!tenant->look)
        tenant->look = look_new(dispatch, tenant, look_done);
    if (!tenant->look)
        return;
    struct look_item *item = &tenant->look->items[tenant->look->n++];
    *item = (struct look_item){.kind = kind};
    (void)snprintf(item->name, sizeof item->name, "%s", name);
}

void dispatch_flush_looks(struct dispatch *dispatch)
{
    for (size_t i = 0; i < dispatch->n_tenants; i++)
        look_submit(dispatch, dispatch->tenants[i]);
}

static void event_new(
    struct dispatch *dispatch, struct tenant *tenant, enum watch_what what, const char *name)
{
    if (!spool_name_valid(name)) {
        if (name[0] != '.')
            dispatch_ignored(dispatch, tenant, name);
        return;
    }
    bool crowded = tenant->backlog.n_waiting > 0;
    if (backlog_add_new(&tenant->backlog, name, what == WATCH_ARRIVED, false) && crowded &&
        what == WATCH_ARRIVED)
        look_add(dispatch, tenant, LOOK_PRIORITY, name);
    if (tenant->pool)
        tenant->pool->pump = true;
}

static void event_deferred(
    struct dispatch *dispatch, struct tenant *tenant, enum watch_what what, const char *name)
{
    char message[SPOOL_STATUS_SIZE];
    size_t length = strlen(name), suffix = strlen(SPOOL_STATUS_SUFFIX);
    bool is_status = length > suffix && strcmp(name + length - suffix, SPOOL_STATUS_SUFFIX) == 0;
    if (is_status && what != WATCH_TOUCHED)
        return; // written by an agent; its message follows
    (void)snprintf(message, sizeof message, "%.*s", (int)(is_status ? length - suffix : length), name);
    if (spool_name_valid(message))
        look_add(dispatch, tenant, LOOK_DUE, message);
}

void dispatch_watch_event(int watch, enum watch_what what, const char *name, void *arg)
{
    struct dispatch *dispatch = arg;
    if (watch < 0 || (size_t)watch >= dispatch->n_watches || !dispatch->watches[watch].tenant)
        return;
    struct tenant *tenant = dispatch->watches[watch].tenant;
    tenant->changed = true;
    if (what == WATCH_MOVED)
        dispatch_survey(dispatch, tenant); // it will notice what is gone
    else if (dispatch->watches[watch].state == SPOOL_NEW)
        event_new(dispatch, tenant, what, name);
    else
        event_deferred(dispatch, tenant, what, name);
}

void dispatch_watch_lost(void *arg)
{
    struct dispatch *dispatch = arg;
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        dispatch->tenants[i]->backlog.more_new = true;
        dispatch_refill(dispatch, dispatch->tenants[i]);
        dispatch_survey(dispatch, dispatch->tenants[i]);
    }
}
