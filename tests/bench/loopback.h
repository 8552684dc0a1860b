// What the benchmarks' servers on loopback share: a port to listen on, the signals that end them and ask for
// statistics, and where those go.
#ifndef OUTTRAY_TESTS_BENCH_LOOPBACK_H
#define OUTTRAY_TESTS_BENCH_LOOPBACK_H

#include "tool.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

// Listens on the port (0: a free one; option: SO_REUSEADDR or SO_REUSEPORT) without blocking. Returns the
// socket; *port becomes the one it is.
static inline int loopback_listen(uint16_t *port, int option)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, option, &(int){1}, sizeof(int)) ||
        bind(fd, (struct sockaddr *)&address, length) || listen(fd, 1024) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        die("listen");
    *port = ntohs(address.sin_port);
    return fd;
}

// Blocks SIGTERM, SIGINT and SIGUSR1 for whoever waits for them.
static inline void loopback_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static inline void loopback_ready(uint16_t port)
{
    printf("listening %u\n", port);
    fflush(stdout);
}

// Where one line of statistics goes: file, or standard output where that is NULL. Close it with the other
// one.
static inline FILE *loopback_statistics(const char *file)
{
    FILE *out = file ? fopen(file, "w") : stdout;
    if (!out)
        die(file);
    return out;
}
static inline void loopback_statistics_end(FILE *out)
{
    if (fflush(out) || (out != stdout && fclose(out)))
        die("statistics");
}

#endif
