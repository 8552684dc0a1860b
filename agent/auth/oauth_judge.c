// What the answer of a token endpoint means.
#include "agent/base/clock.h"
#include "identity.h"
#include "json.h"
#include "oauth_errors.h"
#include "words.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define EXPIRES_DEFAULT_S 3600
#define EXPIRES_MAX_S     ((int64_t)10 * 365 * 86400) // longer is no lifetime, and times must not overflow
#define ACCESS_MAX        16384                       // octets; tokens reach 8 kB
#define ERROR_CODES_MAX   32                          // looked at

void oauth_answer_release(struct oauth_answer *answer)
{
    token_release(&answer->token);
}

static void answer_set(struct oauth_answer *answer, enum oauth_verdict verdict)
{
    answer->verdict = verdict;
    answer->fix = oauth_verdict_fix(verdict);
}

static void answer_transient(struct oauth_answer *answer, const struct http_response *response)
{
    answer_set(answer, OAUTH_TRANSIENT);
    answer->retry_after_s = response->retry_after_s;
}

// The row that decides: by the first number that is known, else by name.
static const struct oauth_error *error_find(const json_t *json, const char *error)
{
    const json_t *codes = json_object_get(json, "error_codes");
    for (size_t i = 0; i < json_array_size(codes) && i < ERROR_CODES_MAX; i++) {
        const struct oauth_error *row = oauth_error_by_code(json_integer_value(json_array_get(codes, i)));
        if (row)
            return row;
    }
    return oauth_error_by_name(error);
}

static void error_words(const json_t *json, const char *error, char words[static OAUTH_WORDS_MAX])
{
    const char *description = json_secret_text(json, "error_description");
    const char *detail = json_secret_text(json, "error_subtype");
    if (!detail)
        detail = json_secret_text(json, "suberror");
    if (detail && !*detail)
        detail = NULL;
    words_set(words, "%s%s%s%s%s%s", error, detail ? " (" : "", detail ? detail : "", detail ? ")" : "",
        description ? ": " : "", description ? description : "");
}

// An error by its codes, never by its text. What is not known is taken for our own fault: it is tried again
// from time to time and a person sees it.
static void judge_error(
    const json_t *json, const char *error, const struct http_response *response, struct oauth_answer *answer)
{
    const struct oauth_error *row = error_find(json, error);
    error_words(json, error, answer->words);
    enum oauth_verdict verdict = row ? row->verdict : OAUTH_MISCONFIGURED;
    if (verdict == OAUTH_TRANSIENT || (response->status == 429 && verdict != OAUTH_PENDING)) {
        answer_transient(answer, response);
        return;
    }
    answer_set(answer, verdict);
    answer->slow_down = verdict == OAUTH_PENDING && strcmp(error, "slow_down") == 0;
    if (row && row->fix)
        answer->fix = row->fix;
}

// Tokens go into a SASL message and into headers: visible ASCII only, and no longer than any provider's.
static bool is_token(const char *text, size_t max)
{
    size_t length = text ? strnlen(text, max + 1) : 0;
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return length > 0 && length <= max;
}

static int64_t expires_in_ns(const json_t *json)
{
    int64_t seconds;
    if (!json_secret_number(json, "expires_in", &seconds))
        seconds = EXPIRES_DEFAULT_S;
    if (seconds < 0) // however long ago: it is over
        seconds = 0;
    return (seconds < EXPIRES_MAX_S ? seconds : EXPIRES_MAX_S) * CLOCK_SECOND;
}

static bool scope_holds(const char *granted, const char *scope, size_t length)
{
    while (granted && *granted) {
        size_t n = strcspn(granted, " ");
        if (n == length && strncasecmp(granted, scope, n) == 0)
            return true;
        granted += n;
        granted += strspn(granted, " ");
    }
    return false;
}

// Microsoft names the same permission under the host names of several of its services: the last part counts.
static bool scope_holds_name(const char *granted, const char *scope, size_t length)
{
    const char *slash = memrchr(scope, '/', length);
    size_t name = slash ? length - (size_t)(slash + 1 - scope) : 0;
    if (!name)
        return false;
    while (*granted) {
        size_t n = strcspn(granted, " ");
        if (n > name && granted[n - name - 1] == '/' && strncasecmp(granted + n - name, slash + 1, name) == 0)
            return true;
        granted += n;
        granted += strspn(granted, " ");
    }
    return false;
}

// The mail scope is what was asked for besides OpenID's own ones, which providers answer in other words or
// leave out. *ret_missing points into the configured scope.
static bool scope_is_granted(
    const struct config_account *account, const char *granted, const char **ret_missing, size_t *ret_length)
{
    static const char own[] = "openid email profile offline_access address phone";
    if (!granted || !*granted || oauth_flow_is_unattended(account->oauth.flow))
        return true; // RFC 6749 section 5.1: the same as asked for; "/.default" is answered in other words
    for (const char *at = account->oauth.scope; *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        bool same = account->auth == CONFIG_AUTH_MICROSOFT && scope_holds_name(granted, at, n);
        if (n && !scope_holds(own, at, n) && !scope_holds(granted, at, n) && !same) {
            *ret_missing = at;
            *ret_length = n;
            return false;
        }
        at += n;
    }
    return true;
}

// False where the grant is of no use; answer says why then.
static bool judge_scope(
    const struct config_account *account, const char *granted, struct oauth_answer *answer)
{
    const char *missing = NULL;
    size_t length = 0;
    if (scope_is_granted(account, granted, &missing, &length))
        return true;
    answer_set(answer, OAUTH_SCOPE_MISSING);
    words_set(answer->words, "the scope %.*s was not granted, only: %s", (int)length, missing, granted);
    return false;
}

static bool judge_first_refresh(
    const struct config_account *account, const char *refresh, struct oauth_answer *answer)
{
    if (refresh)
        return true;
    bool google = account->auth == CONFIG_AUTH_GOOGLE;
    answer_set(answer, OAUTH_MISCONFIGURED);
    words_set(answer->words, google ? "the provider gave no refresh token, so the account would stop after "
                                      "an hour: it gives one only "
                                      "where access_type=offline and prompt=consent were asked for"
                                    : "the provider gave no refresh token, so the account would stop after "
                                      "an hour: it gives one only "
                                      "where the scope offline_access was asked for");
    answer->fix = google ? "use the URL of `outtray oauth get-code` as it is: it asks with prompt=consent"
                         : "add offline_access to oauth.scope and authorize again";
    return false;
}

static int token_fill(const struct config_account *account, const json_t *json, const struct token *old,
    int64_t now, const char *mailbox, struct token *token)
{
    const char *access = json_secret_text(json, "access_token");
    const char *refresh = json_secret_text(json, "refresh_token");
    const char *scope = json_secret_text(json, "scope");
    int error = secret_set(&token->access, access, strlen(access));
    if (!error && refresh)
        error = secret_set(&token->refresh, refresh, strlen(refresh));
    if (!error)
        error = token_set_text(&token->scope, scope ? scope : old ? old->scope : NULL);
    if (!error)
        error = token_set_text(&token->mailbox, mailbox);
    if (!error)
        error = token_set_text(&token->flow, config_flow_name(account->oauth.flow));
    if (!error)
        error = token_set_text(&token->client_id, account->oauth.client_id);
    token->obtained = token->refresh_used = now;
    token->expires = now + expires_in_ns(json);
    token->authorized = old && old->authorized ? old->authorized : now;
    return error;
}

// Whose mailbox the token is for; NULL where answer says why it is of no use. A first interactive grant is
// checked, a refreshed token belongs to the mailbox of the old one, and without a person the configured
// mailbox counts.
static const char *judge_mailbox(const struct config_account *account, const json_t *json,
    const struct token *old, struct oauth_answer *answer)
{
    if (oauth_flow_is_unattended(account->oauth.flow))
        return account->email;
    if (old)
        return old->mailbox ? old->mailbox : oauth_login(account);
    enum oauth_verdict verdict = identity_check(account, json_secret_text(json, "id_token"), answer->words);
    if (verdict == OAUTH_OK)
        return oauth_login(account);
    answer_set(answer, verdict);
    if (verdict == OAUTH_MISCONFIGURED)
        answer->fix = "keep `openid email` in oauth.scope: they prove which mailbox signed in";
    return NULL;
}

static void judge_malformed(
    const struct http_response *response, const char *what, struct oauth_answer *answer)
{
    answer_transient(answer, response);
    words_set(answer->words, "the provider's answer (HTTP %d) %s", response->status, what);
}

static void judge_token(const struct config_account *account, const json_t *json,
    const struct http_response *response, const struct token *old, int64_t now, struct oauth_answer *answer)
{
    const char *type = json_secret_text(json, "token_type");
    const char *refresh = json_secret_text(json, "refresh_token");
    const char *scope = json_secret_text(json, "scope");
    if (!is_token(json_secret_text(json, "access_token"), ACCESS_MAX)) {
        judge_malformed(response, "holds no usable access_token", answer);
        return;
    }
    if (type && strcasecmp(type, "Bearer") != 0) {
        judge_malformed(response, "holds a token of another type than Bearer", answer);
        return;
    }
    if (json_object_get(json, "refresh_token") && !is_token(refresh, SECRET_SIZE_MAX)) {
        judge_malformed(response, "holds an unusable refresh_token", answer);
        return;
    }
    if (expires_in_ns(json) <= 0) {
        judge_malformed(response, "holds a token that has expired already", answer);
        return;
    }
    if (scope && strlen(scope) > TOKEN_TEXT_MAX) {
        judge_malformed(response, "names too many scopes", answer);
        return;
    }
    const char *mailbox = judge_mailbox(account, json, old, answer);
    if (!mailbox || !judge_scope(account, scope, answer))
        return;
    if (!old && !oauth_flow_is_unattended(account->oauth.flow) &&
        !judge_first_refresh(account, refresh, answer))
        return;
    int error = token_fill(account, json, old, now, mailbox, &answer->token);
    answer_set(answer, OAUTH_OK);
    if (!error)
        return;
    token_release(&answer->token);
    answer_set(answer, OAUTH_TRANSIENT);
    words_set(answer->words, "the token could not be kept: %s", strerror(-error));
}

static void judge_no_json(const struct http_response *response, struct oauth_answer *answer)
{
    size_t type = strcspn(response->content_type, ";");
    answer_transient(answer, response);
    words_set(answer->words, "the provider answered HTTP %d with %.*s that is no JSON object",
        response->status, type ? (int)type : 7, type ? response->content_type : "content");
}

static void judge(const struct config_account *account, const struct http_response *response,
    const struct token *old, int64_t now, struct oauth_answer *answer)
{
    if (response->status == 0) {
        answer_transient(answer, response);
        words_set(answer->words, "%s", response->problem ? response->problem : "no answer");
        return;
    }
    JSON_SECRET *json = json_secret_parse(response->body, response->length);
    const char *error = json_secret_text(json, "error");
    if (!json) {
        judge_no_json(response, answer);
    } else if (response->status >= 500 || (response->status == 429 && !error)) {
        answer_transient(answer, response);
        if (error)
            error_words(json, error, answer->words);
        else
            words_set(answer->words, "the provider answered HTTP %d", response->status);
    } else if (error) {
        judge_error(json, error, response, answer);
    } else if (response->status / 100 == 2) {
        judge_token(account, json, response, old, now, answer);
    } else {
        judge_malformed(response, "tells no error", answer);
    }
}

void oauth_judge(const struct config_account *account, const struct http_response *response,
    const struct token *old, int64_t now, struct oauth_answer *ret_answer)
{
    *ret_answer = (struct oauth_answer){.retry_after_s = -1};
    judge(account, response, old, now, ret_answer);
    if (old) { // some servers repeat what they were sent
        words_hide(ret_answer->words, &old->refresh);
        words_hide(ret_answer->words, &old->access);
    }
}
