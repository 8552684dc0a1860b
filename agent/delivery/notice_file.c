// Notices on their way into new/ (see notice_file.h).
#include "notice_file.h"
#include "agent/base/buffer.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define LIST_MAX    (1024 * 1024) // octets of a list
#define LIST_SUFFIX ".list"
#define NOTICE_MODE 0640

void notice_submitted_add(struct notice_submitted *submitted, const char *name)
{
    if (submitted->n == submitted->capacity) {
        size_t capacity = submitted->capacity ? 2 * submitted->capacity : 16;
        void *grown = realloc(submitted->names, capacity * sizeof *submitted->names);
        if (!grown)
            return; // the watch on new/ finds it
        submitted->names = grown;
        submitted->capacity = capacity;
    }
    (void)snprintf(submitted->names[submitted->n++], SPOOL_NAME_SIZE, "%s", name);
}

void notice_submitted_release(struct notice_submitted *submitted)
{
    free(submitted->names);
    *submitted = (struct notice_submitted){0};
}

static int directory_open(int parent, const char *name, bool create)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent, name, flags);
    if (fd >= 0 || errno != ENOENT || !create)
        return fd < 0 ? -errno : fd;
    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(parent, name, flags);
    if (fd >= 0 && fsync(parent) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return -error;
}

// The agent's own directory, so that no agent touches what another one is at.
static int notices_open(const struct spool_tenant *spool, bool create)
{
    int all = directory_open(spool->root, NOTICES_DIRECTORY, create);
    if (all < 0)
        return all;
    int own = directory_open(all, spool->agent, create);
    close(all);
    return own;
}

// Writes the mark into the status file, where it is still this message's.
static int mark_status(
    const struct spool_tenant *spool, enum notice_kind kind, ino_t inode, const char *name, int64_t now)
{
    int dir = spool->dir[kind == NOTICE_FAILED ? SPOOL_FAILED : SPOOL_DEFERRED];
    struct status *status = NULL;
    struct timespec mtime;
    int r = status_read(dir, name, &status, &mtime, NULL);
    if (r)
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
    struct timespec *mark = kind == NOTICE_FAILED ? &status->notified : &status->delay_warned;
    if (status->inode == inode && !mark->tv_sec) {
        *mark = clock_timespec(now);
        if (kind == NOTICE_DELAYED)
            status->next_attempt = mtime;
        r = status_write(dir, name, status);
        r = r == -EEXIST ? 0 : r; // another message has the name by now
    }
    status_free(status);
    return r;
}

// Whether the message lies in the cur/ of the agent that the tenant was opened for: 1, 0 or negative errno.
static int lies_in_own_cur(const struct spool_tenant *spool, ino_t inode, const char *name)
{
    enum spool_state state;
    char found[SPOOL_NAME_SIZE];
    int r = spool_find_higher(spool, SPOOL_NEW, name, inode, &state, found);
    return r == 1 ? state == SPOOL_CUR : r;
}

// The same of any other agent's (under the name that it had).
static int lies_in_any_cur(const struct spool_tenant *spool, ino_t inode, const char *name)
{
    int r = 0, fd = openat(spool->root, "cur", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    errno = 0;
    for (const struct dirent *entry; !r && (entry = readdir(dir)); errno = 0) {
        char path[2 * SPOOL_NAME_SIZE];
        struct stat stat;
        (void)snprintf(path, sizeof path, "%s/%s", entry->d_name, name);
        r = entry->d_name[0] != '.' && fstatat(fd, path, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
            stat.st_ino == inode;
    }
    r = r ? r : -errno; // what was not read to its end is no answer
    closedir(dir);
    return r;
}

// A delayed message is claimed while its status is written, so that no other agent tries it meanwhile.
static int mark_claimed(const struct spool_tenant *spool, ino_t inode, const char *name, int64_t now)
{
    char in_cur[SPOOL_NAME_SIZE];
    int r = spool_move(spool, SPOOL_DEFERRED, name, inode, SPOOL_CUR, in_cur);
    if (r)
        return r == -ENOENT ? -EBUSY : r; // somebody took it in this moment
    r = mark_status(spool, NOTICE_DELAYED, inode, name, now);
    int back = spool_move(spool, SPOOL_CUR, in_cur, inode, SPOOL_DEFERRED, in_cur);
    return r ? r : back;
}

// nobodys: what lies in our cur/ waits there for us, and for nobody else.
static int mark(const struct spool_tenant *spool, enum notice_kind kind, ino_t inode, const char *name,
    bool nobodys, int64_t now)
{
    struct stat stat;
    if (notice_kind_relayed(kind))
        return 0; // told when it happens, and never looked for again
    if (kind == NOTICE_FAILED)
        return mark_status(spool, kind, inode, name, now);
    for (int looks = 0; looks < 2; looks++) { // it may go from one to the other between two of them
        int own = lies_in_own_cur(spool, inode, name);
        if (own == 1 && nobodys)
            return mark_status(spool, kind, inode, name, now);
        int any = own ? own : lies_in_any_cur(spool, inode, name);
        if (any)
            return any < 0 ? any : -EBUSY;
        if (fstatat(spool->dir[SPOOL_DEFERRED], name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
            stat.st_ino == inode)
            return mark_claimed(spool, inode, name, now);
    }
    return 0; // sent, failed or moved meanwhile
}

// From the complete notice to new/: the same for a fresh one and for one that a crash left.
static int finish(const struct spool_tenant *spool, int dir, const char *name)
{
    char list[SPOOL_NAME_SIZE + 8];
    (void)snprintf(list, sizeof list, "%s" LIST_SUFFIX, name);
    int r = spool_sync(spool, SPOOL_FAILED);
    if (!r)
        r = spool_sync(spool, SPOOL_DEFERRED);
    if (!r && renameat2(dir, name, spool->dir[SPOOL_NEW], name, RENAME_NOREPLACE) < 0)
        r = -errno;
    if (!r)
        r = spool_sync(spool, SPOOL_NEW);
    if (!r && fsync(dir) < 0)
        r = -errno;
    if (!r)
        (void)unlinkat(dir, list, 0);
    return r;
}

static int make_name(int64_t now, char ret_name[static SPOOL_NAME_SIZE])
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return -EIO;
    (void)snprintf(ret_name, SPOOL_NAME_SIZE, "notice.%" PRId64 ".%016" PRIx64, now / CLOCK_SECOND, random);
    return 0;
}

int notice_file_submit(const struct spool_tenant *spool, struct notice_item *const *items, size_t n,
    const char *data, size_t length, int64_t now, char ret_name[static SPOOL_NAME_SIZE])
{
    char list[SPOOL_NAME_SIZE + 8];
    struct buffer text;
    int dir = notices_open(spool, true);
    if (dir < 0)
        return dir;
    buffer_init(&text, LIST_MAX);
    for (size_t i = 0; i < n; i++)
        buffer_format(&text, "%s %" PRIu64 " %s\n", notice_kind_name(items[i]->kind),
            (uint64_t)items[i]->inode, items[i]->name);
    int r = buffer_error(&text);
    if (!r)
        r = make_name(now, ret_name);
    if (!r) {
        (void)snprintf(list, sizeof list, "%s" LIST_SUFFIX, ret_name);
        r = file_replace(dir, list, text.data, text.length, NOTICE_MODE, FILE_SYNCED);
    }
    if (!r)
        r = file_replace(dir, ret_name, data, length, NOTICE_MODE, FILE_SYNCED);
    if (!r && fsync(dir) < 0)
        r = -errno;
    for (size_t i = 0; !r && i < n; i++)
        r = mark(spool, items[i]->kind, items[i]->inode, items[i]->name, items[i]->claimed, now);
    if (!r)
        r = finish(spool, dir, ret_name);
    buffer_release(&text);
    close(dir);
    return r;
}

static int read_list(int dir, const char *list, struct buffer *out)
{
    int fd = openat(dir, list, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = 1;
    while (n > 0 && !buffer_error(out)) {
        char *to = buffer_reserve(out, 4096);
        n = to ? TEMP_FAILURE_RETRY(read(fd, to, 4096)) : -1;
        if (n > 0)
            buffer_grew(out, (size_t)n);
    }
    int r = buffer_error(out) ? buffer_error(out) : n < 0 ? -errno : 0;
    close(fd);
    return r;
}

static int mark_line(const struct spool_tenant *spool, bool died, char *line, int64_t now)
{
    char *inode = strchr(line, ' '), *name = inode ? strchr(inode + 1, ' ') : NULL;
    if (!name || !spool_name_valid(name + 1))
        return 0;
    enum notice_kind kind = strncmp(line, "delayed ", 8) == 0   ? NOTICE_DELAYED
                            : strncmp(line, "relayed ", 8) == 0 ? NOTICE_RELAYED
                                                                : NOTICE_FAILED;
    return mark(spool, kind, (ino_t)strtoull(inode + 1, NULL, 10), name + 1, died, now);
}

// One list: with its notice beside it the work goes on, without it is over or never began.
static int recover_one(const struct spool_tenant *spool, bool died, int dir, const char *list, int64_t now,
    struct notice_submitted *submitted)
{
    char name[SPOOL_NAME_SIZE];
    size_t length = strlen(list) - strlen(LIST_SUFFIX);
    if (length >= sizeof name)
        return 0;
    memcpy(name, list, length);
    name[length] = '\0';
    if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW)) {
        (void)unlinkat(dir, list, 0);
        return 0;
    }
    struct buffer text;
    buffer_init(&text, LIST_MAX + 4096);
    int r = read_list(dir, list, &text);
    for (char *line = text.data; !r && line && *line;) {
        char *end = strchr(line, '\n');
        if (!end)
            break;
        *end = '\0';
        r = mark_line(spool, died, line, now);
        line = end + 1;
    }
    if (!r)
        r = finish(spool, dir, name);
    if (!r)
        notice_submitted_add(submitted, name);
    buffer_release(&text);
    return r;
}

int notice_file_recover(
    const struct spool_tenant *spool, bool died, int64_t now, struct notice_submitted *submitted)
{
    int fd = notices_open(spool, false), r = 0;
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        r = -errno;
        close(fd);
        return r;
    }
    for (const struct dirent *entry; (!r || r == -EBUSY) && (entry = readdir(dir));) {
        int one = 0;
        size_t length = strlen(entry->d_name), suffix = strlen(LIST_SUFFIX);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (entry->d_name[0] == '.')
            (void)unlinkat(fd, entry->d_name, 0); // a temporary of a crash
        else if (length > suffix && strcmp(entry->d_name + length - suffix, LIST_SUFFIX) == 0)
            one = recover_one(spool, died, fd, entry->d_name, now, submitted);
        r = one ? one : r;
    }
    closedir(dir);
    return r;
}
