// What an account logs in with, at this moment.
#ifndef OUTTRAY_AGENT_AUTH_CREDENTIALS_H
#define OUTTRAY_AGENT_AUTH_CREDENTIALS_H

#include "agent/auth/keeper.h"
#include "config/config.h"
#include "config/secret.h"
#include <stdbool.h>
#include <stddef.h>

struct credentials {
    const char *username; // borrowed from the account; NULL: no login (auth: none)
    struct secret secret; // password, or access token
    bool oauth;           // the secret is a token (SASL XOAUTH2): username is the mailbox it is used for
    uint64_t serial;      // of the token, for keeper_accepted and keeper_refused
    const char *fix;      // where loading failed: what a person can do (valid as long as the keeper)
};

// Loads them. 0; -EACCES, -ENOENT, … where the password file cannot be used; -EKEYREJECTED where the account
// needs somebody first; -EAGAIN where its token is being fetched: the keeper's `changed` tells when to ask
// again. problem then holds words for the log. Release after use.
int credentials_load(struct keeper *keeper, const struct config_account *account,
    struct credentials *ret_credentials, char problem[static OAUTH_WORDS_MAX]);
void credentials_release(struct credentials *credentials);

// Constant words: what a person can do where they are missing or refused.
const char *credentials_fix(const struct config_account *account);

#endif
