// The second wall: a filter of system calls (seccomp(2)), made from one table.
//
// What is not in the table fails with EPERM, and with ENOSYS where it is newer than the table: the C library
// then falls back to what it knew before. Nothing is killed: an agent that dies of a refused call is worse
// than one that says what was refused. The filter is ours and not libseccomp's, since a list and six
// conditions need no compiler. The kernel remembers which calls are always allowed, so the length of the
// table costs nothing (Linux 5.11).
#include "sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#else
#define FILTER_ARCH 0 // not known: no filter
#endif

#if defined(__SANITIZE_ADDRESS__)
#define FILTER_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FILTER_SANITIZED 1
#endif
#endif
#ifndef FILTER_SANITIZED
#define FILTER_SANITIZED 0
#endif

#define FILTER_NEWEST 451 // calls from this number on are not known to the table

// Always allowed. A call that this processor does not have is left out by its #ifdef.
// clang-format off
static const unsigned allowed[] = {
    // files
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2,
    SYS_pwritev2, SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_lseek,
    SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_syncfs, SYS_fallocate, SYS_ftruncate, SYS_fadvise64, SYS_readahead,
    SYS_renameat2, SYS_unlinkat, SYS_linkat, SYS_mkdirat, SYS_readlinkat, SYS_getdents64, SYS_fcntl, SYS_flock,
    SYS_utimensat, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_faccessat, SYS_faccessat2, SYS_umask,
    SYS_getcwd, SYS_statfs, SYS_fstatfs, SYS_dup, SYS_dup3, SYS_pipe2, SYS_sendfile,
    // events
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_timerfd_create,
    SYS_timerfd_settime, SYS_timerfd_gettime, SYS_signalfd4, SYS_inotify_init1, SYS_inotify_add_watch,
    SYS_inotify_rm_watch, SYS_ppoll, SYS_pselect6,
    // network; socket and ioctl have conditions
    SYS_connect, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_getsockname, SYS_getpeername, SYS_setsockopt,
    SYS_getsockopt, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_shutdown,
    SYS_socketpair,
    // memory
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk, SYS_mlock, SYS_mlock2, SYS_munlock, SYS_msync,
    // threads, signals, the end; clone has a condition
    SYS_futex, SYS_futex_waitv, SYS_get_robust_list, SYS_set_robust_list, SYS_set_tid_address, SYS_rseq, SYS_membarrier,
    SYS_exit, SYS_exit_group, SYS_gettid, SYS_sched_yield, SYS_sched_getaffinity, SYS_getcpu, SYS_prctl,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
    SYS_sigaltstack, SYS_tgkill, SYS_restart_syscall, SYS_wait4, SYS_waitid,
    // who and when
    SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getgroups, SYS_getresuid,
    SYS_getresgid, SYS_getpgid, SYS_getsid, SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep,
    SYS_gettimeofday, SYS_getrandom, SYS_uname, SYS_sysinfo, SYS_prlimit64, SYS_getrlimit, SYS_setrlimit, SYS_getrusage,
    SYS_times,
#ifdef __x86_64__ // the older forms, which newer processors never had
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_rename, SYS_renameat, SYS_unlink, SYS_link, SYS_mkdir, SYS_rmdir,
    SYS_readlink, SYS_getdents, SYS_chmod, SYS_pipe, SYS_dup2, SYS_epoll_create, SYS_epoll_wait, SYS_eventfd,
    SYS_signalfd, SYS_inotify_init, SYS_poll, SYS_select, SYS_time, SYS_getpgrp, SYS_arch_prctl, SYS_utimes,
#endif
#if FILTER_SANITIZED // LeakSanitizer looks at the threads of the process from another one
    SYS_ptrace, SYS_process_vm_readv, SYS_clone, SYS_kill,
#endif
};
// clang-format on

static const unsigned families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}; // the last: getaddrinfo(3)
// Landlock holds TCP to its ports, and not what speaks like it: Multipath TCP, SCTP. 0 is each family's own.
static const unsigned protocols[] = {0, IPPROTO_TCP, IPPROTO_UDP};
static const unsigned ioctls[] = {FIONBIO, FIONREAD, TIOCOUTQ, TCGETS, TIOCGWINSZ};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define PROGRAM_MAX  (COUNT(allowed) * 2 + COUNT(families) + COUNT(protocols) + COUNT(ioctls) + 32)

struct program {
    struct sock_filter code[PROGRAM_MAX];
    unsigned short n;
};

static void put(struct program *program, unsigned code, unsigned k, unsigned yes, unsigned no)
{
    program->code[program->n++] =
        (struct sock_filter){(unsigned short)code, (unsigned char)yes, (unsigned char)no, k};
}

static void put_load(struct program *program, size_t offset)
{
    put(program, BPF_LD | BPF_W | BPF_ABS, (unsigned)offset, 0, 0);
}

static void put_return(struct program *program, unsigned what)
{
    put(program, BPF_RET | BPF_K, what, 0, 0);
}

#define REFUSE(error) (SECCOMP_RET_ERRNO | (error))

// The low half of an argument; all that are compared are int, or flags below 1 << 32.
static size_t argument(unsigned i)
{
    return offsetof(struct seccomp_data, args) + i * sizeof(uint64_t) +
           (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? sizeof(uint32_t) : 0);
}

// Goes on where the argument is one of these.
static void put_condition(struct program *program, unsigned index, const unsigned *values, size_t n)
{
    put_load(program, argument(index));
    for (size_t i = 0; i < n; i++)
        put(program, BPF_JMP | BPF_JEQ | BPF_K, values[i], (unsigned)(n - i), 0);
    put_return(program, REFUSE(EPERM));
}

// The call is allowed where its argument is one of these.
static void put_one_of(
    struct program *program, unsigned call, unsigned index, const unsigned *values, size_t n)
{
    put(program, BPF_JMP | BPF_JEQ | BPF_K, call, 0, (unsigned)(n + 3));
    put_condition(program, index, values, n);
    put_return(program, SECCOMP_RET_ALLOW);
}

static void put_socket(struct program *program)
{
    put(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0,
        (unsigned)(COUNT(families) + COUNT(protocols) + 5));
    put_condition(program, 0, families, COUNT(families));
    put_condition(program, 2, protocols, COUNT(protocols));
    put_return(program, SECCOMP_RET_ALLOW);
}

// clone makes threads and no processes; clone3 hides its flags behind a pointer, so the library shall use
// clone.
static void put_threads_only(struct program *program)
{
    put(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
    put_return(program, REFUSE(ENOSYS));
    put(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4);
    put_load(program, argument(0));
    put(program, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
    put_return(program, SECCOMP_RET_ALLOW);
    put_return(program, REFUSE(EPERM));
}

static void seccomp_write(struct program *program)
{
    program->n = 0;
    put_load(program, offsetof(struct seccomp_data, arch));
    put(program, BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
    put_return(program, REFUSE(EPERM)); // another calling convention
    put_load(program, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < COUNT(allowed); i++) {
        put(program, BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
        put_return(program, SECCOMP_RET_ALLOW);
    }
    put_socket(program);
    put_one_of(program, SYS_ioctl, 1, ioctls, COUNT(ioctls));
    put_threads_only(program);
    put(program, BPF_JMP | BPF_JGE | BPF_K, FILTER_NEWEST, 0, 1);
    put_return(program, REFUSE(ENOSYS));
    put_return(program, REFUSE(EPERM));
}

bool seccomp_is_there(void)
{
    // A filter that does not exist: EFAULT says that filters as such do.
    return FILTER_ARCH && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) && errno == EFAULT;
}

int seccomp_enter(void)
{
    struct program program;
    if (!FILTER_ARCH)
        return -ENOSYS;
    seccomp_write(&program);
    struct sock_fprog fprog = {program.n, program.code};
    // Without the flag, older kernels slow the whole process down against a hole that needs foreign code in
    // it.
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &fprog) == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog) ? -errno : 0;
}
