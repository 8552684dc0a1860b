// Reading inotify events.
#include "watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#define WATCH_READ 65536 // octets of events taken in one read

struct watch {
    struct loop *loop;
    struct loop_watch ready;
    int fd;
    int error; // why there is no inotify; 0: there is
    struct watch_events events;
    void *arg;
};

static void watch_one(struct watch *watch, const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW) {
        watch->events.lost(watch->arg);
        return;
    }
    if (event->mask & (IN_MOVE_SELF | IN_DELETE_SELF | IN_UNMOUNT | IN_IGNORED)) {
        watch->events.event(event->wd, WATCH_MOVED, "", watch->arg);
        return;
    }
    if (!event->len || event->mask & IN_ISDIR)
        return;
    enum watch_what what = event->mask & (IN_MOVED_TO | IN_CLOSE_WRITE) ? WATCH_ARRIVED
                           : event->mask & IN_ATTRIB                    ? WATCH_TOUCHED
                           : event->mask & (IN_DELETE | IN_MOVED_FROM)  ? WATCH_REMOVED
                                                                        : WATCH_CREATED;
    watch->events.event(event->wd, what, event->name, watch->arg);
}

static void watch_ready(struct loop_watch *ready, uint32_t events)
{
    (void)events;
    struct watch *watch = ready->arg;
    char buffer[WATCH_READ] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t length = read(watch->fd, buffer, sizeof buffer);
    for (ssize_t at = 0; at < length;) {
        const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
        at += (ssize_t)(sizeof *event + event->len);
        watch_one(watch, event);
    }
}

int watch_new(
    struct loop *loop, const struct watch_events *events, void *arg, struct watch **ret_watch, int *ret_error)
{
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return -ENOMEM;
    watch->loop = loop;
    watch->events = *events;
    watch->arg = arg;
    loop_watch_init(&watch->ready, watch_ready, watch);
    watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    watch->error = watch->fd < 0 ? -errno : loop_watch_add(loop, &watch->ready, watch->fd, EPOLLIN);
    *ret_error = watch->error;
    *ret_watch = watch;
    return 0;
}

void watch_free(struct watch *watch)
{
    if (!watch)
        return;
    loop_watch_remove(watch->loop, &watch->ready);
    if (watch->fd >= 0)
        close(watch->fd);
    free(watch);
}

int watch_add(struct watch *watch, int dir, unsigned also)
{
    if (watch->error)
        return watch->error;
    char path[64];
    uint32_t mask = IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE | IN_MOVE_SELF | IN_DELETE_SELF |
                    (also & WATCH_TOUCHES ? IN_ATTRIB : 0) |
                    (also & WATCH_REMOVALS ? IN_DELETE | IN_MOVED_FROM : 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", dir);
    int descriptor = inotify_add_watch(watch->fd, path, mask);
    return descriptor < 0 ? -errno : descriptor;
}

void watch_remove(struct watch *watch, int descriptor)
{
    if (!watch->error && descriptor >= 0)
        (void)inotify_rm_watch(watch->fd, descriptor);
}
