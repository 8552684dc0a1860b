// The helper's loop: requests in, programs run, replies out. One thread, poll(2).
#include "hook_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER_FILES_MAX 1024 // descriptors of a hook: what programs expect, not what the agent has

struct running { // one program
    pid_t pid;   // also its process group; 0: this place is free
    uint32_t id;
    int64_t started, due; // due: SIGTERM, then SIGKILL
    bool terminated, timed_out;
    int input, output; // pipes; -1: closed
    char *text;        // the whole packet; its end is what is written to input
    size_t left, at;   // of the input
    char words[HOOK_WORDS_MAX];
    size_t n_words;
};

struct helper {
    int socket, signals;
    bool closed; // the agent is gone
    int64_t gone_at;
    struct running running[HOOK_RUNNING_MAX];
    char packet[HOOK_PACKET_MAX];
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void helper_reply(struct helper *helper, struct running *running, int status)
{
    struct hook_reply reply = {.id = running->id,
        .status = status,
        .ms = (uint32_t)((clock_work() - running->started) / CLOCK_MS),
        .timed_out = running->timed_out};
    memcpy(reply.words, running->words,
        running->n_words < HOOK_WORDS_MAX ? running->n_words : HOOK_WORDS_MAX - 1);
    if (!helper->closed)
        (void)send(helper->socket, &reply, sizeof reply, MSG_NOSIGNAL);
    close_fd(&running->input);
    close_fd(&running->output);
    free(running->text);
    *running = (struct running){.input = -1, .output = -1};
}

// In the child: everything of the helper is shed, then the program.
static _Noreturn void child_exec(const char *event, char *const argv[], int input, int output)
{
    char name[64];
    (void)snprintf(name, sizeof name, "OUTTRAY_EVENT=%s", event);
    char *const environment[] = {(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        (char *)"HOME=/", (char *)"LANG=C.UTF-8", name, NULL};
    struct rlimit files;
    sigset_t none;
    sigemptyset(&none);
    (void)setsid();
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > HELPER_FILES_MAX) {
        files.rlim_cur = HELPER_FILES_MAX;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
        _exit(126);
    (void)close_range(STDERR_FILENO + 1, ~0u, 0);
    execve(argv[0], argv, environment);
    dprintf(STDERR_FILENO, "%s cannot be run: %s", argv[0], strerror(errno));
    _exit(127);
}

static void child_fail(struct helper *helper, struct running *running, int error)
{
    running->n_words =
        (size_t)snprintf(running->words, sizeof running->words, "cannot be started: %s", strerror(error));
    helper_reply(helper, running, -1);
}

static void helper_spawn(
    struct helper *helper, struct running *running, const char *event, char *const argv[])
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
        int error = errno;
        close_fd(&in[0]);
        close_fd(&in[1]);
        child_fail(helper, running, error);
        return;
    }
    pid_t pid = fork();
    if (pid == 0)
        child_exec(event, argv, in[0], out[1]);
    int error = errno;
    close(in[0]);
    close(out[1]);
    running->input = in[1];
    running->output = out[0];
    if (pid < 0) {
        child_fail(helper, running, error);
        return;
    }
    running->pid = pid;
    (void)fcntl(running->input, F_SETFL, O_NONBLOCK);
    (void)fcntl(running->output, F_SETFL, O_NONBLOCK);
    if (!running->left)
        close_fd(&running->input);
}

// The texts of a packet: event, then argv. False where it does not hold what its head says.
static bool request_argv(const struct hook_request *request, char *texts, char *argv[HOOK_ARGV_MAX + 1])
{
    char *at = texts + strnlen(texts, request->texts_size) + 1, *end = texts + request->texts_size;
    if (!request->texts_size || end[-1] != '\0' || !request->n_argv || request->n_argv > HOOK_ARGV_MAX)
        return false;
    for (uint32_t i = 0; i < request->n_argv; i++) {
        if (at >= end)
            return false;
        argv[i] = at;
        at += strlen(at) + 1;
    }
    argv[request->n_argv] = NULL;
    return true;
}

static struct running *helper_place(struct helper *helper)
{
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        if (!helper->running[i].pid)
            return &helper->running[i];
    return NULL;
}

static void helper_request(struct helper *helper, size_t length)
{
    struct hook_request request;
    struct running *running = helper_place(helper);
    char *argv[HOOK_ARGV_MAX + 1];
    if (length < sizeof request || !running)
        return;
    memcpy(&request, helper->packet, sizeof request);
    size_t texts = request.texts_size, input = request.input_size;
    if (texts > length || input > length || sizeof request + texts + input != length)
        return;
    *running = (struct running){.id = request.id, .input = -1, .output = -1, .started = clock_work()};
    running->due = running->started + (int64_t)request.timeout_ms * CLOCK_MS;
    running->text = malloc(length);
    if (!running->text) {
        child_fail(helper, running, ENOMEM);
        return;
    }
    memcpy(running->text, helper->packet + sizeof request, length - sizeof request);
    running->at = texts;
    running->left = input;
    if (request_argv(&request, running->text, argv))
        helper_spawn(helper, running, running->text, argv);
    else
        child_fail(helper, running, EINVAL);
}

static void helper_read(struct helper *helper)
{
    ssize_t length = recv(helper->socket, helper->packet, sizeof helper->packet, MSG_DONTWAIT);
    if (length > 0)
        helper_request(helper, (size_t)length);
    else if (length == 0 || (errno != EAGAIN && errno != EINTR))
        helper->closed = true;
}

static void running_write(struct running *running)
{
    ssize_t n = write(running->input, running->text + running->at, running->left);
    if (n > 0) {
        running->at += (size_t)n;
        running->left -= (size_t)n;
    }
    if (!running->left || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(&running->input); // all of it is written, or nobody reads it
}

// What does not fit is read all the same: a full pipe would stop the program.
static void running_read(struct running *running)
{
    char text[4096];
    ssize_t n = read(running->output, text, sizeof text);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(&running->output);
    size_t room = sizeof running->words - 1 - running->n_words, got = n > 0 ? (size_t)n : 0;
    memcpy(running->words + running->n_words, text, got < room ? got : room);
    running->n_words += got < room ? got : room;
}

static void helper_reap(struct helper *helper)
{
    struct signalfd_siginfo info;
    while (read(helper->signals, &info, sizeof info) == (ssize_t)sizeof info)
        helper->closed |= info.ssi_signo == SIGTERM; // the agent died
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
        struct running *running = &helper->running[i];
        int status;
        if (!running->pid || waitpid(running->pid, &status, WNOHANG) != running->pid)
            continue;
        if (running->output >= 0)
            running_read(running);
        helper_reply(helper, running, status);
    }
}

// Time is up: a request first, then the end. Returns how long poll may sleep, in ms.
static int helper_clock(struct helper *helper)
{
    int64_t now = clock_work(), next = INT64_MAX;
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
        struct running *running = &helper->running[i];
        if (!running->pid)
            continue;
        if (helper->closed && running->due > helper->gone_at + HOOK_GRACE_NS)
            running->due = helper->gone_at + HOOK_GRACE_NS;
        if (now >= running->due) {
            (void)kill(-running->pid, running->terminated ? SIGKILL : SIGTERM);
            running->timed_out = running->terminated = true;
            running->due = now + HOOK_KILL_NS;
        }
        next = running->due < next ? running->due : next;
    }
    return next == INT64_MAX ? -1 : (int)((next - now) / CLOCK_MS) + 1;
}

static bool helper_is_idle(const struct helper *helper)
{
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        if (helper->running[i].pid)
            return false;
    return true;
}

static void helper_loop(struct helper *helper)
{
    while (!helper->closed || !helper_is_idle(helper)) {
        struct pollfd fds[2 + 2 * HOOK_RUNNING_MAX] = {
            {helper->closed ? -1 : helper->socket, POLLIN, 0}, {helper->signals, POLLIN, 0}};
        for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
            fds[2 + 2 * i] = (struct pollfd){helper->running[i].input, POLLOUT, 0};
            fds[3 + 2 * i] = (struct pollfd){helper->running[i].output, POLLIN, 0};
        }
        if (poll(fds, 2 + 2 * HOOK_RUNNING_MAX, helper_clock(helper)) < 0 && errno != EINTR)
            break;
        for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
            if (fds[2 + 2 * i].revents)
                running_write(&helper->running[i]);
            if (fds[3 + 2 * i].revents)
                running_read(&helper->running[i]);
        }
        if (fds[1].revents)
            helper_reap(helper);
        if (fds[0].revents && !helper->closed)
            helper_read(helper);
        if (helper->closed && !helper->gone_at)
            helper->gone_at = clock_work();
    }
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        if (helper->running[i].pid)
            (void)kill(-helper->running[i].pid, SIGKILL);
}

// Everything that was the agent's goes, its lock on the spool above all. The socket becomes descriptor 3.
static _Noreturn void helper_main(int socket, pid_t agent)
{
    struct helper *helper = calloc(1, sizeof *helper);
    sigset_t set;
    int null = open("/dev/null", O_RDWR);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        (void)dup2(null, fd);
    if (!helper || chdir("/") || dup2(socket, STDERR_FILENO + 1) < 0)
        _exit(1);
    (void)close_range(STDERR_FILENO + 2, ~0u, 0);
    helper->socket = STDERR_FILENO + 1;
    (void)fcntl(helper->socket, F_SETFD, FD_CLOEXEC);
    (void)prctl(PR_SET_NAME, "outtray-hooks");
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT); // of the terminal: the agent decides
    sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_SETMASK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    sigdelset(&set, SIGINT);
    sigdelset(&set, SIGHUP);
    helper->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        helper->running[i].input = helper->running[i].output = -1;
    if (helper->signals >= 0 && getppid() == agent)
        helper_loop(helper);
    _exit(0);
}

int hook_helper_start(int *ret_fd, pid_t *ret_pid)
{
    int pair[2];
    pid_t agent = getpid();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return -errno;
    int room = 2 * HOOK_PACKET_MAX;
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        helper_main(pair[1], agent);
    }
    int error = errno;
    close(pair[1]);
    if (pid < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK)) {
        close(pair[0]);
        return -error;
    }
    *ret_fd = pair[0];
    *ret_pid = pid;
    return 0;
}
