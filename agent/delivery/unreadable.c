// Its wait, on disk and in memory.
#include "unreadable.h"
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/retry.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

// How often the wait is doubled at most: retry.max has come long before.
#define DOUBLED_MAX 16

bool unreadable_is(int error)
{
    return error == -EIO || error == -EUCLEAN; // the latter: a file system that found its own damage
}

bool unreadable_mark(struct message *message)
{
    char name[SPOOL_STATUS_SIZE];
    if (message->origin != SPOOL_DEFERRED)
        return true;
    int64_t now = clock_wall(), since = clock_ns(&message->stat.st_mtim);
    // Without its inode nobody knows how old it is.
    message->recorded = now + retry_wait(message->config, since ? now - since : 0, retry_random());
    struct timespec times[] = {
        {.tv_nsec = UTIME_OMIT}, {.tv_sec = message->recorded / CLOCK_SECOND, .tv_nsec = 0}};
    message->recorded = times[1].tv_sec * CLOCK_SECOND; // as it stands in the directory
    spool_name_status(
        message->status_in == SPOOL_DEFERRED ? message->status_name : message->claimed_name, name);
    return utimensat(message->dirs->spool->dir[SPOOL_DEFERRED], name, times, AT_SYMLINK_NOFOLLOW) == 0 ||
           errno != ENOENT;
}

static int64_t wait_in_new(const struct config *config, const struct backlog_entry *entry)
{
    int64_t wait_ms = config->retry.first_ms;
    for (unsigned i = 0; i < entry->unreadable && wait_ms < config->retry.max_ms; i++)
        wait_ms *= 2;
    return (wait_ms < config->retry.max_ms ? wait_ms : config->retry.max_ms) * CLOCK_MS;
}

void unreadable_wait(struct dispatch *dispatch, struct message *message)
{
    struct tenant *tenant = message->tenant;
    struct backlog_entry *entry = message->entry;
    int64_t wait = message->recorded - clock_wall();
    if (entry->from == SPOOL_DEFERRED) {
        backlog_drop(&tenant->backlog, entry);
        entry = NULL;
    }
    if (message->origin == SPOOL_DEFERRED)
        dispatch_wait(dispatch, tenant, message->claimed_name, message->recorded);
    else if (!entry)
        entry = backlog_add_new(&tenant->backlog, message->name, true, false);
    if (entry) {
        wait = wait_in_new(message->config, entry);
        if (entry->unreadable < DOUBLED_MAX)
            entry->unreadable++;
        entry->settles = UCHAR_MAX; // nobody waits for it to settle
        entry->sure = true;
        backlog_put_off(&tenant->backlog, entry, loop_now(dispatch->loop) + wait);
    }
    char seconds[24];
    (void)snprintf(seconds, sizeof seconds, "%" PRId64, (wait + CLOCK_SECOND - 1) / CLOCK_SECOND);
    log_event(dispatch->log, LOG_ERROR_LEVEL, "message_unreadable",
        "the disk does not give this message; it stays where it is and is tried again, and all others go on. "
        "Check the disk",
        "tenant", tenant->name, "name", message->claimed_name, "reason", strerror(-message->error), "retry_s",
        seconds, NULL);
    dispatch->once_findings = true;
    message->entry = NULL;
}
