// Inside of a session: shared by session.c (life cycle, calls from outside) and session_io.c (the wire).
#ifndef OUTTRAY_AGENT_SMTP_SESSION_PRIVATE_H
#define OUTTRAY_AGENT_SMTP_SESSION_PRIVATE_H

#include "connect.h"
#include "output.h"
#include "pipeline.h"

#define SESSION_READ_SIZE      16384 // octets of one receive
#define SESSION_WRITES_MAX     16    // writes in one go, so that a fast connection leaves time for others
#define SESSION_ROUNDS_MAX     16    // times that results and new mail alternate in one go
#define SESSION_PATIENCE       (3600 * CLOCK_SECOND) // idle, where a login is dear
#define SESSION_QUIT_TIMEOUT   (2 * CLOCK_SECOND)    // for the reply to QUIT: nothing depends on it
#define SESSION_RELAY_NAME_MAX 320                   // octets of "server:port"

enum session_state {
    SESSION_CONNECTING, // libcurl is at work
    SESSION_OPEN,       // takes mail
    SESSION_DRAINING,   // takes no more mail, finishes what it has
    SESSION_QUITTING,   // QUIT is sent
    SESSION_CLOSED,     // nothing happens any more
};

struct smtp_session {
    struct loop *loop;
    struct multi *multi;
    const struct config *config; // a reference
    const struct config_account *account;
    struct smtp_session_events events;
    void *arg;
    enum session_state state;
    unsigned depth; // calls into this session under way: freed at the end of the outermost one
    bool freed;
    struct multi_transfer transfer;
    struct connect connect;
    struct pipeline pipeline;
    struct output output;
    struct reply_reader reader;
    struct loop_watch watch;
    struct loop_timer deadline; // the only timeout; moved lazily
    struct loop_timer soon;     // write what was handed over, at the end of this round
    int64_t due;                // clock_boot; what `deadline` stands for, INT64_MAX for nothing
    int64_t opened, ready, idle_since;
    int64_t waiting_since; // since when the oldest command is due: its being written, or the last whole reply
    int64_t progress;      // when the server last took octets
    bool waiting;
    bool no_chunking;    // as asked for
    bool patient;        // as asked for
    bool unacknowledged; // octets came in, and nothing has gone out since
    bool room_told;      // `ready` was called since there was last no room
    unsigned mails;
    char relay[SESSION_RELAY_NAME_MAX];
};

// Every entry from outside is bracketed by these two.
void session_enter(struct smtp_session *session);
void session_leave(struct smtp_session *session);

void session_set_state(struct smtp_session *session, enum session_state state);
// Results first, then `closed`; the connection is gone before either. closing may be changed by this.
void session_end(struct smtp_session *session, struct smtp_closing *closing);
// The same for a fault of the connection in the middle of the dialogue.
void session_fail(
    struct smtp_session *session, enum smtp_failure failure, CURLcode curl, const char *problem);
// Calls `done` for what is finished. True where there was any.
bool session_report(struct smtp_session *session);
// Calls `ready` where room appeared.
void session_offer(struct smtp_session *session);

// The connection is up: watches it.
int session_io_start(struct smtp_session *session);
void session_io_stop(struct smtp_session *session);
// Writes what there is, reports, takes more, sets the timeout; ends politely where nothing is left to do.
void session_run(struct smtp_session *session);

#endif
