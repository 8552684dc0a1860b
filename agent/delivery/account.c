// An account's breaker: what opens it, and what closes it. Pure but for the random jitter of its backoff.
#include "account.h"
#include "retry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const breaker_names[] = {
    [BREAKER_CLOSED] = "closed",
    [BREAKER_UNREACHABLE] = "open_unreachable",
    [BREAKER_CREDENTIALS] = "open_credentials",
    [BREAKER_QUOTA] = "open_quota",
};

const char *breaker_name(enum breaker breaker)
{
    return breaker_names[breaker];
}

static void account_set_minute(struct account *account, int64_t boot)
{
    bucket_set(&account->minute, account->settings->limits.messages_per_minute, ACCOUNT_MINUTE_NS, boot);
}

static unsigned account_connections_max(const struct account *account)
{
    unsigned most = account->settings->limits.connections;
    if (account->ceiling > 1 && account->ceiling <= most)
        return account->ceiling - 1;
    return most ? most : 1;
}

static void account_bound_connections(struct account *account)
{
    unsigned most = account_connections_max(account);
    account->connections = account->connections < most ? account->connections : most;
}

int account_new(const struct config *config, const struct config_account *settings, int64_t boot,
    struct account **ret_account)
{
    struct account *account = calloc(1, sizeof *account);
    if (!account)
        return -ENOMEM;
    account->name = strdup(settings->name);
    if (!account->name) {
        free(account);
        return -ENOMEM;
    }
    account->config = config_ref(config);
    account->settings = settings;
    account->connections = account_connections_max(account);
    account->connections_since = boot;
    account->failed_at = account->complained_at = INT64_MIN;
    account_set_minute(account, boot);
    *ret_account = account;
    return 0;
}

void account_free(struct account *account)
{
    if (!account)
        return;
    config_unref(account->config);
    free(account->name);
    free(account);
}

void account_configure(
    struct account *account, const struct config *config, const struct config_account *settings, int64_t boot)
{
    // Where the server had not asked for fewer connections, all that are configured now may be used.
    account->ceiling = 0;
    account->login_pace = 0;
    bool at_most = account->connections >= account_connections_max(account);
    const struct config *old = account->config;
    account->config = config_ref(config);
    account->settings = settings;
    config_unref(old);
    if (at_most || account->connections > account_connections_max(account))
        account->connections = account_connections_max(account);
    if (account->recent_server >= settings->n_servers)
        account->recent_server = 0;
    account->window_one = false;
    account_set_minute(account, boot);
    account_retry_now(account, boot);
}

// The next wait of a backoff from retry.first to retry.max that doubles, and the moment it ends.
static int64_t account_backoff(const struct account *account, int64_t *wait, int64_t boot)
{
    int64_t doubled = *wait > ACCOUNT_PARK_MAX_NS ? *wait : *wait * 2;
    struct config plain = {.retry = account->config->retry};
    plain.retry.jitter = 0;
    *wait = retry_wait(&plain, doubled, 0);
    return boot + retry_wait(account->config, *wait, retry_random());
}

static void account_say(struct account *account, const struct outcome *outcome, const char *words)
{
    (void)snprintf(account->reason, sizeof account->reason, "%s", words ? words : "");
    account->fix = outcome->fix;
    account->changed = true;
}

// Opens the breaker, or keeps it open after a probe.
static enum account_change account_open(
    struct account *account, enum breaker breaker, const struct outcome *outcome, const char *words)
{
    enum breaker before = account->breaker;
    account_say(account, outcome, words);
    account->breaker = breaker;
    account->at_login = outcome->at_login;
    account->probing = false;
    if (before != breaker || account->own)
        account->probe_wait = 0;
    bool same = before == breaker && !account->own;
    account->own = false;
    return same ? ACCOUNT_SAME : ACCOUNT_PAUSED;
}

static enum account_change account_close(struct account *account)
{
    account->breaker = BREAKER_CLOSED;
    account->probing = account->at_login = account->own = false;
    account->probe_wait = account->probe_at = account->hold_until = 0;
    account->reason[0] = '\0';
    account->fix = NULL;
    account->failures = account->complaints = 0;
    account->changed = true;
    return ACCOUNT_RESUMED;
}

enum account_change account_logged_in(struct account *account, int64_t boot)
{
    account->logins_total++;
    account->auth_failures = 0;
    account->auth_wait = 0;
    if (account->login_pace && boot - account->login_refused_at >= ACCOUNT_REMEMBER_NS)
        account->login_pace = 0;
    account->auth_after = 0;
    if (account->breaker != BREAKER_CLOSED && account->at_login)
        return account_close(account);
    if (account->login_pace)
        account->auth_after = boot + account->login_pace;
    return ACCOUNT_SAME;
}

enum account_change account_succeeded(struct account *account, int64_t boot)
{
    account->sent_total++;
    account->failures = account->complaints = account->auth_failures = 0;
    if (account->ceiling && boot - account->complained_at >= ACCOUNT_REMEMBER_NS)
        account->ceiling = 0;
    if (account->connections < account_connections_max(account) &&
        boot - account->connections_since >= ACCOUNT_GROW_NS) {
        account->connections++;
        account->connections_since = boot;
    }
    // One more that was under way says nothing about a quota, and nothing about a login that came after its
    // own.
    if (!account->probing && account->breaker != BREAKER_UNREACHABLE)
        return ACCOUNT_SAME;
    return account_close(account);
}

static enum account_change account_unreachable(
    struct account *account, const struct outcome *outcome, const char *words, int64_t boot)
{
    account->connect_after = boot + ACCOUNT_RECONNECT_NS;
    if (account->breaker != BREAKER_CLOSED) {
        // A probe that did not get through, whatever it was for; connections that were still open say nothing
        // new.
        if (!account->probing && boot < account->probe_at)
            return ACCOUNT_SAME;
        account->probing = false;
        if (account->breaker == BREAKER_UNREACHABLE)
            account_say(account, outcome, words);
        account->probe_at = account_backoff(account, &account->probe_wait, boot);
        account->changed = true;
        return ACCOUNT_SAME;
    }
    // Several connections lost in one moment are one failure of the server.
    if (account->failed_at != INT64_MIN && boot - account->failed_at < ACCOUNT_RECONNECT_NS)
        return ACCOUNT_SAME;
    account->failed_at = boot;
    if (++account->failures < ACCOUNT_FAILURES_MAX)
        return ACCOUNT_SAME;
    enum account_change change = account_open(account, BREAKER_UNREACHABLE, outcome, words);
    account->probe_at = account_backoff(account, &account->probe_wait, boot);
    return change;
}

// How long an outcome parks the account, in ns; 0: until the account's own backoff says.
static int64_t account_park_ns(const struct outcome *outcome)
{
    return outcome->park_ms < ACCOUNT_PARK_MAX_NS / 1000000 ? outcome->park_ms * 1000000
                                                            : ACCOUNT_PARK_MAX_NS;
}

static enum account_change account_park(
    struct account *account, const struct outcome *outcome, const char *words, int64_t boot)
{
    enum account_change change = account_open(account, BREAKER_QUOTA, outcome, words);
    int64_t park = account_park_ns(outcome);
    account->probe_at = park ? boot + park : account_backoff(account, &account->probe_wait, boot);
    return change;
}

static enum account_change account_too_many_connections(
    struct account *account, const struct outcome *outcome, const char *words, int64_t boot)
{
    if (account->open && (!account->ceiling || account->open < account->ceiling))
        account->ceiling = account->open;
    // Complaints of one moment are one: they were all about the number that was open then.
    if (account->complained_at != INT64_MIN && boot - account->complained_at < ACCOUNT_SHRINK_NS) {
        account_bound_connections(account);
        return ACCOUNT_SAME;
    }
    account->complained_at = account->connections_since = boot;
    account->connect_after = boot + ACCOUNT_SHRINK_NS;
    if (account->connections > 1) {
        account->connections /= 2;
        account_bound_connections(account);
        account->complaints = 0;
        return ACCOUNT_SAME;
    }
    if (++account->complaints < ACCOUNT_FAILURES_MAX && account->breaker == BREAKER_CLOSED)
        return ACCOUNT_SAME;
    account->complaints = 0;
    return account_park(account, outcome, words, boot);
}

// Logins came too fast. How fast they may come is not said: each refusal doubles the distance.
static void account_pace_logins(struct account *account, int64_t boot)
{
    account->login_pace = account->login_pace ? account->login_pace * 2 : ACCOUNT_PACE_NS;
    if (account->login_pace > ACCOUNT_PACE_MAX_NS)
        account->login_pace = ACCOUNT_PACE_MAX_NS;
    account->login_refused_at = boot;
}

static enum account_change account_throttled(
    struct account *account, const struct outcome *outcome, const char *words, int64_t boot)
{
    if (account->breaker != BREAKER_CLOSED && !account->probing && boot < account->probe_at &&
        !outcome->park_ms)
        return ACCOUNT_SAME; // more of what opened it
    if (outcome->park_ms && account_park_ns(outcome) < ACCOUNT_PARK_LEAST_NS) {
        account->hold_until = boot + account_park_ns(outcome);
        account->probing = false;
        return ACCOUNT_SAME;
    }
    if (outcome->park_ms)
        return account_park(account, outcome, words, boot);
    if (outcome->fewer_connections)
        return account_too_many_connections(account, outcome, words, boot);
    if (outcome->at_login && account->breaker == BREAKER_CLOSED) {
        if (boot < account->auth_after)
            return ACCOUNT_SAME; // logins of one moment
        account_pace_logins(account, boot);
        account->auth_after = account_backoff(account, &account->auth_wait, boot);
        if (account->auth_after < boot + ACCOUNT_QUIET_NS)
            account->auth_after = boot + ACCOUNT_QUIET_NS;
        if (++account->auth_failures < ACCOUNT_FAILURES_MAX)
            return ACCOUNT_SAME;
    }
    return account_park(account, outcome, words, boot);
}

enum account_change account_troubled(
    struct account *account, const struct outcome *outcome, const char *words, int64_t boot)
{
    enum account_change change;
    if (outcome->at_login)
        (void)snprintf(account->login_words, sizeof account->login_words, "%s", words ? words : "");
    switch (outcome->verdict) {
    case VERDICT_ACCOUNT_UNREACHABLE:
        return account_unreachable(account, outcome, words, boot);
    case VERDICT_ACCOUNT_THROTTLED:
        return account_throttled(account, outcome, words, boot);
    case VERDICT_ACCOUNT_CREDENTIALS:
        change = account_open(account, BREAKER_CREDENTIALS, outcome, words);
        account->probe_at = boot + ACCOUNT_CREDENTIALS_NS;
        return change;
    default:
        return ACCOUNT_SAME;
    }
}

enum account_change account_mended(struct account *account)
{
    account->failures = 0;
    if (account->breaker == BREAKER_CLOSED || account->breaker == BREAKER_QUOTA || !account->at_login)
        return ACCOUNT_SAME;
    return account_close(account);
}

void account_probe_over(struct account *account)
{
    account->probing = false;
}

void account_retry_now(struct account *account, int64_t boot)
{
    if (account->breaker == BREAKER_QUOTA && !account->own)
        return;
    account->auth_after = account->connect_after = 0;
    if (account->breaker != BREAKER_CLOSED)
        account->probe_at = boot;
}
