// Runs a program and watches every call by which it changes something below a directory; kills it at one of
// them.
//
//   tracer --below DIRECTORY [--list FILE] [--kill N | --kill-at CALL [--kill N]] -- PROGRAM [ARGUMENT]...
//
// A seccomp filter hands the mutating system calls of all threads and children to this process (seccomp(2),
// SECCOMP_RET_TRACE; ptrace(2), PTRACE_EVENT_SECCOMP) before they run, whoever makes them: libc, a library,
// or bare assembler. Those that touch DIRECTORY are counted, and named in FILE, one a line ("-": standard
// output stays the program's, so FILE is a file). With --kill N the program is killed by SIGKILL instead of
// making the N-th of them; with --kill-at it is the N-th (default: the first) of those whose name is CALL.
//
// A name is the call and its paths below DIRECTORY: "renameat2 acme/new/m -> acme/cur/main/m". SIGTERM,
// SIGINT and SIGHUP are handed on to the program. The exit status is the program's, 128 + signal where one
// ended it, 137 where this program killed it, 125 for trouble of its own; FILE ends with "killed NAME" where
// it did.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define TROUBLE   125
#define CALLS_MAX 64
#define PATH_SIZE (PATH_MAX + 64)

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "which AUDIT_ARCH_ is this?"
#endif

// Where a call's paths are: at a path argument below a directory argument, at a descriptor, or both twice.
enum form {
    FORM_FD,       // a descriptor in argument 0
    FORM_FD_OUT,   // a descriptor in argument 2
    FORM_PATH,     // a path in argument 0
    FORM_AT,       // a directory in argument 0, a path in argument 1 (none: the descriptor itself)
    FORM_PATHS,    // two paths
    FORM_ATS,      // two of FORM_AT
    FORM_OPEN,     // FORM_PATH, flags in argument 1
    FORM_OPENAT,   // FORM_AT, flags in argument 2
    FORM_OPENAT2,  // FORM_AT, flags in *argument 2
    FORM_ANYWHERE, // no path: counts always
};

struct call {
    long number;
    enum form form;
    const char *name;
};

#define CALL(name, form)                                                                                     \
    {                                                                                                        \
        SYS_##name, form, #name                                                                              \
    }
static const struct call calls[] = {
#ifdef SYS_open // what only the older architectures have
    CALL(open, FORM_OPEN), CALL(creat, FORM_PATH), CALL(rename, FORM_PATHS), CALL(link, FORM_PATHS),
    CALL(unlink, FORM_PATH), CALL(mkdir, FORM_PATH), CALL(rmdir, FORM_PATH), CALL(chmod, FORM_PATH),
    CALL(chown, FORM_PATH), CALL(utime, FORM_PATH), CALL(utimes, FORM_PATH), CALL(futimesat, FORM_AT),
    CALL(mknod, FORM_PATH), CALL(symlink, FORM_PATHS),
#endif
    CALL(openat, FORM_OPENAT), CALL(openat2, FORM_OPENAT2), CALL(renameat, FORM_ATS),
    CALL(renameat2, FORM_ATS), CALL(linkat, FORM_ATS), CALL(unlinkat, FORM_AT), CALL(mkdirat, FORM_AT),
    CALL(mknodat, FORM_AT), CALL(fchmodat, FORM_AT), CALL(fchownat, FORM_AT), CALL(utimensat, FORM_AT),
    CALL(fsync, FORM_FD), CALL(fdatasync, FORM_FD), CALL(syncfs, FORM_FD), CALL(sync, FORM_ANYWHERE),
    CALL(sync_file_range, FORM_FD), CALL(write, FORM_FD), CALL(writev, FORM_FD), CALL(pwrite64, FORM_FD),
    CALL(pwritev, FORM_FD), CALL(pwritev2, FORM_FD), CALL(ftruncate, FORM_FD), CALL(truncate, FORM_PATH),
    CALL(fallocate, FORM_FD), CALL(fchmod, FORM_FD), CALL(fchown, FORM_FD), CALL(setxattr, FORM_PATH),
    CALL(fsetxattr, FORM_FD), CALL(sendfile, FORM_FD), CALL(copy_file_range, FORM_FD_OUT)};

static const char *below;
static size_t below_length;
static FILE *list;
static const char *kill_at;
static unsigned long kill_number, counted;
static volatile sig_atomic_t child;

static void die(const char *what)
{
    fprintf(stderr, "tracer: %s: %s\n", what, strerror(errno));
    if (child)
        kill(child, SIGKILL);
    exit(TROUBLE);
}

// The filter: the calls of the table go to the tracer, the rest is none of its business.
static void install_filter(void)
{
    enum { N = sizeof calls / sizeof *calls };
    static_assert(N <= CALLS_MAX, "jumps of a filter are 8 bits wide");
    struct sock_filter code[N + 6];
    size_t n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < N; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(
            BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number, (uint8_t)(N - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        _exit(TROUBLE);
}

// Reads a text of the program's memory, up to the end of the page that its end is in.
static void read_text(pid_t tid, uint64_t at, char ret_text[static PATH_MAX])
{
    size_t done = 0;
    ret_text[0] = '\0';
    while (at && done < PATH_MAX - 1) {
        size_t n = 256 - (size_t)((at + done) % 256);
        n = n < PATH_MAX - 1 - done ? n : PATH_MAX - 1 - done;
        struct iovec to = {ret_text + done, n}, from = {(void *)(uintptr_t)(at + done), n};
        if (process_vm_readv(tid, &to, 1, &from, 1, 0) != (ssize_t)n)
            break;
        if (memchr(ret_text + done, '\0', n))
            return;
        done += n;
    }
    ret_text[done] = '\0';
}

// What a descriptor of the program is open on; its working directory for AT_FDCWD.
static void path_of_fd(pid_t tid, int fd, char ret_path[static PATH_SIZE])
{
    char link[64];
    if (fd == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/%d/cwd", (int)tid);
    else
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)tid, fd);
    ssize_t n = readlink(link, ret_path, PATH_SIZE - 1);
    ret_path[n < 0 ? 0 : n] = '\0';
}

static void path_at(pid_t tid, int fd, uint64_t text, char ret_path[static PATH_SIZE])
{
    char name[PATH_MAX];
    read_text(tid, text, name);
    if (name[0] == '/') {
        snprintf(ret_path, PATH_SIZE, "%s", name);
        return;
    }
    path_of_fd(tid, fd, ret_path);
    size_t length = strlen(ret_path);
    if (name[0])
        snprintf(ret_path + length, PATH_SIZE - length, "/%s", name);
}

static bool is_below(const char *path)
{
    return strncmp(path, below, below_length) == 0 && (path[below_length] == '/' || !path[below_length]);
}

static const char *shorten(const char *path)
{
    return !is_below(path) ? path : path[below_length] ? path + below_length + 1 : ".";
}

static bool opens_for_writing(uint64_t flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
}

// The name of the call; false where it is none that counts.
static bool describe(
    pid_t tid, const struct call *call, const uint64_t *arguments, char *ret_name, size_t size)
{
    char first[PATH_SIZE] = "", second[PATH_SIZE] = "";
    struct open_how how = {0};
    switch (call->form) {
    case FORM_FD:
        path_of_fd(tid, (int)arguments[0], first);
        break;
    case FORM_FD_OUT:
        path_of_fd(tid, (int)arguments[2], first);
        break;
    case FORM_OPEN:
        if (!opens_for_writing(arguments[1]))
            return false;
        // fall through
    case FORM_PATH:
        path_at(tid, AT_FDCWD, arguments[0], first);
        break;
    case FORM_OPENAT:
        if (!opens_for_writing(arguments[2]))
            return false;
        path_at(tid, (int)arguments[0], arguments[1], first);
        break;
    case FORM_OPENAT2: {
        struct iovec to = {&how, sizeof how}, from = {(void *)(uintptr_t)arguments[2], sizeof how};
        if (process_vm_readv(tid, &to, 1, &from, 1, 0) < (ssize_t)sizeof how.flags ||
            !opens_for_writing(how.flags))
            return false;
        path_at(tid, (int)arguments[0], arguments[1], first);
        break;
    }
    case FORM_AT:
        path_at(tid, (int)arguments[0], arguments[1], first);
        break;
    case FORM_PATHS:
        path_at(tid, AT_FDCWD, arguments[0], first);
        path_at(tid, AT_FDCWD, arguments[1], second);
        break;
    case FORM_ATS:
        path_at(tid, (int)arguments[0], arguments[1], first);
        path_at(tid, (int)arguments[2], arguments[3], second);
        break;
    case FORM_ANYWHERE:
        snprintf(ret_name, size, "%s", call->name);
        return true;
    }
    if (!is_below(first) && !is_below(second))
        return false;
    snprintf(ret_name, size, "%s %s%s%s", call->name, shorten(first), second[0] ? " -> " : "",
        second[0] ? shorten(second) : "");
    return true;
}

// True where the program dies here.
static bool on_call(pid_t tid)
{
    struct __ptrace_syscall_info info;
    char name[3 * PATH_MAX];
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) < 0)
        return false; // it was killed meanwhile
    const struct call *call = NULL;
    for (size_t i = 0; i < sizeof calls / sizeof *calls && !call; i++)
        if (calls[i].number == (long)info.seccomp.nr)
            call = &calls[i];
    uint64_t arguments[6];
    memcpy(arguments, info.seccomp.args, sizeof arguments);
    if (!call || !describe(tid, call, arguments, name, sizeof name))
        return false;
    if (!kill_at || strcmp(kill_at, name) == 0)
        counted++;
    bool over = kill_number && counted == kill_number;
    if (list) {
        fprintf(list, "%s%s\n", over ? "killed " : "", name);
        fflush(list);
    }
    return over;
}

static void hand_on(int number)
{
    if (child)
        kill(child, number);
}

static pid_t start(char **command)
{
    int go[2];
    if (pipe2(go, O_CLOEXEC))
        die("pipe");
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        char byte;
        if (read(go[0], &byte, 1) != 1)
            _exit(TROUBLE);
        install_filter();
        execvp(command[0], command);
        perror(command[0]);
        _exit(TROUBLE);
    }
    child = pid;
    if (ptrace(PTRACE_SEIZE, pid, NULL,
            PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                PTRACE_O_EXITKILL) < 0)
        die("PTRACE_SEIZE");
    if (write(go[1], "", 1) != 1)
        die("write");
    close(go[0]);
    close(go[1]);
    return pid;
}

// Until the program itself is gone; returns the exit status.
static int follow(pid_t pid)
{
    bool killed = false;
    for (;;) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0 && errno == EINTR)
            continue;
        if (tid < 0)
            die("waitpid");
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (tid != pid)
                continue;
            return killed ? 128 + SIGKILL : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        int event = status >> 16, number = WSTOPSIG(status);
        if (event == PTRACE_EVENT_SECCOMP && !killed && on_call(tid)) {
            killed = true;
            kill(pid, SIGKILL);
            continue;
        }
        // What is no event is a signal on its way to the program.
        ptrace(PTRACE_CONT, tid, NULL, (void *)(uintptr_t)(event ? 0 : number));
    }
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"below", required_argument, NULL, 'b'},
        {"list", required_argument, NULL, 'l'}, {"kill", required_argument, NULL, 'k'},
        {"kill-at", required_argument, NULL, 'a'}, {0}};
    for (int option; (option = getopt_long(argc, argv, "+", names, NULL)) != -1;) {
        if (option == '?')
            return TROUBLE;
        below = option == 'b' ? optarg : below;
        kill_at = option == 'a' ? optarg : kill_at;
        kill_number = option == 'k' ? strtoul(optarg, NULL, 10) : kill_number;
        if (option == 'l' && !(list = fopen(optarg, "we")))
            die(optarg);
    }
    if (!below || optind >= argc) {
        fprintf(stderr, "tracer: see the first lines of tests/crash/tracer.c\n");
        return TROUBLE;
    }
    below_length = strlen(below);
    kill_number = kill_at && !kill_number ? 1 : kill_number;
    pid_t pid = start(argv + optind);
    const struct sigaction handed = {.sa_handler = hand_on};
    sigaction(SIGTERM, &handed, NULL);
    sigaction(SIGINT, &handed, NULL);
    sigaction(SIGHUP, &handed, NULL);
    return follow(pid);
}
