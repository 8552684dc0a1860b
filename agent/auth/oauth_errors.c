// The table of providers' errors. State of November 2026, from RFC 6749, 8628, OpenID Connect Core 1.0 and
// the providers' public documentation.
#include "oauth_errors.h"

#include <string.h>

#define FIX_SECRET                                                                                           \
    "the client secret is wrong or has expired: have the provider's administrator make a new one and put "   \
    "it "                                                                                                    \
    "into oauth.client_secret_file"
#define FIX_CLIENT                                                                                           \
    "the provider does not know the client, or not with this proof: check oauth.client_id, "                 \
    "client_secret_file or certificate_file, and tenant"

static const struct oauth_error by_code[] = {
    // A person has to sign in again: the grant ended, or more proof is wanted.
    {.code = 50173, .verdict = OAUTH_REAUTHORIZE},
    {.code = 700082, .verdict = OAUTH_REAUTHORIZE},
    {.code = 70043, .verdict = OAUTH_REAUTHORIZE},
    {.code = 50076, .verdict = OAUTH_REAUTHORIZE},
    {.code = 50078, .verdict = OAUTH_REAUTHORIZE},
    {.code = 50079, .verdict = OAUTH_REAUTHORIZE},
    {.code = 65001, .verdict = OAUTH_REAUTHORIZE},
    // Somebody with rights over the tenant.
    {.code = 53003,
        .verdict = OAUTH_ADMINISTRATOR,
        .fix =
            "the provider's conditional access forbids it: an administrator must allow this host and client, "
            "and the device flow where that is used"},
    {.code = 7000215, .verdict = OAUTH_ADMINISTRATOR, .fix = FIX_SECRET},
    {.code = 7000222, .verdict = OAUTH_ADMINISTRATOR, .fix = FIX_SECRET},
    {.code = 700016,
        .verdict = OAUTH_ADMINISTRATOR,
        .fix =
            "the tenant does not know the application: check oauth.client_id and oauth.tenant, and have an "
            "administrator add it"},
    {.code = 90002,
        .verdict = OAUTH_ADMINISTRATOR,
        .fix = "the provider does not know the tenant: check oauth.tenant with its administrator"},
    // What we asked for, or how.
    {.code = 54005,
        .verdict = OAUTH_MISCONFIGURED,
        .fix = "the authorization code was used already: get a new one with `outtray oauth get-code`"},
    {.code = 50196,
        .verdict = OAUTH_MISCONFIGURED,
        .fix = "the provider sees a loop of equal requests: see that no other program uses this client, and "
               "report it as a fault of outtray"},
    {.code = 9001023, .verdict = OAUTH_MISCONFIGURED},
    {.code = 50194,
        .verdict = OAUTH_MISCONFIGURED,
        .fix = "the application is for one tenant only: set oauth.tenant to it"},
    {.code = 700025,
        .verdict = OAUTH_MISCONFIGURED,
        .fix = "the application is a public client: remove oauth.client_secret_file and certificate_file"},
    // Its own trouble.
    {.code = 90006, .verdict = OAUTH_TRANSIENT},
    {.code = 50033, .verdict = OAUTH_TRANSIENT},
};

static const struct oauth_error by_name[] = {
    {.error = "authorization_pending", .verdict = OAUTH_PENDING},
    {.error = "slow_down", .verdict = OAUTH_PENDING},
    {.error = "temporarily_unavailable", .verdict = OAUTH_TRANSIENT},
    {.error = "server_error", .verdict = OAUTH_TRANSIENT},
    {.error = "invalid_grant", .verdict = OAUTH_REAUTHORIZE},
    {.error = "interaction_required", .verdict = OAUTH_REAUTHORIZE},
    {.error = "login_required", .verdict = OAUTH_REAUTHORIZE},
    {.error = "consent_required", .verdict = OAUTH_REAUTHORIZE},
    {.error = "access_denied", .verdict = OAUTH_REAUTHORIZE},
    {.error = "authorization_declined", .verdict = OAUTH_REAUTHORIZE},
    {.error = "expired_token", .verdict = OAUTH_REAUTHORIZE},
    {.error = "bad_verification_code", .verdict = OAUTH_REAUTHORIZE},
    {.error = "invalid_client", .verdict = OAUTH_MISCONFIGURED, .fix = FIX_CLIENT},
    {.error = "unauthorized_client", .verdict = OAUTH_MISCONFIGURED, .fix = FIX_CLIENT},
    {.error = "invalid_scope",
        .verdict = OAUTH_MISCONFIGURED,
        .fix = "the provider does not know the scope, or not for this client: check oauth.scope"},
    {.error = "unsupported_grant_type",
        .verdict = OAUTH_MISCONFIGURED,
        .fix = "the provider does not offer this flow: check oauth.flow and oauth.token_url"},
    {.error = "redirect_uri_mismatch",
        .verdict = OAUTH_MISCONFIGURED,
        .fix = "register the redirect URI for the client at the provider"},
    {.error = "admin_policy_enforced", .verdict = OAUTH_ADMINISTRATOR},
    {.error = "org_internal", .verdict = OAUTH_ADMINISTRATOR},
    {.error = "disabled_client", .verdict = OAUTH_ADMINISTRATOR},
    {.error = "deleted_client", .verdict = OAUTH_MISCONFIGURED, .fix = FIX_CLIENT},
};

static const char *const verdict_fixes[] = {
    [OAUTH_OK] = NULL,
    [OAUTH_PENDING] = NULL,
    [OAUTH_TRANSIENT] = NULL,
    [OAUTH_REAUTHORIZE] = "authorize the account again with `outtray oauth login`",
    [OAUTH_ADMINISTRATOR] = "the provider's administrator must allow it; see the provider's words",
    [OAUTH_MISCONFIGURED] = "check the account's oauth settings against what is registered at the provider",
    [OAUTH_WRONG_MAILBOX] =
        "sign in as the account's email, or set oauth.login to who signs in for it (shared mailboxes)",
    [OAUTH_SCOPE_MISSING] =
        "authorize again and leave the mail permission ticked; or have the permission added to the client",
};

const struct oauth_error *oauth_error_by_code(int64_t code)
{
    for (size_t i = 0; i < sizeof by_code / sizeof *by_code; i++)
        if (by_code[i].code == code)
            return &by_code[i];
    return NULL;
}

const struct oauth_error *oauth_error_by_name(const char *error)
{
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++)
        if (strcmp(by_name[i].error, error) == 0)
            return &by_name[i];
    return NULL;
}

const char *oauth_verdict_fix(enum oauth_verdict verdict)
{
    return verdict_fixes[verdict];
}
