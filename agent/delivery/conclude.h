// From a claimed message to its transactions, and from their results to its outcome: what goes into the next
// transaction, who was accepted, what is written down, where the message goes.
//
// Works on one message at a time, on the wire thread; knows no sessions and no desks. The judgement of
// replies is outcome.c's, the time of the next attempt retry.c's.
#ifndef OUTTRAY_AGENT_DELIVERY_CONCLUDE_H
#define OUTTRAY_AGENT_DELIVERY_CONCLUDE_H

#include "agent/delivery/message.h"
#include "agent/delivery/outcome.h"

// Facts of the session for the log and the status file. Strings are borrowed.
struct conclude_context {
    const char *account, *relay, *tls;
    int64_t boot, wall;
    int64_t conn_use, conn_ms;
    bool no_dsn; // the server does not tell senders of delivery (RFC 3461)
};

enum conclude_next {
    CONCLUDE_FILE,  // message->filing says how
    CONCLUDE_AGAIN, // the next transaction, after FILING_RECORD where record is set
    CONCLUDE_BACK,  // untouched: the account's trouble, or never begun
};

struct conclusion {
    enum conclude_next next;
    bool record;    // someone was accepted who must be durable first
    bool delivered; // someone was accepted: the account works
    bool trouble;   // `outcome` is the account's
    struct outcome outcome;
    char words[REPLY_TEXT_MAX + 1]; // the server's, for trouble
};

// Prepares message->mail for the recipients that have no answer in this attempt: at most recipients_max of
// them, those that need SMTPUTF8 apart from those that do not. Returns how many; 0 where nobody is left to
// try (then conclude_rest decides). Addresses that cannot be sent to are refused here.
size_t conclude_prepare(struct message *message, size_t recipients_max);

// Takes the result of message->mail in.
int conclude_result(struct message *message, const struct smtp_result *result,
    const struct conclude_context *context, struct conclusion *ret_conclusion);

// Nobody is left to try: sets message->filing (sent, defer, fail) and, for the latter two, its status.
int conclude_rest(struct message *message, const struct conclude_context *context);
// The same for a message that had nobody to try from the start, with its log line.
int conclude_nobody(struct message *message, const struct conclude_context *context);

// The message cannot be sent at all (message->fault), or waits for its time (Not-Before): filing, status and
// log line.
int conclude_fault(struct message *message, const struct conclude_context *context);
int conclude_wait(struct message *message, const struct conclude_context *context);
// It repeats another one (message->detail says which): to sent/, since nothing is left to do with it.
void conclude_repeat(struct message *message, const struct conclude_context *context);

// The message goes back untouched: filing and log line; words say why.
void conclude_return(struct message *message, const struct conclude_context *context, const char *words);

#endif
