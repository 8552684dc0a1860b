// The loopback redirect of a native app (RFC 8252 section 7.3): a listener that takes one answer and closes.
//
// Calling sequence: redirect_open; redirect_uri for the authorization request; redirect_wait; redirect_close.
#ifndef OUTTRAY_AGENT_AUTH_REDIRECT_H
#define OUTTRAY_AGENT_AUTH_REDIRECT_H

#include "agent/auth/oauth.h"

#define REDIRECT_URI_MAX     sizeof(((struct oauth_pending *)0)->redirect_uri)
#define REDIRECT_QUERY_MAX   (32 * 1024) // octets
#define REDIRECT_CONNECTIONS 8           // at a time

struct redirect;

// Listens on 127.0.0.1, on a port the kernel picks where port is 0. 0 and *ret_redirect; -EADDRINUSE;
// -ENOMEM.
int redirect_open(uint16_t port, struct redirect **ret_redirect);
void redirect_close(struct redirect *redirect); // takes NULL
uint16_t redirect_port(const struct redirect *redirect);

// The redirect URI for the account's provider and that port: http://127.0.0.1:PORT/ for Google,
// http://localhost:PORT for Microsoft, which lets any port stand for a registered http://localhost. 0 or
// -E2BIG.
int redirect_uri(const struct config_account *account, uint16_t port, char uri[static REDIRECT_URI_MAX]);

// Waits for the browser to come back with this state; what else comes (another state, a favicon) is answered
// and does not count. *ret_query is what came, as oauth_parse_paste takes it ("?code=…&state=…"). 0;
// -ETIMEDOUT; -EINTR where a signal came.
int redirect_wait(struct redirect *redirect, const char *state, int64_t timeout_ms, struct secret *ret_query);

#endif
