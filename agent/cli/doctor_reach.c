// Stages `dns` and `tcp`: the addresses of a server, and which of them answer.
#include "agent/base/clock.h"
#include "agent/cli/doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void address_text(const struct addrinfo *address, char text[static INET6_ADDRSTRLEN])
{
    if (getnameinfo(address->ai_addr, address->ai_addrlen, text, INET6_ADDRSTRLEN, NULL, 0, NI_NUMERICHOST))
        (void)snprintf(text, INET6_ADDRSTRLEN, "?");
}

bool doctor_dns(struct doctor *doctor, struct addrinfo **ret_list)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[8], text[INET6_ADDRSTRLEN];
    doctor_begin(doctor, "dns");
    (void)snprintf(port, sizeof port, "%u", (unsigned)doctor->account->port);
    int error = getaddrinfo(doctor->server, port, &hints, &list);
    if (error) {
        bool unknown = error == EAI_NONAME || error == EAI_NODATA;
        doctor_words(doctor, error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
        doctor_worsen(doctor, DOCTOR_FAILED);
        return doctor_end(doctor, unknown ? "correct `server` of the account, or the name in the DNS"
                                          : "see that this host's resolver works (/etc/resolv.conf)");
    }
    unsigned n = 0;
    for (const struct addrinfo *at = list; at && n < DOCTOR_ADDRESSES_MAX; at = at->ai_next, n++) {
        address_text(at, text);
        doctor_detail(doctor, "%s", text);
    }
    *ret_list = list;
    return doctor_end(doctor, NULL);
}

// 0 and the connection in *ret_fd, or negative errno.
static int try_address(const struct addrinfo *address, int64_t timeout_ms, int *ret_fd)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
    if (fd < 0)
        return -errno;
    if (connect(fd, address->ai_addr, address->ai_addrlen) && errno != EINPROGRESS)
        error = errno;
    struct pollfd writable = {.fd = fd, .events = POLLOUT};
    int n = error ? 0 : poll(&writable, 1, (int)timeout_ms);
    socklen_t size = sizeof error;
    if (!error && n == 0)
        error = ETIMEDOUT;
    else if (!error && (n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size)))
        error = errno;
    if (error) {
        close(fd);
        return -error;
    }
    *ret_fd = fd;
    return 0;
}

bool doctor_tcp(struct doctor *doctor, const struct addrinfo *list, int *ret_fd)
{
    int64_t timeout_ms = doctor->account->timeouts.connect_ms;
    char text[INET6_ADDRSTRLEN];
    unsigned n = 0, bad = 0;
    int first = -1, fd = -1, refused = 0;
    doctor_begin(doctor, "tcp");
    if (timeout_ms > DOCTOR_CONNECT_MS)
        timeout_ms = DOCTOR_CONNECT_MS;
    for (const struct addrinfo *at = list; at && n < DOCTOR_ADDRESSES_MAX; at = at->ai_next, n++) {
        int64_t begun = clock_boot();
        int error = try_address(at, timeout_ms, &fd);
        double ms = (double)(clock_boot() - begun) / CLOCK_MS;
        address_text(at, text);
        doctor_detail(doctor, "%s port %u: %s after %.1f ms", text, (unsigned)doctor->account->port,
            error ? strerror(-error) : "connected", ms);
        bad += error != 0;
        refused += error == -ECONNREFUSED;
        if (!error && first < 0)
            first = fd;
        else if (!error)
            close(fd);
    }
    if (bad)
        doctor_worsen(doctor, first < 0 ? DOCTOR_FAILED : DOCTOR_WARNING);
    *ret_fd = first;
    const char *next = NULL;
    if (first < 0)
        next = refused
                   ? "nobody listens there: correct `server` and `port` of the account, or start the server"
                   : "see that no firewall, here or at the provider of this host, is in the way";
    else if (bad)
        next = "the agent takes the addresses that answer; mend the route to the others, or the DNS";
    return doctor_end(doctor, next);
}
