// Bodies of requests to the token and device endpoints.
#include "assertion.h"
#include "form.h"
#include "oauth.h"
#include "words.h"

#include <errno.h>
#include <string.h>

#define GRANT_JWT      "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define GRANT_DEVICE   "urn:ietf:params:oauth:grant-type:device_code"
#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

bool oauth_flow_is_unattended(enum config_flow flow)
{
    return flow == CONFIG_FLOW_CLIENT_CREDENTIALS || flow == CONFIG_FLOW_SERVICE_ACCOUNT;
}

static int form_end(const struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    int error = buffer_error(out);
    if (error)
        words_set(words, "the request could not be made: %s", strerror(-error));
    return error;
}

static int form_assertion(
    const struct config_account *account, int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    struct buffer assertion;
    buffer_init(&assertion, ASSERTION_MAX);
    buffer_make_secret(&assertion);
    int error = assertion_client(account, now, &assertion, words);
    if (!error) {
        form_text(out, "client_assertion_type", ASSERTION_TYPE);
        form_data(out, "client_assertion", assertion.data, assertion.length);
    }
    buffer_release(&assertion);
    return error;
}

// The client, and what proves it: a certificate, a secret, or nothing for a public client, which must not
// send any.
static int form_client(
    const struct config_account *account, int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    const struct config_oauth *oauth = &account->oauth;
    form_text(out, "client_id", oauth->client_id);
    if (*oauth->certificate_file)
        return form_assertion(account, now, out, words);
    if (!*oauth->client_secret_file)
        return 0;
    struct secret secret = {0};
    int error = secret_read_file(&secret, oauth->client_secret_file, account->opener);
    if (error)
        words_set(words, "client secret file %s %s", oauth->client_secret_file, secret_problem(error));
    else
        form_secret(out, "client_secret", &secret);
    secret_release(&secret);
    return error;
}

int oauth_form_code(const struct config_account *account, const struct oauth_pending *pending,
    const struct secret *code, int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    buffer_make_secret(out);
    form_text(out, "grant_type", "authorization_code");
    form_secret(out, "code", code);
    form_text(out, "redirect_uri", pending->redirect_uri);
    form_text(out, "code_verifier", pending->verifier);
    int error = form_client(account, now, out, words);
    return error ? error : form_end(out, words);
}

int oauth_form_refresh(const struct config_account *account, const struct secret *refresh_token, int64_t now,
    struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    buffer_make_secret(out);
    form_text(out, "grant_type", "refresh_token");
    form_secret(out, "refresh_token", refresh_token);
    if (account->auth == CONFIG_AUTH_MICROSOFT) // a grant may hold scopes of several services there
        form_text(out, "scope", account->oauth.scope);
    int error = form_client(account, now, out, words);
    return error ? error : form_end(out, words);
}

int oauth_form_client_credentials(
    const struct config_account *account, int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    buffer_make_secret(out);
    form_text(out, "grant_type", "client_credentials");
    form_text(out, "scope", account->oauth.scope);
    int error = form_client(account, now, out, words);
    return error ? error : form_end(out, words);
}

int oauth_form_service_account(
    const struct config_account *account, int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    struct buffer assertion;
    buffer_init(&assertion, ASSERTION_MAX);
    buffer_make_secret(&assertion);
    buffer_make_secret(out);
    int error = assertion_service_account(account, now, &assertion, words);
    if (!error) {
        form_text(out, "grant_type", GRANT_JWT);
        form_data(out, "assertion", assertion.data, assertion.length);
        error = form_end(out, words);
    }
    buffer_release(&assertion);
    return error;
}

int oauth_form_device(const struct config_account *account, struct buffer *out)
{
    form_text(out, "client_id", account->oauth.client_id);
    form_text(out, "scope", account->oauth.scope);
    return buffer_error(out);
}

int oauth_form_device_token(const struct config_account *account, const struct secret *device_code,
    int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    buffer_make_secret(out);
    form_text(out, "grant_type", GRANT_DEVICE);
    form_secret(out, "device_code", device_code);
    int error = form_client(account, now, out, words);
    return error ? error : form_end(out, words);
}

int oauth_form_next(const struct config_account *account, const struct token *token, int64_t now,
    struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    if (account->oauth.flow == CONFIG_FLOW_CLIENT_CREDENTIALS)
        return oauth_form_client_credentials(account, now, out, words);
    if (account->oauth.flow == CONFIG_FLOW_SERVICE_ACCOUNT)
        return oauth_form_service_account(account, now, out, words);
    if (!token || !token->refresh.length) {
        words_set(words, "account %s needs authorization: no refresh token is stored for %s", account->name,
            account->email);
        return -EKEYREJECTED;
    }
    return oauth_form_refresh(account, &token->refresh, now, out, words);
}
