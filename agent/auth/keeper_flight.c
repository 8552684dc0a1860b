// One refresh, from the lock to the durable answer.
//
//   PREPARING  other thread: lock, read what is stored, make the request's body
//   ASKING     loop: the request
//   STORING    other thread: write the answer; then it is used, and the lock is given back
//
// A flight holds everything it needs (a reference to the configuration among it): a reload does not disturb
// it, and an answer is stored even where its account has left the configuration meanwhile.
#include "flight.h"
#include "words.h"

#include <assert.h>
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool flight_is_open(const struct flight *flight)
{
    return flight->open;
}

static void flight_free(struct flight *flight)
{
    loop_timer_cancel(flight->kept->keeper->params.loop, &flight->retry);
    http_cancel(flight->request);
    if (flight->lock_fd >= 0)
        close(flight->lock_fd);
    token_release(&flight->stored);
    oauth_answer_release(&flight->answer);
    buffer_release(&flight->form);
    config_unref(flight->config);
    explicit_bzero(flight->words, sizeof flight->words);
    free(flight);
}

void flight_drop(struct flight *flight)
{
    if (!flight)
        return;
    if (flight->answer.verdict == OAUTH_OK && flight->answer.token.access.length)
        kept_log(flight->kept, LOG_ERROR_LEVEL, "token_lost",
            "the agent ends before a fetched token could be stored; the account may need authorization",
            "reason", strerror(-flight->store_error));
    flight->kept->flight = NULL;
    flight_free(flight);
}

void flight_end(struct flight *flight)
{
    struct kept *kept = flight->kept;
    kept->flight = NULL;
    flight_free(flight);
    if (kept->look_again && kept->settings && !kept->keeper->ending)
        kept_look(kept);
}

static int64_t backoff_jittered(int64_t wait)
{
    uint32_t random = 0;
    (void)RAND_bytes((unsigned char *)&random, sizeof random);
    return wait + (int64_t)((double)wait * 0.2 * ((double)random / UINT32_MAX));
}

// Did not work, will be tried again. The current token is used as long as it lasts.
static void flight_failed(struct flight *flight, int64_t retry_after_s)
{
    struct kept *kept = flight->kept;
    int64_t wait = KEEPER_BACKOFF_NS;
    for (unsigned i = 0; i < kept->failures && wait < KEEPER_BACKOFF_MAX; i++)
        wait *= 2;
    wait = backoff_jittered(wait < KEEPER_BACKOFF_MAX ? wait : KEEPER_BACKOFF_MAX);
    if (retry_after_s > KEEPER_RETRY_MAX_S)
        retry_after_s = KEEPER_RETRY_MAX_S;
    if (retry_after_s * CLOCK_SECOND > wait)
        wait = backoff_jittered(retry_after_s * CLOCK_SECOND);
    kept->failures++;
    if (kept->settings) {
        char retry_s[32];
        (void)snprintf(retry_s, sizeof retry_s, "%lld", (long long)(wait / CLOCK_SECOND));
        log_event(kept->keeper->params.log, LOG_WARNING_LEVEL, "token_refresh_failed",
            kept_is_usable(kept)
                ? "the access token could not be refreshed; the current one is used meanwhile"
                : "no access token could be fetched; it is tried again by itself",
            "account", kept->name, "reason", flight->words, "retry_s", retry_s, NULL);
        kept_schedule(kept, clock_boot() + wait);
        if (!kept->needs) {
            words_set(kept->words, "%s", flight->words);
            if (!kept_is_usable(kept))
                kept_notify(kept, KEEPER_WAITING);
        }
    }
    flight_end(flight);
}

// Somebody must do something. It is stored, so that `oauth status` and the next start know it.
static void flight_needs(struct flight *flight, bool login, const char *fix)
{
    struct kept *kept = flight->kept;
    if (kept->settings)
        kept_set_needs(kept, login, flight->words, fix);
    flight->stored.needs_login = login;
    flight->needs = true;
    // Nothing stored (a first fetch without a person): there is nothing to note it in.
    if (flight->read_error || token_set_text(&flight->stored.needs, flight->words)) {
        flight_end(flight);
        return;
    }
    flight_store(flight);
}

static void flight_judge_skew(struct flight *flight, const struct http_response *response)
{
    struct kept *kept = flight->kept;
    int64_t skew = response->date ? response->date - clock_wall() : 0;
    bool skewed = skew > KEEPER_SKEW_NS || skew < -KEEPER_SKEW_NS;
    if (skewed && !kept->skewed) {
        char seconds[32];
        (void)snprintf(seconds, sizeof seconds, "%lld", (long long)(skew / CLOCK_SECOND));
        kept_log(kept, LOG_WARNING_LEVEL, "clock_skew",
            "this host's clock and the provider's differ: tokens may count as expired; check the clock",
            "provider_ahead_s", seconds);
    }
    kept->skewed = skewed;
}

static void flight_answered(const struct http_response *response, void *arg)
{
    struct flight *flight = arg;
    struct oauth_answer *answer = &flight->answer;
    bool unattended = oauth_flow_is_unattended(flight->settings->oauth.flow);
    flight->request = NULL;
    flight_judge_skew(flight, response);
    oauth_judge(
        flight->settings, response, unattended ? NULL : &flight->stored, flight->started_wall, answer);
    (void)snprintf(flight->words, sizeof flight->words, "%s", answer->words);
    if (answer->verdict == OAUTH_OK && !unattended && token_keep_refresh(&answer->token, &flight->stored)) {
        // Without memory for a copy the answer cannot be kept either.
        token_release(&answer->token);
        answer->verdict = OAUTH_TRANSIENT;
        words_set(flight->words, "memory is short");
    }
    switch (answer->verdict) {
    case OAUTH_OK:
        flight_store(flight);
        break;
    case OAUTH_TRANSIENT:
    case OAUTH_PENDING:
        flight->open = false;
        flight_failed(flight, answer->retry_after_s);
        break;
    case OAUTH_REAUTHORIZE:
    case OAUTH_WRONG_MAILBOX:
    case OAUTH_SCOPE_MISSING:
        flight->open = false;
        flight_needs(flight, !unattended,
            unattended
                ? "let the client use the mailbox at the provider (consent, delegation); it is tried again "
                  "every hour, and at once by `outtray oauth refresh`"
                : NULL);
        break;
    case OAUTH_ADMINISTRATOR:
    case OAUTH_MISCONFIGURED:
        flight->open = false;
        flight_needs(flight, false, answer->fix);
        break;
    }
}

static void flight_ask(struct flight *flight)
{
    struct kept *kept = flight->kept;
    struct http_params params = {.url = flight->settings->oauth.token_url, .body = flight->form.data};
    flight->started = clock_boot();
    flight->started_wall = clock_wall();
    int error = http_start(kept->keeper->params.multi, &params, flight_answered, flight, &flight->request);
    buffer_release(&flight->form);
    if (!error) {
        flight->open = true;
        return;
    }
    const char *problem = http_url_problem(flight->settings->oauth.token_url);
    if (error == -EINVAL && problem) {
        words_set(flight->words, "oauth.token_url %s", problem);
        flight_needs(flight, false, "correct oauth.token_url of the account");
        return;
    }
    words_set(flight->words, "the request could not be made: %s", strerror(-error));
    flight_failed(flight, -1);
}

// What is stored is another token than the one to be refreshed: somebody else did it meanwhile.
static bool flight_is_superfluous(const struct flight *flight)
{
    const struct token *mine = &flight->kept->token, *stored = &flight->stored;
    if (!stored->access.length || stored->needs || kept_misfit(flight->settings, stored) ||
        secret_equal(&mine->access, &stored->access))
        return false;
    int64_t lifetime = stored->expires - stored->obtained, left = stored->expires - clock_wall();
    int64_t lead = lifetime / 4 < KEEPER_LEAD_NS ? lifetime / 4 : KEEPER_LEAD_NS;
    return left > lead && left <= lifetime;
}

// Reading under the lock found something that keeps it from being refreshed. True where it did.
static bool flight_is_stuck(struct flight *flight)
{
    bool unattended = oauth_flow_is_unattended(flight->settings->oauth.flow);
    bool read = !flight->read_error;
    const char *misfit = read ? kept_misfit(flight->settings, &flight->stored) : NULL;
    return !unattended && (!read || misfit || (flight->stored.needs && flight->stored.needs_login));
}

static void prepare_work(void *job)
{
    struct flight *flight = job;
    const struct kept *kept = flight->kept;
    int state_fd = kept->keeper->params.state_fd;
    flight->lock_error = token_lock(state_fd, kept->name, &flight->lock_fd);
    if (flight->lock_error)
        return;
    flight->read_error = token_read(state_fd, kept->name, &flight->stored);
    if (flight->note || (flight->read_error && !oauth_flow_is_unattended(flight->settings->oauth.flow)))
        return;
    flight->form_error = oauth_form_next(flight->settings, flight->read_error ? NULL : &flight->stored,
        clock_wall(), &flight->form, flight->words);
}

static void flight_lock_failed(struct flight *flight)
{
    struct kept *kept = flight->kept;
    if (flight->lock_error != -EAGAIN) {
        words_set(flight->words, "the token store cannot be used: %s", strerror(-flight->lock_error));
        flight_failed(flight, -1);
        return;
    }
    if (kept->settings && !flight->note) {
        if (!kept->needs)
            words_set(kept->words, "another process is getting a token for the account");
        kept_schedule(kept, clock_boot() + KEEPER_LOCKED_NS);
    }
    flight_end(flight);
}

static void prepare_done(void *job)
{
    struct flight *flight = job;
    struct kept *kept = flight->kept;
    if (kept->keeper->ending || !kept->settings) {
        flight_end(flight);
    } else if (flight->lock_error) {
        flight_lock_failed(flight);
    } else if (flight->note) {
        bool same =
            !flight->read_error && flight->stored.access.length == kept->token.access.length &&
            memcmp(flight->stored.access.text, kept->token.access.text, kept->token.access.length) == 0;
        flight->needs = true;
        flight->stored.needs_login = kept->needs_login;
        if (!same || !kept->needs || token_set_text(&flight->stored.needs, kept->words))
            flight_end(flight);
        else
            flight_store(flight);
    } else if (flight_is_stuck(flight)) {
        struct token stored = flight->stored;
        int error = flight->read_error;
        token_init(&flight->stored);
        kept->loaded = true;
        flight_end(flight);
        token_release(&kept->token); // whatever it was, it cannot be refreshed
        kept_found(kept, error, &stored);
        token_release(&stored);
    } else if (!flight->read_error && flight_is_superfluous(flight)) {
        kept_log(kept, LOG_NOTICE_LEVEL, "token_found",
            "a token that another process stored is used from now on", NULL, NULL);
        kept_adopt(kept, &flight->stored, 0);
        flight_end(flight);
    } else if (flight->form_error) {
        flight_needs(flight, false,
            "mend the account's secret, key or certificate file; it is tried again every hour");
    } else {
        flight_ask(flight);
    }
}

static void flight_begin(struct kept *kept, bool note)
{
    const struct keeper_params *params = &kept->keeper->params;
    if (kept->flight || !kept->settings || kept->keeper->ending)
        return;
    struct flight *flight = calloc(1, sizeof *flight);
    if (!flight) {
        if (!note)
            kept_schedule(kept, clock_boot() + KEEPER_BACKOFF_NS);
        return;
    }
    *flight = (struct flight){.kept = kept,
        .config = config_ref(kept->config),
        .settings = kept->settings,
        .note = note,
        .lock_fd = -1};
    buffer_init(&flight->form, OAUTH_FORM_MAX);
    loop_timer_init(&flight->retry, flight_store_again, flight);
    kept->flight = flight;
    params->submit(prepare_work, prepare_done, flight, params->arg);
}

void kept_refresh(struct kept *kept)
{
    if (kept->needs && kept->needs_login)
        return;
    if (kept->needs && kept->refused == kept->serial)
        kept->force = true; // another refusal does not ask for yet another token
    flight_begin(kept, false);
}

void kept_note_needs(struct kept *kept)
{
    flight_begin(kept, true);
}
