// The rate limit: never one too many in any period, wherever it begins, and nearly all of what is allowed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/bucket.h"
#include <stdlib.h>

#define SECOND ((int64_t)1000000000)
#define MINUTE (60 * SECOND)

// A server that counts in sliding periods: the times of all takes.
struct server {
    int64_t *times;
    size_t n, size;
    size_t first;  // of the period that ends with the last take
    uint64_t most; // seen in any period
};

static void server_take(struct server *server, int64_t now, int64_t period)
{
    if (server->n == server->size) {
        server->size = server->size ? server->size * 2 : 1024;
        server->times = realloc(server->times, server->size * sizeof *server->times);
        assert_non_null(server->times);
    }
    server->times[server->n++] = now;
    // Half-open: what was taken exactly a period ago is out.
    while (server->times[server->first] <= now - period)
        server->first++;
    if (server->n - server->first > server->most)
        server->most = server->n - server->first;
}

// Takes as soon as it may for `length`; returns how many.
static uint64_t saturate(uint64_t amount, int64_t period, int64_t length)
{
    struct bucket bucket = {0};
    struct server server = {0};
    bucket_set(&bucket, amount, period, 0);
    int64_t now = 0;
    while (now < length) {
        int64_t wait = bucket_wait(&bucket, now);
        if (!wait) {
            bucket_take(&bucket, 1, now);
            server_take(&server, now, period);
            continue;
        }
        assert_true(wait > 0 && wait <= period);
        assert_int_equal(bucket_available(&bucket, now), 0);
        now += wait;
    }
    assert_true(server.most <= amount);
    uint64_t taken = server.n;
    free(server.times);
    return taken;
}

static void a_saturated_limit_is_used_up(void **state)
{
    (void)state;
    static const uint64_t amounts[] = {
        1, 2, 3, 10, 30, 255, 256, 257, 300, 511, 513, 1000, 4096, 5000, 100000};
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        uint64_t taken = saturate(amounts[i], MINUTE, 20 * MINUTE);
        uint64_t allowed = 20 * amounts[i];
        assert_true(taken <= allowed);
        assert_true(taken * 100 >= allowed * 99);
    }
}

// Takes at random moments: exact for every sliding period, and nothing is refused without need.
static void random_takes_never_exceed_any_period(void **state)
{
    (void)state;
    srand(2);
    for (int round = 0; round < 300; round++) {
        uint64_t amount = 1 + (uint64_t)(rand() % (round < 150 ? 256 : 3000));
        int64_t spread = 1 + rand() % (int)(4 * MINUTE / SECOND * 1000 / (int64_t)(amount + 1) + 1);
        struct bucket bucket = {0};
        struct server server = {0};
        bucket_set(&bucket, amount, MINUTE, 0);
        int64_t now = 0, refused = 0;
        for (int i = 0; i < 4000; i++) {
            now += (int64_t)(rand() % (2 * (int)spread)) * 1000000;
            if (!bucket_available(&bucket, now)) {
                refused++;
                // Grouping may refuse a few too early, but only near the limit.
                size_t first = server.first;
                while (first < server.n && server.times[first] <= now - MINUTE)
                    first++;
                uint64_t counting = server.n - first;
                assert_true(counting + amount / 100 + 1 >= amount);
                if (amount <= BUCKET_GROUPS)
                    assert_int_equal(counting, amount);
                continue;
            }
            bucket_take(&bucket, 1, now);
            server_take(&server, now, MINUTE);
        }
        assert_true(server.most <= amount);
        assert_true(refused < 4000);
        free(server.times);
    }
}

// A day of messages that come one a second at a limit of 30 a minute.
static void a_day_at_the_limit(void **state)
{
    (void)state;
    struct bucket bucket = {0};
    struct server server = {0};
    bucket_set(&bucket, 30, MINUTE, 0);
    for (int64_t second = 0; second < 86400; second++) {
        if (bucket_wait(&bucket, second * SECOND))
            continue;
        bucket_take(&bucket, 1, second * SECOND);
        server_take(&server, second * SECOND, MINUTE);
    }
    assert_int_equal(server.most, 30);
    assert_int_equal(server.n, 24 * 60 * 30);
    free(server.times);
}

static void no_limit_is_no_limit(void **state)
{
    (void)state;
    struct bucket bucket = {0};
    assert_int_equal(bucket_available(&bucket, 0), UINT64_MAX);
    bucket_set(&bucket, 0, MINUTE, 0);
    bucket_take(&bucket, 1000000, 5);
    assert_int_equal(bucket_wait(&bucket, 5), 0);
    assert_int_equal(bucket_available(&bucket, 5), UINT64_MAX);
}

static void what_was_taken_keeps_counting_under_a_new_limit(void **state)
{
    (void)state;
    struct bucket bucket = {0};
    bucket_set(&bucket, 100, MINUTE, 0);
    bucket_take(&bucket, 60, 0);
    bucket_take(&bucket, 40, 10 * SECOND);
    bucket_set(&bucket, 50, MINUTE, 20 * SECOND); // lower: overdrawn
    assert_int_equal(bucket_available(&bucket, 20 * SECOND), 0);
    assert_int_equal(bucket_wait(&bucket, 20 * SECOND), 40 * SECOND);
    assert_int_equal(bucket_available(&bucket, 60 * SECOND), 10);
    bucket_set(&bucket, 5000, MINUTE, 20 * SECOND); // higher
    assert_int_equal(bucket_available(&bucket, 20 * SECOND), 4900);
    bucket_take(&bucket, 4900, 20 * SECOND);
    assert_int_equal(bucket_wait(&bucket, 20 * SECOND), 40 * SECOND);
    bucket_set(&bucket, 1, MINUTE, 20 * SECOND);
    assert_int_equal(bucket_wait(&bucket, 20 * SECOND), 60 * SECOND);
    assert_int_equal(bucket_available(&bucket, 80 * SECOND), 1);
}

static void overdrawing_is_waited_for(void **state)
{
    (void)state;
    struct bucket bucket = {0};
    bucket_set(&bucket, 10, MINUTE, 0);
    for (int i = 0; i < 1000; i++) // many more than it has groups
        bucket_take(&bucket, 3, i * SECOND / 100);
    assert_int_equal(bucket_available(&bucket, 10 * SECOND), 0);
    assert_true(bucket_wait(&bucket, 10 * SECOND) <= MINUTE);
    assert_int_equal(bucket_available(&bucket, 71 * SECOND), 10);
    bucket_take(&bucket, 1, 71 * SECOND);
    assert_int_equal(bucket_available(&bucket, 71 * SECOND), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saturated_limit_is_used_up),
        cmocka_unit_test(random_takes_never_exceed_any_period),
        cmocka_unit_test(a_day_at_the_limit),
        cmocka_unit_test(no_limit_is_no_limit),
        cmocka_unit_test(what_was_taken_keeps_counting_under_a_new_limit),
        cmocka_unit_test(overdrawing_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
