// What an account does when its server wants less of it: parks, fewer connections, fewer logins.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "account_support.h"

static const struct outcome too_fast = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .park_ms = 2000, .fix = "wait"};
static const struct outcome slow_down = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .fix = "wait"};
static const struct outcome too_many = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .fewer_connections = true, .fix = "wait"};

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
    assert_int_equal(wait, 10 * MINUTE);                               // over which servers count logins
    assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_SAME); // of the same moment
    assert_int_equal(world.account->auth_failures, 1);
    pass(&world, 10 * MINUTE);
    assert_true(account_may_connect(world.account, 1, world.boot, NULL));
    assert_int_equal(trouble(&world, &too_many_logins), ACCOUNT_SAME);
    assert_false(account_may_connect(world.account, 1, world.boot, &wait));
    assert_int_equal(wait, 10 * MINUTE);
    pass(&world, 10 * MINUTE);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
