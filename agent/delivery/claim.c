// Locks and moves of claimed messages (desks).
#include "claim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Whether place/name is the message's file.
static int claim_compare(const struct message *message, enum spool_state place, const char *name)
{
    struct stat stat;
    if (fstatat(message->dirs->spool->dir[place], name, &stat, AT_SYMLINK_NOFOLLOW))
        return -errno;
    return stat.st_ino == message->stat.st_ino ? 0 : 1;
}

int claim_lock(struct message *message)
{
    if (message->origin != SPOOL_NEW || message->fd < 0) {
        message->keep_lock = false;
        return 0;
    }
    int error = spool_lock(message->fd);
    if (error == -EWOULDBLOCK)
        return error;
    message->keep_lock &= error == 0 && message->stat.st_size <= CLAIM_LOCK_MAX;
    return claim_compare(message, message->place, message->name);
}

// What was moved to `to` may be a file that somebody put in the place of ours a moment ago: it goes back, and
// so does what cannot be looked at now. *ret_back: whether it went.
static int claim_moved(struct message *message, enum spool_state from, enum spool_state to,
    const char name[static SPOOL_NAME_SIZE], bool *ret_back)
{
    char back[SPOOL_NAME_SIZE];
    int error = from == SPOOL_CUR ? 0 : claim_compare(message, to, name);
    *ret_back = !error || error == -ENOENT ||
                spool_move(message->dirs->spool, to, name, message->stat.st_ino, from, back) == 0;
    if (error && error != -ENOENT && error != 1 && *ret_back)
        memcpy(message->name, back, sizeof back);
    return error;
}

int claim_move(struct message *message)
{
    char name[SPOOL_NAME_SIZE];
    bool back = true;
    if (message->place == SPOOL_CUR)
        return 0;
    int error = spool_move(
        message->dirs->spool, message->place, message->name, message->stat.st_ino, SPOOL_CUR, name);
    if (!error)
        error = claim_moved(message, message->place, SPOOL_CUR, name, &back);
    if (error && (back || error == 1))
        return error;
    memcpy(message->name, name, sizeof name);
    message->place = SPOOL_CUR;
    return error;
}

int claim_return(struct message *message)
{
    if (message->place == message->origin)
        return 0;
    int error = spool_move(message->dirs->spool, message->place, message->name, message->stat.st_ino,
        message->origin, message->name);
    if (!error)
        message->place = message->origin;
    return error;
}

int claim_file(struct message *message, enum spool_state to)
{
    char name[SPOOL_NAME_SIZE];
    bool back;
    int error = message->place == SPOOL_NEW ? claim_compare(message, SPOOL_NEW, message->name) : 0;
    if (!error)
        error =
            spool_move_known(message->dirs->spool, message->place, message->name, &message->stat, to, name);
    if (!error)
        error = claim_moved(message, message->place, to, name, &back);
    if (!error)
        memcpy(message->name, name, sizeof name);
    return error;
}

void claim_unlock(struct message *message)
{
    if (message->fd >= 0)
        close(message->fd);
    message->fd = -1;
}
