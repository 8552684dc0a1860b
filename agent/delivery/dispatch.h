// The wire thread's hub: tenants, pools, desks, and what comes back from them.
#ifndef OUTTRAY_AGENT_DELIVERY_DISPATCH_H
#define OUTTRAY_AGENT_DELIVERY_DISPATCH_H

#include "agent/auth/keeper.h"
#include "agent/base/log.h"
#include "agent/base/loop.h"
#include "agent/base/multi.h"
#include "agent/delivery/conclude.h"
#include "agent/delivery/control.h"
#include "agent/delivery/desk.h"
#include "agent/delivery/events.h"
#include "agent/delivery/filing.h"
#include "agent/delivery/pool.h"
#include "agent/delivery/settle.h"
#include "agent/delivery/tenant.h"
#include "agent/delivery/watch.h"

#define DISPATCH_CLAIMED_MAX 4096 // messages claimed at a time, by all pools together

// Which directory an inotify descriptor stands for.
struct dispatch_watch {
    struct tenant *tenant; // NULL: none any more
    enum spool_state state;
};

struct dispatch {
    struct loop *loop;
    struct multi *multi;
    struct log *log;
    const struct config *config; // a reference
    int spool_fd, state_fd;
    struct desk *intake, *filing;
    struct keeper *keeper; // of OAuth tokens
    struct moves moves;    // between the desks
    struct filing filing_state;
    struct events events; // who is told of what happened
    struct events_subscriber notices;
    struct watch *watch;
    int watch_error; // negative errno where there is no inotify
    struct control control;
    struct tenant **tenants;
    size_t n_tenants;
    struct pool **pools;
    size_t n_pools;
    struct pool *pumps;            // to be pumped before the loop sleeps, linked by next_pump
    struct tenant *looking;        // with a look to be submitted, linked by next_looking
    struct backlog_total backlogs; // of all tenants
    struct backlog_total refills;  // what refills under way may add to it
    size_t held_max;               // files that names read ahead may hold open
    size_t locked_max;             // and those that are claimed; further ones are moved and closed
    struct settle settle;
    unsigned claimed;                      // messages claimed, of all tenants
    uint64_t n_claims;                     // since the start
    struct tenant *surveys, *surveys_last; // whose survey waits for its turn, linked by next_survey
    unsigned n_surveys;                    // under way
    bool stopping;                         // no more claims
    int claim_error;                       // the last claim's, so that trouble is logged once
    bool spool_broken, spool_full;         // as logged
    int64_t progress_looked;               // boot: the last look at whether mail moves (progress.h)
    bool once;
    bool once_findings;             // something was left deferred, failed or paused
    struct dispatch_watch *watches; // by descriptor
    size_t n_watches;
};

// Reading what a tenant has (directories.c): begins to open its directories (again); forgets them, their
// watches and the backlog; opens, surveys or reads again what is due (every few seconds).
void dispatch_tenant_open(struct dispatch *dispatch, struct tenant *tenant);
void dispatch_tenant_close(struct dispatch *dispatch, struct tenant *tenant);
void dispatch_tick_tenant(struct dispatch *dispatch, struct tenant *tenant);

// Surveys (surveys.c): one now, or again after the one under way.
void dispatch_survey(struct dispatch *dispatch, struct tenant *tenant);
// Whether deferred mail that is due found no room in the backlog, and can be had by reading deferred/ again,
// which it sees to: at full speed, since it is waited for.
bool dispatch_survey_due(struct dispatch *dispatch, struct tenant *tenant);
// The same as dispatch_survey, and deferred/ is read only where that is asked for otherwise.
void dispatch_survey_rest(struct dispatch *dispatch, struct tenant *tenant);
// At the end: brings the counts up to date where that is cheap. True while a survey is under way.
bool dispatch_survey_last(struct dispatch *dispatch);

// What events and refills bring into the backlogs (arrivals.c).
void dispatch_watch_event(int watch, enum watch_what what, const char *name, void *arg);
void dispatch_watch_lost(void *arg);
// Submits the looks that events asked for.
void dispatch_flush_looks(struct dispatch *dispatch);
// Refills a tenant's backlog from new/ where it runs low and there is more; whether it is so.
void dispatch_refill(struct dispatch *dispatch, struct tenant *tenant);
bool dispatch_refill_due(const struct tenant *tenant);
// The boot time of a due time as it stands in deferred/ (wall clock), which counts as no further off than the
// longest wait between two attempts.
int64_t dispatch_due(const struct dispatch *dispatch, int64_t wall_due);
// Puts a name of deferred/ into the backlog with such a due time.
void dispatch_wait(struct dispatch *dispatch, struct tenant *tenant, const char *name, int64_t wall_due);
// Makes all that the tenant has deferred due now, each message once.
void dispatch_release(struct dispatch *dispatch, struct tenant *tenant);
// Logs an entry of new/ that is no message, once; that one of the tenant's directories could not be read.
void dispatch_ignored(struct dispatch *dispatch, struct tenant *tenant, const char *name);
void dispatch_scan_failed(const struct dispatch *dispatch, const struct tenant *tenant, int error);

// Pumps the pools that were woken. What is woken by this has its turn in the next round.
void dispatch_pump(struct dispatch *dispatch);

// The spool's disk failed: nothing is claimed any more (dispatch.c).
void dispatch_spool_trouble(struct dispatch *dispatch);

// Claims one entry of the tenant's backlog (dispatch_claims.c). False where memory is short.
bool dispatch_claim(struct dispatch *dispatch, struct tenant *tenant, struct backlog_entry *entry);
// Whether new mail may be claimed now.
bool dispatch_may_claim(const struct dispatch *dispatch);

// Hands a concluded message to the filing desk; message->filing is set.
void dispatch_file(struct dispatch *dispatch, struct message *message);
// Ends a claim and the message with it: it is filed, or was never ours.
void dispatch_end_claim(struct dispatch *dispatch, struct message *message);
// Could not be concluded (memory): put back, try again later.
void dispatch_give_up(struct dispatch *dispatch, struct message *message, int error);

// The keeper's accounts (tokens.c): made before a configuration is applied, told what happens at logins.
int dispatch_start_keeper(struct dispatch *dispatch);
// The pool's token is being fetched: nothing can be opened now. The keeper's news pump it again.
void dispatch_await_token(struct pool *pool, const char *words);
// A login was refused for what may be its token. True where another one is being fetched: nothing is to be
// told of the account yet. Else *outcome says what to do.
bool dispatch_token_refused(struct carrier *carrier, struct outcome *outcome, const char *words);

// An account paused or resumed: events in the log, ready mail returned or deferred mail released.
void dispatch_account_changed(struct dispatch *dispatch, struct pool *pool, enum account_change change);

struct tenant *dispatch_find_tenant(const struct dispatch *dispatch, const char *name);
// Context without a session.
struct conclude_context dispatch_context(const struct dispatch *dispatch, const struct pool *pool);

// Whether nothing is under way and nothing is left to do now (`run --once`).
bool dispatch_is_done(struct dispatch *dispatch);
// Whether any message is claimed or being filed.
bool dispatch_is_quiet(const struct dispatch *dispatch);

#endif
