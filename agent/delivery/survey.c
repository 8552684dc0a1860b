// Surveys: the slow reading of everything a tenant has (intake desk, in slices).
#include "agent/base/clock.h"
#include "agent/delivery/scan.h"
#include "spool-format/key.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SURVEY_IGNORED_MAX 64

struct survey_step {
    enum spool_state state;
    bool retention_only;
    bool has_statuses; // message and status file lie side by side
    int (*entry)(struct survey *survey, int dir, const char *name);
};

static enum spool_state survey_state(const struct survey *survey);

static int64_t survey_age_s(const struct timespec *since)
{
    int64_t age = clock_wall() - clock_ns(since);
    return age > 0 ? age / CLOCK_SECOND : 0;
}

static void survey_count(struct survey *survey, enum observe_state state, const struct stat *stat)
{
    struct observe_count *count = &survey->counts[state];
    int64_t age = survey_age_s(&stat->st_mtim);
    count->count++;
    count->bytes += (uint64_t)stat->st_size;
    if (age > count->oldest_s)
        count->oldest_s = age;
}

// What came to lie there since the survey was asked for is not old, whatever our clock says: files have the
// kernel's.
static bool survey_is_over(const struct survey *survey, const struct stat *stat, int64_t keep_ms)
{
    int64_t since = clock_ns(&stat->st_ctim);
    return keep_ms != CONFIG_NEVER && since < clock_wall() - keep_ms * CLOCK_MS &&
           since < clock_ns(&survey->began_files);
}

static void survey_remove(struct survey *survey, int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0)
        survey->removed++;
}

static int survey_new_entry(struct survey *survey, int dir, const char *name)
{
    struct stat stat;
    if (fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISREG(stat.st_mode) || !spool_name_valid(name)) {
        (void)names_offer(&survey->ignored, name, 0, 0);
        survey->n_ignored++;
        return 0;
    }
    survey_count(survey, OBSERVE_NEW, &stat);
    return names_offer(&survey->fresh, name, clock_ns(&stat.st_mtim), 0);
}

static int survey_cur_entry(struct survey *survey, int dir, const char *name)
{
    struct stat stat;
    if (fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(stat.st_mode))
        survey_count(survey, OBSERVE_CUR, &stat);
    return 0;
}

// Length of the name that a status file shares with its message; 0 where `name` is no status file's.
static size_t survey_status_of(const char *name)
{
    size_t length = strlen(name), suffix = strlen(SPOOL_STATUS_SUFFIX);
    bool is_status = length > suffix && strcmp(name + length - suffix, SPOOL_STATUS_SUFFIX) == 0;
    return is_status ? length - suffix : 0;
}

// Whether status files without a message are of interest: at the start, and where what is old is removed.
static bool survey_wants_orphans(const struct survey *survey)
{
    return survey->first || survey->retention;
}

// Whether the message of this status file lies in new/ or hold/, from where it comes back. Its name may have
// counted up on the way.
static bool survey_is_kept(const struct survey *survey, int dir, const char *name)
{
    static const enum spool_state places[] = {SPOOL_NEW, SPOOL_HOLD};
    uint64_t inode, size;
    if (!spool_name_valid(name) || status_peek(dir, name, &inode, &size))
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned number = spool_name_number(name);
        for (unsigned n = number; n < number + SPOOL_PROBE_GAP && n <= SPOOL_VARIANT_MAX; n++) {
            char variant[SPOOL_NAME_SIZE];
            struct stat stat;
            spool_name_variant(name, n, variant);
            if (fstatat(survey->dirs->spool->dir[places[i]], variant, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
                stat.st_ino == inode)
                return true;
        }
    }
    return false;
}

// A status file without its message stays: the message may come back from wherever it was moved. Retention
// ends it (or, at the start, what a crash left it for: its message is sent or has failed), but not while the
// message is held or waits in new/.
static int survey_orphan(struct survey *survey, int dir, const char *status_name)
{
    struct stat stat;
    char name[SPOOL_STATUS_SIZE];
    (void)snprintf(
        name, sizeof name, "%.*s", (int)(strlen(status_name) - strlen(SPOOL_STATUS_SUFFIX)), status_name);
    int settled = survey->first ? spool_settle_status(survey->dirs->spool, survey_state(survey), name) : 0;
    if (settled != 0)
        return settled < 0 ? settled : 0;
    if (!survey->retention || fstatat(dir, status_name, &stat, AT_SYMLINK_NOFOLLOW) ||
        !survey_is_over(survey, &stat, survey->config->retention.failed_ms))
        return 0;
    if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT &&
        faccessat(survey->dirs->spool->dir[SPOOL_CUR], name, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT &&
        !survey_is_kept(survey, dir, name))
        survey_remove(survey, dir, status_name);
    return 0;
}

// Of a directory with status files: whether this is one. Asking for the message of each would cost as much
// again as the messages do, so it is noted who belongs together.
static bool survey_note_pair(struct survey *survey, const char *name)
{
    size_t length = survey_status_of(name);
    if (!survey_wants_orphans(survey))
        return length > 0;
    if (length)
        pairs_add_status(&survey->pairs, name, length);
    else
        pairs_add_message(&survey->pairs, name, strlen(name));
    return length > 0;
}

// The second reading: the status files that may be alone.
static int survey_alone_entry(struct survey *survey, int dir, const char *name)
{
    size_t length = survey_status_of(name);
    bool alone = length && pairs_may_be_alone(&survey->pairs, name, length);
    return alone ? survey_orphan(survey, dir, name) : 0;
}

static int survey_deferred_entry(struct survey *survey, int dir, const char *name)
{
    struct stat stat;
    if (survey_note_pair(survey, name))
        return 0;
    if (fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISREG(stat.st_mode) || !spool_name_valid(name))
        return 0;
    survey_count(survey, OBSERVE_DEFERRED, &stat);
    ledger_oldest_add(&survey->oldest, clock_ns(&stat.st_mtim));
    if (survey->count_only)
        return 0;
    int64_t due;
    struct timespec ctime = {0};
    int error = scan_due_of(survey->dirs->spool, name, &stat, &due, &ctime);
    if (error)
        return error == -ENOENT ? 0 : error;
    // What was deferred after the release has had its chance already.
    bool released = survey->release && clock_ns(&ctime) < survey->release_before;
    return names_offer(&survey->deferred, name, released ? 0 : due, due);
}

static int survey_failed_entry(struct survey *survey, int dir, const char *name)
{
    struct stat stat;
    if (survey_note_pair(survey, name))
        return 0;
    if (fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW) || !S_ISREG(stat.st_mode))
        return 0;
    // Moved back to new/ by hand and sent, and the disk forgot the first of it. Nobody claims from here, so
    // it shows here.
    int settled = stat.st_nlink > 1 && spool_name_valid(name)
                      ? spool_settle(survey->dirs->spool, SPOOL_FAILED, name, stat.st_ino)
                      : 0;
    if (settled != 0)
        return settled < 0 ? settled : 0;
    if (survey->retention && survey_is_over(survey, &stat, survey->config->retention.failed_ms)) {
        char status_name[SPOOL_STATUS_SIZE];
        survey_remove(survey, dir, name);
        if (strlen(name) < SPOOL_NAME_SIZE) {
            spool_name_status(name, status_name);
            (void)unlinkat(dir, status_name, 0);
        }
        return 0;
    }
    survey_count(survey, OBSERVE_FAILED, &stat);
    return 0;
}

static int survey_old_entry(struct survey *survey, int dir, const char *name, int64_t keep_ms)
{
    struct stat stat;
    if (fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(stat.st_mode) &&
        survey_is_over(survey, &stat, keep_ms))
        survey_remove(survey, dir, name);
    return 0;
}

static int survey_sent_entry(struct survey *survey, int dir, const char *name)
{
    return survey_old_entry(survey, dir, name, survey->config->retention.sent_ms);
}

static int survey_tmp_entry(struct survey *survey, int dir, const char *name)
{
    return survey_old_entry(survey, dir, name, survey->config->retention.tmp_ms);
}

static const struct survey_step survey_steps[] = {
    {SPOOL_DEFERRED, false, true, survey_deferred_entry},
    {SPOOL_SENT, true, false, survey_sent_entry},
    {SPOOL_TMP, true, false, survey_tmp_entry},
    {SPOOL_NEW, false, false, survey_new_entry},
    {SPOOL_CUR, false, false, survey_cur_entry},
    {SPOOL_FAILED, false, true, survey_failed_entry},
};
#define SURVEY_STEPS ((int)(sizeof survey_steps / sizeof *survey_steps))

static enum spool_state survey_state(const struct survey *survey)
{
    return survey_steps[survey->step].state;
}

static void survey_note_error(struct survey *survey, int error)
{
    if (error && !survey->error)
        survey->error = error;
}

// An error of the directory that is being read.
static void survey_note_unread(struct survey *survey, int error)
{
    survey_note_error(survey, error);
    survey->deferred_unread |= error && survey_state(survey) == SPOOL_DEFERRED;
}

static void survey_step_open(struct survey *survey, const struct survey_step *step)
{
    int fd = openat(survey->dirs->spool->dir[step->state], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    survey->dir = fd < 0 ? NULL : fdopendir(fd);
    survey->again = false;
    if (survey->dir && step->has_statuses && survey_wants_orphans(survey))
        pairs_init(&survey->pairs);
    if (survey->dir)
        return;
    survey_note_unread(survey, -errno);
    if (fd >= 0)
        close(fd);
}

static void survey_step_close(struct survey *survey)
{
    if (survey->dir)
        closedir(survey->dir);
    survey->dir = NULL;
    pairs_release(&survey->pairs);
}

// At the end of the step's directory: whether it is read again, for status files whose message is not there.
static bool survey_step_again(struct survey *survey, const struct survey_step *step)
{
    if (survey->again || !step->has_statuses || !survey_wants_orphans(survey) ||
        !pairs_any_alone(&survey->pairs))
        return false;
    rewinddir(survey->dir);
    survey->again = true;
    return true;
}

// Reads up to a slice of the step's directory; true when the step is over.
static bool survey_step_read(struct survey *survey, const struct survey_step *step)
{
    if (!survey->dir)
        return true;
    for (int i = 0; i < SCAN_SLICE; i++) {
        errno = 0;
        const struct dirent *entry = readdir(survey->dir);
        if (!entry) {
            survey_note_unread(survey, -errno);
            return !survey_step_again(survey, step);
        }
        if (entry->d_name[0] != '.')
            survey_note_unread(survey, (survey->again ? survey_alone_entry : step->entry)(
                                           survey, dirfd(survey->dir), entry->d_name));
    }
    return false;
}

static int64_t survey_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); // what it costs, not how time passes
    return clock_ns(&now);
}

static bool survey_slice(struct desk_job *job)
{
    struct survey *survey = (struct survey *)job;
    int64_t start = survey_now();
    if (survey->step < 0) {
        survey->stale = spool_tenant_stale(survey->spool_fd, survey->dirs->spool);
        survey->step = 0;
    }
    const struct survey_step *step = &survey_steps[survey->step];
    bool deferred = step->state == SPOOL_DEFERRED;
    bool skip = (step->retention_only && !survey->retention) ||
                (survey->part != SURVEY_ALL && deferred != (survey->part == SURVEY_DEFERRED));
    if (!skip && !survey->dir)
        survey_step_open(survey, step);
    if (skip || survey_step_read(survey, step)) {
        survey_step_close(survey);
        survey->step++;
    }
    bool over = survey->step == SURVEY_STEPS;
    if (over && survey->retention)
        survey_note_error(survey, spool_keys_expire(survey->dirs->spool,
                                      (clock_wall() - survey->config->dedupe_ms * CLOCK_MS) / CLOCK_SECOND));
    if (over) {
        names_sort(&survey->fresh);
        names_sort(&survey->deferred);
    }
    int64_t cost = survey_now() - start;
    survey->cost += cost;
    survey->deferred_cost += deferred ? cost : 0;
    return over;
}

struct survey *survey_new(struct dispatch *dispatch, struct tenant *tenant, const struct config *config,
    int spool_fd, void (*done)(struct desk_job *))
{
    struct survey *survey = calloc(1, sizeof *survey);
    if (!survey)
        return NULL;
    survey->job = (struct desk_job){.slice = survey_slice, .done = done};
    survey->dispatch = dispatch;
    survey->tenant = tenant;
    survey->dirs = tenant_dirs_ref(tenant->dirs);
    survey->config = config_ref(config);
    survey->spool_fd = spool_fd;
    survey->step = -1;
    survey->began = clock_boot();
    clock_gettime(CLOCK_REALTIME, &survey->began_files);
    names_init(&survey->fresh, BACKLOG_NEW_MAX);
    names_init(&survey->deferred, BACKLOG_DEFERRED_MAX);
    names_init(&survey->ignored, SURVEY_IGNORED_MAX);
    return survey;
}

void survey_free(struct survey *survey)
{
    if (!survey)
        return;
    survey_step_close(survey);
    names_release(&survey->fresh);
    names_release(&survey->deferred);
    names_release(&survey->ignored);
    tenant_dirs_unref(survey->dirs);
    config_unref(survey->config);
    free(survey);
}
