// What goes over the wire for one message of the spool: envelope, rewritten header block, body plan. Built
// from the file, the tenant's configuration and the message's own fields; the file is never changed.
//
// Pure but for reading the file: used by the intake desk, by `explain` and by tests. The rules (which From,
// which envelope sender, what is removed and added) live in sender.c, envelope.c and outgoing.c and nowhere
// else.
#ifndef OUTTRAY_AGENT_COMPOSE_OUTGOING_H
#define OUTTRAY_AGENT_COMPOSE_OUTGOING_H

#include "agent/smtp/body.h"
#include "agent/smtp/session.h"
#include "config/config.h"
#include "spool-format/address.h"
#include "spool-format/header.h"
#include "spool-format/status.h"
#include <sys/stat.h>

#define OUTGOING_INLINE_MAX                                                                                  \
    16384 // octets: smaller messages are composed whole in memory, their file is closed again

struct outgoing_recipient {
    char *address;        // as the message says it (UTF-8 domain kept): the key in the status file
    char *wire;           // with A-labels: what RCPT TO gets; may be the same pointer as address
    char *notify, *orcpt; // DSN, or NULL
    const char *problem;  // constant reason where it cannot be sent to (5.1.3 bad address), else NULL
    bool smtputf8;        // its local part is not ASCII
};

enum outgoing_source { OUTGOING_FROM_X_RECEIVER, OUTGOING_FROM_HEADERS };

struct outgoing {
    const struct config_tenant
        *tenant;               // borrowed: the tenant whose rules counted (X-Outtray-Tenant where allowed)
    char *envelope_from;       // "" for <>
    const char *envelope_rule; // constant: "account", "X-Sender", "Return-Path", "Sender", "From"
    char *from;                // the From header's value as sent (encoded words)
    char *ret, *envid;         // DSN, or NULL
    struct outgoing_recipient *recipients;
    size_t n_recipients;
    enum outgoing_source source;
    char *message_id;      // with its brackets; the message's own or the one made
    char *removed, *added; // for explain: comma separated field names, "" where none
    int64_t not_before;    // wall ns; 0: none
    int64_t expires;       // wall ns; 0: none
    bool high_priority;
    char *key;      // X-Outtray-Key, or NULL
    bool smtputf8;  // reverse-path needs it
    bool eight_bit; // BODY=8BITMIME is needed: some octet of header or body is above 127
    char *head; // owned: header block for the wire, CRLF, with its empty line; the whole message where it is
                // small
    struct smtp_body body; // over head and the file
};

// Why a file cannot be a message: ends in failed/ with this reason and these words.
struct outgoing_fault {
    enum status_reason reason; // malformed, size, expired, policy
    char detail[512];
    char fix[256]; // "" where moving it back is the only thing to do
};

// Composes fd (a regular file, stat'ed) of `tenant` as NAME. Date and Message-ID, where the message has none,
// come from stat's mtime, which is the submission time. 0 and *ret_outgoing; -EBADMSG with *ret_fault where
// it cannot be a message; -EAGAIN where the file is no longer as long as stat says (somebody writes it: put
// it back); read errors and -ENOMEM. X-Outtray-Expires is only read: that it has passed is for the caller,
// who knows the time.
int outgoing_compose(const struct config *config, const struct config_tenant *tenant, const char *name,
    int fd, const struct stat *stat, struct outgoing **ret_outgoing, struct outgoing_fault *ret_fault);
void outgoing_free(struct outgoing *outgoing); // takes NULL; does not close fd
// Nothing will be sent of it any more: its octets go, what is known of it (its size, too) stays.
void outgoing_drop_octets(struct outgoing *outgoing);

// Only X-Outtray-Priority from the first octets of a file, for ordering names that were read ahead.
bool outgoing_peek_priority(int dir, const char *name);
bool outgoing_peek_priority_of(int fd); // the same of an open file

#endif
