// The keeper: keeps the agent's OAuth accounts alive without anyone.
//
// One per agent, on the wire thread. It holds each account's current access token, refreshes it min(600 s, a
// quarter of its lifetime) before it expires (with jitter), once however many ask, watches STATE/tokens so
// that a token that a verb stored counts at once, refreshes idle accounts before they die of disuse, and
// knows which accounts need a person.
#ifndef OUTTRAY_AGENT_AUTH_KEEPER_H
#define OUTTRAY_AGENT_AUTH_KEEPER_H

#include "agent/auth/oauth.h"
#include "agent/base/log.h"

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
    // The account's token is usable again, or it needs a person now. Called from the loop, never from inside
    // a keeper_ call.
    void (*changed)(const char *account, enum keeper_state state, void *arg);
    void *arg;
};

int keeper_new(const struct keeper_params *params, struct keeper **ret_keeper);
void keeper_free(struct keeper *keeper); // takes NULL

// Takes the configuration's OAuth accounts over (at the start and on reload).
int keeper_configure(struct keeper *keeper, const struct config *config);

// The token to log in with now. READY: *ret_secret is a copy (release it). Otherwise words says why
// (OAUTH_WORDS_MAX octets) and *ret_fix what to do (constant or NULL).
enum keeper_state keeper_token(struct keeper *keeper, const char *account, struct secret *ret_secret,
    char words[static OAUTH_WORDS_MAX], const char **ret_fix);

// The server refused the token (535, 334): one forced refresh. True where one is under way now; false where
// the refused token was fetched by such a refresh already, or cannot be refreshed: the account needs a person
// then.
bool keeper_refused(struct keeper *keeper, const char *account, const char *words);

// Seconds until the access token expires; INT64_MIN where there is none.
int64_t keeper_expires_s(const struct keeper *keeper, const char *account);

#endif
