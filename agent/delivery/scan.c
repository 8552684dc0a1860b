// Refills and looks: what the wire thread needs to know at once (intake desk).
#include "scan.h"
#include "agent/base/clock.h"
#include "agent/compose/outgoing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCAN_IGNORED_MAX 64 // ignored entries named in one pass; the rest is only counted

int scan_due(const struct spool_tenant *spool, const char *name, int64_t *ret_due, struct timespec *ret_ctime)
{
    struct stat message, status;
    char status_name[SPOOL_STATUS_SIZE];
    int dir = spool->dir[SPOOL_DEFERRED];
    if (fstatat(dir, name, &message, AT_SYMLINK_NOFOLLOW))
        return -errno;
    if (!S_ISREG(message.st_mode))
        return -EINVAL;
    spool_name_status(name, status_name);
    *ret_due = 0;
    if (fstatat(dir, status_name, &status, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : -errno;
    if (clock_ns(&message.st_mtim) <= clock_ns(&status.st_ctim))
        *ret_due = clock_ns(&status.st_mtim);
    if (ret_ctime)
        *ret_ctime = status.st_ctim;
    return 0;
}

static int refill_entry(struct refill *refill, const struct dirent *entry)
{
    struct stat stat;
    const struct spool_tenant *spool = refill->dirs->spool;
    bool regular = entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN;
    if (regular && spool_name_valid(entry->d_name)) {
        if (fstatat(spool->dir[SPOOL_NEW], entry->d_name, &stat, AT_SYMLINK_NOFOLLOW))
            return errno == ENOENT ? 0 : -errno;
        if (S_ISREG(stat.st_mode))
            return names_offer(&refill->names, entry->d_name, clock_ns(&stat.st_mtim), 0);
    }
    if (entry->d_name[0] != '.')
        (void)names_offer(&refill->ignored, entry->d_name, 0, 0);
    return 0;
}

static void refill_read(struct refill *refill, DIR *dir)
{
    size_t offered = 0;
    if (refill->position)
        seekdir(dir, refill->position);
    bool from_start = refill->position == 0;
    while (offered < SCAN_BATCH) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            refill->error = -errno;
            refill->position = 0;
            refill->complete = from_start && !errno && !refill->names.left_out;
            return;
        }
        size_t before = refill->names.n;
        int error = refill_entry(refill, entry);
        if (error && !refill->error)
            refill->error = error;
        offered += refill->names.n > before || refill->names.n == refill->names.max;
    }
    refill->position = telldir(dir);
}

static void refill_run(struct desk_job *job)
{
    struct refill *refill = (struct refill *)job;
    int fd = openat(refill->dirs->spool->dir[SPOOL_NEW], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        refill->error = -errno;
        if (fd >= 0)
            close(fd);
        return;
    }
    refill_read(refill, dir);
    closedir(dir);
    names_sort(&refill->names);
    for (size_t i = 0; i < refill->names.n; i++)
        refill->names.items[i].high =
            outgoing_peek_priority(refill->dirs->spool->dir[SPOOL_NEW], refill->names.items[i].text);
}

struct refill *refill_new(
    struct dispatch *dispatch, struct tenant *tenant, long position, void (*done)(struct desk_job *))
{
    struct refill *refill = calloc(1, sizeof *refill);
    if (!refill)
        return NULL;
    refill->job = (struct desk_job){.run = refill_run, .done = done};
    refill->dispatch = dispatch;
    refill->tenant = tenant;
    refill->dirs = tenant_dirs_ref(tenant->dirs);
    refill->position = position;
    names_init(&refill->names, BACKLOG_NEW_MAX);
    names_init(&refill->ignored, SCAN_IGNORED_MAX);
    return refill;
}

void refill_free(struct refill *refill)
{
    if (!refill)
        return;
    names_release(&refill->names);
    names_release(&refill->ignored);
    tenant_dirs_unref(refill->dirs);
    free(refill);
}

static void look_run(struct desk_job *job)
{
    struct look *look = (struct look *)job;
    const struct spool_tenant *spool = look->dirs->spool;
    for (size_t i = 0; i < look->n; i++) {
        struct look_item *item = &look->items[i];
        if (item->kind == LOOK_PRIORITY)
            item->found = item->high = outgoing_peek_priority(spool->dir[SPOOL_NEW], item->name);
        else
            item->found = scan_due(spool, item->name, &item->due, NULL) == 0;
    }
}

struct look *look_new(struct dispatch *dispatch, struct tenant *tenant, void (*done)(struct desk_job *))
{
    struct look *look = malloc(sizeof *look);
    if (!look)
        return NULL;
    look->job = (struct desk_job){.run = look_run, .done = done};
    look->dispatch = dispatch;
    look->tenant = tenant;
    look->dirs = tenant_dirs_ref(tenant->dirs);
    look->n = 0;
    return look;
}

void look_free(struct look *look)
{
    if (!look)
        return;
    tenant_dirs_unref(look->dirs);
    free(look);
}
