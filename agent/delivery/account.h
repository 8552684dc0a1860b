// What the agent knows of an account between sessions: its breaker, its limits, its counts. No I/O but load
// and save.
//
// The breaker: closed; open_unreachable after three connection failures in a row (probed with one message at
// retry.first … retry.max); open_credentials at the first refusal (probed hourly, and at once when
// account_retry_now is called because the password file, token or configuration changed); open_quota (parked
// until a time, at most 24 h). While it is open, account_allows lets exactly one message through as a probe
// when probe_at has come. Times: `boot` is clock_boot, `wall` clock_wall, in ns.
//
// Persisted (parks, day counts, paused by hand): STATE/accounts.json, see account_load and account_save.
#ifndef OUTTRAY_AGENT_DELIVERY_ACCOUNT_H
#define OUTTRAY_AGENT_DELIVERY_ACCOUNT_H

#include "agent/base/bucket.h"
#include "agent/delivery/outcome.h"
#include "config/config.h"

enum breaker { BREAKER_CLOSED, BREAKER_UNREACHABLE, BREAKER_CREDENTIALS, BREAKER_QUOTA };
const char *breaker_name(enum breaker breaker); // "closed", "open_unreachable", …

struct account_limits_state; // day counts and the like, inside account.c

struct account {
    char *name;
    const struct config *config; // a reference; replaced by account_configure
    const struct config_account *settings;
    enum breaker breaker;
    char reason[512];          // the server's words or ours; "" while closed
    const char *fix;           // constant words or NULL
    int64_t probe_at;          // boot; when the next probe may go while open
    int64_t probe_wait;        // ns; the last interval of the backoff
    bool probing;              // a probe is under way
    unsigned failures;         // connection failures in a row
    unsigned connections;      // AIMD: how many are allowed now, 1 … settings->limits.connections
    int64_t connections_since; // boot; the last change of `connections`
    bool window_one;           // the server answered out of step: one message at a time
    struct bucket minute;
    int64_t auth_after; // boot; no new login before this (too many logins)
    int64_t day_start;  // wall; when the counted day began
    unsigned day_messages, day_recipients;
    uint64_t sent_total, logins_total;
    uint64_t recent_server; // index into settings->servers that worked last
    bool changed;           // something persisted changed since the last save
};

int account_new(const struct config *config, const struct config_account *settings, int64_t boot,
    int64_t wall, struct account **ret_account);
void account_free(struct account *account); // takes NULL
// A reload: new settings; an open credentials breaker is probed at once.
void account_configure(struct account *account, const struct config *config,
    const struct config_account *settings, int64_t boot);

// How many messages may be started now: 0 while the breaker is open and no probe is due, or a limit is
// reached; 1 for a probe; else up to what the minute and day limits leave (at most UINT32_MAX). *ret_wait,
// where not NULL and the result is 0, is how many ns to wait before asking again (INT64_MAX: only an event
// changes it).
unsigned account_allows(const struct account *account, int64_t boot, int64_t wall, int64_t *ret_wait);
// A message with so many recipients was started; marks a probe as under way where the breaker is open.
void account_started(struct account *account, unsigned recipients, int64_t boot, int64_t wall);
// Whether a new connection may be opened now (`open` ones exist): AIMD, the breaker (one while open),
// auth_after.
bool account_may_connect(const struct account *account, unsigned open, int64_t boot, int64_t *ret_wait);

enum account_change { ACCOUNT_SAME, ACCOUNT_PAUSED, ACCOUNT_RESUMED };
// Login succeeded: counts it; closes an unreachable breaker's failure count but resumes only on the first
// success of mail … or at once where the breaker was open for credentials and login was what failed.
enum account_change account_logged_in(struct account *account, int64_t boot);
// A message was accepted: closes the breaker (RESUMED where it was open), lets `connections` grow by one a
// minute.
enum account_change account_succeeded(struct account *account, int64_t boot);
// An outcome that is the account's trouble (VERDICT_ACCOUNT_*); words are the server's. PAUSED where the
// breaker opened.
enum account_change account_troubled(
    struct account *account, const struct outcome *outcome, const char *words, int64_t boot, int64_t wall);
// A probe ended without saying anything about the account (its message failed by itself, or vanished).
void account_probe_over(struct account *account);
// The password file, token or configuration changed, or a person asked: an open breaker may be probed now.
void account_retry_now(struct account *account, int64_t boot);

// STATE/accounts.json of all accounts given: parks and day counts. Replaced atomically and synced. 0 or
// negative errno; a file that cannot be understood is -EBADMSG and ignored by the caller with a warning.
int account_load_all(int state_fd, struct account *const *accounts, size_t n, int64_t boot, int64_t wall);
int account_save_all(int state_fd, struct account *const *accounts, size_t n, int64_t boot, int64_t wall);

#endif
