// The clocks, and in test builds the control file that shifts them.
#include "clock.h"

#ifdef OUTTRAY_TEST_CLOCK
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define CLOCK_SHIFT_MAX_S 3e9 // 95 years

// Shared by the threads; only clock_poll (on the loop's thread) writes.
static _Atomic int64_t shift_boot, shift_wall;

// Seconds in ns, within what two shifts and the time itself can be added up to. What is no number is 0.
static int64_t clock_shift(double seconds)
{
    if (seconds > CLOCK_SHIFT_MAX_S)
        seconds = CLOCK_SHIFT_MAX_S;
    if (seconds < -CLOCK_SHIFT_MAX_S)
        seconds = -CLOCK_SHIFT_MAX_S;
    return seconds == seconds ? (int64_t)(seconds * (double)CLOCK_SECOND) : 0;
}

// "12.5" or "12.5 -3600": seconds for both clocks, then seconds for the wall clock alone.
static void clock_parse(const char *text)
{
    char *end;
    int64_t both = clock_shift(strtod(text, &end));
    if (end == text)
        return;
    int64_t wall = clock_shift(strtod(end, NULL));
    if (both > atomic_load(&shift_boot))
        atomic_store(&shift_boot, both);
    atomic_store(&shift_wall, both + wall);
}

void clock_poll(void)
{
    const char *path = getenv("OUTTRAY_TEST_CLOCK");
    if (!path)
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char text[64];
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length > 0) {
        text[length] = '\0';
        clock_parse(text);
    }
}

int clock_sleep_max_ms(void)
{
    return 5;
}

#define SHIFT_BOOT atomic_load(&shift_boot)
#define SHIFT_WALL atomic_load(&shift_wall)
#else
void clock_poll(void) {}

int clock_sleep_max_ms(void)
{
    return -1;
}

#define SHIFT_BOOT 0
#define SHIFT_WALL 0
#endif

static int64_t clock_read(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now); // cannot fail for these two ids
    return clock_ns(&now);
}

int64_t clock_boot(void)
{
    return clock_read(CLOCK_BOOTTIME) + SHIFT_BOOT;
}

int64_t clock_wall(void)
{
    return clock_read(CLOCK_REALTIME) + SHIFT_WALL;
}

int64_t clock_work(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

struct timespec clock_timespec(int64_t ns)
{
    int64_t seconds = ns / CLOCK_SECOND, rest = ns % CLOCK_SECOND;
    if (rest < 0) {
        rest += CLOCK_SECOND;
        seconds--;
    }
    return (struct timespec){.tv_sec = seconds, .tv_nsec = rest};
}

int64_t clock_ns(const struct timespec *time)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)time->tv_sec, CLOCK_SECOND, &ns) ||
        __builtin_add_overflow(ns, (int64_t)time->tv_nsec, &ns))
        return time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}
