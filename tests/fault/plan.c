// The plan of faults: read from the environment, asked at each call, reported.
#include "plan.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

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
_Atomic bool plan_happened;
_Thread_local bool plan_inside;

extern const char __executable_start, etext;

void plan_report(const char *format, ...)
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

bool plan_is_of(enum call call)
{
    return plan.on && plan.call == call;
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
    plan_report("fault %s %d %u %s %s%s%s %#tx\n", call_names[call], plan.error, n, thread,
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

int plan_fault(enum call call, int fd, const char *name, const void *caller)
{
    if (!plan_is_of(call) || plan_inside)
        return 0;
    plan_inside = true;
    bool counted = plan.own ? is_own(caller) : is_theirs(caller);
    if (call == CALL_read || call == CALL_write)
        counted = counted && !is_anonymous(fd);
    if (plan.file)
        counted = counted && is_about_file(fd);
    unsigned n = counted ? atomic_fetch_add(&counts[call], 1) + 1 : 0;
    bool now = counted && n >= plan.first && n <= plan.last;
    if (now) {
        atomic_store(&plan_happened, true);
        report_fault(call, n, fd, name, caller);
    }
    plan_inside = false;
    return !now ? 0 : plan.error ? plan.error : -1;
}

void plan_count(enum call call, int fd, const void *caller)
{
    if (plan.report >= 0 && !plan.on && !plan_inside) {
        plan_inside = true;
        bool anonymous = (call == CALL_read || call == CALL_write) && is_anonymous(fd);
        if (!anonymous && (plan.own ? is_own(caller) : is_theirs(caller)))
            atomic_fetch_add(&counts[call], 1);
        plan_inside = false;
    }
}

static void at_end(void)
{
    for (int i = 0; i < N_CALLS; i++)
        if (counts[i])
            plan_report("count %s %u\n", call_names[i], counts[i]);
}

__attribute__((constructor)) static void plan_start(void)
{
    const char *text = getenv("OUTTRAY_FAULT"), *file = getenv("OUTTRAY_FAULT_REPORT");
    char who[64] = "own", call[32] = "";
    if (file)
        plan.report =
            (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (plan.report >= 0)
        (void)atexit(at_end);
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
