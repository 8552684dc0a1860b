// When people are told (see notice.h).
#include "notice.h"
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/notice_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_NS  (3600 * CLOCK_SECOND)
#define AGAIN_NS (60 * CLOCK_SECOND) // after an error
#define BUSY_NS  CLOCK_SECOND        // where a message that is to be marked is under way

int notice_names_add(struct notice_names *names, enum notice_kind kind, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (names->items[i].kind == kind && strcmp(names->items[i].name, name) == 0)
            return 0;
    if (names->n == NOTICE_NAMES_MAX)
        return -E2BIG;
    if (names->n == names->capacity) {
        size_t capacity = names->capacity ? 2 * names->capacity : 8;
        void *grown = reallocarray(names->items, capacity, sizeof *names->items);
        if (!grown)
            return -ENOMEM;
        names->items = grown;
        names->capacity = capacity;
    }
    struct notice_name *item = &names->items[names->n++];
    item->kind = kind;
    (void)snprintf(item->name, sizeof item->name, "%s", name);
    return 0;
}

void notice_queue_release(struct notice_queue *queue)
{
    free(queue->names.items);
    *queue = (struct notice_queue){0};
}

static bool is_told(const struct tenant *tenant)
{
    return tenant->settings && tenant->settings->on_failure.notify != CONFIG_NOTIFY_NONE;
}

// Not before the boot time `at`, where nothing else is waited for already.
static void be_ready(struct notice_queue *queue, int64_t at)
{
    if (queue->names.n == 1 || queue->ready_at < at)
        queue->ready_at = at;
}

static void add(struct dispatch *dispatch, struct tenant *tenant, enum notice_kind kind, const char *name)
{
    struct notice_queue *queue = &tenant->notices;
    int64_t digest = tenant->settings->on_failure.digest_ms, now = loop_now(dispatch->loop);
    bool first = queue->names.n == 0;
    if (notice_names_add(&queue->names, kind, name))
        queue->scanned = queue->scanned && kind != NOTICE_FAILED; // found again by reading failed/
    if (first && digest != CONFIG_NEVER)
        be_ready(queue, now + digest * CLOCK_MS);
    notices_tick(dispatch, tenant);
}

static bool is_late(const struct event *event, const struct tenant *tenant)
{
    const struct status *status = event->message->status;
    int64_t after = tenant->settings->on_failure.delay_warning_ms;
    return after != CONFIG_NEVER && status && status->n_attempts && !status->delay_warned.tv_sec &&
           event->time - clock_ns(&status->attempts[0].at) >= after * CLOCK_MS;
}

static void happened(const struct event *event, void *arg)
{
    struct dispatch *dispatch = arg;
    struct tenant *tenant = event->message->tenant;
    if (!is_told(tenant) || event->message->dirs != tenant->dirs)
        return;
    if (event->kind == EVENT_RELAYED && tenant->settings->on_failure.notify == CONFIG_NOTIFY_SENDER)
        add(dispatch, tenant, event->message->filed_in == SPOOL_SENT ? NOTICE_RELAYED : NOTICE_RELAYED_PARTLY,
            event->name);
    else if (event->kind == EVENT_RELAYED)
        return; // what the sender asked for is nobody else's business
    else if (event->kind == EVENT_FAILED)
        add(dispatch, tenant, NOTICE_FAILED, event->name);
    else if (is_late(event, tenant))
        add(dispatch, tenant, NOTICE_DELAYED, event->name);
}

void notices_subscribe(struct dispatch *dispatch)
{
    dispatch->notices =
        (struct events_subscriber){.kinds = 1u << EVENT_FAILED | 1u << EVENT_DEFERRED | 1u << EVENT_RELAYED,
            .happened = happened,
            .arg = dispatch};
    events_subscribe(&dispatch->events, &dispatch->notices);
}

// What was not told comes back in front of what has come meanwhile.
static void take_back(struct notice_job *job, struct notice_queue *queue)
{
    struct notice_names meanwhile = queue->names;
    size_t told = job->at < job->names.n ? job->at : job->names.n;
    queue->names = job->names;
    job->names = (struct notice_names){0};
    queue->names.n -= told;
    if (told)
        memmove(queue->names.items, queue->names.items + told, queue->names.n * sizeof *queue->names.items);
    for (size_t i = 0; i < meanwhile.n; i++)
        if (notice_names_add(&queue->names, meanwhile.items[i].kind, meanwhile.items[i].name))
            queue->scanned = false;
    free(meanwhile.items);
}

static void take_in(struct dispatch *dispatch, struct tenant *tenant, const struct tenant_dirs *dirs,
    const struct notice_submitted *submitted)
{
    tenant->notices.in_hour += (unsigned)submitted->n;
    for (size_t i = 0; i < submitted->n; i++) {
        log_event(dispatch->log, LOG_NOTICE_LEVEL, "notified",
            "a notice about failed, late or relayed mail was submitted", "tenant", tenant->name, "name",
            submitted->names[i], NULL);
        if (dirs && dirs == tenant->dirs && !dispatch->stopping)
            (void)backlog_add_new(&tenant->backlog, submitted->names[i], true, false);
    }
    pool_tenant_changed(tenant);
}

void notices_submitted(
    struct dispatch *dispatch, struct tenant *tenant, const struct notice_submitted *submitted)
{
    take_in(dispatch, tenant, tenant->dirs, submitted);
}

static void done(struct desk_job *desk_job)
{
    struct notice_job *job = (struct notice_job *)desk_job;
    struct dispatch *dispatch = job->dispatch;
    struct notice_queue *queue = &job->tenant->notices;
    int64_t now = loop_now(dispatch->loop), digest = job->settings->on_failure.digest_ms * CLOCK_MS;
    queue->running = false;
    // After an error the next run recovers first: a notice may have been half submitted.
    queue->scanned = !job->error && (queue->scanned || job->scanned);
    queue->over = false;
    take_in(dispatch, job->tenant, job->dirs, &job->submitted);
    bool leftover = job->names.n > job->at;
    if (job->scan && job->summary && job->oldest) {
        int64_t age = clock_wall() - job->oldest; // of the oldest that a restart found
        queue->ready_at = age >= digest ? now : now + digest - age;
    } else if (leftover && queue->in_hour >= NOTICES_PER_HOUR) {
        queue->over = true;
        queue->ready_at = queue->hour + HOUR_NS;
    } else if (queue->names.n && job->settings->on_failure.digest_ms != CONFIG_NEVER) {
        queue->ready_at = now + digest;
    }
    take_back(job, queue);
    if (job->error == -EBUSY) {
        queue->ready_at = now + BUSY_NS;
    } else if (job->error) {
        queue->ready_at = now + AGAIN_NS;
        log_event(dispatch->log, LOG_WARNING_LEVEL, "notice_failed",
            "a notice about failed or late mail could not be written; it is tried again in a minute",
            "tenant", job->tenant->name, "reason", strerror(-job->error), NULL);
    }
    struct tenant *tenant = job->tenant;
    notice_job_free(job);
    notices_tick(dispatch, tenant);
}

static bool is_due(const struct dispatch *dispatch, const struct tenant *tenant)
{
    const struct notice_queue *queue = &tenant->notices;
    return is_told(tenant) && tenant->dirs && !queue->running && !dispatch->stopping &&
           !dispatch->spool_broken && (queue->names.n || !queue->scanned) &&
           loop_now(dispatch->loop) >= queue->ready_at;
}

void notices_tick(struct dispatch *dispatch, struct tenant *tenant)
{
    struct notice_queue *queue = &tenant->notices;
    int64_t now = loop_now(dispatch->loop);
    if (!is_due(dispatch, tenant))
        return;
    if (!queue->hour || now - queue->hour >= HOUR_NS) {
        queue->hour = now;
        queue->in_hour = 0;
    }
    if (queue->in_hour >= NOTICES_PER_HOUR) {
        queue->over = true;
        queue->ready_at = queue->hour + HOUR_NS;
        return;
    }
    struct notice_job *job = notice_job_new(dispatch, tenant, done);
    if (!job) {
        queue->ready_at = now + AGAIN_NS;
        return;
    }
    job->scan = !queue->scanned;
    job->summary = queue->over || tenant->settings->on_failure.digest_ms != CONFIG_NEVER;
    job->allowed = NOTICES_PER_HOUR - queue->in_hour;
    job->names = queue->names;
    queue->names = (struct notice_names){0};
    queue->running = true;
    desk_submit_slow(dispatch->intake, &job->job);
}

bool notices_busy(const struct dispatch *dispatch, const struct tenant *tenant)
{
    return tenant->notices.running || is_due(dispatch, tenant);
}
