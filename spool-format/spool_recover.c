// Recovery after a crash, and the questions it shares with a claim: is this message further along already,
// and is there a status for it? (see spool.h)
#include "spool_internal.h"
#include "status_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECOVER_BATCH 4096 // entries of cur/AGENT handled at once
#define NEAR          2    // variants below and above a name that are searched for an orphaned status

// Off only in the build that shows that tests/crash notices it.
#ifdef OUTTRAY_TEST_NO_RECOVERY_RANK
#define RANK_IS_OFF true
#else
#define RANK_IS_OFF false
#endif

struct claimed {
    char name[SPOOL_NAME_SIZE];
    ino_t inode;
    nlink_t links;
    off_t size;
    bool found; // in a higher state
    enum spool_state higher;
    char higher_name[SPOOL_NAME_SIZE];
};

struct recovery {
    const struct spool_tenant *tenant;
    struct claimed *claimed;
    size_t n;
    bool touched[SPOOL_STATES];
    unsigned returned;
};

// The states above `state`, highest rank first; SPOOL_STATES ends the list.
static const enum spool_state *higher_states(enum spool_state state)
{
    static const enum spool_state all[] = {SPOOL_SENT, SPOOL_FAILED, SPOOL_DEFERRED, SPOOL_CUR, SPOOL_STATES};
    static const enum spool_state of_cur[] = {SPOOL_SENT, SPOOL_FAILED, SPOOL_DEFERRED, SPOOL_STATES};
    static const enum spool_state of_deferred[] = {SPOOL_SENT, SPOOL_FAILED, SPOOL_STATES};
    static const enum spool_state of_failed[] = {SPOOL_SENT, SPOOL_STATES};
    static const enum spool_state none[] = {SPOOL_STATES};
    switch (state) {
    case SPOOL_TMP:
    case SPOOL_NEW:
        return all;
    case SPOOL_CUR:
        return of_cur;
    case SPOOL_DEFERRED:
        return of_deferred;
    case SPOOL_FAILED:
        return of_failed;
    default:
        return none;
    }
}

int spool_find_higher(const struct spool_tenant *tenant, enum spool_state state, const char *name,
    ino_t inode, enum spool_state *ret_state, char ret_name[static SPOOL_NAME_SIZE])
{
    if (RANK_IS_OFF)
        return 0;
    for (const enum spool_state *higher = higher_states(state); *higher != SPOOL_STATES; higher++) {
        if (*higher == SPOOL_CUR && tenant->agent == NULL)
            continue; // cur itself holds no messages
        int r = spool_find_inode(tenant->dir[*higher], name, inode, ret_name);
        if (r > 0)
            *ret_state = *higher;
        if (r != 0)
            return r;
    }
    return 0;
}

int spool_settle(const struct spool_tenant *tenant, enum spool_state state, const char *name, ino_t inode)
{
    enum spool_state higher;
    char higher_name[SPOOL_NAME_SIZE];
    int r = spool_find_higher(tenant, state, name, inode, &higher, higher_name);
    if (r <= 0)
        return r;
    if (TEMP_FAILURE_RETRY(unlinkat(tenant->dir[state], name, 0)) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (spool_state_has_status(state))
        r = spool_status_remove(tenant, state, name, inode);
    if (r >= 0)
        r = spool_sync(tenant, state);
    return r < 0 ? r : 1;
}

int spool_settle_status(const struct spool_tenant *tenant, enum spool_state state, const char *name)
{
    uint64_t inode, size;
    struct stat st;
    enum spool_state higher;
    char higher_name[SPOOL_NAME_SIZE];
    if (!spool_name_valid(name) || fstatat(tenant->dir[state], name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    int r = status_peek(tenant->dir[state], name, &inode, &size);
    if (r < 0)
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
    r = spool_find_higher(tenant, state, name, inode, &higher, higher_name);
    if (r <= 0)
        return r;
    r = spool_status_remove(tenant, state, name, inode);
    return r < 0 ? r : 1;
}

bool spool_identity_same(const struct status_identity *recorded, const struct status_identity *found)
{
    if (recorded->inode != found->inode || recorded->size != found->size)
        return false;
    if (recorded->born.tv_sec == 0 || found->born.tv_sec == 0)
        return true;
    return recorded->born.tv_sec == found->born.tv_sec && recorded->born.tv_nsec == found->born.tv_nsec;
}

// Looks for a status of this file in dir under the n-th variant of name: 1, 0 (none, another's or
// unreadable), or errno.
static int status_is_at(int dir, const char *name, unsigned n, const struct status_identity *file,
    char ret_name[static SPOOL_NAME_SIZE])
{
    char variant[SPOOL_NAME_SIZE];
    struct status_identity recorded;
    spool_name_variant(name, n, variant);
    int r = status_peek_identity(dir, variant, &recorded);
    if (r == -ENOENT || r == -EBADMSG)
        return 0;
    if (r < 0)
        return r;
    if (!spool_identity_same(&recorded, file))
        return 0;
    memcpy(ret_name, variant, sizeof variant);
    return 1;
}

// The name first, then its neighbours: a message gets another number where it collided on its way.
static int find_status(
    int dir, const char *name, const struct status_identity *file, char ret_name[static SPOOL_NAME_SIZE])
{
    unsigned number = spool_name_number(name);
    int r = status_is_at(dir, name, number, file, ret_name);
    for (unsigned n = number > NEAR ? number - NEAR : 1;
         r == 0 && n <= number + NEAR && n <= SPOOL_VARIANT_MAX; n++) {
        if (n != number)
            r = status_is_at(dir, name, n, file, ret_name);
    }
    return r;
}

int spool_find_status(const struct spool_tenant *tenant, enum spool_state state, const char *name, int fd,
    struct status **ret_status, char ret_name[static SPOOL_NAME_SIZE])
{
    struct status_identity file;
    char found[SPOOL_NAME_SIZE];
    int r = status_file_identity(fd, "", &file);
    if (r == 0)
        r = find_status(tenant->dir[state], name, &file, found);
    if (r <= 0)
        return r;
    r = status_read(tenant->dir[state], found, ret_status, NULL, NULL);
    if (r < 0)
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
    memcpy(ret_name, found, sizeof found);
    return 1;
}

enum spool_state spool_origin(const struct spool_tenant *tenant, const char *name, ino_t inode, off_t size)
{
    struct status_identity file;
    char found[SPOOL_NAME_SIZE];
    if (status_file_identity(tenant->dir[SPOOL_CUR], name, &file) < 0 || file.inode != inode)
        file = (struct status_identity){.inode = inode};
    file.size = (uint64_t)size;
    return find_status(tenant->dir[SPOOL_DEFERRED], name, &file, found) > 0 ? SPOOL_DEFERRED : SPOOL_NEW;
}

int spool_status_remove(
    const struct spool_tenant *tenant, enum spool_state state, const char *name, ino_t inode)
{
    uint64_t recorded, size;
    char status[SPOOL_STATUS_SIZE];
    int r = status_peek(tenant->dir[state], name, &recorded, &size);
    if (r == -ENOENT || r == -EBADMSG || (r == 0 && recorded != inode))
        return 0;
    if (r < 0)
        return r;
    spool_name_status(name, status);
    return TEMP_FAILURE_RETRY(unlinkat(tenant->dir[state], status, 0)) < 0 && errno != ENOENT ? -errno : 0;
}

// Fills the batch with messages of cur/AGENT. What is no message is left where it is.
static int collect(struct recovery *recovery)
{
    int cur = recovery->tenant->dir[SPOOL_CUR];
    DIR *list = spool_list(cur);
    if (list == NULL)
        return -errno;
    recovery->n = 0;
    int r = 0;
    while (r == 0 && recovery->n < RECOVER_BATCH) {
        struct stat st;
        errno = 0;
        struct dirent *entry = readdir(list);
        if (entry == NULL) {
            r = -errno;
            break;
        }
        if (!spool_name_valid(entry->d_name))
            continue;
        if (fstatat(cur, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            r = errno == ENOENT ? 0 : -errno; // one that cannot be looked at must not be left behind
            continue;
        }
        if (!S_ISREG(st.st_mode))
            continue;
        struct claimed *claimed = &recovery->claimed[recovery->n++];
        *claimed = (struct claimed){.inode = st.st_ino, .links = st.st_nlink, .size = st.st_size};
        spool_name_copy(claimed->name, entry->d_name);
    }
    closedir(list);
    return r;
}

static int compare_base(const void *a, const void *b)
{
    const char *x = ((const struct claimed *)a)->name, *y = ((const struct claimed *)b)->name;
    size_t x_length = spool_name_base(x), y_length = spool_name_base(y);
    int order = memcmp(x, y, x_length < y_length ? x_length : y_length);
    return order != 0 ? order : (x_length > y_length) - (x_length < y_length);
}

// Compares one entry of a higher state with every claimed message of its base name.
static int match(struct recovery *recovery, enum spool_state state, const char *name)
{
    struct claimed key = {0};
    struct stat st;
    spool_name_copy(key.name, name);
    struct claimed *end = recovery->claimed + recovery->n;
    struct claimed *at = bsearch(&key, recovery->claimed, recovery->n, sizeof key, compare_base);
    if (at == NULL)
        return 0;
    if (fstatat(recovery->tenant->dir[state], name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    while (at > recovery->claimed && compare_base(at - 1, &key) == 0)
        at--;
    for (; at < end && compare_base(at, &key) == 0; at++) {
        if (at->found || at->inode != st.st_ino)
            continue;
        at->found = true;
        at->higher = state;
        spool_name_copy(at->higher_name, name);
    }
    return 0;
}

// Finds the claimed messages that lie in a higher state too. Unlike a claim, recovery reads these directories
// as a whole, and so misses no variant; it does so only where a claimed file has more than one name.
static int find_duplicates(struct recovery *recovery)
{
    bool any = false;
    for (size_t i = 0; i < recovery->n; i++)
        any = any || recovery->claimed[i].links > 1;
    if (!any || RANK_IS_OFF)
        return 0;
    qsort(recovery->claimed, recovery->n, sizeof *recovery->claimed, compare_base);
    for (const enum spool_state *state = higher_states(SPOOL_CUR); *state != SPOOL_STATES; state++) {
        DIR *list = spool_list(recovery->tenant->dir[*state]);
        if (list == NULL)
            return -errno;
        int r = 0;
        errno = 0;
        for (struct dirent *entry; r == 0 && (entry = readdir(list)) != NULL; errno = 0) {
            if (spool_name_valid(entry->d_name))
                r = match(recovery, *state, entry->d_name);
        }
        r = r < 0 ? r : -errno;
        closedir(list);
        if (r < 0)
            return r;
    }
    return 0;
}

// A crash inside status_write leaves its temporary; the message was in cur/AGENT then, so its inode gives the
// name.
static void remove_temporaries(const struct spool_tenant *tenant, ino_t inode)
{
    char name[STATUS_TEMPORARY_SIZE];
    status_temporary(inode, name);
    unlinkat(tenant->dir[SPOOL_DEFERRED], name, 0);
    unlinkat(tenant->dir[SPOOL_FAILED], name, 0);
}

static int put_back(struct recovery *recovery, const struct claimed *claimed)
{
    const struct spool_tenant *tenant = recovery->tenant;
    char name[SPOOL_NAME_SIZE];
    remove_temporaries(tenant, claimed->inode);
    if (claimed->found) {
        if (TEMP_FAILURE_RETRY(unlinkat(tenant->dir[SPOOL_CUR], claimed->name, 0)) < 0)
            return errno == ENOENT ? 0 : -errno;
        recovery->touched[SPOOL_CUR] = true;
        if (claimed->higher == SPOOL_DEFERRED)
            return 0;
        recovery->touched[SPOOL_DEFERRED] = true; // its status there outlived the message
        return spool_status_remove(tenant, SPOOL_DEFERRED, claimed->name, claimed->inode);
    }
    enum spool_state origin = spool_origin(tenant, claimed->name, claimed->inode, claimed->size);
    int r = spool_move(tenant, SPOOL_CUR, claimed->name, claimed->inode, origin, name);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    recovery->touched[origin] = recovery->touched[SPOOL_CUR] = true;
    recovery->returned++;
    return 0;
}

int spool_recover(const struct spool_tenant *tenant, unsigned *ret_returned)
{
    static const enum spool_state sync_order[] = {SPOOL_DEFERRED, SPOOL_NEW, SPOOL_CUR}; // destinations first
    if (tenant->agent == NULL)
        return -EINVAL;
    struct recovery recovery = {.tenant = tenant};
    recovery.claimed = calloc(RECOVER_BATCH, sizeof *recovery.claimed);
    if (recovery.claimed == NULL)
        return -ENOMEM;
    int r;
    do {
        r = collect(&recovery);
        if (r == 0)
            r = find_duplicates(&recovery);
        for (size_t i = 0; i < recovery.n && r == 0; i++)
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it is freed below, whatever this returns
            r = put_back(&recovery, &recovery.claimed[i]);
    } while (r == 0 && recovery.n == RECOVER_BATCH);
    free(recovery.claimed);
    for (size_t i = 0; i < sizeof sync_order / sizeof *sync_order; i++) {
        int s = recovery.touched[sync_order[i]] ? spool_sync(tenant, sync_order[i]) : 0;
        r = r < 0 ? r : s;
    }
    *ret_returned = recovery.returned;
    return r;
}
