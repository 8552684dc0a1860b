// Telling the rest of the house what happened, once it is durable (wire thread).
//
// The hub calls events_… below when an outcome has been filed and synced, when an account pauses or resumes,
// when a tenant's mail lies for too long, and when the spool's disk failed. Whoever wants to know registers a
// subscriber. A subscriber is called from the loop and must not block: it copies what it needs and does its
// work elsewhere. Nothing that it does or fails to do changes what becomes of the mail.
#ifndef OUTTRAY_AGENT_DELIVERY_EVENTS_H
#define OUTTRAY_AGENT_DELIVERY_EVENTS_H

#include "agent/delivery/account.h"
#include "agent/delivery/message.h"

enum event_kind {
    EVENT_SENT,     // the message lies in sent/: every recipient has it
    EVENT_DEFERRED, // in deferred/, until next_attempt
    EVENT_FAILED,   // in failed/; reason "expired" where it was given up
    EVENT_RETURNED, // back where it was claimed from, nothing counted
    EVENT_ACCOUNT_PAUSED,
    EVENT_ACCOUNT_RESUMED,
    EVENT_BACKLOG,      // the oldest message of a tenant's new/ is older than hooks.backlog_age
    EVENT_SPOOL_BROKEN, // nothing is claimed any more
    EVENT_RELAYED,      // besides sent or failed: who asked for a notice of success has it through a server
                        // without DSN
    EVENT_KINDS,
};
const char *event_name(enum event_kind kind); // "sent", … "spool_broken"

struct event_recipient {
    const char *address;
    enum status_recipient_state state;
    const char *reply; // NULL: none
};

// All of it is borrowed for the time of the call. Text that does not belong to the kind is NULL.
struct event {
    enum event_kind kind;
    int64_t time;                  // wall ns
    const struct message *message; // NULL where the event is not about one
    const char *tenant, *account;
    const char *name;         // in the directory that the event says
    const char *claimed_name; // the same unless that name was taken there
    const char *message_id;   // NULL where the file could not be read as a message
    const char *from;         // the envelope sender; "" is the null reverse-path
    const struct event_recipient *recipients;
    size_t n_recipients; // 0 where they are not known, or memory is short
    int64_t size;        // octets of the file
    int64_t attempt;     // number of the one that ended so, from 1; 0: none was made
    const char *class;   // deferred: why, as class= in the log
    const char *reason; // failed: recipient, policy, …; paused: the breaker's name; broken: the errno's text
    const char *reply;  // the server's words, or ours
    int64_t next_attempt; // wall ns: of a deferred message; 0: none
    int64_t age_s;        // since submission; backlog: of the oldest message
    uint64_t count;       // backlog: messages in new/
    const char *fix;      // what a person can do; NULL: nothing
};

struct events_subscriber {
    unsigned kinds; // bits 1u << kind; may change at any time
    void (*happened)(const struct event *event, void *arg);
    void *arg;
    struct events_subscriber *next; // set by events_subscribe
};

struct events {
    struct events_subscriber *first; // told in the order in which they came
};

// The subscriber is embedded in its owner and stays until the loop ends.
void events_subscribe(struct events *events, struct events_subscriber *subscriber);
bool events_wanted(const struct events *events, enum event_kind kind);

// A message was filed: message->filing says how. A record of some recipients only is no event.
void events_message(const struct events *events, const struct message *message);
void events_account(const struct events *events, const struct account *account, enum account_change change);
// The account's operator paused or resumed it; the reason is "operator" and words say who and why.
void events_operator(
    const struct events *events, const struct account *account, bool paused, const char *words);
// What lies in new/ is this old. Told once, and again only after it was younger than limit_ms while its
// account was not paused.
void events_backlog(const struct events *events, struct tenant *tenant, int64_t limit_ms);
void events_spool_broken(const struct events *events, int error);

#endif
