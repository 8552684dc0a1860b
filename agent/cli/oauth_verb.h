// The parts of `outtray oauth`: one function for each of its commands.
#ifndef OUTTRAY_AGENT_CLI_OAUTH_VERB_H
#define OUTTRAY_AGENT_CLI_OAUTH_VERB_H

#include "agent/cli/browser.h"
#include "agent/cli/cli.h"
#include "agent/cli/oauth_exchange.h"

#define OAUTH_PASTE_MAX (32 * 1024) // octets of a line that is pasted

struct oauth_verb {
    const struct cli_verb *verb;
    const struct config *config;
    struct exchange exchange; // its account is NULL where none was named
    struct browser browser;
    struct secret code; // from the command line
    uint16_t port;      // 0: any
    bool json, device, no_browser, yes;
};

// Each returns the exit code, words printed.
int oauth_get_code(struct oauth_verb *run);
int oauth_get_token(struct oauth_verb *run);
int oauth_sign_in(struct oauth_verb *run); // login
int oauth_show_status(struct oauth_verb *run);
int oauth_refresh(struct oauth_verb *run);
int oauth_revoke(struct oauth_verb *run);

// Flows of login.
int oauth_poll_device(struct oauth_verb *run);
int oauth_fetch(struct oauth_verb *run); // flows without a person

// Prints what the exchange holds; returns code.
int oauth_tell(const struct oauth_verb *run, int code);
// "token stored for MAILBOX, valid until TIME"; returns EX_OK.
int oauth_tell_stored(const struct oauth_verb *run, const struct token *token);
// Takes the code of what came back from the consent page to the provider, and stores the token.
int oauth_take_code(struct oauth_verb *run, const struct oauth_pending *pending, const char *pasted);
// Reads a line of standard input. EX_OK; EX_NOINPUT at its end, with nothing before it.
int oauth_read_line(struct buffer *line);

// How to get through where no browser is here, on standard error. listens: somebody waits at that port now.
void oauth_advise_headless(const struct oauth_verb *run, uint16_t port, bool listens);

// A wall clock time as "2026-11-23T15:04:05Z".
#define OAUTH_TIME_SIZE 24
void oauth_time(int64_t wall, char text[static OAUTH_TIME_SIZE]);

#endif
