// Requests of verbs to a provider, and the account's lock around them.
#include "agent/cli/oauth_exchange.h"

#include "agent/auth/oauth_errors.h"
#include "agent/auth/words.h"
#include "agent/base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define LOCK_POLL_MS   50
#define TOKEN_ENOUGH_S 60

int exchange_fail(struct exchange *exchange, int code, const char *fix, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[OAUTH_WORDS_MAX];
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    words_set(exchange->words, "%s", text);
    (void)snprintf(exchange->fix, sizeof exchange->fix, "%s", fix ? fix : "");
    return code;
}

int exchange_file(struct exchange *exchange, int error, const char *suffix)
{
    const char *name = exchange->account->name;
    switch (error) {
    case -EACCES:
    case -EPERM:
        return exchange_fail(exchange, EX_NOPERM,
            "run as root, or as the user outtray; the file must be that user's, with mode 0600",
            "%s/%s%s is closed to this user, or open to others", STORE_DIRECTORY, name, suffix);
    case -EBADMSG:
    case -EINVAL:
    case -ELOOP:
        return exchange_fail(exchange, EX_IOERR, "authorize the account again: that replaces the file",
            "%s/%s%s cannot be understood", STORE_DIRECTORY, name, suffix);
    case -ENOMEM:
        return exchange_fail(exchange, EX_TEMPFAIL, NULL, "memory is short");
    default:
        return exchange_fail(exchange, error == -EIO ? EX_IOERR : EX_CANTCREAT, NULL, "%s/%s%s: %s",
            STORE_DIRECTORY, name, suffix, strerror(-error));
    }
}

void exchange_sleep_until(int64_t due)
{
    for (;;) {
        clock_poll();
        int64_t left = due - clock_boot(), most = clock_sleep_max_ms();
        if (left <= 0)
            return;
        if (most >= 0 && left > most * CLOCK_MS)
            left = most * CLOCK_MS;
        struct timespec pause = clock_timespec(left);
        (void)nanosleep(&pause, NULL);
    }
}

int exchange_lock(struct exchange *exchange, int *ret_fd)
{
    int64_t end = clock_boot() + EXCHANGE_LOCK_WAIT_S * CLOCK_SECOND;
    for (;;) {
        int error = token_lock(exchange->state_fd, exchange->account->name, ret_fd);
        if (error != -EAGAIN)
            return error ? exchange_file(exchange, error, ".lock") : EX_OK;
        if (clock_boot() >= end)
            return exchange_fail(exchange, EX_TEMPFAIL, "try again; if it stays so, see which process it is",
                "another process has held the lock of account %s for %d s", exchange->account->name,
                EXCHANGE_LOCK_WAIT_S);
        exchange_sleep_until(clock_boot() + LOCK_POLL_MS * CLOCK_MS);
    }
}

struct reply { // handed through http_perform
    const struct exchange *exchange;
    const struct token *old;
    struct oauth_answer *answer;
    bool came;
};

static void on_reply(const struct http_response *response, void *arg)
{
    struct reply *reply = arg;
    reply->came = response->status != 0;
    oauth_judge(reply->exchange->account, response, reply->old, clock_wall(), reply->answer);
}

int exchange_post(struct exchange *exchange, const char *url, const struct buffer *form,
    const struct token *old, struct oauth_answer *ret_answer)
{
    struct oauth_answer answer = {.retry_after_s = -1};
    struct reply reply = {exchange, old, &answer, false};
    const char *problem = http_url_problem(url);
    if (problem)
        return exchange_fail(
            exchange, EX_CONFIG, "correct the URL in the configuration", "the URL %s %s", url, problem);
    struct http_params params = {.url = url, .body = form->data ? form->data : ""};
    int error = http_perform(&params, on_reply, &reply);
    if (error) {
        oauth_answer_release(&answer);
        return exchange_fail(exchange, EX_OSERR, NULL, "the request could not be made: %s", strerror(-error));
    }
    if (!reply.came) {
        oauth_answer_release(&answer);
        return exchange_fail(exchange, EX_UNAVAILABLE, "see that this host may reach it, then try again",
            "no answer from %s: %s", url, answer.words);
    }
    *ret_answer = answer;
    return EX_OK;
}

static void reauthorize_fix(const struct config_account *account, char fix[static EXCHANGE_FIX_MAX])
{
    if (account->oauth.flow == CONFIG_FLOW_SERVICE_ACCOUNT)
        (void)snprintf(fix, EXCHANGE_FIX_MAX,
            "have the Workspace administrator allow the service account (domain-wide delegation) the scope "
            "%s, and check that %s is a mailbox there",
            account->oauth.scope, account->email);
    else if (account->oauth.flow == CONFIG_FLOW_CLIENT_CREDENTIALS)
        (void)snprintf(fix, EXCHANGE_FIX_MAX,
            "have an administrator check the application, its secret or certificate, and that it may send "
            "mail (SMTP.SendAsApp)");
    else
        (void)snprintf(
            fix, EXCHANGE_FIX_MAX, "authorize the account again: outtray oauth login %s", account->name);
}

int exchange_refused(struct exchange *exchange, const struct oauth_answer *answer)
{
    char fix[EXCHANGE_FIX_MAX];
    (void)snprintf(fix, sizeof fix, "%s", answer->fix ? answer->fix : "");
    int code = EX_NOPERM;
    if (answer->verdict == OAUTH_TRANSIENT || answer->verdict == OAUTH_PENDING) {
        code = EX_TEMPFAIL;
        if (answer->retry_after_s > 0)
            (void)snprintf(fix, sizeof fix, "try again in %lld s", (long long)answer->retry_after_s);
        else
            (void)snprintf(fix, sizeof fix, "try again later");
    } else if (answer->verdict == OAUTH_MISCONFIGURED) {
        code = EX_CONFIG;
    } else if (answer->verdict == OAUTH_REAUTHORIZE && answer->fix == oauth_verdict_fix(OAUTH_REAUTHORIZE)) {
        reauthorize_fix(exchange->account, fix);
    }
    return exchange_fail(exchange, code, fix, "%s", answer->words);
}

static int exchange_write(struct exchange *exchange, const struct token *token)
{
    int error = token_write(exchange->state_fd, exchange->account->name, token);
    return error ? exchange_file(exchange, error, ".json") : EX_OK;
}

int exchange_keep(struct exchange *exchange, struct oauth_answer *answer, struct token *ret_token)
{
    int lock, code = exchange_lock(exchange, &lock);
    if (code != EX_OK)
        return code;
    code = exchange_write(exchange, &answer->token);
    close(lock);
    if (code != EX_OK)
        return code;
    *ret_token = answer->token;
    token_init(&answer->token);
    return EX_OK;
}

int exchange_grant(struct exchange *exchange, const struct buffer *form, struct token *ret_token)
{
    struct oauth_answer answer = {0};
    int code = exchange_post(exchange, exchange->account->oauth.token_url, form, NULL, &answer);
    if (code != EX_OK)
        return code;
    code = answer.verdict == OAUTH_OK ? exchange_keep(exchange, &answer, ret_token)
                                      : exchange_refused(exchange, &answer);
    oauth_answer_release(&answer);
    return code;
}

// Says in the token file that a person is needed, so that status and agent know it too. The tokens stay.
static void exchange_note(struct exchange *exchange, struct token *old, const struct oauth_answer *answer)
{
    if (answer->verdict != OAUTH_REAUTHORIZE && answer->verdict != OAUTH_SCOPE_MISSING)
        return;
    old->needs_login = true;
    if (token_set_text(&old->needs, answer->words) == 0)
        (void)token_write(exchange->state_fd, exchange->account->name, old);
}

static int exchange_next(
    struct exchange *exchange, struct token *old, const struct buffer *form, struct token *ret_token)
{
    bool unattended = oauth_flow_is_unattended(exchange->account->oauth.flow);
    struct oauth_answer answer = {0};
    int code = exchange_post(exchange, exchange->account->oauth.token_url, form, old, &answer);
    if (code != EX_OK)
        return code;
    if (answer.verdict == OAUTH_OK) {
        if (old && !unattended && token_keep_refresh(&answer.token, old))
            code = exchange_fail(exchange, EX_TEMPFAIL, NULL, "memory is short");
        else
            code = exchange_write(exchange, &answer.token);
    } else {
        code = exchange_refused(exchange, &answer);
        if (old && !unattended)
            exchange_note(exchange, old, &answer);
    }
    if (code == EX_OK) {
        *ret_token = answer.token;
        token_init(&answer.token);
    }
    oauth_answer_release(&answer);
    return code;
}

static int exchange_form(struct exchange *exchange, const struct token *old, struct buffer *form)
{
    char words[OAUTH_WORDS_MAX] = "", fix[EXCHANGE_FIX_MAX];
    int error = oauth_form_next(exchange->account, old, clock_wall(), form, words);
    if (!error)
        return EX_OK;
    if (error == -EKEYREJECTED && !oauth_flow_is_unattended(exchange->account->oauth.flow)) {
        (void)snprintf(
            fix, sizeof fix, "authorize the account: outtray oauth login %s", exchange->account->name);
        return exchange_fail(exchange, EX_NOPERM, fix, "%s", words);
    }
    bool denied = error == -EACCES || error == -EPERM;
    return exchange_fail(exchange,
        denied             ? EX_NOPERM
        : error == -ENOMEM ? EX_TEMPFAIL
                           : EX_CONFIG,
        NULL, "%s", words);
}

static bool is_same_access(const struct token *a, const struct token *b)
{
    return a->access.length == b->access.length &&
           (!a->access.length || memcmp(a->access.text, b->access.text, a->access.length) == 0);
}

// seen: what was stored before the lock was asked for. Another one by now is fresh: whoever held the lock has
// refreshed it, and however many ask, the provider is asked once.
static int exchange_renew_locked(
    struct exchange *exchange, bool force, const struct token *seen, struct token *ret_token)
{
    struct token old = {0};
    struct buffer form;
    int error = token_read(exchange->state_fd, exchange->account->name, &old);
    if (error && error != -ENOENT && error != -EBADMSG)
        return exchange_file(exchange, error, ".json");
    bool fresh = !force || !is_same_access(&old, seen);
    if (!error && fresh && old.expires > clock_wall() + TOKEN_ENOUGH_S * CLOCK_SECOND) {
        *ret_token = old;
        return EX_OK;
    }
    buffer_init(&form, OAUTH_FORM_MAX);
    int code = exchange_form(exchange, error ? NULL : &old, &form);
    if (code == EX_OK)
        code = exchange_next(exchange, error ? NULL : &old, &form, ret_token);
    buffer_release(&form);
    token_release(&old);
    return code;
}

int exchange_renew(struct exchange *exchange, bool force, struct token *ret_token)
{
    struct token seen = {0};
    int lock;
    (void)token_read(exchange->state_fd, exchange->account->name, &seen); // trouble shows under the lock
    int code = exchange_lock(exchange, &lock);
    if (code == EX_OK) {
        code = exchange_renew_locked(exchange, force, &seen, ret_token);
        close(lock);
    }
    token_release(&seen);
    return code;
}
