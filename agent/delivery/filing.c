// Filing outcomes (filing desk).
#include "filing.h"
#include "agent/base/clock.h"
#include "agent/delivery/claim.h"
#include "agent/delivery/unreadable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// How often a batch takes in what queued up while it was moved.
#define FILING_ROUNDS 8
// Outcomes that a batch moves before it is synced. More only as long as moving them takes no longer than
// three of the last syncs: what is in a batch keeps its places in the windows until all of it is durable, and
// a sync is time in which nothing is moved.
#define FILING_BATCH 64
#define FILING_SYNCS 3

void filing_init(struct filing *filing, struct log *log, struct moves *moves)
{
    *filing = (struct filing){.log = log, .moves = moves};
}

static void filing_end_turn(struct filing *filing)
{
    if (filing->run)
        moves_end(filing->moves);
    filing->run = 0;
}

// Before each rename.
static void filing_take_turn(struct filing *filing)
{
    if (filing->run == MOVES_RUN)
        filing_end_turn(filing);
    if (filing->run++ == 0)
        moves_begin(filing->moves);
}

static bool filing_is_disk_failure(int error)
{
    return error == -EIO || error == -EROFS || error == -ENXIO || error == -ENODEV || error == -ESTALE;
}

static void filing_touch(
    struct filing *filing, struct message *message, enum spool_state to, enum spool_state from)
{
    struct tenant_dirs *dirs = message->dirs;
    if (!dirs->sync_to && !dirs->sync_from) {
        dirs->next_touched = filing->touched;
        filing->touched = dirs;
    }
    dirs->sync_to |= 1u << to;
    if (from != SPOOL_STATES)
        dirs->sync_from |= 1u << from;
}

static bool name_is_plain(const char *name)
{
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~:,=+@%-")] ==
           '\0';
}

int filing_fix_text(struct status *status, const char *name)
{
    char text[SPOOL_NAME_SIZE * 4 + 32];
    size_t at = (size_t)snprintf(text, sizeof text, "mv %sfailed/", name_is_plain(name) ? "" : "'");
    if (name_is_plain(name)) {
        (void)snprintf(text + at, sizeof text - at, "%s new/", name);
        return status_set_text(&status->fix, text);
    }
    for (const char *c = name; *c; c++) {
        size_t n = *c == '\'' ? 4 : 1;
        memcpy(text + at, n == 4 ? "'\\''" : c, n);
        at += n;
    }
    (void)snprintf(text + at, sizeof text - at, "' new/");
    return status_set_text(&status->fix, text);
}

// The file's identity, for which it must be open; small messages were closed after composing. One that may
// not be opened, or that the disk does not give, is known by inode and size alone.
static int filing_identify(struct message *message)
{
    if (message->status->born.tv_sec)
        return 0;
    int fd = message->fd;
    if (fd < 0)
        fd = openat(message->dirs->spool->dir[message->place], message->name,
            O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES || unreadable_is(-errno) ? 0 : -errno;
    int error = status_identify(message->status, fd);
    if (fd != message->fd)
        close(fd);
    return unreadable_is(error) ? 0 : error;
}

static int filing_write_status(
    struct message *message, enum spool_state to, char chosen[static SPOOL_NAME_SIZE])
{
    struct status *status = message->status;
    const struct spool_tenant *spool = message->dirs->spool;
    ino_t inode = message->stat.st_ino;
    int error = filing_identify(message);
    for (int tries = 0; !error && tries < 8; tries++) {
        error = spool_choose(spool, to, message->name, inode, chosen);
        if (!error)
            error = status_set_text(&status->name, chosen);
        if (!error && to == SPOOL_FAILED)
            error = filing_fix_text(status, chosen);
        if (!error)
            error = status_write(spool->dir[to], chosen, status);
        if (error != -EEXIST)
            break;
        error = tries < 7 ? 0 : error; // another agent was faster with this name
    }
    return error;
}

static int filing_record(struct filing *filing, struct message *message)
{
    filing_end_turn(filing); // this waits for the disk
    int error = filing_write_status(message, SPOOL_DEFERRED, message->status_name);
    if (error)
        return error;
    message->status_in = SPOOL_DEFERRED;
    message->origin = SPOOL_DEFERRED;
    filing_touch(filing, message, SPOOL_DEFERRED, SPOOL_STATES);
    return 0;
}

static int filing_move(struct filing *filing, struct message *message, enum spool_state to)
{
    filing_take_turn(filing);
    int error = claim_file(message, to);
    if (error)
        return error;
    message->filed_in = to;
    filing_touch(filing, message, to, message->place);
    return 0;
}

static int filing_return(struct filing *filing, struct message *message)
{
    message->filed_in = message->origin;
    if (message->place == message->origin)
        return 0;
    filing_take_turn(filing);
    return claim_return(message);
}

// What has a status is no matter of a moment: it lies in cur/, where nobody takes it away.
static int filing_settle(struct filing *filing, struct message *message)
{
    if (message->place == SPOOL_CUR)
        return 0;
    filing_take_turn(filing);
    return claim_move(message);
}

static int filing_place(struct filing *filing, struct message *message)
{
    char chosen[SPOOL_NAME_SIZE];
    bool fails = message->filing == FILING_FAIL;
    if (message->filing == FILING_SENT)
        return filing_move(filing, message, SPOOL_SENT);
    if (message->filing == FILING_RETURN)
        return filing_return(filing, message);
    int error = filing_settle(filing, message);
    if (error || message->filing == FILING_RECORD)
        return error ? error : filing_record(filing, message);
    message->filed_in = fails ? SPOOL_FAILED : SPOOL_DEFERRED;
    filing_end_turn(filing);
    error = filing_write_status(message, message->filed_in, chosen);
    return error ? error : filing_move(filing, message, message->filed_in);
}

// Its file was taken out of new/ while it was on its way. Wherever it is now, it may come back: who has it is
// written down.
static int filing_remember(struct filing *filing, struct message *message)
{
    struct stat stat;
    bool anybody = false;
    for (size_t i = 0; message->outgoing && i < message->outgoing->n_recipients; i++)
        anybody |= message->recipient_state[i] == STATUS_SENT;
    if (!anybody || message->fd < 0 || fstat(message->fd, &stat) || stat.st_nlink == 0)
        return 0;
    bool plain = !message->status; // else it knows who has it, and by what reply
    int error = message_need_status(message);
    struct timespec at = clock_timespec(clock_wall());
    for (size_t i = 0; plain && !error && i < message->outgoing->n_recipients; i++)
        if (message->recipient_state[i] == STATUS_SENT)
            error = status_set_recipient(message->status, i, STATUS_SENT, message->detail, &at);
    return error ? error : filing_record(filing, message);
}

// Where its file is gone, -ENOENT: there is nothing to be filed.
static int filing_place_or_remember(struct filing *filing, struct message *message)
{
    int error = filing_place(filing, message);
    if ((error != -ENOENT && error != 1) || message->place != SPOOL_NEW)
        return error;
    error = filing_remember(filing, message);
    return error ? error : -ENOENT;
}

// A status file that the message has left behind elsewhere goes once its new place is durable.
static void filing_drop_old_status(const struct message *message)
{
    if (message->filing == FILING_RECORD || message->filing == FILING_RETURN ||
        message->status_in == SPOOL_STATES ||
        (message->status_in == message->filed_in && strcmp(message->status_name, message->name) == 0))
        return;
    (void)spool_status_remove(
        message->dirs->spool, message->status_in, message->status_name, message->stat.st_ino);
}

static int sync_states(const struct tenant_dirs *dirs, unsigned mask)
{
    for (enum spool_state state = 0; state < SPOOL_STATES; state++)
        if (mask & 1u << state) {
            int error = spool_sync(dirs->spool, state);
            if (error)
                return error;
        }
    return 0;
}

// Destinations first: a message must have its new name before it may lose the old one.
static int filing_sync(struct filing *filing)
{
    int error = 0;
    for (struct tenant_dirs *dirs = filing->touched; dirs && !error; dirs = dirs->next_touched)
        error = sync_states(dirs, dirs->sync_to);
    for (struct tenant_dirs *dirs = filing->touched; dirs && !error; dirs = dirs->next_touched)
        error = sync_states(dirs, dirs->sync_from);
    return error;
}

static void filing_forget_touched(struct filing *filing)
{
    for (struct tenant_dirs *dirs = filing->touched; dirs; dirs = dirs->next_touched)
        dirs->sync_to = dirs->sync_from = 0;
    filing->touched = NULL;
}

static void filing_break(struct filing *filing, int error)
{
    int none = 0;
    atomic_compare_exchange_strong(&filing->broken, &none, error);
}

// After the sync: the log, then back to the wire thread.
static void filing_finish(struct filing *filing, struct desk *desk, struct desk_job *placed, int error)
{
    struct log_lines lines;
    log_lines_init(&lines, filing->log);
    for (struct desk_job *job = placed; job; job = (struct desk_job *)job->item.next) {
        struct message *message = (struct message *)job;
        if (error && !message->error)
            message->error = error;
        // One that is sent goes with the message, since this desk has most to do. Who goes back may be
        // claimed again at once, and a file that somebody deleted is ended by its last close, here and not
        // there.
        if (message->filing != FILING_RECORD && (message->filing != FILING_SENT || message->error))
            claim_unlock(message);
        bool taken = message->error == -ENOENT && message->place == SPOOL_NEW; // sent, and nothing to file
        if (message->error && !(taken && message->filing == FILING_SENT))
            continue;
        if (!taken)
            filing_drop_old_status(message);
        if (lines.text.length + message->lines.text.length > LOG_LINES_MAX)
            log_write(filing->log, &lines);
        if (message->lines.text.length)
            buffer_append(&lines.text, message->lines.text.data, message->lines.text.length);
        buffer_clear(&message->lines.text);
    }
    if (lines.text.length)
        log_write(filing->log, &lines);
    log_lines_release(&lines);
    if (placed)
        desk_return_all(desk, placed);
}

// What came together, on its way through batches.
struct filing_lot {
    struct channel_item *held, **held_end; // those that must wait for space
    int full;                              // why
    unsigned rounds;                       // how often more was taken in
};

static void filing_list_add(struct channel_item ***end, struct desk_job *job)
{
    job->item.next = NULL;
    **end = &job->item;
    *end = &job->item.next;
}

// Places one message. False where it must wait for space.
static bool filing_try(struct filing *filing, struct message *message, int *ret_full)
{
    int error = atomic_load(&filing->broken);
    if (!error)
        error = filing_place_or_remember(filing, message);
    if (filing_is_disk_failure(error))
        filing_break(filing, error);
    bool hold = error && error != -ENOENT && !atomic_load(&filing->broken) && !atomic_load(&filing->abandon);
    message->error = hold ? 0 : error;
    if (hold)
        *ret_full = error;
    return !hold;
}

// Moves of claimed messages (settle.h), no outcome: they take a turn of their own.
static void filing_run_other(struct filing *filing, struct desk *desk, struct desk_job *job)
{
    filing_end_turn(filing);
    job->run(job);
    desk_return(desk, job);
}

// One batch: places messages of the list and what comes meanwhile, makes that durable, and returns the rest.
static struct desk_job *filing_one(
    struct filing *filing, struct desk *desk, struct desk_job *first, struct filing_lot *lot)
{
    struct channel_item *placed = NULL, **placed_end = &placed;
    unsigned n = 0;
    int64_t began = clock_work();
    while (first && (n < FILING_BATCH || clock_work() - began < FILING_SYNCS * filing->sync_ns)) {
        struct desk_job *job = first;
        first = (struct desk_job *)job->item.next;
        job->item.next = NULL;
        desk_beat(desk);
        if (job->run) {
            filing_run_other(filing, desk, job);
        } else {
            bool done = filing_try(filing, (struct message *)job, &lot->full);
            filing_list_add(done ? &placed_end : &lot->held_end, job);
            n++;
        }
        if (!first && lot->rounds++ < FILING_ROUNDS)
            first = desk_more(desk);
    }
    filing_end_turn(filing);
    // What the disk has failed to keep cannot be asked for again, and what was placed beside it is not
    // trusted.
    int error = atomic_load(&filing->broken);
    int64_t moved = clock_work();
    if (!error)
        error = filing_sync(filing);
    filing->sync_ns = clock_work() - moved;
    filing_forget_touched(filing);
    if (error)
        filing_break(filing, error);
    atomic_store(&filing->full, lot->full); // before who asks is told of an outcome
    filing_finish(filing, desk, (struct desk_job *)placed, error);
    return first;
}

static void filing_work(struct filing *filing, struct desk *desk, struct desk_job *first)
{
    struct filing_lot lot = {0};
    lot.held_end = &lot.held;
    while (first)
        first = filing_one(filing, desk, first, &lot);
    filing->held = (struct desk_job *)lot.held;
}

void filing_batch(struct desk *desk, struct desk_job *first, void *arg)
{
    struct filing *filing = arg;
    if (filing->held) { // what waits keeps its place in front
        struct desk_job *last = filing->held;
        while (last->item.next)
            last = (struct desk_job *)last->item.next;
        last->item.next = &first->item;
        first = filing->held;
        filing->held = NULL;
    }
    filing_work(filing, desk, first);
}

void filing_idle(struct desk *desk, void *arg)
{
    struct filing *filing = arg;
    struct desk_job *first = filing->held;
    filing->held = NULL;
    if (first)
        filing_work(filing, desk, first);
}

void filing_abandon(struct filing *filing)
{
    atomic_store(&filing->abandon, true);
}
