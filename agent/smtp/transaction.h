// The dialogue of one mail: which commands are written, and what the replies to them make of it.
//
// Pure: it writes into the output buffer and is fed replies; connections, clocks and other mails are the
// business of pipeline.h and session.c. Commands are written in the order MAIL, RCPT…, then either
// `BDAT n LAST` with the body behind it (CHUNKING, RFC 3030) or DATA, and after its 354 the stuffed body and
// the dot. In lockstep every command waits for the reply to the one before; else only the body waits, for
// 354.
#ifndef OUTTRAY_AGENT_SMTP_TRANSACTION_H
#define OUTTRAY_AGENT_SMTP_TRANSACTION_H

#include "output.h"
#include "session.h"

#define TRANSACTION_ADDRESS_MAX   1024 // octets of a path; RFC 5321 allows 256, servers decide
#define TRANSACTION_PARAMETER_MAX 512  // octets of ENVID, ORCPT, …
#define TRANSACTION_COMMAND_MAX   2304 // room that every command line fits into
#define TRANSACTION_POOL_MAX      128  // replies kept for the next transactions

enum transaction_step { // what is written next
    TRANSACTION_WRITES_RSET,
    TRANSACTION_WRITES_MAIL,
    TRANSACTION_WRITES_RCPT,
    TRANSACTION_WRITES_DATA, // the DATA or BDAT command
    TRANSACTION_WRITES_BODY,
    TRANSACTION_WRITES_DOT,
    TRANSACTION_WRITTEN,
};

enum transaction_wait { // what the next reply answers
    TRANSACTION_AWAITS_RSET,
    TRANSACTION_AWAITS_MAIL,
    TRANSACTION_AWAITS_RCPT,
    TRANSACTION_AWAITS_DATA,
    TRANSACTION_AWAITS_FINAL,
    TRANSACTION_AWAITS_NOTHING,
};
const char *transaction_wait_name(enum transaction_wait wait); // "RSET", "MAIL", …, "the message"

// Replies to RCPT, kept until the mail is done. Equal neighbours share one; the pool saves the allocations.
struct transaction_reply {
    struct transaction_reply *next;
    struct smtp_reply reply;
};
struct transaction_pool {
    struct transaction_reply *unused;
    unsigned n_unused;
};
void transaction_pool_release(struct transaction_pool *pool);

struct transaction {
    const struct smtp_mail *mail;
    struct smtp_result result;
    enum transaction_step step;
    enum transaction_wait wait;
    bool lockstep;                // each command waits for the reply before
    bool bdat;                    // BDAT instead of DATA
    bool overlapped;              // an earlier transaction was still open when this one began
    bool checked;                 // it failed before anything was written
    bool mail_refused;            // result.final is the reply to MAIL
    bool go_ahead;                // 354 came
    bool answered_early;          // BDAT was refused before its last octet: the rest is owed
    bool bdat_unknown;            // BDAT was answered as an unknown command
    bool claimed;                 // 250 came before the last octet
    bool file_failed;             // the body could not be read to its end
    bool file_changed;            // … because the file is not what it was when it was measured
    bool out_of_step;             // a reply contradicts the ones before
    bool finished;                // result is complete
    bool rset_after;              // the server may still have the transaction open
    size_t n_written, n_answered; // commands; the body counts from its start
    size_t rcpt_written, rcpt_answered, rcpt_accepted;
    uint64_t begin, end; // offsets in the output stream; end is valid once everything is written
    int64_t began;       // when MAIL was written
    struct smtp_body_cursor cursor;
    const struct smtp_reply **replies; // by recipient; owned, kept for the next mail
    size_t replies_size;
    struct transaction_reply *stored; // owned, newest first
};

// Takes a mail. A zeroed struct is ready for this; transaction_clear makes it ready again. Without memory for
// the replies the mail is taken all the same and ends as CANCELLED when it is its turn.
void transaction_init(struct transaction *transaction, const struct smtp_mail *mail);
void transaction_clear(struct transaction *transaction, struct transaction_pool *pool);
void transaction_release(struct transaction *transaction, struct transaction_pool *pool);

// Begins to write: decides on the form, checks what the mail needs and its addresses. Where something is
// missing the transaction is finished with SMTP_FAILURE_REQUIRED and nothing was written.
void transaction_begin(struct transaction *transaction, const struct smtp_capabilities *capabilities,
    bool lockstep, bool rset, const struct output *output, int64_t now);

// Writes as far as room and replies allow. 0, or negative errno where the file failed: then nothing more may
// be written on this connection.
int transaction_write(
    struct transaction *transaction, const struct smtp_capabilities *capabilities, struct output *output);

// Takes the reply to the oldest unanswered command. NULL, or why it cannot be one.
const char *transaction_take(struct transaction *transaction, struct transaction_pool *pool,
    const struct smtp_reply *reply, const struct output *output);
// Takes a 421: it answers the oldest command and ends the mail.
void transaction_bye(
    struct transaction *transaction, struct transaction_pool *pool, const struct smtp_reply *reply);
// The connection is over. Decides from the replies so far where they are enough; else the mail ends with
// failure (CANCELLED where it was not begun).
void transaction_drop(struct transaction *transaction, const struct output *output, enum smtp_failure failure,
    const char *problem);

// All that was owed is written and answered: the result follows from the replies.
void transaction_finish(struct transaction *transaction);

// Whether the replies so far rule out that anybody gets this mail.
bool transaction_doomed(const struct transaction *transaction);
// Whether every octet of it was taken by libcurl.
bool transaction_sent(const struct transaction *transaction, const struct output *output);
enum smtp_stage transaction_stage(const struct transaction *transaction, const struct output *output);

#endif
