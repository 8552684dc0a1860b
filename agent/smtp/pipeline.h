// The mails of one connection: a window of transactions, as far into each other as the server's extensions
// allow (RFC 2920, RFC 3030).
//
//     CHUNKING + PIPELINING   streamed: whole transactions behind each other, bounded by window and octets
//     PIPELINING              grouped: the final dot and the next mail's MAIL, RCPT and DATA share a group
//     neither                 lockstep: one command at a time
//
// Replies come in the order of the commands, so every reply belongs to the oldest mail. Pure, like
// transaction.h: octets go into an output buffer, replies come in, finished mails come out in order.
#ifndef OUTTRAY_AGENT_SMTP_PIPELINE_H
#define OUTTRAY_AGENT_SMTP_PIPELINE_H

#include "transaction.h"

enum pipeline_mode { PIPELINE_LOCKSTEP, PIPELINE_GROUPED, PIPELINE_STREAMED };

enum pipeline_event {
    PIPELINE_GOES_ON,
    PIPELINE_BYE,   // the reply ends the session: 421, or a refusal in the middle of a DATA body
    PIPELINE_FAULT, // the reply fits no command: the connection cannot be used any more
};

struct pipeline {
    const struct smtp_capabilities *capabilities; // borrowed
    enum pipeline_mode mode;
    unsigned window;           // mails in flight; 1 from the first anomaly on
    struct transaction *slots; // a ring; owned
    unsigned n_slots;          // window + 1: a mail that was taken out stays valid until the next one is
    unsigned head, n, n_begun; // the oldest; mails; mails of which something was decided or written
    uint64_t octets;           // of the bodies of those begun
    struct transaction_pool pool;
    bool no_chunking; // BDAT was answered as an unknown command
    bool anomaly;     // the server answered out of step
    bool rset_needed; // before the next MAIL
    bool stopped;     // nothing more is written
    bool bye;         // 421 came
};

int pipeline_init(struct pipeline *pipeline, unsigned window); // 0 or -ENOMEM
void pipeline_release(struct pipeline *pipeline);
// What the server offers is known.
void pipeline_open(struct pipeline *pipeline, const struct smtp_capabilities *capabilities);

// For how many more mails: those that can be begun (room_now), and, grouped, one more that lies ready, so
// that its envelope is there to go in a group with a dot.
unsigned pipeline_room(const struct pipeline *pipeline);
unsigned pipeline_room_now(const struct pipeline *pipeline);
void pipeline_push(struct pipeline *pipeline, const struct smtp_mail *mail); // room is not 0

// Writes what may be written now. A file that fails stops the pipeline: see pipeline_broken.
void pipeline_write(struct pipeline *pipeline, struct output *output, int64_t now);
enum pipeline_event pipeline_reply(struct pipeline *pipeline, const struct output *output,
    const struct smtp_reply *reply, const char **ret_problem);

// The oldest mail, taken out, where it is finished; else NULL. Valid until the next call of this or of
// pipeline_drop.
const struct smtp_result *pipeline_finished(struct pipeline *pipeline, int64_t now);
// The oldest mail, taken out, because the connection is over; NULL where there is none. See transaction_drop.
const struct smtp_result *pipeline_drop(struct pipeline *pipeline, const struct output *output,
    enum smtp_failure failure, const char *problem, int64_t now);

// Whether a file failed and everything before it is answered: time to end.
bool pipeline_broken(const struct pipeline *pipeline);
// What the oldest mail waits for; AWAITS_NOTHING where no command is unanswered.
enum transaction_wait pipeline_waits(const struct pipeline *pipeline);
// Where the oldest mail stands; SMTP_STAGE_IDLE where none was begun.
enum smtp_stage pipeline_stage(const struct pipeline *pipeline, const struct output *output);
// Whether the oldest mail is on the server's side of the wire completely.
bool pipeline_oldest_sent(const struct pipeline *pipeline, const struct output *output);

#endif
