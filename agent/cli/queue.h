// The parts of `outtray queue`: walking the spool as a reader, and showing single messages.
//
// Everything here reads only. What cannot be read is said on standard error once per directory or file,
// counted in struct queue, and left out.
#ifndef OUTTRAY_AGENT_CLI_QUEUE_H
#define OUTTRAY_AGENT_CLI_QUEUE_H

#include "agent/cli/cli.h"
#include "spool-format/spool.h"
#include <jansson.h>
#include <sys/stat.h>

struct queue {
    const struct cli_verb *verb;
    const struct config *config;
    int spool;   // O_DIRECTORY fd of the spool root
    int64_t now; // wall ns
    bool json;
    int code;                           // EX_NOPERM or EX_IOERR where something could not be read
    uint64_t shown;                     // messages printed so far
    const struct config_tenant *unread; // the tenant whose directory was said to be unreadable last
};

// One directory with messages: a state of a tenant, of one agent where the state is cur.
struct queue_place {
    const struct config_tenant *tenant;
    enum spool_state state;
    const char *agent; // NULL but for cur
    int root;          // fd of the tenant's directory
    int dir;           // fd
};

struct queue_message {
    const struct queue_place *place;
    const char *name;
    struct stat stat; // a regular file
};

// Says what could not be read and why. ENOENT is no trouble (it moved on) and not said; EBADMSG changes no
// exit code.
void queue_unread(struct queue *queue, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Calls visit for every directory of one state of a tenant that is there. 0, or what visit returned first.
int queue_each_place(struct queue *queue, const struct config_tenant *tenant, enum spool_state state,
    int (*visit)(struct queue *queue, const struct queue_place *place, void *arg), void *arg);

// Calls visit for every message of a directory; in order of names where `sorted`. 0, or what visit returned
// first; -ENOMEM.
int queue_each_message(struct queue *queue, const struct queue_place *place, bool sorted,
    int (*visit)(struct queue *queue, const struct queue_message *message, void *arg), void *arg);

// What there is to know of a message.
struct queue_view {
    const struct queue_message *message;
    struct status *status; // owned; built from the message where it has no file
    struct timespec next;  // deferred: the mtime of the status file, or of a message that was touched
    char *from;            // owned: the message's own From; NULL where unknown
    const char *state;
    bool recorded; // the status comes from its file
};
// 0 or -ENOMEM; what cannot be read is said and left out. Release it in any case.
int queue_view_fill(struct queue *queue, const struct queue_message *message, struct queue_view *view);
void queue_view_release(struct queue_view *view);
// Puts the keys of NAME.status and `from` into object (of jansson). 0 or -ENOMEM.
int queue_view_json(json_t *object, const struct queue_view *view);

// Counts the message; arg is a struct observe_count.
int queue_count(struct queue *queue, const struct queue_message *message, void *arg);
// How many columns the text takes where each of its characters takes one.
size_t queue_columns(const char *text);

// Prints one message with what its status file tells, as text or as an element of a JSON list. 0 or -ENOMEM.
int queue_show(struct queue *queue, const struct queue_message *message, void *arg);

// Octets as text that is safe on a terminal: control characters are replaced. Prints to standard output.
void queue_print(const char *text);

// A duration as "45s", "12m", "3h05m" or "6d04h".
#define QUEUE_AGE_SIZE 24
void queue_age(int64_t seconds, char ret_text[static QUEUE_AGE_SIZE]);

#endif
