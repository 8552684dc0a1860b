// Waiting for a message's outcome: see submit_wait.h.
#include "agent/cli/submit_wait.h"

#include "agent/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLL_MS 500 // inotify only hastens what is looked for this often

enum progress { PROGRESS_NONE, PROGRESS_SENT, PROGRESS_FAILED, PROGRESS_DEFERRED };

static const enum spool_state watched[] = {SPOOL_SENT, SPOOL_FAILED, SPOOL_DEFERRED};

// Where the message lies now; name is the one it has there.
static enum progress look(const struct submit_wait *wait, char name[static SPOOL_NAME_SIZE])
{
    enum spool_state state;
    if (spool_find_higher(wait->spool, SPOOL_NEW, wait->name, wait->inode, &state, name) != 1)
        return PROGRESS_NONE;
    return state == SPOOL_SENT       ? PROGRESS_SENT
           : state == SPOOL_FAILED   ? PROGRESS_FAILED
           : state == SPOOL_DEFERRED ? PROGRESS_DEFERRED
                                     : PROGRESS_NONE;
}

static int code_of(enum status_reason reason)
{
    switch (reason) {
    case STATUS_REASON_RECIPIENT:
        return EX_NOHOST;
    case STATUS_REASON_POLICY:
        return EX_NOPERM;
    case STATUS_REASON_SIZE:
    case STATUS_REASON_MALFORMED:
        return EX_DATAERR;
    case STATUS_REASON_EXPIRED:
    case STATUS_REASON_NONE:
        break;
    }
    return EX_TEMPFAIL;
}

// The recipients that did not get it, each with the server's words.
static void say_recipients(const struct submit_wait *wait, const struct status *status)
{
    for (size_t i = 0; i < status->n_recipients; i++) {
        const struct status_recipient *recipient = &status->recipients[i];
        if (recipient->state != STATUS_SENT && recipient->reply)
            cli_fail(wait->verb, 0, "%s: %s", recipient->address, recipient->reply);
    }
}

static int say_failed(const struct submit_wait *wait, const char *name)
{
    struct status *status = NULL;
    if (status_read(wait->spool->dir[SPOOL_FAILED], name, &status, NULL, NULL))
        return cli_fail(
            wait->verb, EX_TEMPFAIL, "failed; its status file cannot be read (failed/%s.status)", name);
    int code = cli_fail(wait->verb, code_of(status->reason), "failed (%s): %s",
        status_reason_name(status->reason), status->detail ? status->detail : "see its status file");
    if (status->n_recipients > 1)
        say_recipients(wait, status);
    status_free(status);
    return code;
}

// A deferred message ends the wait where its next attempt comes after it. True where it was so.
static bool say_deferred(const struct submit_wait *wait, const char *name, int64_t rest_ns)
{
    char next[STATUS_TIME_SIZE];
    struct timespec mtime;
    struct status *status = NULL;
    if (status_read(wait->spool->dir[SPOOL_DEFERRED], name, &status, &mtime, NULL))
        return false;
    bool over = status->state == STATUS_DEFERRED && clock_ns(&mtime) > clock_wall() + rest_ns;
    if (over) {
        status_time_format(&mtime, 0, next);
        cli_fail(wait->verb, 0, "deferred until %s: %s", next, status->detail ? status->detail : "no reply");
    }
    status_free(status);
    return over;
}

// In sent/ may also lie what the agent took for a repeat. Turns to the first one then.
static bool is_repeat(struct submit_wait *wait)
{
    struct spool_key first;
    if (!*wait->digest || spool_key_read(wait->spool, wait->digest, &first) || first.inode == wait->inode)
        return false;
    cli_fail(wait->verb, 0, "a message with this key came before: %s; waiting for that one", first.name);
    memcpy(wait->name, first.name, sizeof wait->name);
    wait->inode = (ino_t)first.inode;
    wait->message = -1;
    return true;
}

static bool is_removed(const struct submit_wait *wait)
{
    struct stat stat;
    return wait->message >= 0 && fstat(wait->message, &stat) == 0 && stat.st_nlink == 0;
}

static int watch_directories(const struct spool_tenant *spool)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    for (size_t i = 0; fd >= 0 && i < sizeof watched / sizeof *watched; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", spool->dir[watched[i]]);
        (void)inotify_add_watch(fd, path, IN_MOVED_TO | IN_CREATE | IN_ONLYDIR);
    }
    return fd;
}

// 0, or -EINTR where a signal asks to stop.
static int wait_a_while(const struct submit_wait *wait, int fd, int64_t rest_ns)
{
    struct pollfd poll = {.fd = fd, .events = POLLIN};
    char events[4096];
    int64_t ns = rest_ns < POLL_MS * CLOCK_MS ? rest_ns : POLL_MS * CLOCK_MS;
    struct timespec time = clock_timespec(ns);
    if (ppoll(&poll, 1, &time, wait->waiting) < 0 && errno == EINTR)
        return -EINTR;
    while (fd >= 0 && read(fd, events, sizeof events) > 0)
        ;
    return 0;
}

int submit_wait(struct submit_wait *wait)
{
    char name[SPOOL_NAME_SIZE];
    int64_t end = clock_work() + wait->wait_ms * CLOCK_MS, rest;
    int fd = watch_directories(wait->spool), code = -1;
    do {
        clock_poll();
        rest = end - clock_work();
        rest = rest > 0 ? rest : 0;
        enum progress progress = look(wait, name);
        if (progress == PROGRESS_SENT && !is_repeat(wait))
            code = cli_fail(wait->verb, EX_OK, "sent");
        else if (progress == PROGRESS_FAILED)
            code = say_failed(wait, name);
        else if (progress == PROGRESS_DEFERRED && say_deferred(wait, name, rest))
            code = EX_TEMPFAIL;
        else if (progress == PROGRESS_NONE && is_removed(wait))
            code = cli_fail(wait->verb, EX_NOINPUT,
                "queued as %s, and removed by somebody before it was sent", wait->name);
        else if (rest <= 0)
            code = cli_fail(wait->verb, EX_TEMPFAIL, "queued as %s, and not sent yet", wait->name);
        else if (wait_a_while(wait, fd, rest))
            code = cli_fail(wait->verb, EX_TEMPFAIL, "interrupted; queued as %s", wait->name);
    } while (code < 0);
    if (fd >= 0)
        close(fd);
    return code;
}
