// `outtray oauth refresh` and `revoke`.
#include "agent/auth/form.h"
#include "agent/auth/json.h"
#include "agent/auth/pending.h"
#include "agent/auth/words.h"
#include "agent/base/clock.h"
#include "agent/cli/oauth_verb.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

int oauth_refresh(struct oauth_verb *run)
{
    struct token token = {0};
    char until[OAUTH_TIME_SIZE];
    int code = exchange_renew(&run->exchange, true, &token);
    if (code != EX_OK)
        return oauth_tell(run, code);
    oauth_time(token.expires, until);
    printf("token refreshed for %s, valid until %s\n",
        token.mailbox ? token.mailbox : run->exchange.account->email, until);
    token_release(&token);
    return cli_end(run->verb, EX_OK);
}

// What follows from it, before the question.
static void warn(const struct oauth_verb *run)
{
    const struct config_account *account = run->exchange.account;
    if (account->auth == CONFIG_AUTH_GOOGLE && *account->oauth.revoke_url)
        (void)fprintf(stderr,
            "Google ends the whole grant with it: every token that this client has for %s, on other machines "
            "too.\n",
            oauth_login(account));
    if (!*account->oauth.revoke_url)
        (void)fprintf(stderr,
            "This provider has no way to revoke one token, so it is only removed here. To make copies of it\n"
            "useless, remove the application's permission at the provider, or end the user's sessions "
            "there.\n");
    if (oauth_flow_is_unattended(account->oauth.flow))
        (void)fprintf(stderr,
            "A running agent fetches another one by itself: flow %s needs nobody. To end that, take away "
            "the\n"
            "account's secret or key.\n",
            config_flow_name(account->oauth.flow));
}

static bool is_yes(const struct oauth_verb *run)
{
    struct buffer line;
    if (run->yes)
        return true;
    (void)fprintf(stderr, "Revoke the token of account %s (%s)? [y/N] ", run->exchange.account->name,
        run->exchange.account->email);
    buffer_init(&line, 64);
    bool yes = oauth_read_line(&line) == EX_OK && line.data &&
               (strcasecmp(line.data, "y") == 0 || strcasecmp(line.data, "yes") == 0);
    buffer_release(&line);
    return yes;
}

struct revocation {
    const struct secret *token;
    int status;
    bool unknown; // the provider does not know the token: it has been revoked before, or has ended
    char words[OAUTH_WORDS_MAX];
};

static void on_revoked(const struct http_response *response, void *arg)
{
    struct revocation *revocation = arg;
    revocation->status = response->status;
    if (response->status == 0) {
        words_set(revocation->words, "%s", response->problem);
        return;
    }
    JSON_SECRET *json = json_secret_parse(response->body, response->length);
    const char *error = json_secret_text(json, "error");
    const char *description = json_secret_text(json, "error_description");
    words_set(revocation->words, "HTTP %d%s%s%s%s", response->status, error ? " " : "", error ? error : "",
        description ? ": " : "", description ? description : "");
    words_hide(revocation->words, revocation->token);
    // RFC 7009 section 2.2 answers 200 then; Google answers so.
    revocation->unknown = response->status == 400 && error && strcmp(error, "invalid_token") == 0;
}

static int tell_provider(struct exchange *exchange, const struct token *token)
{
    const char *url = exchange->account->oauth.revoke_url, *problem = http_url_problem(url);
    struct revocation revocation = {.token = token->refresh.length ? &token->refresh : &token->access};
    struct buffer form;
    if (problem)
        return exchange_fail(exchange, EX_CONFIG, "correct oauth.revoke_url", "the URL %s %s", url, problem);
    buffer_init(&form, OAUTH_FORM_MAX);
    buffer_make_secret(&form);
    form_secret(&form, "token", revocation.token);
    form_text(&form, "client_id", exchange->account->oauth.client_id);
    int error = buffer_error(&form);
    struct http_params params = {.url = url, .body = form.data ? form.data : ""};
    if (!error)
        error = http_perform(&params, on_revoked, &revocation);
    buffer_release(&form);
    if (error)
        return exchange_fail(exchange, EX_OSERR, NULL, "the request could not be made: %s", strerror(-error));
    if (revocation.status == 0)
        return exchange_fail(exchange, EX_UNAVAILABLE, "nothing was changed; try again",
            "no answer from %s: %s", url, revocation.words);
    if (revocation.status / 100 == 2 || revocation.unknown)
        return EX_OK;
    return exchange_fail(exchange,
        revocation.status >= 500 || revocation.status == 429 ? EX_TEMPFAIL : EX_NOPERM,
        "nothing was changed; revoke it on the provider's pages, or try again",
        "the provider did not revoke: %s", revocation.words);
}

static int revoke_locked(struct oauth_verb *run)
{
    struct exchange *exchange = &run->exchange;
    const struct config_account *account = exchange->account;
    struct token token = {0};
    int code = EX_OK, error = token_read(exchange->state_fd, account->name, &token);
    bool told = false;
    if (error == -ENOENT)
        return exchange_fail(exchange, EX_NOINPUT, NULL, "no token is stored for account %s", account->name);
    if (error && error != -EBADMSG)
        return exchange_file(exchange, error, ".json");
    if (error) {
        (void)fprintf(stderr, "The stored token cannot be understood, so the provider is not told.\n");
    } else if (*account->oauth.revoke_url) {
        code = tell_provider(exchange, &token);
        told = code == EX_OK;
    }
    token_release(&token);
    if (code != EX_OK)
        return code;
    error = token_remove(exchange->state_fd, account->name);
    (void)pending_remove(exchange->state_fd, account->name);
    if (error)
        return exchange_file(exchange, error, ".json");
    printf(
        told ? "token of account %s revoked and removed\n" : "token of account %s removed\n", account->name);
    return fflush(stdout) == 0 ? EX_OK
                               : exchange_fail(exchange, EX_IOERR, NULL, "standard output takes no more");
}

int oauth_revoke(struct oauth_verb *run)
{
    int lock;
    warn(run);
    if (!is_yes(run))
        return cli_fail(run->verb, EX_USAGE, "nothing was changed (say yes, or --yes)");
    int code = exchange_lock(&run->exchange, &lock);
    if (code == EX_OK) {
        code = revoke_locked(run);
        close(lock);
    }
    return oauth_tell(run, code);
}
