// What the agent shows of itself: one struct filled in by the wire thread, printed as status.json and as
// Prometheus text.
//
// The struct is borrowed for the time of the call. Both printers are pure.
#ifndef OUTTRAY_AGENT_OBSERVE_SNAPSHOT_H
#define OUTTRAY_AGENT_OBSERVE_SNAPSHOT_H

#include "agent/base/buffer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Upper bounds of the buckets of outtray_delivery_seconds (from submission to durable "sent"), in seconds;
// one more for +Inf.
#define OBSERVE_BUCKETS 12
extern const double observe_bucket_bounds[OBSERVE_BUCKETS];

enum observe_state { OBSERVE_NEW, OBSERVE_CUR, OBSERVE_DEFERRED, OBSERVE_FAILED, OBSERVE_STATES };
extern const char *const observe_state_names[OBSERVE_STATES];

#define OBSERVE_CLASSES 12
extern const char
    *const observe_classes[OBSERVE_CLASSES];        // the class= values of deferred lines, see outcome.h
size_t observe_class_index(const char *class_name); // the last one for a name that is not in the list

#define OBSERVE_REASONS 5 // as enum status_reason less one
extern const char *const observe_reasons[OBSERVE_REASONS];

struct observe_count {
    uint64_t count, bytes;
    int64_t oldest_s; // age of the oldest by submission time; 0 where there is none
};

struct observe_tenant {
    const char *name, *account;
    struct observe_count states[OBSERVE_STATES];
    uint64_t sent_total;
    uint64_t failed[OBSERVE_REASONS];
    uint64_t deferred[OBSERVE_CLASSES];
    uint64_t ignored;
};

struct observe_account {
    const char *name;
    const char *breaker; // "closed", "open_unreachable", "open_credentials", "open_quota"
    const char *reason, *fix;
    bool paused;      // by its operator
    int64_t probe_at; // wall ns; 0: none
    unsigned sessions, window, in_flight;
    uint64_t sent_total, logins_total;
    int64_t token_expires_s;                // INT64_MIN: no token
    uint64_t delivery[OBSERVE_BUCKETS + 1]; // not cumulative; the last is +Inf
    double delivery_sum_s;
    bool has_mail;     // something for it waits to go out now, or is on its way
    int64_t stalled_s; // for how long that could have gone out and nothing has moved
};

struct observe_delivered { // outtray_delivered_total: messages by tenant and account
    const char *tenant, *account;
    uint64_t total;
};

struct snapshot {
    int64_t time, started; // wall ns
    const char *agent, *config_path, *version;
    int pid;
    const char *spool; // "ok", "full", "broken"
    const struct observe_tenant *tenants;
    size_t n_tenants;
    const struct observe_account *accounts;
    size_t n_accounts;
    const struct observe_delivered *delivered;
    size_t n_delivered;
    bool healthy; // as observe_health judged the rest of this
    const char *health;
    bool stopping;
    int64_t filing_stalled_s; // since when the filing desk has work and finishes nothing
    uint64_t log_lost;        // lines that could not be written
    int landlock;             // ABI version, 0: off
    bool seccomp;
};

// Appends the text. 0 or the buffer's error.
int observe_status_json(const struct snapshot *snapshot, struct buffer *out);
int observe_metrics(const struct snapshot *snapshot, struct buffer *out);

// Whether deliveries progress: the loop and the desks are alive, the spool takes outcomes, and mail that
// could go out goes out. Mail of a paused account could not; but where all that waits is for paused accounts,
// nothing progresses. Appends words in either case: "ok", "ok; paused: …", or what is wrong. Pure.
#define OBSERVE_DESK_STALLED_S 30
#define OBSERVE_MAIL_STALLED_S 300
bool observe_health(const struct snapshot *snapshot, struct buffer *words);

#endif
