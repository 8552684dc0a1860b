// Datagrams as RFC 3164 has them and glibc sends them: "<PRI>Nov 23 15:04:05 outtray[PID]: LINE".
#include "syslog_socket.h"
#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RECONNECT_NS CLOCK_SECOND // a syslog that is away is looked for once a second

void syslog_socket_init(struct syslog_socket *socket)
{
    *socket = (struct syslog_socket){.fd = -1, .facility = -1};
    tzset(); // reads the time zone now, before anything keeps us from files
}

static void syslog_socket_close(struct syslog_socket *socket)
{
    if (socket->fd >= 0)
        close(socket->fd);
    socket->fd = -1;
}

void syslog_socket_set(struct syslog_socket *socket, int facility)
{
    syslog_socket_close(socket);
    socket->facility = facility;
    socket->connected = 0;
}

static int syslog_socket_connect(struct syslog_socket *sock)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("OUTTRAY_SYSLOG");
    int64_t now = clock_work();
    if (sock->connected && now - sock->connected < RECONNECT_NS)
        return -EAGAIN;
    sock->connected = now;
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s", path && *path ? path : SYSLOG_PATH);
    if (n < 0 || (size_t)n >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    sock->fd = fd;
    return 0;
}

static int syslog_socket_try(struct syslog_socket *sock, const char *data, size_t length)
{
    int error = sock->fd < 0 ? syslog_socket_connect(sock) : 0;
    if (error)
        return error;
    if (TEMP_FAILURE_RETRY(send(sock->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)) >= 0)
        return 0;
    error = -errno;
    if (error != -EAGAIN && error != -ENOBUFS) // it was started anew: its socket is another one
        syslog_socket_close(sock);
    return error;
}

int syslog_socket_send(struct syslog_socket *sock, int priority, const char *line, size_t length)
{
    static const char months[][4] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char data[SYSLOG_DATAGRAM_MAX];
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    int n = snprintf(data, sizeof data, "<%d>%s %2d %02d:%02d:%02d outtray[%d]: ", sock->facility | priority,
        months[local.tm_mon % 12], local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, (int)getpid());
    size_t head = (size_t)n, room = sizeof data - head;
    if (length > room)
        length = room;
    memcpy(data + head, line, length);
    int error = syslog_socket_try(sock, data, head + length);
    if (error && sock->fd < 0 &&
        error != -EAGAIN) { // once more, at the socket of the one that was started anew
        sock->connected = 0;
        error = syslog_socket_try(sock, data, head + length);
    }
    return error;
}
