// Credentials by kind of account.
#include "credentials.h"

#include <errno.h>
#include <stdio.h>

static int credentials_load_token(struct keeper *keeper, const struct config_account *account,
    struct credentials *credentials, char problem[static OAUTH_WORDS_MAX])
{
    enum keeper_state state =
        keeper_token(keeper, account->name, &credentials->secret, problem, &credentials->fix);
    if (state == KEEPER_WAITING)
        return -EAGAIN;
    if (state == KEEPER_NEEDS) {
        if (!credentials->fix)
            credentials->fix = credentials_fix(account);
        return -EKEYREJECTED;
    }
    credentials->username = account->email; // whose mailbox, not who signed in for it
    credentials->oauth = true;
    credentials->serial = keeper_serial(keeper, account->name);
    return 0;
}

int credentials_load(struct keeper *keeper, const struct config_account *account,
    struct credentials *ret_credentials, char problem[static OAUTH_WORDS_MAX])
{
    *ret_credentials = (struct credentials){0};
    secret_init(&ret_credentials->secret);
    if (account->auth == CONFIG_AUTH_NONE)
        return 0;
    if (account->auth != CONFIG_AUTH_BASIC)
        return credentials_load_token(keeper, account, ret_credentials, problem);
    int error = secret_read_file(&ret_credentials->secret, account->password_file, account->opener);
    if (error) {
        (void)snprintf(
            problem, OAUTH_WORDS_MAX, "password file %s %s", account->password_file, secret_problem(error));
        ret_credentials->fix = credentials_fix(account);
        return error;
    }
    ret_credentials->username = account->username;
    return 0;
}

void credentials_release(struct credentials *credentials)
{
    secret_release(&credentials->secret);
}

const char *credentials_fix(const struct config_account *account)
{
    switch (account->auth) {
    case CONFIG_AUTH_BASIC:
        return "correct username or password_file; a changed file is noticed by itself";
    case CONFIG_AUTH_GOOGLE:
    case CONFIG_AUTH_MICROSOFT:
        return "authorize the account with `outtray oauth login`";
    case CONFIG_AUTH_NONE:
        break;
    }
    return "configure a login for the account";
}
