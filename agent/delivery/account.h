// What the agent knows of an account between sessions: its breaker, its limits, its counts. No I/O but load
// and save (account_store.c).
//
// The breaker: closed; open_unreachable after three connection failures in a row (probed with one message at
// retry.first … retry.max); open_credentials at the first refusal (probed hourly, and at once when
// account_retry_now is called because the password file, token or configuration changed); open_quota (parked
// until a time, at most 24 h, or by the account's own backoff where the server names no limit). While it is
// open, account_allows lets exactly one message through as a probe when probe_at has come. Times: `boot` is
// clock_boot, `wall` clock_wall, in ns.
//
// A quota may be our own: a day's limit of the configuration is reached, or no session is open and logins are
// held back. account_review opens the breaker for that and closes it again; nothing is probed, and no
// deferred mail is released.
//
// Softer than the breaker: a park of less than a minute only holds new mail back (hold_until), trouble at
// login only holds new logins back (auth_after; three refusals in a row without mail in between open the
// breaker), and "too many connections" lowers `connections`.
//
// What the server would not have is remembered for a day: `connections` grows to one less than the number
// that was refused, and logins keep their distance (login_pace), after ten minutes without any. So a limit
// that nobody configured is hit once, and then kept.
//
// Persisted (parks and day counts): STATE/accounts.json, see account_load_all and account_store. An
// account that was refused for its credentials comes back open and is probed at once, since somebody may have
// restarted the agent because it was mended.
#ifndef OUTTRAY_AGENT_DELIVERY_ACCOUNT_H
#define OUTTRAY_AGENT_DELIVERY_ACCOUNT_H

#include "agent/base/bucket.h"
#include "agent/delivery/outcome.h"
#include "config/config.h"

#define ACCOUNT_NS_SECOND    ((int64_t)1000000000)
#define ACCOUNT_FAILURES_MAX 3 // in a row open the breaker
// Failures closer together are one, and no new connection is made sooner after one.
#define ACCOUNT_RECONNECT_NS (ACCOUNT_NS_SECOND / 4)
#define ACCOUNT_PARK_MAX_NS  (24 * 3600 * ACCOUNT_NS_SECOND)
// Shorter parks hold mail back, the breaker stays closed.
#define ACCOUNT_PARK_LEAST_NS  (60 * ACCOUNT_NS_SECOND)
#define ACCOUNT_PATIENCE_NS    (5 * ACCOUNT_NS_SECOND)    // waiting for a login longer than this, it pauses
#define ACCOUNT_CREDENTIALS_NS (3600 * ACCOUNT_NS_SECOND) // between probes of an account that is refused
#define ACCOUNT_REMEMBER_NS    (24 * 3600 * ACCOUNT_NS_SECOND) // what was too much
#define ACCOUNT_PACE_NS        (120 * ACCOUNT_NS_SECOND)       // from login to login after a refusal; doubles
#define ACCOUNT_PACE_MAX_NS    (3600 * ACCOUNT_NS_SECOND)
// Without a login after one that was refused: a server that counts them over some minutes would refuse the
// next one as well. Five at the pace, which is five in ten minutes.
#define ACCOUNT_QUIET_NS  (5 * ACCOUNT_PACE_NS)
#define ACCOUNT_GROW_NS   (60 * ACCOUNT_NS_SECOND) // of success per connection added
#define ACCOUNT_SHRINK_NS ACCOUNT_NS_SECOND        // complaints closer together are one
// messages_per_minute is counted over a little more than a minute: a message that took longer to arrive than
// the next one's must not make the server count one too many. 60/62 of the rate can be used.
#define ACCOUNT_MINUTE_NS  (62 * ACCOUNT_NS_SECOND)
#define ACCOUNT_REASON_MAX 512
#define ACCOUNT_HOUR_NS    (3600 * ACCOUNT_NS_SECOND)
#define ACCOUNT_HOURS      25 // of a day, the one under way included

enum breaker { BREAKER_CLOSED, BREAKER_UNREACHABLE, BREAKER_CREDENTIALS, BREAKER_QUOTA };
const char *breaker_name(enum breaker breaker); // "closed", "open_unreachable", …

// What was started in one hour of the boot clock.
struct account_hour {
    int64_t hour; // since the clock's zero; negative for what a former boot sent
    uint32_t messages, recipients;
};

struct account {
    char *name;
    const struct config *config; // a reference; replaced by account_configure
    const struct config_account *settings;
    enum breaker breaker;
    char reason[ACCOUNT_REASON_MAX];      // the server's words or ours; "" while closed
    char login_words[ACCOUNT_REASON_MAX]; // what was said when a login was put off last
    const char *fix;                      // constant words or NULL
    int64_t probe_at;                     // boot; when the next probe may go while open
    int64_t probe_wait;                   // ns; the last interval of the backoff, without its jitter
    bool probing;                         // a probe is under way
    bool at_login;                        // it opened because of a login
    bool own;                             // it opened by our own count, and ends at probe_at by itself
    unsigned failures;                    // connection failures in a row
    int64_t failed_at;                    // boot; the last one that was counted
    int64_t connect_after;                // boot; no new connection before this
    int64_t hold_until;                   // boot; no new mail before this
    unsigned connections;      // AIMD: how many are allowed now, 1 … settings->limits.connections
    int64_t connections_since; // boot; the last change of `connections`
    int64_t complained_at;     // boot; the last complaint about too many connections that was counted
    unsigned complaints;       // about too many connections in a row while there was only one
    unsigned open;             // connections, the one in trouble included; kept by the pool, 0: not known
    unsigned ceiling;          // connections that were too many within the last day; 0: not known
    bool window_one;           // the server answered out of step: one message at a time
    struct bucket minute;
    int64_t auth_after;                       // boot; no new login before this (too many logins)
    unsigned auth_failures;                   // temporary ones in a row
    int64_t auth_wait;                        // ns; as probe_wait
    int64_t login_pace;                       // ns from a login to the next; 0: none
    int64_t login_refused_at;                 // boot; when login_pace was set
    struct account_hour hours[ACCOUNT_HOURS]; // by hour modulo their number
    uint64_t sent_total, logins_total;
    uint64_t recent_server; // index into settings->servers that worked last
    bool changed;           // something persisted changed since the last save
};

int account_new(const struct config *config, const struct config_account *settings, int64_t boot,
    struct account **ret_account);
void account_free(struct account *account); // takes NULL
// A reload: new settings; an open breaker is probed at once but for a quota, which settings do not change.
void account_configure(struct account *account, const struct config *config,
    const struct config_account *settings, int64_t boot);

// How many messages may be started now: 0 while the breaker is open and no probe is due, or a limit is
// reached; 1 for a probe; else up to what the minute and day limits leave (at most UINT32_MAX). *ret_wait,
// where not NULL and the result is 0, is how many ns to wait before asking again (INT64_MAX: only an event
// changes it).
unsigned account_allows(const struct account *account, int64_t boot, int64_t *ret_wait);
// How many recipients the day still allows (UINT32_MAX without a limit): a transaction must not have more.
unsigned account_recipients_left(const struct account *account, int64_t boot);
// A message with so many recipients was started; marks a probe as under way where the breaker is open.
void account_started(struct account *account, unsigned recipients, int64_t boot);
// Messages and recipients started in the last 24 hours (and the rest of the hour that began them).
void account_day(
    const struct account *account, int64_t boot, unsigned *ret_messages, unsigned *ret_recipients);
// Adds to the hour of that moment, which may lie in the past; for what was stored and is read again.
void account_day_add(struct account *account, uint32_t messages, uint32_t recipients, int64_t boot);
// Whether a new connection may be opened now (`open` ones exist): AIMD, the breaker (one while open),
// auth_after.
bool account_may_connect(const struct account *account, unsigned open, int64_t boot, int64_t *ret_wait);

enum account_change {
    ACCOUNT_SAME,
    ACCOUNT_PAUSED,
    ACCOUNT_RESUMED,
    ACCOUNT_FREED, // what our own count had paused goes on
};
// Opens or closes the breaker by our own count: before account_allows is asked, with the number of sessions
// that are open or being opened.
enum account_change account_review(struct account *account, unsigned sessions, int64_t boot);
// Login succeeded: counts it. It resumes the account only where a login was what it was paused for: a server
// that takes a login and then no mail is still in trouble, so failures in a row go on being counted.
enum account_change account_logged_in(struct account *account, int64_t boot);
// A message was accepted: closes the breaker (RESUMED where it was open), lets `connections` grow by one a
// minute. A message that was under way when a quota or credentials breaker opened does not close it: only a
// probe.
enum account_change account_succeeded(struct account *account, int64_t boot);
// An outcome that is the account's trouble (VERDICT_ACCOUNT_*); words are the server's. PAUSED where the
// breaker opened, or changed its kind. Others than VERDICT_ACCOUNT_* change nothing.
enum account_change account_troubled(
    struct account *account, const struct outcome *outcome, const char *words, int64_t boot);
// A probe ended without saying anything about the account (its message failed by itself, or vanished): the
// next one may go at once.
void account_probe_over(struct account *account);
// The password file, token or configuration changed, or a person asked: an open breaker may be probed now. A
// quota keeps its park: asking again makes some providers prolong it.
void account_retry_now(struct account *account, int64_t boot);

// Its access token is there again: closes a breaker that a login, or the lack of a token, had opened. RESUMED
// where it did.
enum account_change account_mended(struct account *account);

// STATE/accounts.json of all accounts given: parks and day counts. Replaced atomically and synced (it blocks
// on the disk). 0 or negative errno; no file at all is 0; a file that cannot be understood is -EBADMSG and
// ignored by the caller with a warning, the accounts are untouched then. Accounts of the file that are not
// given are left out of the next save.
int account_load_all(int state_fd, struct account *const *accounts, size_t n, int64_t boot, int64_t wall);
// The text of the file, which another thread may store: free(3). NULL where memory is short.
char *account_encode_all(struct account *const *accounts, size_t n, int64_t boot, int64_t wall);
int account_store(int state_fd, const char *text);

#endif
