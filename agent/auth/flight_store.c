// The last stage of a refresh: the answer is written, then used.
#include "flight.h"
#include "words.h"

#include <stdio.h>
#include <string.h>

#define STORE_RETRY_NS  (2 * CLOCK_SECOND) // after a failed write; doubles …
#define STORE_RETRY_MAX (60 * CLOCK_SECOND)

static void store_work(void *job)
{
    struct flight *flight = job;
    flight->store_error = token_write(flight->kept->keeper->params.state_fd, flight->kept->name,
        flight->needs ? &flight->stored : &flight->answer.token);
}

static void store_done(void *job);

void flight_store(struct flight *flight)
{
    const struct keeper_params *params = &flight->kept->keeper->params;
    params->submit(store_work, store_done, flight, params->arg);
}

void flight_store_again(struct loop_timer *timer)
{
    flight_store(timer->arg);
}

static bool flight_rotated(const struct flight *flight)
{
    return !secret_equal(&flight->answer.token.refresh, &flight->stored.refresh);
}

// The provider replaced the refresh token, and the new one is in memory only: the access token waits until it
// is durable, and so does everything else.
static void store_failed(struct flight *flight)
{
    struct kept *kept = flight->kept;
    words_set(kept->words, "the refreshed token could not be stored: %s", strerror(-flight->store_error));
    kept_log(kept, LOG_ERROR_LEVEL, "token_not_stored", "make room for, and give access to, STATE/tokens",
        "reason", strerror(-flight->store_error));
    if (kept->keeper->ending) {
        flight->open = false; // flight_drop tells
        return;
    }
    flight->retry_wait = flight->retry_wait ? flight->retry_wait * 2 : STORE_RETRY_NS;
    if (flight->retry_wait > STORE_RETRY_MAX)
        flight->retry_wait = STORE_RETRY_MAX;
    (void)loop_timer_set(kept->keeper->params.loop, &flight->retry, clock_boot() + flight->retry_wait);
    if (!kept_is_usable(kept))
        kept_notify(kept, KEEPER_WAITING);
}

static void flight_use(struct flight *flight)
{
    struct kept *kept = flight->kept;
    if (kept->settings) {
        char expires_s[32];
        (void)snprintf(expires_s, sizeof expires_s, "%lld",
            (long long)((flight->answer.token.expires - flight->answer.token.obtained) / CLOCK_SECOND));
        log_event(kept->keeper->params.log, LOG_INFO_LEVEL, "token_refreshed", "a fresh access token is used",
            "account", kept->name, "expires_in_s", expires_s, NULL);
        kept_adopt(kept, &flight->answer.token, flight->started);
    }
    token_release(&flight->answer.token);
    flight_end(flight);
}

static void store_done(void *job)
{
    struct flight *flight = job;
    struct kept *kept = flight->kept;
    if (flight->needs) { // told already; a failure only means that a restart finds it out again
        if (!flight->store_error && kept->needs) {
            token_release(&kept->token);
            kept->token = flight->stored;
            token_init(&flight->stored);
        }
        flight_end(flight);
        return;
    }
    if (flight->store_error && flight_rotated(flight)) {
        store_failed(flight);
        return;
    }
    if (flight->store_error)
        kept_log(kept, LOG_WARNING_LEVEL, "token_not_stored",
            "make room for, and give access to, STATE/tokens", "reason", strerror(-flight->store_error));
    flight_use(flight);
}
