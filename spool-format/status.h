// NAME.status: what the agent knows of a deferred or failed message, as YAML that people read and programs
// rely on.
//
// The file's mtime is the time of the next attempt. It is replaced atomically (temporary, fsync, rename); the
// caller syncs the directory. Text that came from servers is kept verbatim: what YAML cannot hold as it is
// (control bytes, line ends) is escaped and read back, except that an octet that is no UTF-8 is written as
// \xNN and read back as U+00NN. Times are struct timespec in UTC (CLOCK_REALTIME); a zero tv_sec means
// absent.
//
// The keys and their order are a promise to programs; more keys may be added: born (birth time of the message
// file), attempts_total (where more were made than are listed), delay_warned, notified. A reader skips keys
// it does not know.
#ifndef OUTTRAY_SPOOL_FORMAT_STATUS_H
#define OUTTRAY_SPOOL_FORMAT_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define STATUS_FILE_MAX     (64 * 1024 * 1024) // octets: 100,000 recipients with long replies
#define STATUS_ATTEMPTS_MAX 100                // the first one and the latest 99 are kept
#define STATUS_TEXT_MAX     2048               // octets of one reply or detail; longer text is cut
#define STATUS_DEPTH_MAX    16                 // of nested YAML

enum status_state { STATUS_DEFERRED, STATUS_FAILED };
enum status_recipient_state { STATUS_PENDING, STATUS_SENT, STATUS_REFUSED };
enum status_reason { // failed only
    STATUS_REASON_NONE,
    STATUS_REASON_RECIPIENT,
    STATUS_REASON_POLICY,
    STATUS_REASON_SIZE,
    STATUS_REASON_MALFORMED,
    STATUS_REASON_EXPIRED,
};
const char *status_reason_name(enum status_reason reason);
const char *status_recipient_state_name(enum status_recipient_state state);

struct status_recipient {
    char *address; // owned
    enum status_recipient_state state;
    char *reply; // owned; NULL where none yet
    struct timespec at;
};

struct status_attempt {
    struct timespec at;
    char *account, *relay, *tls, *stage, *reply; // owned; NULL where unknown
};

struct status {
    char *tenant, *name; // owned, as all strings here
    uint64_t inode;
    uint64_t size;
    struct timespec submitted;
    struct timespec
        born; // of the message file (statx(2)), so that a reused inode inherits nothing; zero where unknown
    char *message_id;
    enum status_state state;
    struct timespec next_attempt; // deferred only
    enum status_reason reason;    // failed only
    char *detail;                 // NULL where none
    char *fix;                    // failed only: the command that would fix or retry it
    struct status_recipient *recipients;
    size_t n_recipients;
    struct status_attempt *attempts; // oldest first; attempts[0] is the first counted one
    size_t n_attempts;
    uint64_t attempts_total;      // including those no longer listed
    struct timespec delay_warned; // set once a delay warning went out; zero where none
    struct timespec notified;     // failed only: set once a notice about it went out; zero where none
};

struct status *status_new(void);         // NULL where memory is short
void status_free(struct status *status); // takes NULL

// Adds copies of the given texts (each may be NULL but for address). 0 or -ENOMEM.
int status_add_recipient(struct status *status, const char *address);
int status_add_attempt(struct status *status, const struct timespec *at, const char *account,
    const char *relay, const char *tls, const char *stage, const char *reply);
// Sets state, reply (copied, cut at STATUS_TEXT_MAX) and time of one recipient.
int status_set_recipient(struct status *status, size_t index, enum status_recipient_state state,
    const char *reply, const struct timespec *at);
// Replaces the string *field by a copy of text (NULL allowed). 0 or -ENOMEM.
int status_set_text(char **field, const char *text);

// Fills inode, size, born and, where it is zero, submitted (the mtime) from the open message file.
int status_identify(struct status *status, int fd);

// Reads dir/NAME.status (O_NOFOLLOW, bounded). -ENOENT; -EBADMSG where it is not a status file of version 1.
// ret_mtime, where not NULL, gets the file's mtime (the next attempt) and ret_ctime its ctime.
int status_read(int dir, const char *name, struct status **ret_status, struct timespec *ret_mtime,
    struct timespec *ret_ctime);

// Only inode and size, normally from the file's first 4 kB: what recovery and collision checks ask. Same
// errors.
int status_peek(int dir, const char *name, uint64_t *ret_inode, uint64_t *ret_size);

// Writes dir/NAME.status: temporary ".INODE.status.tmp", mode 0640, mtime = next_attempt (deferred; where it
// is zero, and for failed, the time of writing), fsync, rename over the old one. -EEXIST where the file there
// is another message's (its inode differs) or no status file: nothing is overwritten then. -E2BIG above
// STATUS_FILE_MAX. On failure the temporary is gone and the old file is as it was.
int status_write(int dir, const char *name, const struct status *status);

// "2026-11-23T15:04:05.123456Z": 0 to 9 fraction digits, cut and not rounded.
#define STATUS_TIME_SIZE 40
void status_time_format(
    const struct timespec *time, int fraction_digits, char ret_text[static STATUS_TIME_SIZE]);
int status_time_parse(const char *text, struct timespec *ret_time); // RFC 3339 with Z or offset; -EINVAL

#endif
