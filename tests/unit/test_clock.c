// The clocks, and the control file that sets them in test builds.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void timespecs_and_back(void **state)
{
    (void)state;
    static const int64_t times[] = {0, 1, -1, 999999999, -999999999, 1764000000123456789,
        -1764000000123456789, INT64_MAX, INT64_MIN + CLOCK_SECOND};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct timespec time = clock_timespec(times[i]);
        assert_in_range(time.tv_nsec, 0, 999999999);
        assert_true(clock_ns(&time) == times[i]);
    }
    struct timespec far = {.tv_sec = INT64_MAX};
    assert_true(clock_ns(&far) == INT64_MAX);
    far.tv_sec = INT64_MIN;
    assert_true(clock_ns(&far) == INT64_MIN);
}

static void the_clocks_go_on(void **state)
{
    (void)state;
    int64_t boot = clock_boot(), wall = clock_wall();
    assert_true(boot > 0 && wall > 1700000000 * CLOCK_SECOND);
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_boot();
        assert_true(now >= boot);
        boot = now;
    }
}

#ifdef OUTTRAY_TEST_CLOCK
static int64_t boot_shift(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return clock_boot() - clock_ns(&now);
}

static int64_t wall_shift(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return clock_wall() - clock_ns(&now);
}

static void expect_shifts(const char *path, const char *text, double boot, double wall)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    clock_poll();
    // The two readings are not of the same moment.
    assert_true(llabs(boot_shift() - (int64_t)(boot * 1e9)) < CLOCK_SECOND);
    assert_true(llabs(wall_shift() - (int64_t)(wall * 1e9)) < CLOCK_SECOND);
}

static void the_file_shifts_the_clocks_and_boot_never_goes_back(void **state)
{
    (void)state;
    char path[] = "/tmp/outtray-test-clock.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    setenv("OUTTRAY_TEST_CLOCK", path, 1);
    assert_true(clock_sleep_max_ms() > 0);
    expect_shifts(path, "", 0, 0);
    expect_shifts(path, "rubbish\n", 0, 0);
    expect_shifts(path, "100\n", 100, 100);
    expect_shifts(path, "3600.5\n", 3600.5, 3600.5);
    expect_shifts(path, "3600.5 -7200\n", 3600.5, -3599.5); // a step of the wall clock
    expect_shifts(path, "100\n", 3600.5, 100);
    expect_shifts(path, "-86400", 3600.5, -86400);
    expect_shifts(path, "rubbish", 3600.5, -86400);
    expect_shifts(path, "nan nan", 3600.5, 0);
    expect_shifts(path, "31536000", 31536000, 31536000);
    expect_shifts(path, "0 -31536000", 31536000, -31536000);
    expect_shifts(path, "1e300 1e300", 3e9, 6e9); // bounded: nothing overflows
    expect_shifts(path, "-1e300 -1e300", 3e9, -6e9);
    unlink(path);
    clock_poll(); // no file: nothing changes
    assert_true(llabs(boot_shift() - (int64_t)3000000000 * CLOCK_SECOND) < CLOCK_SECOND);
    unsetenv("OUTTRAY_TEST_CLOCK");
    clock_poll();
}
#else
static void the_clock_cannot_be_set_in_this_build(void **state)
{
    (void)state;
    assert_int_equal(clock_sleep_max_ms(), -1);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timespecs_and_back),
        cmocka_unit_test(the_clocks_go_on),
#ifdef OUTTRAY_TEST_CLOCK
        cmocka_unit_test(the_file_shifts_the_clocks_and_boot_never_goes_back),
#else
        cmocka_unit_test(the_clock_cannot_be_set_in_this_build),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
