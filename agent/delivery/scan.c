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
// Octets of a file that is held open, which the kernel begins to read when it is opened. A backlog that lies
// on the disk only is read many files at a time then, and not one after the other.
#define SCAN_AHEAD 65536

int scan_due(const struct spool_tenant *spool, const char *name, int64_t *ret_due, struct timespec *ret_ctime)
{
    struct stat message;
    if (fstatat(spool->dir[SPOOL_DEFERRED], name, &message, AT_SYMLINK_NOFOLLOW))
        return -errno;
    return S_ISREG(message.st_mode) ? scan_due_of(spool, name, &message, ret_due, ret_ctime) : -EINVAL;
}

// Whether somebody touched the message since its status was written. A time in the future, as it comes with a
// file from a machine whose clock is ahead, is no touch yet: the message would be tried without a pause until
// then.
static bool is_touched(const struct stat *message, const struct stat *status)
{
    int64_t touched = clock_ns(&message->st_mtim);
    return touched > clock_ns(&status->st_ctim) && touched <= clock_wall();
}

int scan_due_of(const struct spool_tenant *spool, const char *name, const struct stat *message,
    int64_t *ret_due, struct timespec *ret_ctime)
{
    struct stat status;
    char status_name[SPOOL_STATUS_SIZE];
    int dir = spool->dir[SPOOL_DEFERRED];
    spool_name_status(name, status_name);
    *ret_due = 0;
    if (fstatat(dir, status_name, &status, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : -errno;
    if (!is_touched(message, &status))
        *ret_due = clock_ns(&status.st_mtim);
    if (ret_ctime)
        *ret_ctime = status.st_ctim;
    return 0;
}

// Time and priority of an entry of new/, by one open of what the directory calls a regular file, which stays
// open where `hold` says so. 1 where it is none after all; negative errno.
static int refill_look(
    struct tenant_dirs *dirs, const struct dirent *entry, bool hold, struct name_at *ret_name)
{
    struct stat stat;
    int dir = dirs->spool->dir[SPOOL_NEW];
    int fd = entry->d_type == DT_REG ? tenant_dirs_open(dirs, SPOOL_NEW, entry->d_name) : -1;
    // One that cannot be opened is claimed all the same, and the claim tells.
    int error =
        (fd >= 0 ? fstat(fd, &stat) : fstatat(dir, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW)) ? -errno : 0;
    if (!error && !S_ISREG(stat.st_mode))
        error = 1;
    bool held = !error && hold && fd >= 0;
    if (!error)
        *ret_name =
            (struct name_at){.text = entry->d_name, .time = clock_ns(&stat.st_mtim), .open = held, .fd = fd};
    if (held) // its first lines are looked at when all names are known
        (void)posix_fadvise(fd, 0, SCAN_AHEAD, POSIX_FADV_WILLNEED);
    else if (!error)
        ret_name->high = fd >= 0 ? outgoing_peek_priority_of(fd) : outgoing_peek_priority(dir, entry->d_name);
    if (fd >= 0 && !held)
        close(fd);
    return error;
}

static int refill_entry(struct refill *refill, const struct dirent *entry)
{
    struct name_at name;
    bool regular = entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN;
    if (regular && spool_name_valid(entry->d_name)) {
        int error = refill_look(refill->dirs, entry, refill->names.n < refill->hold, &name);
        if (error <= 0)
            return error == -ENOENT ? 0 : error ? error : names_offer_item(&refill->names, &name);
    }
    if (entry->d_name[0] != '.')
        (void)names_offer(&refill->ignored, entry->d_name, 0, 0);
    return 0;
}

static bool refill_open(struct refill *refill)
{
    int fd = openat(refill->dirs->spool->dir[SPOOL_NEW], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        refill->error = -errno;
        refill->position = 0; // where that was is not known to be there any more
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (refill->position)
        seekdir(dir, refill->position);
    refill->from_start = refill->position == 0;
    refill->dir = dir;
    return true;
}

static void refill_close(struct refill *refill)
{
    if (refill->dir)
        closedir(refill->dir);
    refill->dir = NULL;
}

// The priority of files that are held open. True when all were looked at.
static bool refill_peek(struct refill *refill)
{
    for (unsigned i = 0; i < SCAN_REFILL_SLICE && refill->peeked < refill->names.n; i++) {
        struct name_at *name = &refill->names.items[refill->peeked++];
        if (name->open)
            name->high = outgoing_peek_priority_of(name->fd);
    }
    return refill->peeked == refill->names.n;
}

// Reads a slice of the directory. True when there is no more, or no room for more.
static bool refill_read(struct refill *refill)
{
    for (unsigned i = 0; i < SCAN_REFILL_SLICE && refill->names.n < refill->names.max; i++) {
        errno = 0;
        const struct dirent *entry = readdir(refill->dir);
        if (!entry) {
            refill->error = refill->error ? refill->error : -errno;
            refill->position = 0;
            refill->complete = refill->from_start && !refill->error;
            break;
        }
        int error = refill_entry(refill, entry);
        if (error && !refill->error)
            refill->error = error;
        refill->position = telldir(refill->dir);
    }
    return refill->names.n == refill->names.max || !refill->position;
}

static bool refill_slice(struct desk_job *job)
{
    struct refill *refill = (struct refill *)job;
    if (!refill->read) {
        if (!refill->dir && !refill_open(refill))
            return true;
        refill->read = refill_read(refill);
        if (!refill->read)
            return false;
        refill_close(refill);
        names_sort(&refill->names);
    }
    return refill_peek(refill);
}

struct refill *refill_new(struct dispatch *dispatch, struct tenant *tenant, size_t room, long position,
    void (*done)(struct desk_job *))
{
    struct refill *refill = calloc(1, sizeof *refill);
    if (!refill)
        return NULL;
    refill->job = (struct desk_job){.slice = refill_slice, .done = done};
    refill->dispatch = dispatch;
    refill->tenant = tenant;
    refill->dirs = tenant_dirs_ref(tenant->dirs);
    refill->room = room;
    refill->position = position;
    names_init(&refill->names, room);
    names_init(&refill->ignored, SCAN_IGNORED_MAX);
    return refill;
}

void refill_free(struct refill *refill)
{
    if (!refill)
        return;
    refill_close(refill);
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
