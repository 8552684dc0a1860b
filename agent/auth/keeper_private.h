// What the files of the keeper share.
#ifndef OUTTRAY_AGENT_AUTH_KEEPER_PRIVATE_H
#define OUTTRAY_AGENT_AUTH_KEEPER_PRIVATE_H

#include "agent/auth/keeper.h"
#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include <string.h>

struct keeper {
    struct keeper_params params;
    struct kept *accounts;
    int inotify_fd, watch; // -1 where there is none
    struct loop_watch events;
    struct loop_timer looker;   // reads stored tokens again
    struct loop_timer notifier; // calls `changed` from the loop
    int64_t ending;             // boot: when keeper_end was called first; 0
};

// One account.
struct kept {
    struct keeper *keeper;
    struct kept *next;
    char *name;
    char *fix_login;             // "run `outtray oauth login NAME`"
    const struct config *config; // a reference; NULL once it left the configuration
    const struct config_account *settings;
    struct token token;          // the current one; access is empty where there is none
    int64_t expires, fetched;    // boot; fetched is 0 where the token was not fetched by this keeper
    uint64_t serial;             // of the token
    uint64_t refused;            // serial of a token that the server refused
    uint64_t forced;             // serial of a token that was fetched because the one before was refused
    bool needs, needs_login;     // somebody; a person at a consent page, else it is tried again by itself
    bool force;                  // the next refresh is asked for by a refusal
    unsigned failures;           // in a row
    char words[OAUTH_WORDS_MAX]; // of the last failure or of what it needs
    const char *fix;             // constant, or fix_login
    struct loop_timer timer;     // the next refresh
    struct flight *flight;       // the refresh under way
    bool looking, look_again;    // the stored token is being read; something changed meanwhile
    bool loaded;                 // the stored token was read once
    bool skewed;                 // told that the clocks differ
    bool notify;                 // `changed` is due,
    enum keeper_state news;      // with this, unless it is over by then
};

static inline bool secret_equal(const struct secret *a, const struct secret *b)
{
    return a->length == b->length && (!a->length || memcmp(a->text, b->text, a->length) == 0);
}

// keeper.c
bool kept_is_usable(const struct kept *kept);
enum keeper_state kept_state(const struct kept *kept);
void kept_notify(struct kept *kept, enum keeper_state news);
// Sets when the next refresh begins (boot).
void kept_schedule(struct kept *kept, int64_t due);
// Begins to use a token, which is taken over (emptied). fetched: by this keeper, with a request that began
// then (boot); 0: found stored.
void kept_adopt(struct kept *kept, struct token *token, int64_t fetched);
// It needs somebody. fix NULL: the command that authorizes it.
void kept_set_needs(struct kept *kept, bool login, const char *words, const char *fix);
// NULL where the stored token belongs to the account as it is configured, else a constant reason.
const char *kept_misfit(const struct config_account *settings, const struct token *token);
void kept_log(const struct kept *kept, enum log_level level, const char *event, const char *msg,
    const char *key, const char *value);

// keeper_look.c
int keeper_look_begin(struct keeper *keeper); // watches STATE/tokens; what fails is made up for by reading
void keeper_look_end(struct keeper *keeper);
void kept_look(struct kept *kept); // reads the stored token, now or after what is under way
// What is stored, as read: adopts, drops or judges it.
void kept_found(struct kept *kept, int error, struct token *token);

// keeper_flight.c
void kept_refresh(struct kept *kept);    // begins one where none is under way
void kept_note_needs(struct kept *kept); // stores that the account needs somebody
// Whether an answer of the provider is still worth waiting for.
bool flight_is_open(const struct flight *flight);
void flight_drop(struct flight *flight); // at the end: nothing of it is submitted any more

#endif
