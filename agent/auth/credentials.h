// What an account logs in with, at this moment.
#ifndef OUTTRAY_AGENT_AUTH_CREDENTIALS_H
#define OUTTRAY_AGENT_AUTH_CREDENTIALS_H

#include "config/config.h"
#include "config/secret.h"
#include <stdbool.h>
#include <stddef.h>

struct credentials {
    const char *username; // borrowed from the account; NULL: no login (auth: none)
    struct secret secret; // password, or access token
    bool oauth;           // the secret is a token (SASL XOAUTH2)
};

// Loads them. 0; -EACCES, -ENOENT, … where the password file cannot be used; -EKEYREJECTED where the account
// needs authorization first. problem then holds words for the log. Release after use.
int credentials_load(const struct config_account *account, struct credentials *ret_credentials, char *problem,
    size_t problem_size);
void credentials_release(struct credentials *credentials);

// Constant words: what a person can do where they are missing or refused.
const char *credentials_fix(const struct config_account *account);

#endif
