// Linked into the program in place of libc's calls: lets chosen occurrences of a call fail with a chosen
// errno (plan.h).
//
// A function of that name in an executable is what the program and all its libraries get, so calls of libcurl
// are counted as those of the program are; who called is told by the return address. The real function is
// the next one in the list, which under ASan is ASan's.
#include "plan.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static _Thread_local int clock_fd = -1; // the file of the test's clock, which no real agent reads
static const char *clock_file;

__attribute__((constructor)) static void clock_start(void)
{
    clock_file = getenv("OUTTRAY_TEST_CLOCK");
}

#define CALLER __builtin_return_address(0)

// The real function, looked up once.
#define REAL(name)                                                                                           \
    static __typeof__(name) *real;                                                                           \
    if (!real) {                                                                                             \
        bool was = plan_inside;                                                                              \
        plan_inside = true;                                                                                  \
        *(void **)&real = dlsym(RTLD_NEXT, #name);                                                           \
        plan_inside = was;                                                                                   \
    }

// RESULT NAME(PARAMETERS), with what to say of it (a descriptor and a name) and how it is called.
#define WRAP(result, name, parameters, fd, path, fails, arguments)                                           \
    result name parameters                                                                                   \
    {                                                                                                        \
        REAL(name)                                                                                           \
        plan_count(CALL_##name, -1, CALLER);                                                                 \
        int error = plan_fault(CALL_##name, fd, path, CALLER);                                               \
        if (error > 0) {                                                                                     \
            errno = error;                                                                                   \
            return fails;                                                                                    \
        }                                                                                                    \
        return real arguments;                                                                               \
    }

int open(const char *path, int flags, ...)
{
    REAL(open)
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (clock_file && strcmp(path, clock_file) == 0)
        return clock_fd = real(path, flags, mode);
    plan_count(CALL_open, -1, CALLER);
    int error = plan_fault(CALL_open, -1, path, CALLER);
    errno = error > 0 ? error : errno;
    return error > 0 ? -1 : real(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    REAL(openat)
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    plan_count(CALL_openat, -1, CALLER);
    int error = plan_fault(CALL_openat, dir, path, CALLER);
    errno = error > 0 ? error : errno;
    return error > 0 ? -1 : real(dir, path, flags, mode);
}

ssize_t read(int fd, void *data, size_t length)
{
    REAL(read)
    int error = 0;
    if (fd == clock_fd) {
        clock_fd = -1;
    } else {
        plan_count(CALL_read, fd, CALLER);
        error = plan_fault(CALL_read, fd, NULL, CALLER);
        errno = error > 0 ? error : errno;
    }
    return error > 0 ? -1 : real(fd, data, length);
}

ssize_t write(int fd, const void *data, size_t length)
{
    REAL(write)
    plan_count(CALL_write, fd, CALLER);
    int error = plan_fault(CALL_write, fd, NULL, CALLER);
    errno = error > 0 ? error : errno;
    return error > 0 ? -1 : real(fd, data, error < 0 && length > 1 ? 1 : length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    REAL(pwrite)
    plan_count(CALL_pwrite, -1, CALLER);
    int error = plan_fault(CALL_pwrite, fd, NULL, CALLER);
    errno = error > 0 ? error : errno;
    return error > 0 ? -1 : real(fd, data, error < 0 && length > 1 ? 1 : length, offset);
}

// Tells of the first one that failed, whoever made it fail, and of every one behind it.
int fsync(int fd)
{
    REAL(fsync)
    bool after = atomic_load(&plan_happened);
    plan_count(CALL_fsync, -1, CALLER);
    int error = plan_fault(CALL_fsync, fd, NULL, CALLER);
    int result = error > 0 ? -1 : real(fd);
    error = result ? (error > 0 ? error : errno) : 0;
    bool failed = error && error != EINTR && plan_is_of(CALL_fsync);
    if (failed || (after && plan_is_of(CALL_fsync))) {
        char link[64], path[PATH_MAX], thread[17] = "";
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length > 0 ? length : 0] = '\0';
        (void)prctl(PR_GET_NAME, thread);
        if (after)
            plan_report("sync %s %s\n", thread, path);
        else
            plan_report("failed %s %d %s\n", thread, error, path);
    }
    if (failed)
        atomic_store(&plan_happened, true);
    errno = error;
    return result;
}

int fcntl(int fd, int command, ...)
{
    REAL(fcntl)
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    plan_count(CALL_fcntl, -1, CALLER);
    int error = plan_fault(CALL_fcntl, fd, NULL, CALLER);
    errno = error > 0 ? error : errno;
    return error > 0 ? -1 : real(fd, command, argument);
}

// Tells its error as its result.
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    REAL(pthread_create)
    plan_count(CALL_pthread_create, -1, CALLER);
    int error = plan_fault(CALL_pthread_create, -1, NULL, CALLER);
    return error > 0 ? error : real(thread, attributes, start, arg);
}

WRAP(ssize_t, pread, (int fd, void *data, size_t length, off_t at), fd, NULL, -1, (fd, data, length, at))
WRAP(
    int, renameat, (int from, const char *old, int to, const char *name), to, name, -1, (from, old, to, name))
WRAP(int, renameat2, (int from, const char *old, int to, const char *name, unsigned flags), to, name, -1,
    (from, old, to, name, flags))
WRAP(int, unlinkat, (int dir, const char *name, int flags), dir, name, -1, (dir, name, flags))
WRAP(int, linkat, (int from, const char *old, int to, const char *name, int flags), to, name, -1,
    (from, old, to, name, flags))
WRAP(int, mkdirat, (int dir, const char *name, mode_t mode), dir, name, -1, (dir, name, mode))
WRAP(int, flock, (int fd, int operation), fd, NULL, -1, (fd, operation))
WRAP(int, ftruncate, (int fd, off_t length), fd, NULL, -1, (fd, length))
WRAP(int, fchmod, (int fd, mode_t mode), fd, NULL, -1, (fd, mode))
WRAP(int, futimens, (int fd, const struct timespec times[2]), fd, NULL, -1, (fd, times))
WRAP(int, fstat, (int fd, struct stat *info), fd, NULL, -1, (fd, info))
WRAP(int, fstatat, (int dir, const char *name, struct stat *info, int flags), dir, name, -1,
    (dir, name, info, flags))
WRAP(int, stat, (const char *name, struct stat *info), -1, name, -1, (name, info))
WRAP(int, statx, (int dir, const char *name, int flags, unsigned mask, struct statx *info), dir, name, -1,
    (dir, name, flags, mask, info))
WRAP(
    int, faccessat, (int dir, const char *name, int mode, int flags), dir, name, -1, (dir, name, mode, flags))
WRAP(DIR *, fdopendir, (int fd), fd, NULL, NULL, (fd))
WRAP(struct dirent *, readdir, (DIR * dir), dirfd(dir), NULL, NULL, (dir))
WRAP(int, epoll_create1, (int flags), -1, NULL, -1, (flags))
WRAP(int, epoll_ctl, (int epoll, int what, int fd, struct epoll_event *event), fd, NULL, -1,
    (epoll, what, fd, event))
WRAP(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout), -1, NULL, -1,
    (epoll, events, most, timeout))
WRAP(int, eventfd, (unsigned value, int flags), -1, NULL, -1, (value, flags))
WRAP(int, signalfd, (int fd, const sigset_t *signals, int flags), -1, NULL, -1, (fd, signals, flags))
WRAP(int, inotify_init1, (int flags), -1, NULL, -1, (flags))
WRAP(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), -1, path, -1, (fd, path, mask))
WRAP(int, socket, (int domain, int type, int protocol), -1, NULL, -1, (domain, type, protocol))
WRAP(int, connect, (int fd, const struct sockaddr *address, socklen_t length), -1, NULL, -1,
    (fd, address, length))
WRAP(ssize_t, send, (int fd, const void *data, size_t length, int flags), -1, NULL, -1,
    (fd, data, length, flags))
WRAP(ssize_t, recv, (int fd, void *data, size_t length, int flags), -1, NULL, -1, (fd, data, length, flags))
WRAP(int, poll, (struct pollfd * fds, nfds_t n, int timeout), -1, NULL, -1, (fds, n, timeout))
WRAP(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *length), -1, NULL, -1,
    (fd, level, name, value, length))
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t length), -1, NULL, -1,
    (fd, level, name, value, length))

// Allocations. ASan's functions are called by name: looking them up would allocate.
void *__interceptor_malloc(size_t size);
void *__interceptor_calloc(size_t n, size_t size);
void *__interceptor_realloc(void *old, size_t size);
void *__interceptor_reallocarray(void *old, size_t n, size_t size);
char *__interceptor_strdup(const char *text);

static bool no_memory(const void *caller)
{
    plan_count(CALL_alloc, -1, caller);
    if (!plan_fault(CALL_alloc, -1, NULL, caller))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return no_memory(CALLER) ? NULL : __interceptor_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return no_memory(CALLER) ? NULL : __interceptor_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return no_memory(CALLER) ? NULL : __interceptor_realloc(old, size);
}

void *reallocarray(void *old, size_t n, size_t size)
{
    return no_memory(CALLER) ? NULL : __interceptor_reallocarray(old, n, size);
}

char *strdup(const char *text)
{
    return no_memory(CALLER) ? NULL : __interceptor_strdup(text);
}

char *strndup(const char *text, size_t most)
{
    size_t length = strnlen(text, most);
    char *copy = no_memory(CALLER) ? NULL : __interceptor_malloc(length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

int asprintf(char **ret_text, const char *format, ...)
{
    if (no_memory(CALLER))
        return -1;
    va_list args;
    va_start(args, format);
    int length = vasprintf(ret_text, format, args);
    va_end(args);
    return length;
}
