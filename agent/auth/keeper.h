// The keeper: keeps the agent's OAuth accounts alive without anyone.
//
// One per agent, on the wire thread. It holds each account's current access token, refreshes it min(600 s, a
// quarter of its lifetime) before it expires (with jitter), once however many ask, watches STATE/tokens so
// that a token that a verb stored counts at once, and knows which accounts need a person. Tokens are
// refreshed whether mail waits or not, at least once a day: so an idle account does not die of disuse, and
// trouble is known before mail comes.
//
// What blocks (files, their syncs, signing) is handed to `submit`; the network is the loop's. A refresh takes
// the account's lock, reads the stored token again, asks the provider, stores the answer durably and only
// then uses it.
#ifndef OUTTRAY_AGENT_AUTH_KEEPER_H
#define OUTTRAY_AGENT_AUTH_KEEPER_H

#include "agent/auth/oauth.h"
#include "agent/base/log.h"

#define KEEPER_LEAD_NS     (600 * CLOCK_SECOND)       // before expiry, or a quarter of the lifetime
#define KEEPER_IDLE_NS     (24 * 3600 * CLOCK_SECOND) // no token gets older before it is refreshed
#define KEEPER_BACKOFF_NS  (10 * CLOCK_SECOND)        // after the first failure; doubles …
#define KEEPER_BACKOFF_MAX (900 * CLOCK_SECOND)       // … up to this
#define KEEPER_RETRY_MAX_S 3600                       // the longest Retry-After that is honoured
#define KEEPER_NEEDS_NS                                                                                      \
    (3600 * CLOCK_SECOND)                     // between tries where somebody else than a person at a
                                              // consent page must do something
#define KEEPER_LOCKED_NS (1 * CLOCK_SECOND)   // another process has the account's lock: look again
#define KEEPER_LOOK_NS   (60 * CLOCK_SECOND)  // stored tokens are read again, whatever inotify says
#define KEEPER_REST_NS   (10 * CLOCK_SECOND)  // between two forced refreshes of an account
#define KEEPER_SKEW_NS   (300 * CLOCK_SECOND) // the provider's clock may differ that much
#define KEEPER_END_NS    (10 * CLOCK_SECOND)  // how long keeper_end waits for a provider

struct keeper;

enum keeper_state {
    KEEPER_READY,   // a usable access token is there
    KEEPER_WAITING, // one is being fetched, or will be tried again: ask later (changed is called)
    KEEPER_NEEDS,   // a person must do something: words and fix say what
};

struct keeper_params {
    struct loop *loop;
    struct multi *multi;
    struct log *log;
    int state_fd; // borrowed
    // Has work(job) called on another thread, then done(job) on the loop's; both exactly once. done may be
    // called from inside it.
    void (*submit)(void (*work)(void *job), void (*done)(void *job), void *job, void *arg);
    // The account's token is usable again (READY), could not be fetched (WAITING: tried again by itself, and
    // there is none to use meanwhile), or it needs a person now. Called from the loop, never from inside a
    // keeper_ call.
    void (*changed)(const char *account, enum keeper_state state, void *arg);
    void *arg;
};

int keeper_new(const struct keeper_params *params, struct keeper **ret_keeper);
// Begins to end: no new refresh begins. True while one is under way whose answer should be waited for (at
// most KEEPER_END_NS), since a provider may have replaced the refresh token already. Call it before the other
// thread ends.
bool keeper_end(struct keeper *keeper); // takes NULL
// Takes NULL. Everything submitted must have come back.
void keeper_free(struct keeper *keeper);

// Takes the configuration's OAuth accounts over (at the start and on reload).
int keeper_configure(struct keeper *keeper, const struct config *config);

// The token to log in with now. READY: *ret_secret is a copy (release it). Otherwise words says why
// (OAUTH_WORDS_MAX octets) and *ret_fix what to do (valid as long as the keeper, or NULL).
enum keeper_state keeper_token(struct keeper *keeper, const char *account, struct secret *ret_secret,
    char words[static OAUTH_WORDS_MAX], const char **ret_fix);
// Which token that was: another one has another number.
uint64_t keeper_serial(const struct keeper *keeper, const char *account);

// The server took this token: a later refusal is worth a refresh again.
void keeper_accepted(struct keeper *keeper, const char *account, uint64_t serial);
// The server refused this token (535, 334): one forced refresh. True where one is under way now, or another
// token is there already. False where the refused token was fetched by such a refresh, or cannot be
// refreshed: the account needs a person then (changed is not called), and keeper_token says what.
bool keeper_refused(struct keeper *keeper, const char *account, uint64_t serial, const char *words);

// Makes what a mail server said at login fit for people and logs: without the account's token, however it
// repeats it.
void keeper_clean(
    const struct keeper *keeper, const char *account, const char *said, char words[static OAUTH_WORDS_MAX]);

// Seconds until the access token expires; INT64_MIN where there is none (or no keeper).
int64_t keeper_expires_s(const struct keeper *keeper, const char *account);

#endif
