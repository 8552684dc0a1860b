// What events and scans bring into the backlogs (wire thread).
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/retry.h"
#include "agent/delivery/scan.h"
#include "agent/observe/delivery_log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETENTION_EVERY_NS (3600 * CLOCK_SECOND)
#define SURVEYS_MAX        8  // under way at a time: each keeps names in memory
#define REFILL_PART        16 // of the names that all backlogs may still take, for one refill

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
    pool_tenant_changed(tenant);
}

void dispatch_release(struct dispatch *dispatch, struct tenant *tenant)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); // the clock of file times
    backlog_release_deferred(&tenant->backlog);
    tenant->release = true;
    tenant->release_before = clock_ns(&now);
    dispatch_survey(dispatch, tenant);
    pool_tenant_changed(tenant);
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

static void scan_failed(const struct dispatch *dispatch, const struct tenant *tenant, int error)
{
    log_event(dispatch->log, LOG_ERROR_LEVEL, "scan_failed", "a directory could not be read", "tenant",
        tenant->name, "reason", strerror(-error), NULL);
}

static void count_unread(unsigned char *count, bool unread)
{
    *count = unread ? (unsigned char)(*count + (*count < UCHAR_MAX)) : 0;
}

static void refill_done(struct desk_job *job)
{
    struct refill *refill = (struct refill *)job;
    struct dispatch *dispatch = refill->dispatch;
    struct tenant *tenant = refill->tenant;
    tenant->refilling = false;
    dispatch->refills.names -= refill->room;
    dispatch->refills.held -= refill->hold;
    if (refill->dirs == tenant->dirs) {
        count_unread(&tenant->new_unread, refill->error != 0);
        if (tenant->new_unread == 1)
            scan_failed(dispatch, tenant, refill->error);
        tenant->refill_position = refill->position;
        tenant->backlog.more_new |= refill->position != 0 || (!refill->complete && !refill->error);
        for (size_t i = 0; i < refill->names.n; i++) {
            struct name_at *name = &refill->names.items[i];
            struct backlog_entry *entry = backlog_add_new(&tenant->backlog, name->text, false, name->high);
            if (!entry)
                continue;
            entry->regular = true;
            if (name->open && entry->state != BACKLOG_BUSY)
                backlog_hold(&tenant->backlog, entry, name->fd);
            name->open &= entry->state == BACKLOG_BUSY;
        }
        for (size_t i = 0; i < refill->ignored.n; i++)
            dispatch_ignored(dispatch, tenant, refill->ignored.items[i].text);
        pool_tenant_changed(tenant);
    }
    refill_free(refill);
}

// What a refill may bring: with few names kept all that a backlog takes, less and less as the bound on all of
// them comes near.
static size_t refill_room(const struct dispatch *dispatch, const struct backlog *backlog)
{
    size_t all = dispatch->backlogs.names + dispatch->refills.names, room = backlog_new_room(backlog);
    size_t most = (all < BACKLOG_ALL_MAX ? BACKLOG_ALL_MAX - all : 0) / REFILL_PART;
    most = most > BACKLOG_LEAST ? most : BACKLOG_LEAST;
    return room < most ? room : most;
}

bool dispatch_refill_due(const struct tenant *tenant)
{
    return tenant->backlog.more_new && tenant->backlog.n_new <= BACKLOG_NEW_MAX / 4;
}

void dispatch_refill(struct dispatch *dispatch, struct tenant *tenant)
{
    if (!tenant->dirs || tenant->refilling || !dispatch_refill_due(tenant) || !tenant->settings ||
        dispatch->stopping)
        return;
    size_t room = refill_room(dispatch, &tenant->backlog);
    struct refill *refill =
        room ? refill_new(dispatch, tenant, room, tenant->refill_position, refill_done) : NULL;
    if (!refill)
        return;
    size_t held = dispatch->backlogs.held + dispatch->refills.held;
    refill->hold = held < dispatch->held_max ? dispatch->held_max - held : 0;
    refill->hold = refill->hold < room ? refill->hold : room;
    dispatch->refills.names += room;
    dispatch->refills.held += refill->hold;
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

static void survey_take_waiting(struct dispatch *dispatch, struct tenant *tenant, const struct survey *survey)
{
    // What it could not read may be due still.
    int64_t left_out_due = survey->deferred_unread ? tenant->backlog.left_out_due : INT64_MAX;
    tenant->backlog.left_out_due = INT64_MAX;
    if (survey->deferred.left_out)
        left_out_due = dispatch_due(dispatch, survey->deferred.left_out_time);
    // These are the earliest, and may find no room beside those that wait as long as what was left out (times
    // of the two clocks agree to less than a second).
    if (survey->deferred.left_out)
        backlog_forget_later(&tenant->backlog, left_out_due - CLOCK_SECOND);
    for (size_t i = 0; i < survey->deferred.n; i++)
        survey_take_deferred(dispatch, tenant, &survey->deferred.items[i]);
    // What was released and found no room is still to be: the next survey goes on.
    tenant->release_more =
        survey->release && survey->deferred.left_out && survey->deferred.left_out_time == 0;
    if (left_out_due < tenant->backlog.left_out_due)
        tenant->backlog.left_out_due = left_out_due;
    int64_t now = loop_now(dispatch->loop);
    tenant->stuck = tenant->backlog.left_out_due <= now && !backlog_has_waiting(&tenant->backlog, now);
}

static void survey_take(struct dispatch *dispatch, struct tenant *tenant, struct survey *survey)
{
    if (survey->part != SURVEY_REST) {
        count_unread(&tenant->deferred_unread, survey->deferred_unread);
        tenant->counts[OBSERVE_DEFERRED] = survey->counts[OBSERVE_DEFERRED];
        tenant->deferred_counted_at = clock_wall();
        if (survey->deferred_unread || tenant->claimed) // a move may be read here, and be told of later
            ledger_doubt(&tenant->ledger);
        ledger_take(&tenant->ledger, &survey->counts[OBSERVE_DEFERRED], &survey->oldest);
        if (!survey->count_only)
            survey_take_waiting(dispatch, tenant, survey);
    }
    if (survey->part == SURVEY_DEFERRED)
        return;
    for (enum observe_state state = 0; state < OBSERVE_STATES; state++)
        if (state != OBSERVE_DEFERRED)
            tenant->counts[state] = survey->counts[state];
    tenant->counted_at = clock_wall();
    tenant->ignored = survey->n_ignored;
    for (size_t i = 0; i < survey->ignored.n; i++)
        dispatch_ignored(dispatch, tenant, survey->ignored.items[i].text);
    // Only where the backlog believes to know everything can the survey have found something that events
    // missed.
    if (!tenant->backlog.more_new && !tenant->refilling) {
        for (size_t i = 0; i < survey->fresh.n; i++)
            (void)backlog_add_new(&tenant->backlog, survey->fresh.items[i].text, false, false);
        tenant->backlog.more_new |= survey->fresh.left_out;
    }
}

static void survey_start(struct dispatch *dispatch);

static void survey_done(struct desk_job *job)
{
    struct survey *survey = (struct survey *)job;
    struct dispatch *dispatch = survey->dispatch;
    struct tenant *tenant = survey->tenant;
    int64_t now = loop_now(dispatch->loop);
    tenant->survey_running = false;
    dispatch->n_surveys--;
    bool whole = survey->step > 0 && !survey->dir;
    bool fresh = survey->dirs == tenant->dirs && !tenant->opening; // else that is known, and being seen to
    if (survey->stale == 1 && fresh && !dispatch->stopping && tenant->settings) {
        log_event(dispatch->log, LOG_WARNING_LEVEL, "directory_replaced",
            "a directory of the tenant was moved, deleted or mounted over; it is opened again", "tenant",
            tenant->name, NULL);
        dispatch_tenant_open(dispatch, tenant);
    } else if (survey->dirs == tenant->dirs && whole && survey->error) {
        scan_failed(dispatch, tenant, survey->error);
    }
    if (survey->dirs == tenant->dirs && whole) {
        survey_take(dispatch, tenant, survey);
        tenant->counted |= survey->part != SURVEY_DEFERRED;
        tenant->surveyed = true;
        if (survey->retention)
            tenant->retention_at = now + RETENTION_EVERY_NS;
    }
    tenant->survey_ended = now;
    if (survey->part != SURVEY_REST) {
        tenant->deferred_cost = survey->deferred_cost;
        tenant->deferred_ended = now;
    }
    if (survey->part != SURVEY_DEFERRED)
        tenant->rest_cost = survey->cost - survey->deferred_cost;
    bool rest = survey->part == SURVEY_DEFERRED && tenant->surveyed && !tenant->counted;
    if (tenant->survey_again || rest)
        dispatch_survey_rest(dispatch, tenant);
    survey_start(dispatch);
    pool_tenant_changed(tenant);
    survey_free(survey);
}

// What a survey reads: at first, and after a release, only what is deferred, since its due times are waited
// for; then the rest, and from then on everything or the rest, at a rest; at the end what is out of date.
static enum survey_part survey_part(const struct dispatch *dispatch, const struct tenant *tenant)
{
    if (dispatch->stopping && tenant->wants_deferred)
        return tenant->changed ? SURVEY_ALL : SURVEY_DEFERRED;
    if (!dispatch->stopping &&
        (!tenant->surveyed || tenant->release || tenant->release_more || tenant->wants_due))
        return SURVEY_DEFERRED;
    // What retention removes lies in deferred/, too.
    bool old = !dispatch->stopping && loop_now(dispatch->loop) >= tenant->retention_at;
    return tenant->counted && (tenant->wants_deferred || old) ? SURVEY_ALL : SURVEY_REST;
}

static void survey_submit(struct dispatch *dispatch, struct tenant *tenant)
{
    struct survey *survey = survey_new(dispatch, tenant, dispatch->config, dispatch->spool_fd, survey_done);
    if (!survey)
        return;
    survey->part = survey_part(dispatch, tenant);
    survey->count_only = dispatch->stopping;
    survey->retention = survey->part != SURVEY_DEFERRED && loop_now(dispatch->loop) >= tenant->retention_at;
    survey->first = !tenant->counted;
    survey->release = tenant->release || tenant->release_more;
    survey->release_before = tenant->release_before;
    survey->job.gentle = survey->part != SURVEY_DEFERRED && !dispatch->stopping;
    if (survey->part != SURVEY_REST) {
        tenant->due_read = tenant->wants_due;
        tenant->wants_deferred = tenant->deferred_changed = false;
        ledger_begin(&tenant->ledger, tenant->watch_deferred >= 0);
    }
    tenant->release = tenant->wants_due = false;
    if (survey->part != SURVEY_DEFERRED)
        tenant->changed = false;
    tenant->survey_running = true;
    dispatch->n_surveys++;
    desk_submit_slow(dispatch->intake, &survey->job);
}

// Starts those whose turn it is.
static void survey_start(struct dispatch *dispatch)
{
    while (dispatch->surveys && dispatch->n_surveys < SURVEYS_MAX) {
        struct tenant *tenant = dispatch->surveys;
        dispatch->surveys = tenant->next_survey;
        tenant->survey_queued = false;
        if (tenant->dirs && tenant->settings)
            survey_submit(dispatch, tenant);
    }
}

void dispatch_survey(struct dispatch *dispatch, struct tenant *tenant)
{
    tenant->wants_deferred = true;
    dispatch_survey_rest(dispatch, tenant);
}

bool dispatch_survey_due(struct dispatch *dispatch, struct tenant *tenant)
{
    if (!tenant->dirs || tenant->stuck || tenant->backlog.left_out_due > loop_now(dispatch->loop))
        return false;
    if (tenant->due_read && tenant->ledger.went == 0 && !tenant->survey_running && !tenant->survey_queued) {
        tenant->stuck = true; // it would bring the same again, of which none could be claimed
        return false;
    }
    tenant->wants_due = true;
    if (tenant->survey_running)
        desk_hurry(dispatch->intake); // there is nothing else to do
    else if (!tenant->survey_queued)
        dispatch_survey(dispatch, tenant);
    return true;
}

void dispatch_survey_rest(struct dispatch *dispatch, struct tenant *tenant)
{
    tenant->survey_again = tenant->survey_running && !dispatch->stopping;
    if (tenant->survey_running || tenant->survey_queued || !tenant->dirs || !tenant->settings)
        return;
    tenant->survey_queued = true;
    tenant->next_survey = NULL;
    *(dispatch->surveys ? &dispatch->surveys_last->next_survey : &dispatch->surveys) = tenant;
    dispatch->surveys_last = tenant;
    survey_start(dispatch);
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
    pool_tenant_changed(tenant);
    look_free(look);
}

void dispatch_flush_looks(struct dispatch *dispatch)
{
    for (struct tenant *tenant; (tenant = dispatch->looking);) {
        dispatch->looking = tenant->next_looking;
        desk_submit(dispatch->intake, &tenant->look->job);
        tenant->look = NULL;
    }
}

static void look_add(struct dispatch *dispatch, struct tenant *tenant, enum look_kind kind, const char *name)
{
    if (tenant->look && tenant->look->n == SCAN_LOOKS_MAX)
        dispatch_flush_looks(dispatch);
    if (!tenant->look) {
        tenant->look = look_new(dispatch, tenant, look_done);
        if (!tenant->look)
            return;
        tenant->next_looking = dispatch->looking;
        dispatch->looking = tenant;
    }
    struct look_item *item = &tenant->look->items[tenant->look->n++];
    *item = (struct look_item){.kind = kind};
    (void)snprintf(item->name, sizeof item->name, "%s", name);
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
    pool_tenant_changed(tenant);
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
    if (!spool_name_valid(message))
        return;
    if (!is_status && what == WATCH_TOUCHED)
        ledger_doubt(&tenant->ledger); // as old as it was, it is no longer
    else if (!is_status)
        ledger_saw(&tenant->ledger, what != WATCH_REMOVED);
    if (what != WATCH_REMOVED)
        look_add(dispatch, tenant, LOOK_DUE, message);
}

void dispatch_watch_event(int watch, enum watch_what what, const char *name, void *arg)
{
    struct dispatch *dispatch = arg;
    if (control_event(dispatch, watch, what, name))
        return;
    if (watch < 0 || (size_t)watch >= dispatch->n_watches || !dispatch->watches[watch].tenant)
        return;
    struct tenant *tenant = dispatch->watches[watch].tenant;
    tenant_note_change(tenant);
    if (what == WATCH_MOVED)
        dispatch_survey(dispatch, tenant); // it will notice what is gone
    else if (dispatch->watches[watch].state == SPOOL_NEW)
        event_new(dispatch, tenant, what, name);
    else
        event_deferred(dispatch, tenant, what, name);
}
