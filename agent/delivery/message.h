// One claimed message on its way: from the claim by the intake desk over the wire to the filing desk.
//
// Whoever holds it owns it; the desks and the wire thread hand it on as a desk job, so no two threads ever
// see it at once.
#ifndef OUTTRAY_AGENT_DELIVERY_MESSAGE_H
#define OUTTRAY_AGENT_DELIVERY_MESSAGE_H

#include "agent/base/log.h"
#include "agent/compose/outgoing.h"
#include "agent/delivery/desk.h"
#include "agent/delivery/tenant.h"
#include "agent/smtp/session.h"
#include "config/config.h"
#include "spool-format/status.h"

// What the intake desk found when it was to claim a name.
enum claim_result {
    CLAIM_READY,      // claimed and composed: goes on the wire
    CLAIM_GONE,       // somebody else took it, or it was delivered already
    CLAIM_TAKEN,      // another agent has it, or somebody else who locked the file; left untouched
    CLAIM_IGNORED,    // no message: a directory, a link, a device, …; left untouched
    CLAIM_UNSETTLED,  // may still be written to; left untouched
    CLAIM_NOT_DUE,    // deferred again since it was put into the backlog: `recorded` says until when
    CLAIM_FAULT,      // claimed, but cannot be a message: `fault` says why
    CLAIM_REPEAT,     // claimed; another message with its X-Outtray-Key came before: `detail` says which
    CLAIM_WAIT,       // claimed; its X-Outtray-Not-Before is in the future
    CLAIM_UNREADABLE, // the disk does not give its content (`error`); left or put back
    CLAIM_LATER,      // could not be looked at now (`error`: descriptors, memory, disk); left or put back
    CLAIM_STRANDED,   // the same, but it could not be put back either: it lies in cur/
};

// What the filing desk is to do with it.
enum filing_action {
    FILING_SENT,   // to sent/
    FILING_DEFER,  // status file, then to deferred/
    FILING_FAIL,   // status file, then to failed/
    FILING_RETURN, // to where it was claimed from
    FILING_RECORD, // status file only: some recipients were accepted, others follow
};

struct message {
    struct desk_job job; // first
    struct dispatch *dispatch;
    struct tenant *tenant;                // whose spool it lies in
    struct tenant *route;                 // whose account it goes through (X-Outtray-Tenant)
    struct carrier *carrier;              // whose window slot it holds; NULL: none
    struct message *next;                 // in a message_list
    const struct config *config;          // a reference
    const struct config_tenant *settings; // of config
    struct tenant_dirs *dirs;             // a reference

    struct backlog_entry *entry; // wire thread only: while the claim is under way, or its name lies in new/
    struct message *next_loose, *previous_loose; // wire thread only: claimed, and not moved to cur/
    bool loose;                                  // it is in that list
    int64_t claimed_at;                          // boot: since when it is claimed
    bool sure, regular;
    bool keep_lock;   // in: its file may stay open as long as it is claimed, so it need not be moved
    bool unreadable;  // it lies there, and the agent may not open it
    bool express;     // its tenant has nothing else under way: it goes before others' claims
    int64_t examined; // clock_work: it was seen in `origin` before then
    int64_t seen_size, seen_mtime; // in: when last put off; out: as seen now
    int64_t mtime;                 // of its file, ns; stat's is when it was submitted, once that is known
    int64_t recorded; // deferred: its due time as the backlog knows it; out: as the directory says
    enum claim_result claim;
    int error; // negative errno for CLAIM_LATER, CLAIM_STRANDED, CLAIM_UNREADABLE and for a filing that
               // failed

    char name[SPOOL_NAME_SIZE];         // in `place`, and in its final place once filed
    char claimed_name[SPOOL_NAME_SIZE]; // as it was claimed: what logs and status files of others know
    enum spool_state origin;            // where it was claimed, and where it is returned to
    enum spool_state place;             // where it lies (desks only): `origin`, or cur/
    int fd;                             // -1: not open; while it lies in new/ its lock is the claim
    struct stat stat;
    struct outgoing *outgoing;
    struct outgoing_fault *fault; // owned: why it cannot be a message; NULL: it can
    struct status *status;        // NULL: none yet
    enum spool_state status_in;   // where a status file of this message lies; SPOOL_STATES: nowhere
    char status_name[SPOOL_NAME_SIZE];

    struct smtp_mail mail; // the transaction under way
    struct smtp_recipient *wire_recipients;
    size_t *recipient_index; // of each wire recipient in outgoing->recipients (and in status->recipients)
    enum status_recipient_state *recipient_state; // by index
    bool *recipient_tried;                        // by index: had its answer in this attempt
    int64_t started;                              // boot: when the transaction under way began
    int64_t attempt;                              // number of this attempt, from 1
    int64_t next_attempt;       // wall ns, once this attempt has deferred somebody; 0: not yet
    const char *deferred_class; // constant: why this attempt deferred somebody
    bool relayed;      // somebody has it through a server without DSN who asked for a notice of success
    bool gave_up;      // give_up_after or X-Outtray-Expires ended it
    unsigned worn_out; // how often a session was at its end when this message's turn came
    int64_t conn_use;  // which message of its session the transaction under way is
    bool back;         // after FILING_RECORD: return it, its account is in trouble
    enum status_reason refused_reason; // of the first refused recipient
    char *detail; // owned; NULL: none. Words for failed/; of a message that was simply sent: the server's

    enum filing_action filing;
    enum spool_state filed_in;
    struct log_lines lines; // log lines to write once the outcome is durable
};

// A message to be claimed: takes references of its own. NULL where memory is short.
struct message *message_new(
    const struct config *config, struct tenant *tenant, struct backlog_entry *entry, const struct log *log);
void message_free(struct message *message); // closes its file; takes NULL

void message_list_append(struct message_list *list, struct message *message);
void message_list_prepend(struct message_list *list, struct message *message);
struct message *message_list_take(struct message_list *list); // NULL where it is empty

// Sets `detail`, cut at STATUS_TEXT_MAX. Where memory is short it stays as it was: no outcome may depend on
// words.
void message_set_detail(struct message *message, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Makes the status (once) from what is known: identity, recipients with their states. 0 or -ENOMEM.
int message_need_status(struct message *message);

#endif
