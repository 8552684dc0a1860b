// The backoff: what the configuration promises for any age, any dice and any clock.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/retry.h"
#include <stdlib.h>

#define SECOND ((int64_t)1000000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static struct config config_with(int64_t first_ms, int64_t max_ms, int64_t give_up_ms, double jitter)
{
    struct config config = {0};
    config.retry.first_ms = first_ms;
    config.retry.max_ms = max_ms;
    config.retry.give_up_after_ms = give_up_ms;
    config.retry.jitter = jitter;
    return config;
}

// The defaults of the contract: 1m, 4h, 5d.
static struct config defaults(double jitter)
{
    return config_with(60000, 4 * 3600000, (int64_t)5 * 24 * 3600000, jitter);
}

static void the_wait_is_the_age_within_bounds(void **state)
{
    (void)state;
    struct config config = defaults(0);
    static const struct {
        int64_t age, wait;
    } rows[] = {
        {INT64_MIN, MINUTE},
        {-DAY, MINUTE},
        {0, MINUTE},
        {SECOND, MINUTE},
        {MINUTE, MINUTE},
        {2 * MINUTE, 2 * MINUTE},
        {HOUR + 1, HOUR + 1},
        {4 * HOUR, 4 * HOUR},
        {4 * HOUR + 1, 4 * HOUR},
        {30 * DAY, 4 * HOUR},
        {INT64_MAX, 4 * HOUR},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(retry_wait(&config, rows[i].age, 0.5), rows[i].wait);
}

// The default schedule: when attempts happen over five days, and that they end.
static void attempts_of_a_message_that_never_gets_through(void **state)
{
    (void)state;
    struct config config = defaults(0);
    static const int64_t minutes[] = {0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 496, 736, 976};
    int64_t age = 0;
    unsigned attempts = 0;
    while (!retry_is_over(&config, age)) {
        if (attempts < sizeof minutes / sizeof *minutes)
            assert_int_equal(age / MINUTE, minutes[attempts]);
        attempts++;
        age += retry_wait(&config, age, 0.5);
    }
    assert_in_range(attempts, 30, 45);
    assert_true(age >= 5 * DAY && age < 5 * DAY + 4 * HOUR);
}

static void the_wait_stays_within_jitter_and_bounds(void **state)
{
    (void)state;
    srand(1); // the same numbers in every run
    for (int i = 0; i < 200000; i++) {
        int64_t first = 1 + rand() % 100000, most = first + rand() % 10000000;
        double jitter = (double)(rand() % 101) / 100, random = (double)rand() / ((double)RAND_MAX + 1);
        struct config config = config_with(first, most, CONFIG_NEVER, jitter);
        int64_t age = (int64_t)rand() * (rand() % 100000);
        int64_t wait = retry_wait(&config, age, random);
        int64_t low = first * 1000000, high = most * 1000000;
        int64_t middle = age < low ? low : age > high ? high : age;
        assert_true(wait >= low && wait <= high);
        assert_true((double)wait >= (double)middle * (1 - jitter) - 2);
        assert_true((double)wait <= (double)middle * (1 + jitter) + 2);
    }
}

static void jitter_spreads_both_ways(void **state)
{
    (void)state;
    struct config config = defaults(0.2);
    assert_int_equal(retry_wait(&config, HOUR, 0), HOUR / 10 * 8);
    assert_true(llabs(retry_wait(&config, HOUR, 0.999999) - HOUR / 10 * 12) < SECOND);
    // No further than the bounds.
    assert_int_equal(retry_wait(&config, 0, 0), MINUTE);
    assert_int_equal(retry_wait(&config, DAY, 0.999999), 4 * HOUR);
}

static void more_age_never_means_less_wait(void **state)
{
    (void)state;
    struct config config = defaults(0.3);
    for (double random = 0; random < 1; random += 0.09) {
        int64_t before = 0;
        for (int64_t age = 0; age < 6 * HOUR; age += 7 * SECOND) {
            int64_t wait = retry_wait(&config, age, random);
            assert_true(wait >= before);
            before = wait;
        }
    }
}

static void absurd_settings_do_not_overflow(void **state)
{
    (void)state;
    struct config config = config_with(INT64_MAX, INT64_MAX, INT64_MAX, 1);
    assert_int_equal(retry_wait(&config, INT64_MAX, 0.999), INT64_MAX);
    assert_true(retry_is_over(&config, INT64_MAX));
    assert_false(retry_is_over(&config, DAY));
    config = config_with(1000, 10, 1, 0);
    assert_int_equal(retry_wait(&config, 0, 0.5), SECOND); // max below first
}

static void giving_up(void **state)
{
    (void)state;
    struct config config = defaults(0.2);
    assert_false(retry_is_over(&config, -1));
    assert_false(retry_is_over(&config, 0));
    assert_false(retry_is_over(&config, 5 * DAY - 1));
    assert_true(retry_is_over(&config, 5 * DAY));
    config.retry.give_up_after_ms = CONFIG_NEVER;
    assert_false(retry_is_over(&config, INT64_MAX));
}

static void a_stored_deadline_counts_within_one_interval(void **state)
{
    (void)state;
    int64_t now = 1764000000 * SECOND;
    assert_int_equal(retry_clamp(now + MINUTE, now, HOUR), now + MINUTE);
    assert_int_equal(retry_clamp(now - 365 * DAY, now, HOUR), now);
    assert_int_equal(retry_clamp(now + 365 * DAY, now, HOUR), now + HOUR);
    assert_int_equal(retry_clamp(INT64_MIN, now, HOUR), now);
    assert_int_equal(retry_clamp(INT64_MAX, now, HOUR), now + HOUR);
    assert_int_equal(retry_clamp(0, INT64_MAX - 5, HOUR), INT64_MAX - 5);
    assert_int_equal(retry_clamp(INT64_MAX, INT64_MAX - 5, HOUR), INT64_MAX);
}

static void dice_are_uniform(void **state)
{
    (void)state;
    double sum = 0;
    unsigned tenth[10] = {0};
    for (int i = 0; i < 20000; i++) {
        double random = retry_random();
        assert_true(random >= 0 && random < 1);
        sum += random;
        tenth[(int)(random * 10)]++;
    }
    // Ten standard deviations: this cannot fail by chance.
    assert_true(sum > 9600 && sum < 10400);
    for (int i = 0; i < 10; i++)
        assert_in_range(tenth[i], 1575, 2425);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wait_is_the_age_within_bounds),
        cmocka_unit_test(attempts_of_a_message_that_never_gets_through),
        cmocka_unit_test(the_wait_stays_within_jitter_and_bounds),
        cmocka_unit_test(jitter_spreads_both_ways),
        cmocka_unit_test(more_age_never_means_less_wait),
        cmocka_unit_test(absurd_settings_do_not_overflow),
        cmocka_unit_test(giving_up),
        cmocka_unit_test(a_stored_deadline_counts_within_one_interval),
        cmocka_unit_test(dice_are_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
