// Who signed in, by the id_token.
#ifndef OUTTRAY_AGENT_AUTH_IDENTITY_H
#define OUTTRAY_AGENT_AUTH_IDENTITY_H

#include "agent/auth/oauth.h"

#define IDENTITY_TOKEN_MAX (64 * 1024) // octets of an id_token

// OAUTH_OK where the id_token (NULL: there is none) names oauth.login, else the account's email, compared
// without case. Else OAUTH_WRONG_MAILBOX or OAUTH_MISCONFIGURED, with words that name both.
enum oauth_verdict identity_check(
    const struct config_account *account, const char *id_token, char words[static OAUTH_WORDS_MAX]);

#endif
