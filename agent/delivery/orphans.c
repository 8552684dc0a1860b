// Reading the names of status files, and knowing when that has to be done again.
#include "orphans.h"
#include "agent/base/clock.h"
#include "spool-format/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A directory that changed so shortly before it was read may change again within one tick of its clock, and
// its times would not tell: what was read is good for those who asked, and not kept. Two seconds is the
// coarsest tick of any file system.
#define ORPHANS_TICK_NS (2 * CLOCK_SECOND)

void orphans_release(struct orphans *orphans)
{
    free(orphans->hashes);
    *orphans = (struct orphans){0};
}

// FNV-1a. Two names with one hash only cost a look.
static uint64_t base_hash(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0, length = spool_name_base(name); i < length; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    return hash;
}

static int hash_compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

// Adds what an entry is the status of. False where there is no room for it.
static bool orphans_entry(struct orphans *orphans, const char *entry)
{
    char name[SPOOL_STATUS_SIZE];
    size_t length = strlen(entry), suffix = strlen(SPOOL_STATUS_SUFFIX);
    if (length <= suffix || length >= sizeof name ||
        strcmp(entry + length - suffix, SPOOL_STATUS_SUFFIX) != 0)
        return true;
    if (orphans->n == ORPHANS_MAX)
        return false;
    if ((orphans->n & (orphans->n - 1)) == 0) { // the array doubles at each power of two
        size_t size = orphans->n ? 2 * orphans->n : 1;
        uint64_t *hashes = reallocarray(orphans->hashes, size, sizeof *hashes);
        if (!hashes)
            return false;
        orphans->hashes = hashes;
    }
    memcpy(name, entry, length - suffix);
    name[length - suffix] = '\0';
    orphans->hashes[orphans->n++] = base_hash(name);
    return true;
}

static bool orphans_read_all(struct orphans *orphans, int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool all = true;
    orphans->n = 0;
    errno = 0;
    for (const struct dirent *entry; all && (entry = readdir(list)); errno = 0)
        all = orphans_entry(orphans, entry->d_name);
    all &= errno == 0; // else it did not come to the end
    closedir(list);
    if (orphans->n)
        qsort(orphans->hashes, orphans->n, sizeof *orphans->hashes, hash_compare);
    return all;
}

static bool time_same(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

// Brings what is known up to date. Nothing is where the directory changes too often, or is too large.
static void orphans_refresh(struct orphans *orphans, int dir)
{
    struct stat stat;
    if (fstat(dir, &stat)) {
        orphans->known = false;
        return;
    }
    if (orphans->known && time_same(&orphans->mtime, &stat.st_mtim) &&
        time_same(&orphans->ctime, &stat.st_ctim))
        return;
    orphans->known = false;
    int64_t begin = clock_work();
    if (begin < orphans->rest_until)
        return;
    // Times of files come from the kernel's clock, which a test does not shift.
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t settled = clock_ns(&now) - ORPHANS_TICK_NS;
    bool young = clock_ns(&stat.st_mtim) > settled || clock_ns(&stat.st_ctim) > settled;
    orphans->known = orphans_read_all(orphans, dir);
    orphans->mtime = stat.st_mtim;
    orphans->ctime = stat.st_ctim;
    if (young)
        orphans->ctime.tv_nsec = -1; // which no time has: it is read again
    int64_t end = clock_work();
    orphans->rest_until = end + (end - begin) * ORPHANS_REST;
}

bool orphans_may_have(struct orphans *orphans, int dir, const char *name, int64_t since)
{
    if (orphans->looked <= since) {
        int64_t now = clock_work();
        orphans_refresh(orphans, dir);
        orphans->looked = now;
    }
    if (!orphans->known)
        return true;
    uint64_t hash = base_hash(name);
    return orphans->n && bsearch(&hash, orphans->hashes, orphans->n, sizeof hash, hash_compare);
}
