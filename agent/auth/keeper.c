// The keeper's accounts: what is usable, when the next refresh is due, what others may ask.
#include "keeper_private.h"
#include "words.h"

#include <assert.h>
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// A login takes a moment: a token with less left than this is not tried any more.
#define KEEPER_MARGIN_NS (30 * CLOCK_SECOND) // or a twentieth of its lifetime

static struct kept *keeper_find(const struct keeper *keeper, const char *account)
{
    struct kept *kept = keeper ? keeper->accounts : NULL;
    while (kept && strcmp(kept->name, account) != 0)
        kept = kept->next;
    return kept;
}

static int64_t at_most(int64_t value, int64_t most)
{
    return value < most ? value : most;
}

// 0 … span.
static int64_t random_below(int64_t span)
{
    uint32_t random = 0;
    (void)RAND_bytes((unsigned char *)&random, sizeof random); // without it there is no jitter
    return (int64_t)((double)span * ((double)random / UINT32_MAX));
}

static int64_t token_lifetime(const struct token *token)
{
    return token->expires > token->obtained ? token->expires - token->obtained : 0;
}

bool kept_is_usable(const struct kept *kept)
{
    int64_t margin = at_most(token_lifetime(&kept->token) / 20, KEEPER_MARGIN_NS);
    return kept->token.access.length && kept->refused != kept->serial &&
           clock_boot() + margin < kept->expires;
}

enum keeper_state kept_state(const struct kept *kept)
{
    if (kept->needs)
        return KEEPER_NEEDS;
    return kept_is_usable(kept) ? KEEPER_READY : KEEPER_WAITING;
}

void kept_notify(struct kept *kept, enum keeper_state news)
{
    kept->notify = true;
    kept->news = news;
    (void)loop_timer_set(kept->keeper->params.loop, &kept->keeper->notifier, clock_boot());
}

static void keeper_tell(struct loop_timer *timer)
{
    struct keeper *keeper = timer->arg;
    for (struct kept *kept = keeper->accounts; kept; kept = kept->next) {
        if (!kept->notify)
            continue;
        kept->notify = false;
        if (kept->settings && !keeper->ending && kept_state(kept) == kept->news)
            keeper->params.changed(kept->name, kept->news, keeper->params.arg);
    }
}

void kept_log(const struct kept *kept, enum log_level level, const char *event, const char *msg,
    const char *key, const char *value)
{
    log_event(kept->keeper->params.log, level, event, msg, "account", kept->name, key, value, NULL);
}

static void kept_due(struct loop_timer *timer)
{
    kept_refresh(timer->arg);
}

void kept_schedule(struct kept *kept, int64_t due)
{
    (void)loop_timer_set(kept->keeper->params.loop, &kept->timer, due);
}

void kept_adopt(struct kept *kept, struct token *token, int64_t fetched)
{
    int64_t now = clock_boot(), lifetime = token_lifetime(token);
    // What is stored has wall clock times, which a clock that was set may have made wrong: no token lives
    // longer than it was issued for.
    int64_t left = fetched ? lifetime - (now - fetched) : at_most(token->expires - clock_wall(), lifetime);
    token_release(&kept->token);
    kept->token = *token;
    token_init(token);
    kept->serial++;
    kept->expires = now + left;
    kept->fetched = fetched ? now : 0;
    kept->forced = fetched && kept->force ? kept->serial : 0;
    kept->force = kept->needs = kept->needs_login = false;
    kept->failures = 0;
    kept->words[0] = '\0';
    kept->fix = NULL;
    int64_t lead = at_most(lifetime / 4, KEEPER_LEAD_NS);
    int64_t due = at_most(kept->expires - lead - random_below(lead / 4), now + KEEPER_IDLE_NS);
    kept_schedule(kept, due > now ? due : now);
    if (kept_is_usable(kept))
        kept_notify(kept, KEEPER_READY);
}

void kept_set_needs(struct kept *kept, bool login, const char *words, const char *fix)
{
    kept->needs = true;
    kept->needs_login = login;
    kept->force = false;
    kept->failures = 0;
    if (words != kept->words)
        words_set(kept->words, "%s", words);
    kept->fix = fix ? fix : kept->fix_login;
    if (login)
        loop_timer_cancel(kept->keeper->params.loop, &kept->timer);
    else
        kept_schedule(kept, clock_boot() + KEEPER_NEEDS_NS + random_below(KEEPER_NEEDS_NS / 20));
    kept_log(kept, LOG_WARNING_LEVEL, login ? "token_needs_authorization" : "token_needs_somebody", kept->fix,
        "reason", kept->words);
    kept_notify(kept, KEEPER_NEEDS);
}

const char *kept_misfit(const struct config_account *settings, const struct token *token)
{
    bool unattended = oauth_flow_is_unattended(settings->oauth.flow);
    const char *mailbox = unattended ? settings->email : oauth_login(settings);
    if (token->mailbox && strcasecmp(token->mailbox, mailbox) != 0)
        return "the stored token is for another mailbox than the account's";
    if (token->client_id && strcmp(token->client_id, settings->oauth.client_id) != 0)
        return "the stored token was issued to another client than oauth.client_id";
    if (unattended && token->flow && strcmp(token->flow, config_flow_name(settings->oauth.flow)) != 0)
        return "the stored token comes from another flow than oauth.flow";
    if (!unattended && !token->refresh.length)
        return "no refresh token is stored";
    return NULL;
}

static int kept_new(struct keeper *keeper, const char *name, struct kept **ret_kept)
{
    struct kept *kept = calloc(1, sizeof *kept);
    if (!kept)
        return -ENOMEM;
    kept->keeper = keeper;
    kept->name = strdup(name);
    if (!kept->name || asprintf(&kept->fix_login, "run `outtray oauth login %s`", name) < 0) {
        free(kept->name);
        free(kept);
        return -ENOMEM;
    }
    loop_timer_init(&kept->timer, kept_due, kept);
    kept->next = keeper->accounts;
    keeper->accounts = kept;
    *ret_kept = kept;
    return 0;
}

static void kept_free(struct kept *kept)
{
    assert(!kept->looking);
    flight_drop(kept->flight);
    loop_timer_cancel(kept->keeper->params.loop, &kept->timer);
    token_release(&kept->token);
    config_unref(kept->config);
    explicit_bzero(kept->words, sizeof kept->words);
    free(kept->fix_login);
    free(kept->name);
    free(kept);
}

static int keeper_take(
    struct keeper *keeper, const struct config *config, const struct config_account *settings)
{
    struct kept *kept = keeper_find(keeper, settings->name);
    int error = kept ? 0 : kept_new(keeper, settings->name, &kept);
    if (error)
        return error;
    const struct config *old = kept->config;
    kept->config = config_ref(config);
    kept->settings = settings;
    config_unref(old);
    if (kept->needs && !kept->needs_login) // what was wrong may have been mended
        kept_schedule(kept, clock_boot());
    kept->loaded = false; // judge what is stored anew, by these settings
    kept_look(kept);
    return 0;
}

int keeper_configure(struct keeper *keeper, const struct config *config)
{
    int error = 0;
    for (struct kept *kept = keeper->accounts; kept; kept = kept->next) {
        const struct config_account *settings = config_find_account(config, kept->name);
        if (settings && settings->auth != CONFIG_AUTH_BASIC && settings->auth != CONFIG_AUTH_NONE)
            continue;
        loop_timer_cancel(keeper->params.loop, &kept->timer);
        config_unref(kept->config);
        kept->config = NULL;
        kept->settings = NULL;
    }
    for (size_t i = 0; i < config->n_accounts && !error; i++)
        if (config->accounts[i].auth == CONFIG_AUTH_GOOGLE ||
            config->accounts[i].auth == CONFIG_AUTH_MICROSOFT)
            error = keeper_take(keeper, config, &config->accounts[i]);
    return error;
}

int keeper_new(const struct keeper_params *params, struct keeper **ret_keeper)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return -ENOMEM;
    keeper->params = *params;
    loop_timer_init(&keeper->notifier, keeper_tell, keeper);
    int error = keeper_look_begin(keeper);
    if (error) {
        free(keeper);
        return error;
    }
    *ret_keeper = keeper;
    return 0;
}

bool keeper_end(struct keeper *keeper)
{
    if (!keeper)
        return false;
    if (!keeper->ending)
        keeper->ending = clock_boot();
    if (clock_boot() - keeper->ending >= KEEPER_END_NS)
        return false;
    for (const struct kept *kept = keeper->accounts; kept; kept = kept->next)
        if (kept->flight && flight_is_open(kept->flight))
            return true;
    return false;
}

void keeper_free(struct keeper *keeper)
{
    if (!keeper)
        return;
    keeper_look_end(keeper);
    loop_timer_cancel(keeper->params.loop, &keeper->notifier);
    while (keeper->accounts) {
        struct kept *kept = keeper->accounts;
        keeper->accounts = kept->next;
        kept_free(kept);
    }
    free(keeper);
}

enum keeper_state keeper_token(struct keeper *keeper, const char *account, struct secret *ret_secret,
    char words[static OAUTH_WORDS_MAX], const char **ret_fix)
{
    struct kept *kept = keeper_find(keeper, account);
    *ret_fix = NULL;
    if (!kept || !kept->settings) {
        words_set(words, "account %s is not known to be an OAuth account", account);
        return KEEPER_NEEDS;
    }
    enum keeper_state state = kept_state(kept);
    if (state == KEEPER_READY && secret_set(ret_secret, kept->token.access.text, kept->token.access.length)) {
        words_set(words, "memory is short");
        return KEEPER_WAITING;
    }
    *ret_fix = state == KEEPER_NEEDS ? kept->fix : NULL;
    if (state != KEEPER_READY)
        words_set(words, "%s", kept->words[0] ? kept->words : "the access token is being fetched");
    // It expired with nothing under way: the clock jumped, or nobody was awake.
    if (state == KEEPER_WAITING && kept->loaded && !kept->flight && !kept->failures && !kept->force)
        kept_schedule(kept, clock_boot());
    return state;
}

uint64_t keeper_serial(const struct keeper *keeper, const char *account)
{
    const struct kept *kept = keeper_find(keeper, account);
    return kept ? kept->serial : 0;
}

void keeper_accepted(struct keeper *keeper, const char *account, uint64_t serial)
{
    struct kept *kept = keeper_find(keeper, account);
    if (kept && kept->forced == serial)
        kept->forced = 0;
}

bool keeper_refused(struct keeper *keeper, const char *account, uint64_t serial, const char *words)
{
    struct kept *kept = keeper_find(keeper, account);
    if (!kept || !kept->settings)
        return false;
    if (kept->needs)
        return false;
    if (serial != kept->serial || kept->force)
        return true;
    if (kept->forced == serial) {
        bool unattended = oauth_flow_is_unattended(kept->settings->oauth.flow);
        kept->refused = serial;
        kept_set_needs(kept, false, words,
            unattended
                ? "let the client send for this mailbox at the provider (service principal, delegation): "
                  "the server refuses even a fresh token"
                : NULL);
        kept->notify = false; // who calls knows
        kept_note_needs(kept);
        return false;
    }
    kept->refused = serial;
    kept->force = true;
    kept_log(kept, LOG_NOTICE_LEVEL, "token_refused",
        "the server refused the access token; another one is fetched", "reply", words);
    int64_t now = clock_boot();
    kept_schedule(
        kept, kept->fetched && now - kept->fetched < KEEPER_REST_NS ? kept->fetched + KEEPER_REST_NS : now);
    return true;
}

void keeper_clean(
    const struct keeper *keeper, const char *account, const char *said, char words[static OAUTH_WORDS_MAX])
{
    const struct kept *kept = keeper_find(keeper, account);
    (void)snprintf(words, OAUTH_WORDS_MAX, "%.*s", OAUTH_WORDS_MAX - 1, said);
    if (kept)
        words_hide(words, &kept->token.access);
    words_clean_login(words);
}

int64_t keeper_expires_s(const struct keeper *keeper, const char *account)
{
    const struct kept *kept = keeper_find(keeper, account);
    if (!kept || !kept->settings || !kept->token.access.length)
        return INT64_MIN;
    int64_t left = kept->expires - clock_boot();
    return left > 0 ? left / CLOCK_SECOND : -(-left / CLOCK_SECOND);
}
