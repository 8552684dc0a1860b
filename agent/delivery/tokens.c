// OAuth accounts between the keeper and their pools: a token that is there, fails to come, or needs a person.
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"

#include <stdlib.h>
#include <string.h>

// What the keeper hands over goes to the intake desk.
struct token_job {
    struct desk_job job; // first
    void (*work)(void *job), (*done)(void *job);
    void *arg;
};

static void token_run(struct desk_job *job)
{
    const struct token_job *token = (struct token_job *)job;
    token->work(token->arg);
}

static void token_done(struct desk_job *job)
{
    struct token_job token = *(struct token_job *)job;
    free(job);
    token.done(token.arg);
}

static void token_submit(void (*work)(void *), void (*done)(void *), void *job, void *arg)
{
    struct dispatch *dispatch = arg;
    struct token_job *token = calloc(1, sizeof *token);
    if (!token) { // a moment of waiting for the disk is the lesser evil
        work(job);
        done(job);
        return;
    }
    *token = (struct token_job){
        .job = {.run = token_run, .done = token_done}, .work = work, .done = done, .arg = job};
    desk_submit(dispatch->intake, &token->job);
}

static struct pool *token_pool(const struct dispatch *dispatch, const char *account)
{
    for (size_t i = 0; i < dispatch->n_pools; i++)
        if (strcmp(dispatch->pools[i]->account->name, account) == 0)
            return dispatch->pools[i];
    return NULL;
}

static void token_trouble(struct pool *pool, enum keeper_state state, const char *words, const char *fix)
{
    struct dispatch *dispatch = pool->dispatch;
    struct outcome outcome = {
        .verdict = VERDICT_ACCOUNT_CREDENTIALS, .class = "credentials", .at_login = true, .fix = fix};
    if (state == KEEPER_WAITING)
        outcome = (struct outcome){.verdict = VERDICT_ACCOUNT_UNREACHABLE,
            .class = "connection",
            .at_login = true,
            .fix =
                "check the way from this host to the provider's token endpoint; it is tried again by itself"};
    pool->token_good = false;
    bool findings = dispatch->once_findings;
    dispatch_account_changed(
        dispatch, pool, account_troubled(pool->account, &outcome, words, loop_now(dispatch->loop)));
    dispatch->once_findings = findings; // only mail that waits for it is one
    if (pool->account->breaker != BREAKER_CLOSED)
        pool_return_all(pool, words);
}

static void token_changed(const char *name, enum keeper_state state, void *arg)
{
    struct dispatch *dispatch = arg;
    struct pool *pool = token_pool(dispatch, name);
    if (!pool)
        return;
    struct account *account = pool->account;
    pool_wake(pool);
    if (state == KEEPER_READY) {
        // What the token was missed for is over. Where it was there all the time (a refresh), it is something
        // else that is wrong, and a probe may find that mended too.
        if (!pool->token_good)
            dispatch_account_changed(dispatch, pool, account_mended(account));
        else if (account->breaker == BREAKER_CREDENTIALS)
            account_retry_now(account, loop_now(dispatch->loop));
        pool->token_good = true;
        return;
    }
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    struct secret none = {0};
    if (keeper_token(dispatch->keeper, name, &none, words, &fix) == state)
        token_trouble(pool, state, words, fix);
    secret_release(&none);
}

int dispatch_start_keeper(struct dispatch *dispatch)
{
    struct keeper_params params = {.loop = dispatch->loop,
        .multi = dispatch->multi,
        .log = dispatch->log,
        .state_fd = dispatch->state_fd,
        .submit = token_submit,
        .changed = token_changed,
        .arg = dispatch};
    return keeper_new(&params, &dispatch->keeper);
}

void dispatch_await_token(struct pool *pool, const char *words)
{
    if (pool->account->breaker != BREAKER_CLOSED) // a probe cannot go now
        token_trouble(pool, KEEPER_WAITING, words, NULL);
}

bool dispatch_token_refused(struct carrier *carrier, struct outcome *outcome, const char *words)
{
    struct pool *pool = carrier->pool;
    struct keeper *keeper = pool->dispatch->keeper;
    if (!carrier->token || !outcome->refresh_token || outcome->verdict != VERDICT_ACCOUNT_CREDENTIALS)
        return false;
    if (keeper_refused(keeper, pool->account->name, carrier->token, words)) {
        account_probe_over(pool->account);
        if (pool->account->breaker != BREAKER_CLOSED)
            pool_return_all(pool, words);
        return true;
    }
    char unused[OAUTH_WORDS_MAX];
    const char *fix = NULL;
    struct secret none = {0};
    if (keeper_token(keeper, pool->account->name, &none, unused, &fix) == KEEPER_NEEDS && fix)
        outcome->fix = fix;
    secret_release(&none);
    return false;
}
