// Credentials by kind of account.
#include "credentials.h"

#include <errno.h>
#include <stdio.h>

int credentials_load(const struct config_account *account, struct credentials *ret_credentials, char *problem,
    size_t problem_size)
{
    *ret_credentials = (struct credentials){0};
    secret_init(&ret_credentials->secret);
    if (account->auth == CONFIG_AUTH_NONE)
        return 0;
    if (account->auth != CONFIG_AUTH_BASIC) {
        (void)snprintf(problem, problem_size, "account %s needs authorization: no token is stored for %s",
            account->name, account->email);
        return -EKEYREJECTED;
    }
    int error = secret_read_file(&ret_credentials->secret, account->password_file);
    if (error) {
        (void)snprintf(
            problem, problem_size, "password file %s %s", account->password_file, secret_problem(error));
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
        return "authorize the account";
    case CONFIG_AUTH_NONE:
        break;
    }
    return "configure a login for the account";
}
