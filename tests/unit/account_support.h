// What the tests of an account share: one with given limits, on clocks that the test owns, and what a server
// does to it.
//
// Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_ACCOUNT_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_ACCOUNT_SUPPORT_H

#include "agent/delivery/account.h"
#include "config_support.h"

#define SECOND ((int64_t)1000000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

// What the server does, as the judge would put it.
static const struct outcome lost = {
    .verdict = VERDICT_ACCOUNT_UNREACHABLE, .class = "connection", .fix = "check the network"};

static const struct outcome refused = {
    .verdict = VERDICT_ACCOUNT_CREDENTIALS, .class = "credentials", .at_login = true, .fix = "log in"};
static const struct outcome quota = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "quota", .park_ms = 6 * 3600 * 1000, .fix = "wait"};
static const struct outcome too_many_logins = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .at_login = true, .fix = "wait"};

struct world {
    struct loaded loaded;
    struct account *account;
    int64_t boot, wall;
};

static inline void world_config(struct loaded *loaded, const char *limits)
{
    char text[1024];
    (void)snprintf(text, sizeof text,
        "version: 1\nspool: /s\nstate: /t\ndomain: a.example\n"
        "accounts:\n"
        "  relay: {auth: none, email: a@a.example, server: mail.example, limits: {%s}}\n"
        "tenants:\n  master: {account: relay, from: a@a.example}\n"
        "retry: {first: 1m, max: 4h, give_up_after: 5d, jitter: 0}\n",
        limits);
    load_text(loaded, text);
    if (loaded->result)
        fail_msg("%s", loaded->text);
}

static inline void world_make(struct world *world, const char *limits)
{
    *world = (struct world){.boot = 1000 * HOUR, .wall = 1764000000 * SECOND};
    world_config(&world->loaded, limits);
    const struct config *config = world->loaded.config;
    assert_int_equal(account_new(config, &config->accounts[0], world->boot, &world->account), 0);
}

static inline void world_end(struct world *world)
{
    account_free(world->account);
    loaded_release(&world->loaded);
}

static inline void pass(struct world *world, int64_t time)
{
    world->boot += time;
    world->wall += time;
}

static inline unsigned allows(const struct world *world, int64_t *ret_wait)
{
    return account_allows(world->account, world->boot, ret_wait);
}

static inline int64_t wait_of(const struct world *world)
{
    int64_t wait = -1;
    return allows(world, &wait) ? 0 : wait;
}

static inline void start(struct world *world, unsigned recipients)
{
    account_started(world->account, recipients, world->boot);
}

static inline enum account_change trouble(struct world *world, const struct outcome *outcome)
{
    return account_troubled(world->account, outcome, "the server's words", world->boot);
}

static inline enum account_change success(struct world *world)
{
    return account_succeeded(world->account, world->boot);
}

// Connection failures, one after the other as fast as the account lets them be.
static inline enum account_change lose(struct world *world, unsigned times)
{
    enum account_change change = ACCOUNT_SAME;
    while (times--) {
        int64_t wait = 0;
        if (!account_may_connect(world->account, 0, world->boot, &wait))
            pass(world, wait);
        assert_true(account_may_connect(world->account, 0, world->boot, NULL));
        change = trouble(world, &lost);
    }
    return change;
}

#endif
