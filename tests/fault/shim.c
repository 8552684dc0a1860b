// Linked into the program in place of libc's calls: lets chosen occurrences of a call fail with a chosen
// errno.
//
// A function of that name in an executable is what the program and all its libraries get, so calls of libcurl
// are counted as those of the program are; who called is told by the return address. The real function is
// the next one in the list, which under ASan is ASan's.
//
//     OUTTRAY_FAULT=WHO:CALL:ERRNO:FIRST[:LAST]   occurrences FIRST … LAST (default FIRST) of CALL by WHO
//     fail OUTTRAY_FAULT_REPORT=FILE                   gets a line for each of them, and the counts at the
//     end
//
//     OUTTRAY_FAULT_FILE=TEXT  counts calls on descriptors only, and of those whose path has TEXT in it
//
// WHO is "own" (the program's objects), or a part of a library's file name such as "libcurl". CALL is a name
// of the table below; "alloc" stands for malloc, calloc, realloc, reallocarray, strdup, strndup and asprintf
// together. ERRNO is a number; with 0, write(2) and pwrite(2) take one octet instead of all.
//
// A line of the report: fault CALL ERRNO OCCURRENCE THREAD PATH CALLER, where CALLER is an offset in the file
// that addr2line(1) understands. After a fault, "sync THREAD PATH" is written for each fsync(2).
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
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
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS(X)                                                                                             \
    X(open)                                                                                                  \
    X(openat)                                                                                                \
    X(read)                                                                                                  \
    X(pread)                                                                                                 \
    X(write)                                                                                                 \
    X(pwrite)                                                                                                \
    X(fsync)                                                                                                 \
    X(renameat)                                                                                              \
    X(renameat2)                                                                                             \
    X(unlinkat)                                                                                              \
    X(linkat)                                                                                                \
    X(mkdirat)                                                                                               \
    X(ftruncate)                                                                                             \
    X(flock)                                                                                                 \
    X(fchmod)                                                                                                \
    X(futimens)                                                                                              \
    X(fstat)                                                                                                 \
    X(fstatat)                                                                                               \
    X(stat)                                                                                                  \
    X(statx)                                                                                                 \
    X(faccessat)                                                                                             \
    X(fdopendir)                                                                                             \
    X(readdir)                                                                                               \
    X(fcntl)                                                                                                 \
    X(epoll_create1)                                                                                         \
    X(epoll_ctl)                                                                                             \
    X(epoll_wait)                                                                                            \
    X(eventfd)                                                                                               \
    X(signalfd)                                                                                              \
    X(inotify_init1)                                                                                         \
    X(inotify_add_watch)                                                                                     \
    X(pthread_create)                                                                                        \
    X(socket)                                                                                                \
    X(connect)                                                                                               \
    X(send)                                                                                                  \
    X(recv)                                                                                                  \
    X(poll)                                                                                                  \
    X(getsockopt)                                                                                            \
    X(setsockopt)                                                                                            \
    X(alloc)

enum call {
#define X(name) CALL_##name,
    CALLS(X)
#undef X
        N_CALLS
};
static const char *const call_names[] = {
#define X(name) #name,
    CALLS(X)
#undef X
};

static struct {
    bool on, own;
    char who[64];
    enum call call;
    int error;
    unsigned first, last;
    int report;       // -1: none
    const char *file; // NULL: whatever it is about
} plan = {.report = -1};

static _Atomic unsigned counts[N_CALLS];
static _Atomic bool happened;
static _Thread_local bool inside;       // of the shim's own work
static _Thread_local int clock_fd = -1; // the file of the test's clock, which no real agent reads
static const char *clock_file;

extern const char __executable_start, etext;

static void report(const char *format, ...)
{
    char text[2 * PATH_MAX];
    va_list args;
    if (plan.report < 0)
        return;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        (void)!syscall(SYS_write, plan.report, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static bool is_own(const void *caller)
{
    return (const char *)caller >= &__executable_start && (const char *)caller < &etext;
}

static bool is_theirs(const void *caller)
{
    Dl_info info;
    return !is_own(caller) && dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, plan.who);
}

static void report_fault(enum call call, unsigned n, int fd, const char *name, const void *caller)
{
    char link[64], directory[PATH_MAX] = "", thread[17] = "";
    if (fd >= 0) {
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, directory, sizeof directory - 1);
        directory[length > 0 ? length : 0] = '\0';
    }
    (void)prctl(PR_GET_NAME, thread);
    report("fault %s %d %u %s %s%s%s %#tx\n", call_names[call], plan.error, n, thread,
        *directory || name ? directory : "-", name && *directory ? "/" : "", name ? name : "",
        is_own(caller) ? (const char *)caller - &__executable_start : 0);
}

// Whether fd is an eventfd, signalfd or inotify: reading and writing those has no disk to fail.
static bool is_anonymous(int fd)
{
    char link[64], target[32] = "";
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return fd >= 0 && readlink(link, target, sizeof target - 1) > 0 &&
           strncmp(target, "anon_inode:", 11) == 0;
}

static bool is_about_file(int fd)
{
    char link[64], path[PATH_MAX];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = fd >= 0 ? readlink(link, path, sizeof path - 1) : -1;
    path[length > 0 ? length : 0] = '\0';
    return strstr(path, plan.file);
}

// The errno of the fault, -1 for a short write, 0 where the call goes its way.
static int fault(enum call call, int fd, const char *name, const void *caller)
{
    if (!plan.on || call != plan.call || inside)
        return 0;
    inside = true;
    bool counted = plan.own ? is_own(caller) : is_theirs(caller);
    if (call == CALL_read || call == CALL_write)
        counted = counted && !is_anonymous(fd);
    if (plan.file)
        counted = counted && is_about_file(fd);
    unsigned n = counted ? atomic_fetch_add(&counts[call], 1) + 1 : 0;
    bool now = counted && n >= plan.first && n <= plan.last;
    if (now) {
        atomic_store(&happened, true);
        report_fault(call, n, fd, name, caller);
    }
    inside = false;
    return !now ? 0 : plan.error ? plan.error : -1;
}

// Counting alone: every call of the program's own, and allocations.
static void count(enum call call, int fd, const void *caller)
{
    if (plan.report >= 0 && !plan.on && !inside) {
        inside = true;
        bool anonymous = (call == CALL_read || call == CALL_write) && is_anonymous(fd);
        if (!anonymous && (plan.own ? is_own(caller) : is_theirs(caller)))
            atomic_fetch_add(&counts[call], 1);
        inside = false;
    }
}

static void at_end(void)
{
    for (int i = 0; i < N_CALLS; i++)
        if (counts[i])
            report("count %s %u\n", call_names[i], counts[i]);
}

__attribute__((constructor)) static void shim_start(void)
{
    const char *text = getenv("OUTTRAY_FAULT"), *file = getenv("OUTTRAY_FAULT_REPORT");
    char who[64] = "own", call[32] = "";
    if (file)
        plan.report =
            (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (plan.report >= 0)
        (void)atexit(at_end);
    clock_file = getenv("OUTTRAY_TEST_CLOCK");
    plan.file = getenv("OUTTRAY_FAULT_FILE");
    plan.own = true;
    if (!text)
        return;
    int n = sscanf(text, "%63[^:]:%31[^:]:%d:%u:%u", who, call, &plan.error, &plan.first, &plan.last);
    plan.own = strcmp(who, "own") == 0;
    memcpy(plan.who, who, sizeof who);
    if (n < 5)
        plan.last = plan.first;
    for (int i = 0; n >= 4 && plan.first > 0 && i < N_CALLS; i++)
        if (strcmp(call, call_names[i]) == 0) {
            plan.call = (enum call)i;
            plan.on = true;
        }
}

#define CALLER __builtin_return_address(0)

// The real function, looked up once.
#define REAL(name)                                                                                           \
    static __typeof__(name) *real;                                                                           \
    if (!real) {                                                                                             \
        bool was = inside;                                                                                   \
        inside = true;                                                                                       \
        *(void **)&real = dlsym(RTLD_NEXT, #name);                                                           \
        inside = was;                                                                                        \
    }

// RESULT NAME(PARAMETERS), with what to say of it (a descriptor and a name) and how it is called.
#define WRAP(result, name, parameters, fd, path, fails, arguments)                                           \
    result name parameters                                                                                   \
    {                                                                                                        \
        REAL(name)                                                                                           \
        count(CALL_##name, -1, CALLER);                                                                      \
        int error = fault(CALL_##name, fd, path, CALLER);                                                    \
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
    count(CALL_open, -1, CALLER);
    int error = fault(CALL_open, -1, path, CALLER);
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
    count(CALL_openat, -1, CALLER);
    int error = fault(CALL_openat, dir, path, CALLER);
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
        count(CALL_read, fd, CALLER);
        error = fault(CALL_read, fd, NULL, CALLER);
        errno = error > 0 ? error : errno;
    }
    return error > 0 ? -1 : real(fd, data, length);
}

ssize_t write(int fd, const void *data, size_t length)
{
    REAL(write)
    count(CALL_write, fd, CALLER);
    int error = fault(CALL_write, fd, NULL, CALLER);
    errno = error > 0 ? error : errno;
    return error > 0 ? -1 : real(fd, data, error < 0 && length > 1 ? 1 : length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    REAL(pwrite)
    count(CALL_pwrite, -1, CALLER);
    int error = fault(CALL_pwrite, fd, NULL, CALLER);
    errno = error > 0 ? error : errno;
    return error > 0 ? -1 : real(fd, data, error < 0 && length > 1 ? 1 : length, offset);
}

// Tells of the first one that failed, whoever made it fail, and of every one behind it.
int fsync(int fd)
{
    REAL(fsync)
    bool after = atomic_load(&happened);
    count(CALL_fsync, -1, CALLER);
    int error = fault(CALL_fsync, fd, NULL, CALLER);
    int result = error > 0 ? -1 : real(fd);
    error = result ? (error > 0 ? error : errno) : 0;
    bool failed = error && error != EINTR && plan.on && plan.call == CALL_fsync;
    if (failed || (after && plan.call == CALL_fsync)) {
        char link[64], path[PATH_MAX], thread[17] = "";
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length > 0 ? length : 0] = '\0';
        (void)prctl(PR_GET_NAME, thread);
        if (after)
            report("sync %s %s\n", thread, path);
        else
            report("failed %s %d %s\n", thread, error, path);
    }
    if (failed)
        atomic_store(&happened, true);
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
    count(CALL_fcntl, -1, CALLER);
    int error = fault(CALL_fcntl, fd, NULL, CALLER);
    errno = error > 0 ? error : errno;
    return error > 0 ? -1 : real(fd, command, argument);
}

// Tells its error as its result.
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    REAL(pthread_create)
    count(CALL_pthread_create, -1, CALLER);
    int error = fault(CALL_pthread_create, -1, NULL, CALLER);
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
    count(CALL_alloc, -1, caller);
    if (!fault(CALL_alloc, -1, NULL, caller))
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
