// An account's own limits: messages per minute and day, recipients per day, and the breaker that they open.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "account_support.h"

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

// Our own counts open the breaker and close it again, without a probe and without a word to deferred mail.
static void a_day_of_our_own_pauses_until_it_is_over(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "messages_per_day: 2");
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_SAME);
    account_started(world.account, 1, world.boot);
    account_started(world.account, 1, world.boot);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_PAUSED);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_SAME); // told once
    assert_int_equal(world.account->breaker, BREAKER_QUOTA);
    assert_non_null(strstr(world.account->reason, "messages_per_day"));
    int64_t wait = 0;
    assert_int_equal(account_allows(world.account, world.boot, &wait), 0);
    assert_in_range(wait, 23 * HOUR, 25 * HOUR);
    account_retry_now(world.account, world.boot); // changes nothing: the day is what it is
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_SAME);
    assert_int_equal(world.account->breaker, BREAKER_QUOTA);
    pass(&world, 25 * HOUR);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_FREED);
    assert_int_equal(world.account->breaker, BREAKER_CLOSED);
    assert_string_equal(world.account->reason, "");
    assert_int_equal(account_allows(world.account, world.boot, NULL), 2); // all of it, not a probe
    world_end(&world);
}

static void logins_held_back_pause_where_no_session_is_open(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "");
    assert_int_equal(
        account_troubled(world.account, &too_many_logins, "454 4.7.0 too many logins", world.boot),
        ACCOUNT_SAME);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_SAME); // a session carries mail
    assert_int_equal(account_review(world.account, 0, world.boot), ACCOUNT_PAUSED);
    assert_string_equal(world.account->reason, "454 4.7.0 too many logins");
    account_retry_now(world.account, world.boot); // somebody changed the password
    assert_int_equal(account_review(world.account, 0, world.boot), ACCOUNT_FREED);
    // The server's own quota is not ours: it needs its probe.
    assert_int_equal(account_troubled(world.account, &quota, "550 5.4.5 limit", world.boot), ACCOUNT_PAUSED);
    pass(&world, 7 * HOUR);
    assert_int_equal(account_review(world.account, 0, world.boot), ACCOUNT_SAME);
    assert_int_equal(account_allows(world.account, world.boot, NULL), 1);
    world_end(&world);
}

static void the_servers_quota_takes_the_place_of_our_own(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, "messages_per_day: 1");
    account_started(world.account, 1, world.boot);
    assert_int_equal(account_review(world.account, 1, world.boot), ACCOUNT_PAUSED);
    assert_int_equal(account_troubled(world.account, &quota, "550 5.4.5 limit", world.boot), ACCOUNT_PAUSED);
    assert_false(world.account->own);
    assert_string_equal(world.account->reason, "550 5.4.5 limit");
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_minute_is_used_up_and_never_exceeded),
        cmocka_unit_test(the_day_is_used_up_and_never_exceeded),
        cmocka_unit_test(a_day_of_our_own_pauses_until_it_is_over),
        cmocka_unit_test(logins_held_back_pause_where_no_session_is_open),
        cmocka_unit_test(the_servers_quota_takes_the_place_of_our_own),
        cmocka_unit_test(recipients_of_a_day),
        cmocka_unit_test(a_clock_that_is_set_changes_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
