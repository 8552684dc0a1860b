// A run over what is to be told (see notice_job.h).
#include "notice_job.h"
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/notice_text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCAN_ENTRIES 128 // of one slice
#define READ_ITEMS   4   // messages read in one slice: each may be large

enum { STEP_RECOVER, STEP_SCAN, STEP_READ, STEP_SUMMARIES, STEP_OVER };

static void note_error(struct notice_job *job, int error)
{
    if (error && !job->error)
        job->error = error;
}

static void step_recover(struct notice_job *job)
{
    int error = job->scan ? notice_file_recover(job->dirs->spool, false, clock_wall(), &job->submitted) : 0;
    note_error(job, error);
    job->step = job->scan && !error ? STEP_SCAN : error ? STEP_OVER : STEP_READ;
}

static int64_t scan_age(const struct notice_job *job)
{
    int64_t digest = job->settings->on_failure.digest_ms;
    int64_t twice = digest == CONFIG_NEVER ? 0 : 2 * digest * CLOCK_MS;
    return twice > NOTICE_SCAN_AGE ? twice : NOTICE_SCAN_AGE;
}

// An entry of failed/: the status files of the last day are read, those that were not told are kept.
static void scan_entry(struct notice_job *job, int dir, const char *entry)
{
    char name[SPOOL_STATUS_SIZE];
    struct stat stat;
    struct status *status = NULL;
    size_t length = strlen(entry), suffix = strlen(SPOOL_STATUS_SUFFIX);
    if (entry[0] == '.' || length <= suffix || length >= sizeof name ||
        strcmp(entry + length - suffix, SPOOL_STATUS_SUFFIX) != 0)
        return;
    (void)snprintf(name, sizeof name, "%.*s", (int)(length - suffix), entry);
    if (fstatat(dir, entry, &stat, AT_SYMLINK_NOFOLLOW) ||
        clock_ns(&stat.st_mtim) < clock_wall() - scan_age(job) || !spool_name_valid(name) ||
        status_read(dir, name, &status, NULL, NULL))
        return;
    if (status->state == STATUS_FAILED && !status->notified.tv_sec) {
        int64_t time = clock_ns(&stat.st_mtim);
        job->oldest = job->oldest && job->oldest < time ? job->oldest : time;
        note_error(job, notice_names_add(&job->names, NOTICE_FAILED, name));
    }
    status_free(status);
}

static void step_scan(struct notice_job *job)
{
    if (!job->dir) {
        int fd = openat(job->dirs->spool->dir[SPOOL_FAILED], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        job->dir = fd < 0 ? NULL : fdopendir(fd);
        if (!job->dir) {
            note_error(job, -errno);
            if (fd >= 0)
                close(fd);
            job->step = STEP_OVER;
            return;
        }
    }
    for (int i = 0; i < SCAN_ENTRIES; i++) {
        const struct dirent *entry = readdir(job->dir);
        if (!entry) {
            closedir(job->dir);
            job->dir = NULL;
            job->scanned = true;
            // A summary has its own time, which the wire thread works out from the oldest.
            job->step = job->summary ? STEP_OVER : STEP_READ;
            return;
        }
        scan_entry(job, dirfd(job->dir), entry->d_name);
    }
}

static int submit(struct notice_job *job, struct notice_item *const *items, size_t n, bool summary)
{
    struct notice_source source = {job->config, job->settings, job->dirs->spool, false};
    struct buffer text;
    char name[SPOOL_NAME_SIZE];
    int64_t now = clock_wall();
    buffer_init(&text, NOTICE_MAX);
    int error = summary ? notice_text_summary(&source, items, n, &text)
                        : notice_text_one(&source, items[0], now, &text);
    if (!error)
        error = notice_file_submit(job->dirs->spool, items, n, text.data, text.length, now, name);
    if (!error)
        notice_submitted_add(&job->submitted, name);
    buffer_release(&text);
    return error;
}

// Reads the next messages: each becomes a notice at once, or an item of a summary.
static void step_read(struct notice_job *job)
{
    struct notice_source source = {job->config, job->settings, job->dirs->spool, !job->summary};
    for (int i = 0; i < READ_ITEMS; i++) {
        if (job->at == job->names.n || (job->summary && job->n_items == NOTICE_SUMMARY_MAX) ||
            (!job->summary && job->submitted.n >= job->allowed)) {
            job->step = job->summary ? STEP_SUMMARIES : STEP_OVER;
            return;
        }
        struct notice_name *name = &job->names.items[job->at];
        struct notice_item *item = NULL;
        int r = notice_item_read(&source, name->kind, name->name, &item);
        bool relayed = notice_kind_relayed(name->kind);
        if (r == 1 && relayed && job->submitted.n >= job->allowed) {
            notice_item_free(
                job->dirs->spool, item); // over the hour's measure, and no trouble to be summed up
        } else if (r == 1 && job->summary && !relayed) {
            job->items[job->n_items++] = item;
        } else if (r == 1) {
            r = submit(job, &item, 1, false);
            notice_item_free(job->dirs->spool, item);
        }
        if (r < 0) {
            note_error(job, r);
            job->step = STEP_OVER;
            return;
        }
        if (relayed)
            name->name[0] = '\0'; // no status file remembers that it was told
        job->at++;
    }
}

static int by_target(const void *left, const void *right)
{
    const struct notice_item *const *a = left, *const *b = right;
    return strcmp((*a)->target, (*b)->target);
}

// One summary a slice. What may not be submitted any more stays among the names.
static void step_summaries(struct notice_job *job)
{
    size_t n = 0;
    if (!job->n_items || job->error) {
        job->step = STEP_OVER;
        return;
    }
    qsort(job->items, job->n_items, sizeof(struct notice_item *), by_target);
    while (n < job->n_items && strcmp(job->items[n]->target, job->items[0]->target) == 0)
        n++;
    bool allowed = job->submitted.n < job->allowed;
    int error = allowed ? submit(job, job->items, n, true) : 0;
    note_error(job, error);
    for (size_t i = 0; i < n; i++)
        notice_item_free(job->dirs->spool, job->items[i]);
    if (error || !allowed)
        job->at = 0; // all names again: those that were told say so in their status files
    job->n_items -= n;
    memmove(job->items, job->items + n, job->n_items * sizeof(struct notice_item *));
}

static bool slice(struct desk_job *desk_job)
{
    struct notice_job *job = (struct notice_job *)desk_job;
    static void (*const steps[])(struct notice_job *) = {step_recover, step_scan, step_read, step_summaries};
    if (job->step < STEP_OVER)
        steps[job->step](job);
    return job->step == STEP_OVER;
}

struct notice_job *notice_job_new(
    struct dispatch *dispatch, struct tenant *tenant, void (*done)(struct desk_job *))
{
    struct notice_job *job = calloc(1, sizeof *job);
    if (job)
        job->items = calloc(NOTICE_SUMMARY_MAX, sizeof(struct notice_item *));
    if (!job || !job->items) {
        free(job);
        return NULL;
    }
    job->job = (struct desk_job){.slice = slice, .done = done};
    job->dispatch = dispatch;
    job->tenant = tenant;
    job->dirs = tenant_dirs_ref(tenant->dirs);
    job->config = config_ref(dispatch->config);
    job->settings = tenant->settings;
    return job;
}

void notice_job_free(struct notice_job *job)
{
    if (!job)
        return;
    for (size_t i = 0; i < job->n_items; i++)
        notice_item_free(job->dirs->spool, job->items[i]);
    free(job->items);
    if (job->dir)
        closedir(job->dir);
    free(job->names.items);
    notice_submitted_release(&job->submitted);
    tenant_dirs_unref(job->dirs);
    config_unref(job->config);
    free(job);
}
