// The settable clock of test builds (agent/base/clock.h): its control file, for all tests of a program, and
// moving it. It never goes back.
//
// Needs neither cmocka nor an order of includes, so that the servers of the tests can move it, too.
#ifndef OUTTRAY_TESTS_UNIT_CLOCK_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_CLOCK_SUPPORT_H

#include "agent/base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// Set-up and tear-down of a group of tests.
static inline int clock_make(void **state)
{
    static char path[] = "/tmp/outtray-test-clock.XXXXXX";
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0)
        return -1;
    return setenv("OUTTRAY_TEST_CLOCK", path, 1);
}

static inline int clock_remove(void **state)
{
    (void)state;
    return unlink(getenv("OUTTRAY_TEST_CLOCK"));
}

// The file holds the seconds passed. Whoever runs a loop looks at it by clock_poll.
static inline void clock_move(double seconds)
{
    static double passed;
    const char *path = getenv("OUTTRAY_TEST_CLOCK");
    passed += seconds;
    char text[64], temporary[128];
    int n = snprintf(text, sizeof text, "%f", passed);
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (write(fd, text, (size_t)n) != n || close(fd) != 0 || rename(temporary, path) != 0)
        abort();
}

#endif
