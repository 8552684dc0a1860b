// One talk with a provider, for verbs: the request, what the answer means, the token store. Prints nothing.
//
// Every call returns an exit code of sysexits.h: EX_OK; 69 where the provider cannot be reached; 75 where it
// says "later", or another process is at work on the account; 77 where it, or the check of who signed in,
// refuses; 78 where the configuration is wrong; 73 and 74 where a file cannot be written or read. words and
// fix then say why, and what a person can do.
#ifndef OUTTRAY_AGENT_CLI_OAUTH_EXCHANGE_H
#define OUTTRAY_AGENT_CLI_OAUTH_EXCHANGE_H

#include "agent/auth/oauth.h"

#define EXCHANGE_FIX_MAX     512 // octets
#define EXCHANGE_LOCK_WAIT_S 60  // for another process: it may be waiting for the provider itself

struct exchange {
    const struct config_account *account;
    int state_fd;
    char words[OAUTH_WORDS_MAX];
    char fix[EXCHANGE_FIX_MAX]; // "" where waiting is enough
};

// Sets words (by format) and fix (NULL: none); returns code.
int exchange_fail(struct exchange *exchange, int code, const char *fix, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// The same for an errno of the token store about the account's file with this suffix.
int exchange_file(struct exchange *exchange, int error, const char *suffix);

// Posts form to url and judges the answer as a token endpoint's. EX_OK where any answer came, whatever its
// verdict: it must be released then.
int exchange_post(struct exchange *exchange, const char *url, const struct buffer *form,
    const struct token *old, struct oauth_answer *ret_answer);
// What a verdict other than OK comes to.
int exchange_refused(struct exchange *exchange, const struct oauth_answer *answer);

// Waits for the account's lock. EX_OK and *ret_fd (close it).
int exchange_lock(struct exchange *exchange, int *ret_fd);
// Stores the token of an answer (verdict OK) under the lock. It moves to *ret_token.
int exchange_keep(struct exchange *exchange, struct oauth_answer *answer, struct token *ret_token);
// A first grant: posts form to the token endpoint and stores what comes, under the lock. *ret_token is a
// copy.
int exchange_grant(struct exchange *exchange, const struct buffer *form, struct token *ret_token);
// The next access token under the lock: a refresh, or for flows without a person a new grant. Without force
// a stored token that is good for another minute is enough.
int exchange_renew(struct exchange *exchange, bool force, struct token *ret_token);

// Sleeps until then (clock_boot).
void exchange_sleep_until(int64_t due);

#endif
