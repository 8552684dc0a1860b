// Moves between states, and the choice of a free name (see spool.h).
//
// A collision counts the variant up, never down. So a message's name in cur/ has at least the number of the
// name its status has in deferred/, and its name in a higher state at least the number it had in cur/: that
// is the direction in which the searches here look.
#include "spool_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h> // renameat2
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define NEAR      16  // variants on each side of a name that are searched for its status
#define TRIES_MAX 100 // names tried where others keep taking the chosen one

enum taken { TAKEN_NOT, TAKEN_OTHER, TAKEN_OWN_MESSAGE, TAKEN_OWN_STATUS };

// What holds name in dir, as seen from the message `owner`: 0 or positive is an enum taken. The status is
// looked at where only one of the two checks could tell, so a free name costs two lookups and a taken one
// costs one.
static int probe(int dir, bool with_status, const char *name, ino_t owner)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return st.st_ino == owner && S_ISREG(st.st_mode) ? TAKEN_OWN_MESSAGE : TAKEN_OTHER;
    if (errno != ENOENT)
        return -errno;
    if (!with_status)
        return TAKEN_NOT;
    uint64_t inode, size;
    int r = status_peek(dir, name, &inode, &size);
    if (r == -ENOENT)
        return TAKEN_NOT;
    if (r < 0)
        return r == -EBADMSG ? TAKEN_OTHER : r;
    return inode == owner ? TAKEN_OWN_STATUS : TAKEN_OTHER;
}

// The lowest variant above `number` that a search with ever wider steps finds free, so that a producer who
// always uses one name costs a logarithm and not a walk.
static int gallop(int dir, bool with_status, const char *name, ino_t owner, unsigned number,
    char ret_name[static SPOOL_NAME_SIZE])
{
    char variant[SPOOL_NAME_SIZE];
    unsigned taken = number, step = 1, free_at = 0;
    while (free_at == 0 || free_at - taken > 1) {
        unsigned next = free_at != 0 ? taken + (free_at - taken) / 2 : taken + step;
        if (next > SPOOL_VARIANT_MAX) {
            if (taken == SPOOL_VARIANT_MAX)
                return -EEXIST;
            next = SPOOL_VARIANT_MAX;
        }
        spool_name_variant(name, next, variant);
        int r = probe(dir, with_status, variant, owner);
        if (r < 0)
            return r;
        if (r == TAKEN_OTHER) {
            taken = next;
            step *= 2;
        } else {
            free_at = next;
        }
    }
    spool_name_variant(name, free_at, ret_name);
    return 0;
}

// The number of the variant near name whose status is the owner's, 0 for none. Below: a claim that collided
// in cur/ has counted the name up. Above: the name was taken when the status was written, and is free by now.
static int own_status_near(int dir, const char *name, ino_t owner)
{
    unsigned number = spool_name_number(name);
    unsigned first = number > NEAR ? number - NEAR : 1;
    unsigned last = number < SPOOL_VARIANT_MAX - NEAR ? number + NEAR : SPOOL_VARIANT_MAX;
    for (unsigned n = first; n <= last; n++) {
        char variant[SPOOL_NAME_SIZE];
        spool_name_variant(name, n, variant);
        int r = n != number ? probe(dir, true, variant, owner) : TAKEN_OTHER;
        if (r < 0)
            return r;
        if (r == TAKEN_OWN_STATUS)
            return (int)n;
    }
    return 0;
}

// Chooses a name. A status of the owner beside another name is looked for where this name is taken, and in
// any case where it is `expected`.
static int choose(int dir, bool with_status, bool expected, const char *name, ino_t owner,
    char ret_name[static SPOOL_NAME_SIZE])
{
    int r = probe(dir, with_status, name, owner);
    if (r < 0)
        return r;
    unsigned number = spool_name_number(name);
    if (r == TAKEN_OTHER || (r == TAKEN_NOT && expected)) {
        int near = with_status ? own_status_near(dir, name, owner) : 0;
        if (near < 0)
            return near;
        if (near == 0 && r == TAKEN_OTHER) {
            r = gallop(dir, with_status, name, owner, number, ret_name);
            // Everything above is taken: a name that came in with a high number starts again from the first.
            return r == -EEXIST && number > 1 ? gallop(dir, with_status, name, owner, 1, ret_name) : r;
        }
        number = near > 0 ? (unsigned)near : number;
    }
    spool_name_variant(name, number, ret_name);
    return 0;
}

int spool_choose(const struct spool_tenant *tenant, enum spool_state to, const char *name, ino_t owner,
    char ret_name[static SPOOL_NAME_SIZE])
{
    bool with_status = spool_state_has_status(to);
    bool expected = with_status && spool_name_number(name) > 1; // perhaps it collided on its way
    return choose(tenant->dir[to], with_status, expected, name, owner, ret_name);
}

int spool_find_inode(int dir, const char *name, ino_t inode, char ret_name[static SPOOL_NAME_SIZE])
{
    unsigned first = spool_name_number(name), gap = 0;
    for (unsigned n = first; n - first < SPOOL_PROBE_MAX && n <= SPOOL_VARIANT_MAX && gap < SPOOL_PROBE_GAP;
         n++) {
        char variant[SPOOL_NAME_SIZE];
        spool_name_variant(name, n, variant);
        int r = probe(dir, false, variant, inode);
        if (r < 0)
            return r;
        if (r == TAKEN_OWN_MESSAGE) {
            memcpy(ret_name, variant, sizeof variant);
            return 1;
        }
        gap = r == TAKEN_NOT ? gap + 1 : 0;
    }
    return 0;
}

int spool_lock(int fd)
{
    return TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB)) < 0 ? -errno : 0;
}

// The message lies in the target already: only its old name is left to remove.
static int drop_source(int dir, const char *name, const char *target, char ret_name[static SPOOL_NAME_SIZE])
{
    if (TEMP_FAILURE_RETRY(unlinkat(dir, name, 0)) < 0)
        return -errno;
    spool_name_copy(ret_name, target);
    return 0;
}

// Whether `to` has the inode of from/name already, under any later variant; only worth a look where the file
// has more than one name.
static int moved_before(const struct spool_tenant *tenant, enum spool_state from, const char *name,
    enum spool_state to, char ret_name[static SPOOL_NAME_SIZE])
{
    struct stat st;
    if (fstatat(tenant->dir[from], name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return st.st_nlink > 1 ? spool_find_inode(tenant->dir[to], name, st.st_ino, ret_name) : 0;
}

// search: `to` may have the message already.
static int move(const struct spool_tenant *tenant, enum spool_state from, const char *name, ino_t owner,
    bool search, enum spool_state to, char ret_name[static SPOOL_NAME_SIZE])
{
    char source[SPOOL_NAME_SIZE], target[SPOOL_NAME_SIZE];
    bool with_status = spool_state_has_status(to);
    spool_name_copy(source, name); // ret_name may be name
    memcpy(target, source, sizeof target);
    int r = search ? moved_before(tenant, from, source, to, target) : 0;
    if (r != 0)
        return r < 0 ? r : drop_source(tenant->dir[from], source, target, ret_name);
    if (with_status)
        r = choose(tenant->dir[to], true, true, source, owner, target);
    for (int try = 0; r == 0 && try < TRIES_MAX; try++) {
        if (TEMP_FAILURE_RETRY(
                renameat2(tenant->dir[from], source, tenant->dir[to], target, RENAME_NOREPLACE)) == 0) {
            memcpy(ret_name, target, sizeof target);
            return 0;
        }
        if (errno != EEXIST)
            return -errno;
        struct stat st;
        if (fstatat(tenant->dir[from], source, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
        r = probe(tenant->dir[to], false, target, st.st_ino);
        if (r == TAKEN_OWN_MESSAGE)
            return drop_source(tenant->dir[from], source, target, ret_name);
        if (r >= 0)
            r = choose(tenant->dir[to], with_status, with_status, source, owner, target);
    }
    return r < 0 ? r : -EEXIST;
}

int spool_move(const struct spool_tenant *tenant, enum spool_state from, const char *name, ino_t owner,
    enum spool_state to, char ret_name[static SPOOL_NAME_SIZE])
{
    // A claim searches nothing: whoever claims looks at the links of the open file anyway.
    return move(tenant, from, name, owner, to != SPOOL_CUR, to, ret_name);
}

int spool_move_known(const struct spool_tenant *tenant, enum spool_state from, const char *name,
    const struct stat *known, enum spool_state to, char ret_name[static SPOOL_NAME_SIZE])
{
    return move(tenant, from, name, known->st_ino, known->st_nlink > 1, to, ret_name);
}
