// What is to fail, and what is told of it.
//
//     OUTTRAY_FAULT=WHO:CALL:ERRNO:FIRST[:LAST]  occurrences FIRST … LAST (default FIRST) of CALL by WHO fail
//     OUTTRAY_FAULT_REPORT=FILE                  gets a line for each of them, and the counts at the end
//     OUTTRAY_FAULT_FILE=TEXT                    only calls on descriptors whose path has TEXT in it count
//
// WHO is "own" (the program's objects), or a part of a library's file name such as "libcurl". CALL is a name
// of the table below; "alloc" stands for malloc, calloc, realloc, reallocarray, strdup, strndup and asprintf
// together. ERRNO is a number; with 0, write(2) and pwrite(2) take one octet instead of all.
//
// A line of the report: fault CALL ERRNO OCCURRENCE THREAD PATH CALLER, where CALLER is an offset in the file
// that addr2line(1) understands. After a fault, "sync THREAD PATH" is written for each fsync(2).
#ifndef OUTTRAY_TESTS_FAULT_PLAN_H
#define OUTTRAY_TESTS_FAULT_PLAN_H

#include <stdbool.h>

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

extern _Atomic bool plan_happened;     // a fault, or an fsync(2) that failed by itself
extern _Thread_local bool plan_inside; // the shim's own work, in which nothing is counted and nothing fails

// Whether occurrences of this call are to fail.
bool plan_is_of(enum call call);

// The errno of the fault, -1 for a short write, 0 where the call goes its way. caller: the return address of
// the call that was made.
int plan_fault(enum call call, int fd, const char *name, const void *caller);

// Counting alone: every call of the program's own, and allocations.
void plan_count(enum call call, int fd, const void *caller);

// Writes to the report, where there is one.
void plan_report(const char *format, ...);

#endif
