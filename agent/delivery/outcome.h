// The one place that judges: what a reply or a failure means for a recipient, a message, or an account.
//
// Pure: no clock, no state, no I/O. The rules are a table (outcome_rules.c) of stage, code, enhanced code and
// text, first match wins, enhanced code before code (RFC 3463, 5248); the providers' rows come from their
// documentation. A fault belongs to the one who has it: unknown trouble during set-up is the account's,
// unknown trouble after MAIL the message's, and anything local (DNS, descriptors, disk) is always temporary.
#ifndef OUTTRAY_AGENT_DELIVERY_OUTCOME_H
#define OUTTRAY_AGENT_DELIVERY_OUTCOME_H

#include "agent/smtp/session.h"
#include "spool-format/status.h"

enum verdict {
    VERDICT_SENT,
    VERDICT_RETRY, // this recipient or message, later
    VERDICT_REJECT_RECIPIENT,
    VERDICT_REJECT_MESSAGE,
    VERDICT_ACCOUNT_THROTTLED,   // too much too fast, or a quota: park or slow down
    VERDICT_ACCOUNT_CREDENTIALS, // nobody gets in until someone does something
    VERDICT_ACCOUNT_UNREACHABLE, // no connection, TLS failure, protocol trouble during set-up
    VERDICT_SPOOL,               // our own disk
};

struct outcome {
    enum verdict verdict;
    enum status_reason reason; // REJECT_*: what failed/ says
    const char
        *class; // constant, for class= and metrics: "sent", "recipient", "message", "policy", "greylist",
                // "connection", "tls", "protocol", "timeout", "throttled", "quota", "credentials", "local"
    bool fewer_connections; // "too many connections": AIMD decrease
    bool refresh_token;     // worth one forced refresh before the account counts as broken
    bool split; // 452 too many recipients: the rest goes in another transaction at once, no attempt counted
    bool at_login;   // ACCOUNT_*: logging in is what fails; sessions that are open may go on
    int64_t park_ms; // ACCOUNT_THROTTLED: how long nothing may be tried; 0: the account's own backoff
    const char *fix; // constant words: what a person can do; NULL where waiting is enough
};

// The reply to one command of a transaction (stage MAIL, RCPT, DATA, FINAL), or to AUTH and EHLO.
// REJECT_RECIPIENT at another stage than RCPT means every recipient of that transaction. RETRY with `split`:
// where no recipient was accepted before it, splitting cannot help, and it counts as a plain RETRY.
struct outcome outcome_of_reply(enum smtp_stage stage, const struct smtp_reply *reply);

// What became of one mail: by its final reply, else by its failure. ACCOUNT_* means that the mail goes back
// to where it was claimed from, no attempt counted: nothing was said about it. A connection lost while the
// server was answering about this very mail (a stage after MAIL) is RETRY: it may be the mail that breaks it,
// and must not hold up the account for ever. Only THROTTLED and CREDENTIALS are for account_troubled then; a
// lost connection is told once, by outcome_of_closing. CANCELLED gives UNREACHABLE of class "local".
struct outcome outcome_of_result(const struct smtp_result *result);

// A session that ended: SENT where that is nobody's trouble (we closed it, the server closed an idle one, a
// message file failed), else always ACCOUNT_*.
struct outcome outcome_of_closing(const struct smtp_closing *closing);

// The constant `fix` that equals text, or NULL: for what was stored and is read again.
const char *outcome_fix_find(const char *text);

#endif
