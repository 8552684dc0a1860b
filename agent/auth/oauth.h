// OAuth 2.0 for mail accounts: what is asked of a provider, and what its answers mean. No I/O, no clock.
//
// RFC 6749, 7636 (PKCE), 8628 (device), 7523 (assertions), 8252 (native apps), OpenID Connect Core 1.0
// (id_token). Error codes are judged by `error` and `error_codes`, never by their text; the text is kept for
// people.
#ifndef OUTTRAY_AGENT_AUTH_OAUTH_H
#define OUTTRAY_AGENT_AUTH_OAUTH_H

#include "agent/auth/token.h"
#include "agent/base/buffer.h"
#include "agent/http/request.h"
#include "config/config.h"

#define OAUTH_FORM_MAX   (96 * 1024) // octets of one request body
#define OAUTH_STATE_SIZE 44          // base64url of 32 random octets, with the NUL
#define OAUTH_WORDS_MAX  1024        // octets kept of a provider's words

// Authorization request in the making: kept between get-code and get-token (STATE/tokens/ACCOUNT.pending,
// 0600, 15 minutes).
struct oauth_pending {
    char state[OAUTH_STATE_SIZE];
    char verifier[OAUTH_STATE_SIZE]; // PKCE
    char redirect_uri[256];
    int64_t created; // wall ns
};

// Who signs in: oauth.login, else the account's email. Borrowed.
const char *oauth_login(const struct config_account *account);

// The URL of the consent page: response_type=code, PKCE S256, state, scope, redirect_uri, login_hint, and for
// Google access_type=offline and prompt=consent. 0 or the buffer's error.
int oauth_authorize_url(
    const struct config_account *account, const struct oauth_pending *pending, struct buffer *out);

// Takes apart what a person pasted: a whole URL (state must match, error= is reported) or a bare code. 0 and
// the code in *ret_code; -EBADMSG with words.
int oauth_parse_paste(const char *pasted, const struct oauth_pending *pending, struct secret *ret_code,
    char words[static OAUTH_WORDS_MAX]);

// Bodies of token requests (application/x-www-form-urlencoded). They read secret files (client secret, keys)
// themselves: -EACCES, -ENOENT, … with words then. now: wall ns, for assertions.
int oauth_form_code(const struct config_account *account, const struct oauth_pending *pending,
    const struct secret *code, int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX]);
int oauth_form_refresh(const struct config_account *account, const struct secret *refresh_token, int64_t now,
    struct buffer *out, char words[static OAUTH_WORDS_MAX]);
int oauth_form_client_credentials(const struct config_account *account, int64_t now, struct buffer *out,
    char words[static OAUTH_WORDS_MAX]);
int oauth_form_service_account(const struct config_account *account, int64_t now, struct buffer *out,
    char words[static OAUTH_WORDS_MAX]);
int oauth_form_device(const struct config_account *account, struct buffer *out);
int oauth_form_device_token(const struct config_account *account, const struct secret *device_code,
    int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX]);
// Whether the account's flow needs no person and no refresh token (client credentials, service account).
bool oauth_flow_is_unattended(enum config_flow flow);
// The form for getting the next access token of an account with this token, whatever its flow.
int oauth_form_next(const struct config_account *account, const struct token *token, int64_t now,
    struct buffer *out, char words[static OAUTH_WORDS_MAX]);

enum oauth_verdict {
    OAUTH_OK,
    OAUTH_PENDING,       // device flow: the person has not finished; interval may grow (slow_down)
    OAUTH_TRANSIENT,     // try again after retry_after_s
    OAUTH_REAUTHORIZE,   // a person must authorize the account again
    OAUTH_ADMINISTRATOR, // the provider's administrator must change something
    OAUTH_MISCONFIGURED, // client id, secret or our request are wrong
    OAUTH_WRONG_MAILBOX, // another mailbox logged in
    OAUTH_SCOPE_MISSING, // the mail scope was not granted
};

struct oauth_answer {
    enum oauth_verdict verdict;
    struct token token;          // OK: complete; else empty. token.refresh may be empty: keep the old one
    bool slow_down;              // PENDING: wait 5 s longer from now on
    int64_t retry_after_s;       // TRANSIENT: as told by the provider, else -1
    char words[OAUTH_WORDS_MAX]; // the provider's words, verbatim but for control octets; never a secret
    const char *fix;             // constant: what a person can do; NULL where waiting is enough
};
void oauth_answer_release(struct oauth_answer *answer);

// Judges the response of a token endpoint. old: the token that was refreshed, NULL for a first grant (then
// identity is checked: the id_token's e-mail must equal oauth.login, else the account's email; see oauth.c
// for why its signature need not be). now: wall ns.
void oauth_judge(const struct config_account *account, const struct http_response *response,
    const struct token *old, int64_t now, struct oauth_answer *ret_answer);

// The provider's answer to a device authorization request.
struct oauth_device {
    struct secret device_code;
    char user_code[64];
    char verification_uri[512];
    int64_t expires_in_s, interval_s;
};
int oauth_parse_device(const struct http_response *response, struct oauth_device *ret_device,
    char words[static OAUTH_WORDS_MAX]);
void oauth_device_release(struct oauth_device *device);

#endif
