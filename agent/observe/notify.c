// Datagrams to the service manager.
#include "notify.h"
#include "agent/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NOTIFY_USEC_MAX (INT64_MAX / 1000)

struct notify {
    int fd;
    struct sockaddr_un address;
    socklen_t address_length;
    int64_t watchdog_ns;
    char status[NOTIFY_STATUS_MAX]; // as last said
};

// "/run/systemd/notify", or "@name" for a socket without a file (unix(7)).
static int notify_address(struct notify *notify, const char *name)
{
    size_t length = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof notify->address.sun_path)
        return -EINVAL;
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, name, length);
    size_t path = name[0] == '@' ? length : length + 1;
    if (name[0] == '@')
        notify->address.sun_path[0] = '\0';
    notify->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path);
    return 0;
}

static int64_t notify_read_watchdog(void)
{
    const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    char *end = NULL;
    if (!text || !*text)
        return 0;
    if (pid && *pid && strtoll(pid, NULL, 10) != (long long)getpid())
        return 0; // meant for another process
    long long usec = strtoll(text, &end, 10);
    return *end || usec <= 0 || usec > NOTIFY_USEC_MAX ? 0 : usec * 1000;
}

// Connected from the start: an abstract socket cannot be reached any more from inside the sandbox.
static int notify_connect(struct notify *notify)
{
    return connect(notify->fd, (const struct sockaddr *)&notify->address, notify->address_length) ? -errno
                                                                                                  : 0;
}

int notify_open(struct notify **ret_notify)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct notify *notify = NULL;
    int error = 0;
    *ret_notify = NULL;
    if (name && *name) {
        notify = calloc(1, sizeof *notify);
        if (!notify)
            return -ENOMEM;
        notify->watchdog_ns = notify_read_watchdog();
        notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        error = notify->fd < 0 ? -errno : notify_address(notify, name);
        if (!error)
            error = notify_connect(notify);
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    if (error)
        notify_close(notify);
    else
        *ret_notify = notify;
    return error;
}

void notify_close(struct notify *notify)
{
    if (!notify)
        return;
    if (notify->fd >= 0)
        close(notify->fd);
    free(notify);
}

int64_t notify_watchdog_ns(const struct notify *notify)
{
    return notify ? notify->watchdog_ns : 0;
}

static void notify_send(struct notify *notify, const char *text)
{
    if (!notify)
        return;
    size_t length = strlen(text);
    if (send(notify->fd, text, length, MSG_NOSIGNAL) >= 0)
        return;
    // A manager that was replaced has bound its socket anew.
    if ((errno == ECONNREFUSED || errno == ENOTCONN || errno == EPIPE) && !notify_connect(notify))
        (void)send(notify->fd, text, length, MSG_NOSIGNAL);
}

void notify_ready(struct notify *notify)
{
    notify_send(notify, "READY=1");
}

void notify_reloading(struct notify *notify)
{
    char text[96];
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); // the clock that the protocol names
    (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_ns(&now) / 1000);
    notify_send(notify, text);
}

void notify_stopping(struct notify *notify)
{
    notify_send(notify, "STOPPING=1");
}

void notify_alive(struct notify *notify)
{
    notify_send(notify, "WATCHDOG=1");
}

void notify_status(struct notify *notify, const char *text)
{
    char line[NOTIFY_STATUS_MAX + 8], *status = line + strlen("STATUS=");
    if (!notify)
        return;
    (void)snprintf(line, sizeof line, "STATUS=%.*s", NOTIFY_STATUS_MAX - 1, text);
    for (char *c = status; *c; c++)
        if ((unsigned char)*c < ' ' || *c == '\x7f')
            *c = ' ';
    if (strcmp(status, notify->status) == 0)
        return;
    (void)snprintf(notify->status, sizeof notify->status, "%.*s", NOTIFY_STATUS_MAX - 1, status);
    notify_send(notify, line);
}
