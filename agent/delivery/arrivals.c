// What events and refills bring into the backlogs (wire thread).
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/retry.h"
#include "agent/delivery/scan.h"
#include "agent/observe/delivery_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFILL_PART 16 // of the names that all backlogs may still take, for one refill

int64_t dispatch_due(const struct dispatch *dispatch, int64_t wall_due)
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

void dispatch_scan_failed(const struct dispatch *dispatch, const struct tenant *tenant, int error)
{
    log_event(dispatch->log, LOG_ERROR_LEVEL, "scan_failed", "a directory could not be read", "tenant",
        tenant->name, "reason", strerror(-error), NULL);
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
        tenant_count_read(&tenant->new_unread, refill->error != 0);
        if (tenant->new_unread == 1)
            dispatch_scan_failed(dispatch, tenant, refill->error);
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
    const struct backlog *backlog = &tenant->backlog;
    // Names that wait for their time may be many, and those behind them shall not wait with them.
    bool low = backlog->n_new <= BACKLOG_NEW_MAX / 4 || backlog->n_waiting == 0;
    return backlog->more_new && low && backlog_new_room(backlog) > 0;
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
