// Claiming one message (intake desk).
#include "intake.h"
#include "agent/base/clock.h"
#include "agent/compose/key.h"
#include "agent/delivery/claim.h"
#include "agent/delivery/scan.h"
#include "agent/delivery/unreadable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Whether tmp/NAME is the same file: the producer linked it into new/ and has not removed the first name yet.
static bool intake_has_sibling(const struct message *message, const struct stat *stat)
{
    struct stat sibling;
    return stat->st_nlink > 1 &&
           fstatat(message->dirs->spool->dir[SPOOL_TMP], message->name, &sibling, AT_SYMLINK_NOFOLLOW) == 0 &&
           sibling.st_ino == stat->st_ino;
}

// Asks the kernel whether somebody has the file open for writing: 1 no, 0 yes, -1 we may not ask.
static int intake_ask_lease(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
        return 1;
    }
    return fd >= 0 && errno == EAGAIN ? 0 : -1;
}

static bool intake_is_settled(struct message *message, const struct stat *stat)
{
    if (message->origin != SPOOL_NEW || intake_has_sibling(message, stat))
        return true;
    int64_t mtime = clock_ns(&stat->st_mtim);
    bool unchanged = message->seen_size == stat->st_size && message->seen_mtime == mtime;
    message->seen_size = stat->st_size;
    message->seen_mtime = mtime;
    int lease = intake_ask_lease(message->fd);
    if (lease >= 0)
        return lease == 1; // a name that was renamed into place may have its writer still
    if (message->sure)
        return true;
    // Modification times come from the file system's clock, which a test does not shift.
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return unchanged || mtime <= clock_ns(&now) - INTAKE_SETTLE_MS * CLOCK_MS;
}

// A file that has lain in a higher state under the same name before is finished already (a move that a power
// cut left half done): the lower name goes. True where it was so.
static bool intake_is_leftover(struct message *message, const struct stat *stat)
{
    enum spool_state higher;
    char name[SPOOL_NAME_SIZE];
    const struct spool_tenant *spool = message->dirs->spool;
    if (stat->st_nlink < 2 ||
        spool_find_higher(spool, message->origin, message->name, stat->st_ino, &higher, name) != 1)
        return false;
    (void)unlinkat(spool->dir[message->origin], message->name, 0);
    (void)spool_sync(spool, message->origin);
    return true;
}

static int status_index(const struct status *status, const char *address, size_t hint)
{
    size_t n = status->n_recipients;
    for (size_t i = 0; i < n; i++) {
        size_t at = (hint + i) % n;
        if (strcmp(status->recipients[at].address, address) == 0)
            return (int)at;
    }
    return -1;
}

// An agent that died after it wrote the status in failed/, and before it moved the message there, left two.
// Who was accepted by either has it.
static int intake_merge_failed(struct message *message)
{
    const struct spool_tenant *spool = message->dirs->spool;
    struct status *other = NULL;
    char name[SPOOL_NAME_SIZE];
    if (!orphans_may_have(&message->dirs->orphans[SPOOL_FAILED], spool->dir[SPOOL_FAILED],
            message->claimed_name, message->examined))
        return 0;
    int found = spool_find_status(spool, SPOOL_FAILED, message->claimed_name, message->fd, &other, name);
    if (found <= 0)
        return found == -EBADMSG ? 0 : found;
    int error = 0;
    for (size_t i = 0; !error && i < other->n_recipients; i++) {
        const struct status_recipient *known = &other->recipients[i];
        int at = status_index(message->status, known->address, i);
        if (known->state == STATUS_SENT && at >= 0)
            error = status_set_recipient(message->status, (size_t)at, known->state, known->reply, &known->at);
    }
    status_free(other);
    return error;
}

// The status file that belongs to this message, wherever it lies: beside it in deferred/, or left behind in
// failed/ or deferred/ when its message was moved back to new/ by hand.
static int intake_find_status(struct message *message)
{
    static const enum spool_state places[] = {SPOOL_DEFERRED, SPOOL_FAILED};
    const struct spool_tenant *spool = message->dirs->spool;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        enum spool_state place = places[i];
        if (!orphans_may_have(
                &message->dirs->orphans[place], spool->dir[place], message->claimed_name, message->examined))
            continue;
        int found = spool_find_status(
            spool, place, message->claimed_name, message->fd, &message->status, message->status_name);
        if (found < 0 && found != -EBADMSG)
            return found;
        if (found == 1) {
            message->status_in = place;
            return place == SPOOL_DEFERRED ? intake_merge_failed(message) : 0;
        }
    }
    return 0;
}

// Carries over who was accepted. A message that came back through new/ by hand starts its attempts and its
// age again, and so do the refused: moving it back says "try again". The recipients of the status are put in
// the order of the message's.
static int intake_adopt_status(struct message *message)
{
    const struct outgoing *outgoing = message->outgoing;
    struct status *old = message->status;
    bool again = message->origin == SPOOL_NEW;
    message->status = NULL;
    int error = message_need_status(message);
    for (size_t i = 0; !error && i < outgoing->n_recipients; i++) {
        int at = status_index(old, outgoing->recipients[i].address, i);
        if (at < 0)
            continue;
        const struct status_recipient *known = &old->recipients[at];
        enum status_recipient_state state =
            known->state == STATUS_REFUSED && again ? STATUS_PENDING : known->state;
        error = status_set_recipient(message->status, i, state, known->reply, &known->at);
        message->recipient_state[i] = state;
    }
    for (size_t i = 0; !error && !again && i < old->n_attempts; i++) {
        const struct status_attempt *attempt = &old->attempts[i];
        error = status_add_attempt(message->status, &attempt->at, attempt->account, attempt->relay,
            attempt->tls, attempt->stage, attempt->reply);
    }
    if (!error)
        message->status->born = old->born;
    if (!error && !again) {
        message->status->attempts_total = old->attempts_total;
        message->attempt = (int64_t)old->attempts_total + 1;
        message->status->delay_warned = old->delay_warned;
    }
    status_free(old);
    return error;
}

static int intake_allocate(struct message *message)
{
    size_t n = message->outgoing->n_recipients;
    size_t at_once = message->settings->account->limits.recipients_per_message;
    if (!at_once || at_once > n)
        at_once = n;
    message->wire_recipients = calloc(at_once ? at_once : 1, sizeof *message->wire_recipients);
    message->recipient_index = calloc(at_once ? at_once : 1, sizeof *message->recipient_index);
    message->recipient_state = calloc(n + 1, sizeof *message->recipient_state);
    message->recipient_tried = calloc(n + 1, sizeof *message->recipient_tried);
    bool all = message->wire_recipients && message->recipient_index && message->recipient_state &&
               message->recipient_tried;
    return all ? 0 : -ENOMEM;
}

// Puts a claimed message back: we could not look at it. What is wrong may be in the way of that as well.
static enum claim_result intake_put_back(struct message *message, int error)
{
    int moved = claim_return(message);
    message->error = moved ? moved : error;
    return moved ? CLAIM_STRANDED : CLAIM_LATER;
}

// The same where reading was what failed: it may be this message alone that the disk does not give.
static enum claim_result intake_unread(struct message *message, int error)
{
    if (!unreadable_is(error))
        return intake_put_back(message, error);
    if (!unreadable_mark(message))
        message->origin = SPOOL_NEW;
    enum claim_result result = intake_put_back(message, error);
    return result == CLAIM_LATER ? CLAIM_UNREADABLE : result;
}

static enum claim_result intake_fault(struct message *message, const struct outgoing_fault *fault)
{
    message->fault = malloc(sizeof *fault);
    if (!message->fault)
        return intake_put_back(message, -ENOMEM);
    *message->fault = *fault;
    return CLAIM_FAULT;
}

// Whether this message is the first with its key: 1, 0 with words in `detail`, or negative errno. The record
// must never outlive the message that it names: one that its producer did not sync is made durable before.
static int intake_claim_key(struct message *message, const struct status *identity)
{
    const struct spool_tenant *spool = message->dirs->spool;
    struct spool_key key = {0}, first;
    char digest[SPOOL_KEY_DIGEST];
    int64_t now = clock_wall();
    int error = claim_move(message); // a key is no matter of moments: see claim.h
    if (error)
        return error < 0 ? error : -ENOENT;
    error = TEMP_FAILURE_RETRY(fsync(message->fd)) < 0 ? -errno : spool_sync(spool, SPOOL_CUR);
    if (!error)
        error = key_digest(message->outgoing->key, digest);
    if (error)
        return error;
    key.at = (struct timespec){.tv_sec = now / CLOCK_SECOND};
    key.inode = identity->inode;
    key.born = identity->born;
    memcpy(key.name, message->claimed_name, sizeof key.name);
    int64_t since = now - message->config->dedupe_ms * CLOCK_MS;
    int r = spool_key_claim(spool, digest, &key, since / CLOCK_SECOND, &first);
    if (r == 0)
        message_set_detail(
            message, "not sent: its X-Outtray-Key is that of %s, which came first", first.name);
    return r;
}

// The claimed file is open: what is known of it, what will be sent.
static enum claim_result intake_compose(struct message *message)
{
    struct outgoing_fault fault = {0};
    int error = intake_find_status(message);
    if (error)
        return intake_unread(message, error);
    // Known already: touch(1) asks for a retry and must not change when it was submitted, nor its Message-ID.
    if (message->status && message->status->submitted.tv_sec)
        message->stat.st_mtim = message->status->submitted;
    error = outgoing_compose(message->config, message->settings, message->claimed_name, message->fd,
        &message->stat, &message->outgoing, &fault);
    if (error == -EBADMSG)
        return intake_fault(message, &fault);
    if (error)
        return intake_unread(message, error);
    message->settings = message->outgoing->tenant;
    error = intake_allocate(message);
    if (!error && message->status)
        error = intake_adopt_status(message);
    if (error)
        return intake_put_back(message, error);
    int first = 1;
    // One that was tried before comes back because somebody wants it sent.
    if (message->outgoing->key && message->origin == SPOOL_NEW && !message->status) {
        struct status identity = {0};
        error = status_identify(&identity, message->fd);
        if (error)
            return intake_unread(message, error);
        first = intake_claim_key(message, &identity);
    }
    if (first < 0)
        return intake_put_back(message, first);
    if (message->outgoing->body.fd < 0 && message->place == SPOOL_CUR)
        claim_unlock(message); // small messages are in memory whole
    if (first == 0)
        return CLAIM_REPEAT;
    int64_t now = clock_wall();
    if (message->outgoing->expires && message->outgoing->expires <= now) {
        static const struct outgoing_fault expired = {
            .reason = STATUS_REASON_EXPIRED, .detail = "its X-Outtray-Expires has passed"};
        return intake_fault(message, &expired);
    }
    return message->outgoing->not_before > now ? CLAIM_WAIT : CLAIM_READY;
}

// Opens the message where it lies. What is not known to be a regular file is looked at first, since opening a
// device can have effects. 0, -ENOTSUP where it is no regular file, or another negative errno.
static int intake_open(struct message *message)
{
    int dir = message->dirs->spool->dir[message->origin];
    if (message->fd >= 0) // held open since it was read ahead
        return fstat(message->fd, &message->stat) ? -errno : 0;
    if (!message->regular && fstatat(dir, message->name, &message->stat, AT_SYMLINK_NOFOLLOW))
        return -errno;
    if (!message->regular && !S_ISREG(message->stat.st_mode))
        return -ENOTSUP;
    message->fd = tenant_dirs_open(message->dirs, message->origin, message->name);
    if (message->fd < 0) // swapped since it was looked at
        return errno == ELOOP || errno == ENXIO || errno == ENODEV ? -ENOTSUP : -errno;
    if (fstat(message->fd, &message->stat))
        return -errno;
    return S_ISREG(message->stat.st_mode) ? 0 : -ENOTSUP;
}

// One that may not be read is claimed as well, so that it can be filed with the reason.
static int intake_look(struct message *message)
{
    int dir = message->dirs->spool->dir[message->origin];
    if (fstatat(dir, message->name, &message->stat, AT_SYMLINK_NOFOLLOW))
        return -errno;
    return S_ISREG(message->stat.st_mode) ? 0 : -ENOTSUP;
}

// What made the entry due may be older than the attempt that deferred the message again.
static bool intake_is_due(struct message *message)
{
    int64_t due;
    if (scan_due(message->dirs->spool, message->name, &due, NULL) || due == message->recorded)
        return true;
    message->recorded = due;
    return false;
}

// How a claim ends that found an error. Where another file has the name now, that one has its own turn.
static enum claim_result intake_refuse(struct message *message, int error)
{
    message->error = error;
    return message->place != message->origin
               ? CLAIM_STRANDED // moved, not to be looked at, not to be moved back
           : error == -ENOENT      ? CLAIM_GONE
           : error == -EWOULDBLOCK ? CLAIM_TAKEN
           : error == 1            ? CLAIM_UNSETTLED
           : error == -ENOTSUP     ? CLAIM_IGNORED
                                   : CLAIM_LATER;
}

enum claim_result intake_examine(struct message *message)
{
    int error = intake_open(message);
    message->unreadable = error == -EACCES || error == -EPERM;
    if (message->unreadable)
        error = intake_look(message);
    if (unreadable_is(error)) {
        unreadable_mark(message);
        message->error = error;
        return CLAIM_UNREADABLE;
    }
    if (error)
        return intake_refuse(message, error);
    message->mtime = clock_ns(&message->stat.st_mtim);
    if (message->origin == SPOOL_DEFERRED && !intake_is_due(message))
        return CLAIM_NOT_DUE;
    if (!intake_is_settled(message, &message->stat))
        return CLAIM_UNSETTLED;
    error = claim_lock(message);
    if (error)
        return intake_refuse(message, error);
    return intake_is_leftover(message, &message->stat) ? CLAIM_GONE : CLAIM_READY;
}

enum claim_result intake_move(struct message *message)
{
    int error = claim_move(message);
    return error ? intake_refuse(message, error) : CLAIM_READY;
}

enum claim_result intake_read(struct message *message)
{
    static const struct outgoing_fault forbidden = {
        .reason = STATUS_REASON_MALFORMED, .detail = "the agent may not read the file (mode or owner)"};
    return message->unreadable ? intake_fault(message, &forbidden) : intake_compose(message);
}
