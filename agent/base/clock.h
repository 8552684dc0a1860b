// The two clocks of the program. Every time in it comes from here, so that a test can set them.
//
// clock_boot is CLOCK_BOOTTIME (never steps, counts suspend): backoff, timeouts and timers run on it.
// clock_wall is CLOCK_REALTIME: what is stored and shown. Unit: nanoseconds.
//
// Built with OUTTRAY_TEST_CLOCK, both clocks are shifted by the seconds (decimal, may have a fraction, may be
// negative for the wall) in the file that $OUTTRAY_TEST_CLOCK names; clock_poll reads it again. A second
// number in the file, where there is one, shifts the wall clock alone: a step. The boot clock never goes
// back. In other builds clock_poll does nothing.
#ifndef OUTTRAY_AGENT_BASE_CLOCK_H
#define OUTTRAY_AGENT_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND ((int64_t)1000000000)
#define CLOCK_MS     ((int64_t)1000000)

int64_t clock_boot(void);
int64_t clock_wall(void);
// For measuring how long our own work takes: no set clock, no time that the machine slept.
int64_t clock_work(void);
void clock_poll(void);

// How long a loop may sleep at most: a few milliseconds in test builds, so that a set clock is noticed; -1
// else.
int clock_sleep_max_ms(void);

struct timespec clock_timespec(int64_t ns);
int64_t clock_ns(const struct timespec *time); // saturates

#endif
