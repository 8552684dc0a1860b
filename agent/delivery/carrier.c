// The sessions of a pool: opening them, and what they report.
#include "agent/auth/credentials.h"
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CARRIER_WORN_OUT_MAX 8 // sessions that one message may find at their end in one attempt

static void carrier_ready(struct smtp_session *session, void *arg)
{
    struct carrier *carrier = arg;
    struct pool *pool = carrier->pool;
    (void)session;
    pool_wake(pool);
    if (carrier->ready)
        return;
    carrier->ready = true;
    if (carrier->token)
        keeper_accepted(pool->dispatch->keeper, pool->account->name, carrier->token);
    pool->n_connecting--;
    pool->server_tries = 0;
    pool->account->recent_server = carrier->server;
    dispatch_account_changed(
        pool->dispatch, pool, account_logged_in(pool->account, loop_now(pool->dispatch->loop)));
}

static struct conclude_context carrier_context(const struct carrier *carrier, const struct message *message)
{
    struct conclude_context context = dispatch_context(carrier->pool->dispatch, carrier->pool);
    context.relay = smtp_session_relay(carrier->session);
    context.tls = smtp_session_tls(carrier->session);
    const struct smtp_capabilities *capabilities = smtp_session_capabilities(carrier->session);
    context.no_dsn = capabilities && !capabilities->dsn;
    context.conn_use = message->conn_use;
    context.conn_ms = context.conn_use <= 1 ? smtp_session_connect_ns(carrier->session) / CLOCK_MS : 0;
    return context;
}

// The account's trouble: the message is not to blame and goes back. Where the account is only to slow down,
// it waits here.
static void carrier_put_back(struct pool *pool, struct message *message, const struct conclusion *conclusion,
    const struct conclude_context *context)
{
    bool paused = pool->account->breaker != BREAKER_CLOSED || pool->dispatch->stopping;
    if (conclusion->record) { // somebody was accepted: durable first, then back
        message->back = paused;
        message->filing = FILING_RECORD;
        dispatch_file(pool->dispatch, message);
        return;
    }
    pool_give_back(message);
    if (!paused) {
        pool_ready(pool, message, true);
        return;
    }
    conclude_return(message, context, conclusion->words[0] ? conclusion->words : pool->account->reason);
    dispatch_file(pool->dispatch, message);
}

// A temporary refusal of MAIL on a session that has delivered before is most often about the session (some
// servers allow only so many messages on one): it is drained, and the mail tries another one, uncounted. Not
// for ever: where the refusal is about the mail, it is counted in the end.
static bool carrier_is_worn_out(
    const struct carrier *carrier, const struct smtp_result *result, struct message *message)
{
    return carrier->useful && result->failure == SMTP_FAILURE_NONE && result->stage == SMTP_STAGE_MAIL &&
           result->final.code / 100 == 4 && result->final.code != 421 &&
           outcome_of_result(result).verdict == VERDICT_RETRY && message->worn_out++ < CARRIER_WORN_OUT_MAX;
}

static void carrier_done(struct smtp_session *session, const struct smtp_result *result, void *arg)
{
    struct carrier *carrier = arg;
    struct pool *pool = carrier->pool;
    struct dispatch *dispatch = pool->dispatch;
    struct message *message = result->mail->owner;
    struct conclude_context context = carrier_context(carrier, message);
    struct conclusion conclusion;
    if (carrier_is_worn_out(carrier, result, message)) {
        smtp_session_quit(session);
        pool_give_back(message);
        pool_ready(pool, message, true);
        return;
    }
    int error = conclude_result(message, result, &context, &conclusion);
    if (error) {
        dispatch_give_up(dispatch, message, error);
        return;
    }
    if (conclusion.delivered) {
        carrier->useful = true;
        dispatch_account_changed(dispatch, pool, account_succeeded(pool->account, context.boot));
    } else if (!conclusion.trouble && result->begun) {
        account_probe_over(pool->account);
    }
    if (conclusion.trouble && dispatch_token_refused(carrier, &conclusion.outcome, conclusion.words))
        smtp_session_quit(session); // another one logs in with the next token
    else if (conclusion.trouble && conclusion.outcome.verdict != VERDICT_ACCOUNT_UNREACHABLE)
        dispatch_account_changed(dispatch, pool,
            account_troubled(pool->account, &conclusion.outcome, conclusion.words, context.boot));
    switch (conclusion.next) {
    case CONCLUDE_FILE:
        dispatch_file(dispatch, message);
        break;
    case CONCLUDE_AGAIN:
        if (conclusion.record) {
            message->filing = FILING_RECORD;
            dispatch_file(dispatch, message);
        } else {
            pool_give_back(message);
            pool_ready(pool, message, true);
        }
        break;
    case CONCLUDE_BACK:
        carrier_put_back(pool, message, &conclusion, &context);
        break;
    }
    if (conclusion.trouble)
        pool_shrink(pool);
}

// A session that never got ready is a failed connection; the next server of the list is tried before the
// account counts as unreachable.
static bool carrier_next_server(
    struct pool *pool, const struct carrier *carrier, const struct outcome *outcome)
{
    if (carrier->ready || outcome->verdict != VERDICT_ACCOUNT_UNREACHABLE)
        return false;
    return ++pool->server_tries % pool->account->settings->n_servers != 0;
}

static void carrier_closed(struct smtp_session *session, const struct smtp_closing *closing, void *arg)
{
    struct carrier *carrier = arg;
    struct pool *pool = carrier->pool;
    struct dispatch *dispatch = pool->dispatch;
    struct outcome outcome = outcome_of_closing(closing);
    (void)session;
    pool->account->open = pool->n_open--;
    if (!carrier->ready)
        pool->n_connecting--;
    pool_wake(pool);
    pool->no_chunking |= closing->no_chunking;
    if (closing->anomaly && !pool->account->window_one) {
        pool->account->window_one = true;
        log_event(dispatch->log, LOG_WARNING_LEVEL, "window_reduced",
            "the server answered out of step; messages go to it one at a time from now on", "account",
            pool->account->name, "relay", smtp_session_relay(carrier->session), "detail", closing->problem,
            NULL);
    }
    smtp_session_free(carrier->session);
    carrier->session = NULL;
    if (outcome.verdict == VERDICT_SENT || carrier_next_server(pool, carrier, &outcome))
        return;
    char said[OAUTH_WORDS_MAX];
    const char *words = closing->reply.code ? closing->reply.text : closing->problem;
    if (carrier->token && !carrier->ready) { // some servers repeat what they were sent
        keeper_clean(dispatch->keeper, pool->account->name, words, said);
        words = said;
    }
    if (outcome.verdict == VERDICT_ACCOUNT_UNREACHABLE && carrier->useful)
        return; // it carried mail until now: the next connection will show
    if (dispatch_token_refused(carrier, &outcome, words))
        return;
    dispatch_account_changed(
        dispatch, pool, account_troubled(pool->account, &outcome, words, loop_now(dispatch->loop)));
    pool->account->open = pool->n_open;
    pool_shrink(pool);
    if (pool->account->breaker != BREAKER_CLOSED)
        pool_return_all(pool, words); // the probe's message does not wait in cur/ for the next probe
}

// No credentials: the account is in trouble before any connection is made.
static void pool_no_credentials(struct pool *pool, const char *problem, const char *fix)
{
    struct outcome outcome = {
        .verdict = VERDICT_ACCOUNT_CREDENTIALS, .class = "credentials", .at_login = true, .fix = fix};
    struct dispatch *dispatch = pool->dispatch;
    dispatch_account_changed(
        dispatch, pool, account_troubled(pool->account, &outcome, problem, loop_now(dispatch->loop)));
    if (pool->account->breaker != BREAKER_CLOSED)
        pool_return_all(pool, problem);
}

static int carrier_open(struct pool *pool, struct carrier *carrier, const struct credentials *credentials)
{
    const struct account *account = pool->account;
    const struct config_account *settings = account->settings;
    carrier->server = (account->recent_server + pool->server_tries) % settings->n_servers;
    carrier->window = account->window_one ? 1 : settings->limits.window;
    struct smtp_session_params params = {
        .config = account->config,
        .account = settings,
        .server = settings->servers[carrier->server],
        .ehlo_name = account->config->domain,
        .username = credentials->username,
        .secret = &credentials->secret,
        .oauth = credentials->oauth,
        .no_chunking = pool->no_chunking,
        .window = carrier->window,
        .patient = account->login_pace != 0,
        .events = {.ready = carrier_ready, .done = carrier_done, .closed = carrier_closed},
        .arg = carrier,
    };
    return smtp_session_open(pool->dispatch->loop, pool->dispatch->multi, &params, &carrier->session);
}

void pool_connect(struct pool *pool)
{
    struct dispatch *dispatch = pool->dispatch;
    int64_t now = loop_now(dispatch->loop), wait = 0;
    if (!account_may_connect(pool->account, pool->n_open, now, &wait)) {
        if (wait > 0 && wait != INT64_MAX &&
            (!loop_timer_pending(&pool->wake) || pool->wake.due > now + wait))
            (void)loop_timer_set(dispatch->loop, &pool->wake, now + wait);
        return;
    }
    struct credentials credentials;
    char problem[OAUTH_WORDS_MAX];
    int error = credentials_load(dispatch->keeper, pool->account->settings, &credentials, problem);
    if (error == -EAGAIN) {
        dispatch_await_token(pool, problem);
        return;
    }
    if (error) {
        pool_check_secret(pool);
        pool_no_credentials(pool, problem, credentials.fix);
        return;
    }
    struct carrier *carrier = calloc(1, sizeof *carrier);
    if (carrier) {
        carrier->pool = pool;
        carrier->token = credentials.serial;
        error = carrier_open(pool, carrier, &credentials);
    }
    credentials_release(&credentials);
    if (!carrier || error) { // memory or descriptors: later, when some are free again
        free(carrier);
        (void)loop_timer_set(dispatch->loop, &pool->wake, now + CLOCK_SECOND);
        return;
    }
    carrier->next = pool->carriers;
    pool->carriers = carrier;
    pool->account->open = ++pool->n_open;
    pool->n_connecting++;
    pool_wake(pool); // more of them may be needed
}

void pool_shrink(struct pool *pool)
{
    unsigned staying = 0;
    // One that is not ready is being refused, most likely: it must not push out one that was let in.
    for (struct carrier *carrier = pool->carriers; carrier; carrier = carrier->next) {
        if (!carrier->session || !carrier->ready || carrier->surplus ||
            ++staying <= pool->account->connections)
            continue;
        carrier->surplus = true;
        smtp_session_quit(carrier->session);
    }
}

void pool_quit(struct pool *pool)
{
    for (struct carrier *carrier = pool->carriers; carrier; carrier = carrier->next)
        if (carrier->session)
            smtp_session_quit(carrier->session);
}

void pool_abort(struct pool *pool)
{
    for (struct carrier *carrier = pool->carriers; carrier; carrier = carrier->next)
        if (carrier->session)
            smtp_session_abort(carrier->session);
}

void pool_check_secret(struct pool *pool)
{
    const struct config_account *settings = pool->account->settings;
    struct stat now = {0};
    if (settings->auth != CONFIG_AUTH_BASIC)
        return;
    (void)stat(settings->password_file, &now);
    struct stat *seen = &pool->secret_seen;
    bool same = seen->st_ino == now.st_ino && seen->st_size == now.st_size && seen->st_mode == now.st_mode &&
                seen->st_uid == now.st_uid && clock_ns(&seen->st_mtim) == clock_ns(&now.st_mtim) &&
                clock_ns(&seen->st_ctim) == clock_ns(&now.st_ctim);
    *seen = now;
    if (same || pool->account->breaker != BREAKER_CREDENTIALS)
        return;
    account_retry_now(pool->account, loop_now(pool->dispatch->loop));
    pool_wake(pool);
}

void pool_sweep(struct pool *pool)
{
    for (struct carrier **at = &pool->carriers; *at;) {
        struct carrier *carrier = *at;
        if (carrier->session || carrier->unfiled) {
            at = &carrier->next;
            continue;
        }
        *at = carrier->next;
        free(carrier);
    }
}
