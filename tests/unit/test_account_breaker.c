// An account's breaker: what opens it, what is tried while it is open, what closes it again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "account_support.h"

#define FOREVER INT64_MAX

static const struct outcome blocked = {
    .verdict = VERDICT_ACCOUNT_CREDENTIALS, .class = "credentials", .fix = "ask the provider"};

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
        cmocka_unit_test(a_day_with_outages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
