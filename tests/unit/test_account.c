// An account's breaker, limits and memory, on a clock that the test owns.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/account.h"
#include "config_support.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define SECOND  ((int64_t)1000000000)
#define MINUTE  (60 * SECOND)
#define HOUR    (60 * MINUTE)
#define DAY     (24 * HOUR)
#define FOREVER INT64_MAX

// What the server does, as the judge would put it.
static const struct outcome lost = {
    .verdict = VERDICT_ACCOUNT_UNREACHABLE, .class = "connection", .fix = "check the network"};
static const struct outcome refused = {
    .verdict = VERDICT_ACCOUNT_CREDENTIALS, .class = "credentials", .at_login = true, .fix = "log in"};
static const struct outcome blocked = {
    .verdict = VERDICT_ACCOUNT_CREDENTIALS, .class = "credentials", .fix = "ask the provider"};
static const struct outcome quota = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "quota", .park_ms = 6 * 3600 * 1000, .fix = "wait"};
static const struct outcome too_fast = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .park_ms = 2000, .fix = "wait"};
static const struct outcome slow_down = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .fix = "wait"};
static const struct outcome too_many = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .fewer_connections = true, .fix = "wait"};
static const struct outcome too_many_logins = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .at_login = true, .fix = "wait"};

struct world {
    struct loaded loaded;
    struct account *account;
    int64_t boot, wall;
};

static void world_config(struct loaded *loaded, const char *limits)
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

static void world_make(struct world *world, const char *limits)
{
    *world = (struct world){.boot = 1000 * HOUR, .wall = 1764000000 * SECOND};
    world_config(&world->loaded, limits);
    const struct config *config = world->loaded.config;
    assert_int_equal(account_new(config, &config->accounts[0], world->boot, world->wall, &world->account), 0);
}

static void world_end(struct world *world)
{
    account_free(world->account);
    loaded_release(&world->loaded);
}

static void pass(struct world *world, int64_t time)
{
    world->boot += time;
    world->wall += time;
}

static unsigned allows(const struct world *world, int64_t *ret_wait)
{
    return account_allows(world->account, world->boot, world->wall, ret_wait);
}

static int64_t wait_of(const struct world *world)
{
    int64_t wait = -1;
    return allows(world, &wait) ? 0 : wait;
}

static void start(struct world *world, unsigned recipients)
{
    account_started(world->account, recipients, world->boot, world->wall);
}

static enum account_change trouble(struct world *world, const struct outcome *outcome)
{
    return account_troubled(world->account, outcome, "the server's words", world->boot, world->wall);
}

static enum account_change success(struct world *world)
{
    return account_succeeded(world->account, world->boot);
}

// Connection failures, one after the other as fast as the account lets them be.
static enum account_change lose(struct world *world, unsigned times)
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

static void three_lost_connections_in_a_row_open_the_breaker(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    assert_int_equal(lose(&world, 2), ACCOUNT_SAME);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    assert_int_equal(success(&world), ACCOUNT_SAME); // not in a row
    assert_int_equal(lose(&world, 2), ACCOUNT_SAME);
    assert_true(allows(&world, NULL) > 1);
    assert_int_equal(lose(&world, 1), ACCOUNT_PAUSED);
    assert_int_equal(world.account->breaker, BREAKER_UNREACHABLE);
    assert_string_equal(breaker_name(world.account->breaker), "open_unreachable");
    assert_string_equal(world.account->reason, "the server's words");
    assert_string_equal(world.account->fix, "check the network");
    assert_int_equal(wait_of(&world), MINUTE);
    world_end(&world);
}

static void connections_lost_in_one_moment_are_one_failure(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 16");
    for (int i = 0; i < 16; i++)
        assert_int_equal(trouble(&world, &lost), ACCOUNT_SAME);
    assert_int_equal(world.account->failures, 1);
    // And it is not hammered meanwhile.
    int64_t wait = 0;
    assert_false(account_may_connect(world.account, 0, world.boot, &wait));
    assert_true(wait > 0 && wait <= SECOND);
    world_end(&world);
}

static void a_login_alone_does_not_end_a_row_of_failures(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_SAME);
        (void)lose(&world, 1);
    }
    assert_int_equal(world.account->breaker, BREAKER_UNREACHABLE);
    assert_int_equal(world.account->logins_total, 3);
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_SAME);
    assert_int_equal(world.account->breaker, BREAKER_UNREACHABLE);
    world_end(&world);
}

static void an_unreachable_account_is_probed_with_one_message_ever_later(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    (void)lose(&world, 3);
    static const int64_t minutes[] = {1, 2, 4, 8, 16, 32, 64, 128, 240, 240, 240};
    for (size_t i = 0; i < sizeof minutes / sizeof *minutes; i++) {
        int64_t wait = 0;
        assert_int_equal(wait_of(&world), minutes[i] * MINUTE);
        assert_false(account_may_connect(world.account, 0, world.boot, &wait));
        assert_int_equal(wait, minutes[i] * MINUTE);
        pass(&world, minutes[i] * MINUTE - 1);
        assert_int_equal(allows(&world, NULL), 0);
        pass(&world, 1);
        assert_int_equal(allows(&world, NULL), 1);
        assert_true(account_may_connect(world.account, 0, world.boot, NULL));
        assert_false(account_may_connect(world.account, 1, world.boot, &wait));
        assert_true(wait == FOREVER);
        // Every other time it fails before, or after, the message was handed over.
        if (i % 2) {
            start(&world, 1);
            assert_true(wait_of(&world) == FOREVER); // one message only
        }
        assert_int_equal(trouble(&world, &lost), ACCOUNT_SAME);
    }
    pass(&world, 4 * HOUR);
    start(&world, 1);
    assert_int_equal(success(&world), ACCOUNT_RESUMED);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    assert_string_equal(world.account->reason, "");
    assert_null(world.account->fix);
    assert_true(allows(&world, NULL) > 1);
    // The next time starts at the beginning.
    (void)lose(&world, 3);
    assert_int_equal(wait_of(&world), MINUTE);
    world_end(&world);
}

static void a_probe_that_says_nothing_makes_room_for_the_next(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    (void)lose(&world, 3);
    pass(&world, MINUTE);
    start(&world, 1);
    assert_int_equal(allows(&world, NULL), 0);
    account_probe_over(world.account);
    assert_int_equal(allows(&world, NULL), 1);
    assert_int_equal(world.account->breaker, BREAKER_UNREACHABLE);
    world_end(&world);
}

static void refused_credentials_pause_at_once_and_are_tried_hourly(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    assert_int_equal(trouble(&world, &refused), ACCOUNT_PAUSED);
    assert_int_equal(world.account->breaker, BREAKER_CREDENTIALS);
    assert_string_equal(breaker_name(world.account->breaker), "open_credentials");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(wait_of(&world), HOUR);
        pass(&world, HOUR);
        assert_int_equal(allows(&world, NULL), 1);
        assert_int_equal(trouble(&world, &refused), ACCOUNT_SAME);
    }
    // Somebody wrote a new password.
    account_retry_now(world.account, world.boot);
    assert_int_equal(allows(&world, NULL), 1);
    assert_true(account_may_connect(world.account, 0, world.boot, NULL));
    // The login was what failed: one that succeeds is enough.
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_RESUMED);
    assert_true(allows(&world, NULL) > 1);
    world_end(&world);
}

static void a_token_that_is_there_again_closes_what_its_lack_opened(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    assert_int_equal(account_mended(world.account), ACCOUNT_SAME);
    assert_int_equal(trouble(&world, &refused), ACCOUNT_PAUSED);
    assert_int_equal(account_mended(world.account), ACCOUNT_RESUMED);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    assert_true(allows(&world, NULL) > 1);
    // Other trouble is not its business.
    assert_int_equal(trouble(&world, &blocked), ACCOUNT_PAUSED);
    assert_int_equal(account_mended(world.account), ACCOUNT_SAME);
    assert_int_equal(world.account->breaker, BREAKER_CREDENTIALS);
    world_end(&world);
}

static void a_blocked_sender_is_not_resumed_by_a_login(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    assert_int_equal(trouble(&world, &blocked), ACCOUNT_PAUSED);
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_SAME);
    // Nor by mail that was under way when it happened.
    assert_int_equal(success(&world), ACCOUNT_SAME);
    assert_int_equal(world.account->breaker, BREAKER_CREDENTIALS);
    pass(&world, HOUR);
    start(&world, 1);
    assert_int_equal(success(&world), ACCOUNT_RESUMED);
    world_end(&world);
}

static void a_reload_probes_what_settings_can_mend(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    const struct config *config = world.loaded.config;
    (void)lose(&world, 3);
    account_configure(world.account, config, &config->accounts[0], world.boot);
    assert_int_equal(allows(&world, NULL), 1);
    assert_int_equal(trouble(&world, &refused), ACCOUNT_PAUSED); // another kind: news
    account_configure(world.account, config, &config->accounts[0], world.boot);
    assert_int_equal(allows(&world, NULL), 1);
    assert_int_equal(trouble(&world, &quota), ACCOUNT_PAUSED);
    account_configure(world.account, config, &config->accounts[0], world.boot);
    account_retry_now(world.account, world.boot);
    assert_int_equal(wait_of(&world), 6 * HOUR);
    world_end(&world);
}

static void a_quota_parks_until_its_time(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    assert_int_equal(trouble(&world, &quota), ACCOUNT_PAUSED);
    assert_string_equal(breaker_name(world.account->breaker), "open_quota");
    assert_int_equal(wait_of(&world), 6 * HOUR);
    assert_int_equal(success(&world), ACCOUNT_SAME); // it was under way
    assert_int_equal(wait_of(&world), 6 * HOUR);
    pass(&world, 6 * HOUR);
    assert_int_equal(allows(&world, NULL), 1);
    start(&world, 1);
    assert_int_equal(trouble(&world, &quota), ACCOUNT_SAME);
    assert_int_equal(wait_of(&world), 6 * HOUR);
    pass(&world, 6 * HOUR);
    start(&world, 1);
    assert_int_equal(success(&world), ACCOUNT_RESUMED);

    struct outcome endless = quota;
    endless.park_ms = INT64_MAX;
    assert_int_equal(trouble(&world, &endless), ACCOUNT_PAUSED);
    assert_int_equal(wait_of(&world), DAY);
    world_end(&world);
}

static void a_park_of_seconds_only_holds_mail_back(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    assert_int_equal(trouble(&world, &too_fast), ACCOUNT_SAME);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    assert_int_equal(wait_of(&world), 2 * SECOND);
    assert_int_equal(success(&world), ACCOUNT_SAME);
    assert_int_equal(wait_of(&world), 2 * SECOND);
    pass(&world, 2 * SECOND);
    assert_true(allows(&world, NULL) > 1);
    world_end(&world);
}

static void a_throttle_without_a_time_backs_off(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    assert_int_equal(trouble(&world, &slow_down), ACCOUNT_PAUSED);
    static const int64_t minutes[] = {1, 2, 4, 8};
    for (size_t i = 0; i < sizeof minutes / sizeof *minutes; i++) {
        assert_int_equal(wait_of(&world), minutes[i] * MINUTE);
        // The other messages of the same window say the same: once is enough.
        assert_int_equal(trouble(&world, &slow_down), ACCOUNT_SAME);
        assert_int_equal(wait_of(&world), minutes[i] * MINUTE);
        pass(&world, minutes[i] * MINUTE);
        start(&world, 1);
        assert_int_equal(trouble(&world, &slow_down), ACCOUNT_SAME);
    }
    pass(&world, 16 * MINUTE);
    start(&world, 1);
    assert_int_equal(success(&world), ACCOUNT_RESUMED);
    world_end(&world);
}

static void too_many_logins_hold_back_logins_only(void **state)
{
    (void)state;
    struct world world;
    int64_t wait = 0;
    world_make(&world, "connections: 4");
    assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_SAME);
    assert_true(allows(&world, NULL) > 1); // sessions that are open go on
    assert_false(account_may_connect(world.account, 1, world.boot, &wait));
    assert_int_equal(wait, MINUTE);
    assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_SAME); // of the same moment
    assert_int_equal(world.account->auth_failures, 1);
    pass(&world, MINUTE);
    assert_true(account_may_connect(world.account, 1, world.boot, NULL));
    assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_SAME);
    assert_false(account_may_connect(world.account, 1, world.boot, &wait));
    assert_int_equal(wait, 2 * MINUTE);
    pass(&world, 2 * MINUTE);
    // Three in a row and no mail in between: a person should know.
    assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_PAUSED);
    assert_int_equal(world.account->breaker, BREAKER_QUOTA);
    pass(&world, HOUR);
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_RESUMED);
    assert_true(account_may_connect(world.account, 0, world.boot, NULL));
    world_end(&world);
}

static void mail_that_gets_through_keeps_trouble_at_login_small(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4");
    for (int i = 0; i < 10; i++) {
        assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_SAME);
        assert_int_equal(success(&world), ACCOUNT_SAME);
        pass(&world, 4 * HOUR);
    }
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    world_end(&world);
}

static void logins_keep_their_distance_after_a_refusal(void **state)
{
    (void)state;
    struct world world;
    int64_t wait = 0;
    world_make(&world, "connections: 4");
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_SAME);
    assert_true(account_may_connect(world.account, 1, world.boot, NULL)); // nobody has complained
    assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_SAME);
    pass(&world, HOUR);
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_SAME);
    assert_false(account_may_connect(world.account, 1, world.boot, &wait));
    assert_int_equal(wait, 2 * MINUTE);
    pass(&world, 2 * MINUTE);
    assert_true(account_may_connect(world.account, 1, world.boot, NULL));
    assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_SAME); // still too fast
    pass(&world, HOUR);
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_SAME);
    assert_false(account_may_connect(world.account, 1, world.boot, &wait));
    assert_int_equal(wait, 4 * MINUTE);
    pass(&world, DAY); // the server may think otherwise by now
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_SAME);
    assert_true(account_may_connect(world.account, 1, world.boot, NULL));
    world_end(&world);
}

static unsigned connections_allowed(const struct world *world)
{
    unsigned n = 0;
    while (n < 100 && account_may_connect(world->account, n, world->boot, NULL))
        n++;
    return n;
}

static void a_number_of_connections_that_was_refused_is_kept_below_for_a_day(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 10");
    // The server takes three of ten; each of the others is refused while fewer are left.
    for (unsigned open = 10; open > 3; open--) {
        world.account->open = open;
        assert_int_equal(trouble(&world, &too_many), ACCOUNT_SAME);
    }
    pass(&world, MINUTE);
    assert_int_equal(connections_allowed(&world), 3);
    for (int minute = 0; minute < 23 * 60; minute++) {
        pass(&world, MINUTE);
        assert_int_equal(success(&world), ACCOUNT_SAME);
        assert_int_equal(connections_allowed(&world), 3);
    }
    pass(&world, HOUR);
    assert_int_equal(success(&world), ACCOUNT_SAME);
    assert_int_equal(connections_allowed(&world), 4); // another try
    world_end(&world);
}

static void too_many_connections_halve_and_success_adds_one_a_minute(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 16");
    assert_int_equal(connections_allowed(&world), 16);
    for (int i = 0; i < 16; i++) // all sessions hear it at once: it counts once
        assert_int_equal(trouble(&world, &too_many), ACCOUNT_SAME);
    pass(&world, SECOND);
    assert_int_equal(connections_allowed(&world), 8);
    static const unsigned halves[] = {4, 2, 1};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(trouble(&world, &too_many), ACCOUNT_SAME);
        pass(&world, 2 * SECOND);
        assert_int_equal(connections_allowed(&world), halves[i]);
    }
    // A minute of success each adds one, up to what is configured.
    for (unsigned minute = 0; minute < 30; minute++) {
        unsigned before = connections_allowed(&world);
        for (int i = 0; i < 61; i++) {
            assert_int_equal(success(&world), ACCOUNT_SAME);
            pass(&world, SECOND);
        }
        unsigned now = connections_allowed(&world);
        assert_true(now <= 16 && now <= before + 2 && (now > before || now == 16));
    }
    assert_int_equal(connections_allowed(&world), 16);
    world_end(&world);
}

static void too_many_though_there_is_one_parks_after_three(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 1");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(trouble(&world, &too_many), ACCOUNT_SAME);
        pass(&world, 2 * SECOND);
        assert_int_equal(connections_allowed(&world), 1);
    }
    assert_int_equal(success(&world), ACCOUNT_SAME); // not in a row
    for (int i = 0; i < 2; i++) {
        assert_int_equal(trouble(&world, &too_many), ACCOUNT_SAME);
        pass(&world, 2 * SECOND);
    }
    assert_int_equal(trouble(&world, &too_many), ACCOUNT_PAUSED);
    assert_int_equal(world.account->breaker, BREAKER_QUOTA);
    assert_int_equal(wait_of(&world), MINUTE);
    world_end(&world);
}

static void a_reload_changes_connections(void **state)
{
    (void)state;
    struct world world;
    struct loaded fewer, more;
    world_make(&world, "connections: 8");
    world_config(&fewer, "connections: 2");
    world_config(&more, "connections: 20");
    account_configure(world.account, fewer.config, &fewer.config->accounts[0], world.boot);
    assert_int_equal(connections_allowed(&world), 2);
    account_configure(world.account, more.config, &more.config->accounts[0], world.boot);
    assert_int_equal(connections_allowed(&world), 20);
    // Where the server asked for fewer, a reload does not forget it.
    assert_int_equal(trouble(&world, &too_many), ACCOUNT_SAME);
    account_configure(world.account, more.config, &more.config->accounts[0], world.boot);
    assert_int_equal(connections_allowed(&world), 10);
    world_end(&world);
    loaded_release(&fewer);
    loaded_release(&more);
}

static void the_minute_is_used_up_and_never_exceeded(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "messages_per_minute: 30");
    int64_t *sent = calloc(50000, sizeof *sent), end = world.boot + DAY;
    size_t n = 0, first = 0;
    assert_non_null(sent);
    assert_int_equal(allows(&world, NULL), 30);
    while (world.boot < end) {
        int64_t wait = wait_of(&world);
        if (wait) {
            pass(&world, wait);
            continue;
        }
        start(&world, 1);
        assert_true(n < 50000);
        // On its way a message takes up to a second and a half longer than another.
        sent[n] = world.boot + (int64_t)(n * 7919 % 1500) * 1000000;
        n++;
    }
    for (size_t i = 0; i < n; i++) { // times differ by the way's length only: a window each
        size_t inside = 0;
        first = i > 64 ? i - 64 : 0;
        for (size_t j = first; j < n && j < i + 64; j++)
            inside += sent[j] > sent[i] - MINUTE && sent[j] <= sent[i];
        assert_true(inside <= 30);
    }
    assert_true(n * 100 >= 95 * (size_t)30 * 60 * 24);
    assert_true(n <= (size_t)30 * 60 * 24 + 30);
    free(sent);
    world_end(&world);
}

static void the_day_is_used_up_and_never_exceeded(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "messages_per_day: 2000");
    size_t n = 0, size = 0;
    int64_t *sent = NULL, end = world.boot + 10 * DAY;
    while (world.boot < end) {
        int64_t wait = wait_of(&world);
        if (wait) {
            assert_true(wait <= 25 * HOUR);
            pass(&world, wait);
            continue;
        }
        start(&world, 3);
        if (n == size) {
            size = size ? size * 2 : 4096;
            sent = realloc(sent, size * sizeof *sent);
            assert_non_null(sent);
        }
        sent[n++] = world.boot;
        pass(&world, (int64_t)(1 + n % 50) * SECOND);
    }
    for (size_t i = 0, first = 0; i < n; i++) {
        while (sent[first] <= sent[i] - DAY)
            first++;
        assert_true(i - first + 1 <= 2000);
    }
    assert_true(n * 100 >= 95 * (size_t)2000 * 10 / 100 * 100 * 96 / 100); // a day counts 25 hours at most
    free(sent);
    world_end(&world);
}

static void recipients_of_a_day(void **state)
{
    (void)state;
    struct world world;
    unsigned messages, recipients;
    world_make(&world, "recipients_per_day: 100");
    assert_int_equal(account_recipients_left(world.account, world.boot), 100);
    start(&world, 60);
    assert_int_equal(account_recipients_left(world.account, world.boot), 40);
    start(&world, 40);
    assert_int_equal(account_recipients_left(world.account, world.boot), 0);
    assert_int_equal(allows(&world, NULL), 0);
    account_day(world.account, world.boot, &messages, &recipients);
    assert_int_equal(messages, 2);
    assert_int_equal(recipients, 100);
    int64_t wait = wait_of(&world);
    assert_true(wait >= DAY && wait <= 25 * HOUR);
    pass(&world, wait);
    assert_int_equal(account_recipients_left(world.account, world.boot), 100);
    world_end(&world);

    world_make(&world, "");
    assert_int_equal(account_recipients_left(world.account, world.boot), UINT32_MAX);
    assert_int_equal(allows(&world, NULL), UINT32_MAX);
    world_end(&world);
}

static void a_clock_that_is_set_changes_no_limit(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "messages_per_day: 10");
    for (int i = 0; i < 10; i++)
        start(&world, 1);
    world.wall += 365 * DAY;
    assert_int_equal(allows(&world, NULL), 0);
    world.wall -= 2 * 365 * DAY;
    assert_int_equal(allows(&world, NULL), 0);
    assert_true(wait_of(&world) <= 25 * HOUR);
    pass(&world, 25 * HOUR);
    assert_int_equal(allows(&world, NULL), 10);
    world_end(&world);
}

static int state_directory(char path[static 64])
{
    (void)snprintf(path, 64, "/tmp/outtray-test-account.XXXXXX");
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void state_remove(int fd, const char *path)
{
    unlinkat(fd, "accounts.json", 0);
    close(fd);
    assert_int_equal(rmdir(path), 0); // and nothing else was left behind
}

static void save(struct world *world, int fd)
{
    assert_int_equal(account_save_all(fd, &world->account, 1, world->boot, world->wall), 0);
}

// The agent starts again, on a boot clock that has nothing to do with the old one.
static int restart_at(struct world *world, int fd, int64_t boot)
{
    const struct config *config = world->loaded.config;
    account_free(world->account);
    world->boot = boot;
    assert_int_equal(account_new(config, &config->accounts[0], world->boot, world->wall, &world->account), 0);
    return account_load_all(fd, &world->account, 1, world->boot, world->wall);
}

static int restart(struct world *world, int fd, int64_t time)
{
    world->wall += time;
    return restart_at(world, fd, 5 * MINUTE);
}

static void parks_and_day_counts_survive_a_restart(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    unsigned messages, recipients;
    world_make(&world, "messages_per_day: 5, recipients_per_day: 100");
    assert_int_equal(account_load_all(fd, &world.account, 1, world.boot, world.wall), 0); // no file yet
    assert_false(world.account->changed);
    start(&world, 7);
    start(&world, 8);
    assert_true(world.account->changed);
    (void)account_troubled(world.account, &quota, "550 5.4.5 \"caf\xe9\" \x1b[1m\\", world.boot, world.wall);
    save(&world, fd);
    assert_false(world.account->changed);
    assert_int_equal(restart(&world, fd, HOUR), 0);
    assert_int_equal(world.account->breaker, BREAKER_QUOTA);
    assert_string_equal(world.account->reason, "550 5.4.5 \"caf?\" ?[1m\\");
    int64_t wait = wait_of(&world);
    assert_true(wait >= 5 * HOUR && wait <= 5 * HOUR + 2 * SECOND);
    account_day(world.account, world.boot, &messages, &recipients);
    assert_int_equal(messages, 2);
    assert_int_equal(recipients, 15);
    pass(&world, 5 * HOUR + 2 * SECOND);
    assert_int_equal(allows(&world, NULL), 1);
    start(&world, 1);
    assert_int_equal(success(&world), ACCOUNT_RESUMED);
    assert_int_equal(allows(&world, NULL), 2);
    // Released is released.
    assert_true(world.account->changed);
    save(&world, fd);
    assert_int_equal(restart(&world, fd, MINUTE), 0);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    assert_int_equal(allows(&world, NULL), 2);
    world_end(&world);
    state_remove(fd, path);
}

// Boots whose hours begin at other minutes cost no more than ten minutes of the day's length.
static void a_day_across_many_boots_is_never_exceeded(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    world_make(&world, "messages_per_day: 200");
    int64_t sent[4000], end = world.wall + 10 * DAY;
    size_t n = 0;
    srand(4);
    while (world.wall < end) {
        if (!wait_of(&world)) {
            start(&world, 1);
            assert_true(n < sizeof sent / sizeof *sent);
            sent[n++] = world.wall;
        }
        pass(&world, (int64_t)(1 + rand() % 600) * SECOND);
        if (rand() % 40 == 0) {
            save(&world, fd);
            world.wall += (int64_t)(rand() % 3600) * SECOND;
            assert_int_equal(restart_at(&world, fd, (int64_t)(rand() % 100000) * SECOND), 0);
        }
    }
    for (size_t i = 0, first = 0; i < n; i++) {
        while (sent[first] <= sent[i] - DAY + 10 * MINUTE)
            first++;
        assert_true(i - first + 1 <= 200);
    }
    assert_true(n >= 9 * 200 * 9 / 10);
    world_end(&world);
    state_remove(fd, path);
}

// As a timer runs `run --once`, under a wall clock that is slewed all the time.
static void starting_all_the_time_forgets_in_time(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    world_make(&world, "messages_per_day: 10");
    for (int i = 0; i < 10; i++)
        start(&world, 1);
    int64_t waited = 0;
    while (!allows(&world, NULL)) {
        save(&world, fd);
        pass(&world, 10 * MINUTE);
        waited += 10 * MINUTE;
        world.wall -= SECOND / 20;
        assert_int_equal(restart_at(&world, fd, world.boot), 0);
        assert_true(waited < 26 * HOUR);
    }
    assert_true(waited > 24 * HOUR - 10 * MINUTE);
    world_end(&world);
    state_remove(fd, path);
}

static void credentials_are_tried_once_after_a_restart_and_servers_at_once(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    struct smtp_reply reply = {.code = 535, .enhanced = {5, 7, 139}, .text = "535 5.7.139 disabled"};
    struct outcome disabled = outcome_of_reply(SMTP_STAGE_AUTH, &reply);
    world_make(&world, "");
    (void)trouble(&world, &disabled);
    save(&world, fd);
    assert_int_equal(restart(&world, fd, MINUTE), 0);
    assert_int_equal(world.account->breaker, BREAKER_CREDENTIALS);
    assert_string_equal(world.account->fix, disabled.fix);
    assert_int_equal(allows(&world, NULL), 1);
    assert_int_equal(account_logged_in(world.account, world.boot), ACCOUNT_RESUMED);
    (void)lose(&world, 3);
    assert_int_equal(world.account->breaker, BREAKER_UNREACHABLE);
    save(&world, fd);
    assert_int_equal(restart(&world, fd, 0), 0);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    world_end(&world);
    state_remove(fd, path);
}

static void a_park_under_a_wrong_clock_lasts_a_day_at_most(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    int fd = state_directory(path);
    world_make(&world, "");
    world.wall += 365 * DAY; // the clock was ahead
    (void)trouble(&world, &quota);
    save(&world, fd);
    assert_int_equal(restart(&world, fd, -365 * DAY), 0);
    assert_true(wait_of(&world) <= DAY);
    assert_int_equal(restart(&world, fd, 2 * 365 * DAY), 0);
    assert_int_equal(allows(&world, NULL), 1);
    world_end(&world);
    state_remove(fd, path);
}

static void put_file(int fd, const char *text)
{
    int file = openat(fd, "accounts.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
}

static void a_file_that_cannot_be_understood_changes_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "{", "[]", "null", "{\"version\": 1}",
        "{\"version\": 2, \"accounts\": {}}", "{\"version\": 1, \"accounts\": []}",
        "{\"version\": 1, \"accounts\": {\"relay\": []}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"breaker\": \"open_sesame\"}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"breaker\": 5}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"hours\": 5}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"hours\": [5]}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"hours\": [[490000, -1, 1]]}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"hours\": [[490000, 1, 99999999999]]}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {\"probe_at\": \"soon\"}}}",
        "{\"version\": 1, \"accounts\": {\"relay\": {}, \"relay\": {}}}"};
    struct world world;
    char path[64];
    int fd = state_directory(path);
    world_make(&world, "messages_per_day: 100");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file(fd, bad[i]);
        if (restart(&world, fd, 0) != -EBADMSG)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(world.account->breaker, BREAKER_CLOSED);
        assert_int_equal(allows(&world, NULL), 100);
    }
    // Strange but harmless: extreme numbers, members and accounts of other versions.
    put_file(fd,
        "{\"version\": 1, \"new\": 1, \"accounts\": {\"gone\": 7, \"relay\": {\"extra\": [], \"breaker\": "
        "\"open_quota\", \"probe_at\": 9223372036854775807, \"probe_wait\": -5, \"hours\": "
        "[[9223372036854775807, 40, 1], [-9223372036854775808, 9, 1], [9223372036854775806, 20, 1]]}}}");
    assert_int_equal(restart(&world, fd, 0), 0);
    assert_int_equal(wait_of(&world), DAY);
    world_end(&world);
    state_remove(fd, path);
}

static void the_file_is_private_replaced_whole_and_no_link(void **state)
{
    (void)state;
    struct world world;
    char path[64];
    struct stat stat;
    int fd = state_directory(path);
    world_make(&world, "");
    // What a crash left behind, and a link somebody planted, are in nobody's way.
    assert_int_equal(symlinkat("/dev/null", fd, "accounts.json.new"), 0);
    save(&world, fd);
    assert_int_equal(fstatat(fd, "accounts.json", &stat, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISREG(stat.st_mode));
    assert_int_equal(stat.st_mode & 0777, 0600);
    assert_int_equal(fstatat(fd, "accounts.json.new", &stat, AT_SYMLINK_NOFOLLOW), -1);
    unlinkat(fd, "accounts.json", 0);
    assert_int_equal(symlinkat("/etc/passwd", fd, "accounts.json"), 0);
    assert_int_equal(account_load_all(fd, &world.account, 1, world.boot, world.wall), -ELOOP);
    assert_int_equal(account_save_all(-1, &world.account, 1, world.boot, world.wall), -EBADF);
    world_end(&world);
    state_remove(fd, path);
}

// A simulated day against a server that is down for random times: every message gets through, and no outage
// costs more attempts than the backoff allows.
static void a_day_with_outages(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "connections: 4, messages_per_minute: 60");
    srand(3);
    int64_t end = world.boot + 30 * DAY, up_at = 0, down_at = world.boot + HOUR;
    unsigned failed = 0, outages = 0, paused = 0, resumed = 0, sent = 0;
    while (world.boot < end) {
        int64_t wait = 0;
        if (world.boot >= down_at) {
            up_at = world.boot + (int64_t)(rand() % 7200) * SECOND;
            down_at = up_at + (int64_t)(600 + rand() % 36000) * SECOND;
            outages++;
        }
        if (!allows(&world, &wait) || !account_may_connect(world.account, 0, world.boot, &wait)) {
            assert_true(wait > 0 && wait <= 4 * HOUR);
            pass(&world, wait);
            continue;
        }
        start(&world, 1);
        if (world.boot < up_at) {
            failed++;
            paused += trouble(&world, &lost) == ACCOUNT_PAUSED;
        } else {
            sent++;
            resumed += success(&world) == ACCOUNT_RESUMED;
        }
        pass(&world, SECOND / 10);
    }
    assert_true(outages > 50 && sent > 100000);
    assert_true(paused <= outages && paused - resumed <= 1);
    assert_true(failed <= outages * 11); // 3 + 1, 2, 4 … 128 minutes
    world_end(&world);
}

// Our own counts open the breaker and close it again, without a probe and without a word to deferred mail.
static void a_day_of_our_own_pauses_until_it_is_over(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "messages_per_day: 2");
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_SAME);
    account_started(world.account, 1, world.boot, world.wall);
    account_started(world.account, 1, world.boot, world.wall);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_PAUSED);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_SAME); // told once
    assert_int_equal(world.account->breaker, BREAKER_QUOTA);
    assert_non_null(strstr(world.account->reason, "messages_per_day"));
    int64_t wait = 0;
    assert_int_equal(account_allows(world.account, world.boot, world.wall, &wait), 0);
    assert_in_range(wait, 23 * HOUR, 25 * HOUR);
    account_retry_now(world.account, world.boot); // changes nothing: the day is what it is
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_SAME);
    assert_int_equal(world.account->breaker, BREAKER_QUOTA);
    pass(&world, 25 * HOUR);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_FREED);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    assert_string_equal(world.account->reason, "");
    assert_int_equal(
        account_allows(world.account, world.boot, world.wall, NULL), 2); // all of it, not a probe
    world_end(&world);
}

static void logins_held_back_pause_where_no_session_is_open(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "");
    (void)account_troubled(
        world.account, &too_many_logins, "454 4.7.0 too many logins", world.boot, world.wall);
    if (world.account->breaker == BREAKER_CLOSED) {
        assert_int_equal(
            account_review(world.account, 1, world.boot), ACCOUNT_SAME); // a session carries mail
        assert_int_equal(account_review(world.account, 0, world.boot), ACCOUNT_PAUSED);
        assert_string_equal(world.account->reason, "454 4.7.0 too many logins");
        account_retry_now(world.account, world.boot); // somebody changed the password
        assert_int_equal(account_review(world.account, 0, world.boot), ACCOUNT_FREED);
    }
    // The server's own quota is not ours: it needs its probe.
    assert_int_equal(
        account_troubled(world.account, &quota, "550 5.4.5 limit", world.boot, world.wall), ACCOUNT_PAUSED);
    pass(&world, 7 * HOUR);
    assert_int_equal(account_review(world.account, 0, world.boot), ACCOUNT_SAME);
    assert_int_equal(account_allows(world.account, world.boot, world.wall, NULL), 1);
    world_end(&world);
}

static void the_servers_quota_takes_the_place_of_our_own(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "messages_per_day: 1");
    account_started(world.account, 1, world.boot, world.wall);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_PAUSED);
    assert_int_equal(
        account_troubled(world.account, &quota, "550 5.4.5 limit", world.boot, world.wall), ACCOUNT_PAUSED);
    assert_false(world.account->own);
    assert_string_equal(world.account->reason, "550 5.4.5 limit");
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_lost_connections_in_a_row_open_the_breaker),
        cmocka_unit_test(connections_lost_in_one_moment_are_one_failure),
        cmocka_unit_test(a_login_alone_does_not_end_a_row_of_failures),
        cmocka_unit_test(an_unreachable_account_is_probed_with_one_message_ever_later),
        cmocka_unit_test(a_probe_that_says_nothing_makes_room_for_the_next),
        cmocka_unit_test(refused_credentials_pause_at_once_and_are_tried_hourly),
        cmocka_unit_test(a_token_that_is_there_again_closes_what_its_lack_opened),
        cmocka_unit_test(a_blocked_sender_is_not_resumed_by_a_login),
        cmocka_unit_test(a_reload_probes_what_settings_can_mend),
        cmocka_unit_test(a_quota_parks_until_its_time),
        cmocka_unit_test(a_park_of_seconds_only_holds_mail_back),
        cmocka_unit_test(a_throttle_without_a_time_backs_off),
        cmocka_unit_test(too_many_logins_hold_back_logins_only),
        cmocka_unit_test(mail_that_gets_through_keeps_trouble_at_login_small),
        cmocka_unit_test(logins_keep_their_distance_after_a_refusal),
        cmocka_unit_test(a_number_of_connections_that_was_refused_is_kept_below_for_a_day),
        cmocka_unit_test(too_many_connections_halve_and_success_adds_one_a_minute),
        cmocka_unit_test(too_many_though_there_is_one_parks_after_three),
        cmocka_unit_test(a_reload_changes_connections),
        cmocka_unit_test(the_minute_is_used_up_and_never_exceeded),
        cmocka_unit_test(the_day_is_used_up_and_never_exceeded),
        cmocka_unit_test(a_day_of_our_own_pauses_until_it_is_over),
        cmocka_unit_test(logins_held_back_pause_where_no_session_is_open),
        cmocka_unit_test(the_servers_quota_takes_the_place_of_our_own),
        cmocka_unit_test(recipients_of_a_day),
        cmocka_unit_test(a_clock_that_is_set_changes_no_limit),
        cmocka_unit_test(a_day_across_many_boots_is_never_exceeded),
        cmocka_unit_test(starting_all_the_time_forgets_in_time),
        cmocka_unit_test(parks_and_day_counts_survive_a_restart),
        cmocka_unit_test(credentials_are_tried_once_after_a_restart_and_servers_at_once),
        cmocka_unit_test(a_park_under_a_wrong_clock_lasts_a_day_at_most),
        cmocka_unit_test(a_file_that_cannot_be_understood_changes_nothing),
        cmocka_unit_test(the_file_is_private_replaced_whole_and_no_link),
        cmocka_unit_test(a_day_with_outages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
