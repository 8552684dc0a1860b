// Writing NAME.status (see status.h).
#include "name.h"
#include "status_internal.h"
#include "yaml_text.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATUS_MODE 0640 // the tenant's group may read why its mail waits

static void key_text(struct yaml_text *text, const char *key, const char *value, bool quoted)
{
    if (value == NULL)
        return;
    yaml_text_add(text, key);
    if (quoted)
        yaml_text_quoted(text, value);
    else
        yaml_text_scalar(text, value);
}

static void key_time(struct yaml_text *text, const char *key, const struct timespec *time, int digits)
{
    char formatted[STATUS_TIME_SIZE];
    if (time->tv_sec == 0)
        return;
    status_time_format(time, digits, formatted);
    yaml_text_add(text, key);
    yaml_text_add(text, formatted);
}

static void key_number(struct yaml_text *text, const char *key, uint64_t value)
{
    char formatted[32];
    snprintf(formatted, sizeof formatted, "%" PRIu64, value);
    yaml_text_add(text, key);
    yaml_text_add(text, formatted);
}

static void format_recipients(struct yaml_text *text, const struct status *status)
{
    yaml_text_add(text, status->n_recipients == 0 ? "\nrecipients: []" : "\nrecipients:");
    for (size_t i = 0; i < status->n_recipients; i++) {
        const struct status_recipient *recipient = &status->recipients[i];
        key_text(text, "\n  - {address: ", recipient->address, false);
        key_text(text, ", state: ", status_recipient_state_name(recipient->state), false);
        key_text(text, ", reply: ", recipient->reply, true);
        key_time(text, ", at: ", &recipient->at, 0);
        yaml_text_add(text, "}");
    }
}

static void format_attempts(struct yaml_text *text, const struct status *status)
{
    yaml_text_add(text, status->n_attempts == 0 ? "\nattempts: []" : "\nattempts:");
    for (size_t i = 0; i < status->n_attempts; i++) {
        const struct status_attempt *attempt = &status->attempts[i];
        char at[STATUS_TIME_SIZE];
        status_time_format(&attempt->at, 0, at);
        yaml_text_add(text, "\n  - {at: ");
        yaml_text_add(text, at);
        key_text(text, ", account: ", attempt->account, false);
        key_text(text, ", relay: ", attempt->relay, true);
        key_text(text, ", tls: ", attempt->tls, false);
        key_text(text, ", stage: ", attempt->stage, false);
        key_text(text, ", reply: ", attempt->reply, true);
        yaml_text_add(text, "}");
    }
}

// The keys in the order that is promised, and after each group what later versions added.
static void format(struct yaml_text *text, const struct status *status)
{
    bool failed = status->state == STATUS_FAILED;
    yaml_text_add(text, "version: 1");
    key_text(text, "\ntenant: ", status->tenant, false);
    key_text(text, "\nname: ", status->name, false);
    key_number(text, "\ninode: ", status->inode);
    key_number(text, "\nsize: ", status->size);
    key_time(text, "\nsubmitted: ", &status->submitted, 6);
    key_time(text, "\nborn: ", &status->born, 9);
    key_text(text, "\nmessage_id: ", status->message_id, false);
    key_text(text, "\nstate: ", status_state_name(status->state), false);
    if (!failed)
        key_time(text, "\nnext_attempt: ", &status->next_attempt, 0);
    if (failed && status->reason != STATUS_REASON_NONE)
        key_text(text, "\nreason: ", status_reason_name(status->reason), false);
    key_text(text, "\ndetail: ", status->detail, true);
    key_text(text, "\nfix: ", status->fix, false);
    format_recipients(text, status);
    format_attempts(text, status);
    if (status->attempts_total > status->n_attempts)
        key_number(text, "\nattempts_total: ", status->attempts_total);
    key_time(text, "\ndelay_warned: ", &status->delay_warned, 0);
    key_time(text, "\nnotified: ", &status->notified, 0);
    yaml_text_add(text, "\n");
}

static int write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = TEMP_FAILURE_RETRY(write(fd, data, length));
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

// Makes the temporary with its content on the disk. A leftover of a crash has the same name and is ours: it
// goes first.
static int write_temporary(
    int dir, const char *name, const struct yaml_text *text, const struct status *status)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = (int)TEMP_FAILURE_RETRY(openat(dir, name, flags, STATUS_MODE));
    if (fd < 0 && errno == EEXIST && TEMP_FAILURE_RETRY(unlinkat(dir, name, 0)) == 0)
        fd = (int)TEMP_FAILURE_RETRY(openat(dir, name, flags, STATUS_MODE));
    if (fd < 0)
        return -errno;
    int r = write_all(fd, text->data, text->length);
    if (r == 0 && fchmod(fd, STATUS_MODE) < 0)
        r = -errno;
    if (r == 0 && status->state == STATUS_DEFERRED && status->next_attempt.tv_sec != 0) {
        const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, status->next_attempt};
        if (futimens(fd, times) < 0)
            r = -errno;
    }
    if (r == 0 && TEMP_FAILURE_RETRY(fsync(fd)) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0 && errno != EINTR)
        r = -errno;
    return r;
}

// Whether the target may be replaced: RENAME_NOREPLACE where nothing is there, 0 where our own status is.
static int replace_flags(int dir, const char *name, uint64_t inode, unsigned *ret_flags)
{
    uint64_t recorded, size;
    int r = status_peek(dir, name, &recorded, &size);
    if (r == -EBADMSG || (r == 0 && recorded != inode))
        return -EEXIST;
    if (r < 0 && r != -ENOENT)
        return r;
    *ret_flags = r == 0 ? 0 : RENAME_NOREPLACE;
    return 0;
}

int status_write(int dir, const char *name, const struct status *status)
{
    __attribute__((cleanup(yaml_text_release))) struct yaml_text text = {.max = STATUS_FILE_MAX};
    char target[SPOOL_STATUS_SIZE], temporary[STATUS_TEMPORARY_SIZE];
    unsigned flags;
    if (!spool_name_valid(name))
        return -EINVAL;
    spool_name_status(name, target);
    status_temporary(status->inode, temporary);
    format(&text, status);
    if (text.error < 0)
        return text.error;
    int r = replace_flags(dir, name, status->inode, &flags);
    if (r < 0)
        return r;
    r = write_temporary(dir, temporary, &text, status);
    if (r == 0 && TEMP_FAILURE_RETRY(renameat2(dir, temporary, dir, target, flags)) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(dir, temporary, 0);
    return r;
}
