// Requests in, programs run, replies out. One thread, on the loop.
#include "hook_helper.h"
#include "config/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER_FILES_MAX 1024 // descriptors of a hook: what programs expect, not what the agent has

static void running_close(struct hook_running *running, struct loop_watch *pipe)
{
    int fd = pipe->fd;
    loop_watch_remove(running->helper->loop, pipe);
    fd_close(&fd);
}

static void running_init(struct hook_helper *helper, struct hook_running *running);

static void helper_reply(struct hook_helper *helper, struct hook_running *running, int status)
{
    struct hook_reply reply = {.id = running->id,
        .status = status,
        .ms = (uint32_t)((clock_work() - running->started) / CLOCK_MS),
        .timed_out = running->timed_out};
    memcpy(reply.words, running->words,
        running->n_words < HOOK_WORDS_MAX ? running->n_words : HOOK_WORDS_MAX - 1);
    if (!helper->closed)
        (void)send(helper->socket, &reply, sizeof reply, MSG_NOSIGNAL);
    running_close(running, &running->input);
    running_close(running, &running->output);
    free(running->text);
    running_init(helper, running);
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
    if (chdir("/"))
        _exit(126);
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

static void child_fail(struct hook_helper *helper, struct hook_running *running, int error)
{
    running->n_words =
        (size_t)snprintf(running->words, sizeof running->words, "cannot be started: %s", strerror(error));
    helper_reply(helper, running, -1);
}

static void helper_spawn(
    struct hook_helper *helper, struct hook_running *running, const char *event, char *const argv[])
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
        int error = errno;
        fd_close(&in[0]);
        fd_close(&in[1]);
        child_fail(helper, running, error);
        return;
    }
    pid_t pid = fork();
    if (pid == 0)
        child_exec(event, argv, in[0], out[1]);
    int error = errno;
    close(in[0]);
    close(out[1]);
    (void)fcntl(in[1], F_SETFL, O_NONBLOCK);
    (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    if (pid < 0 || !running->left || loop_watch_add(helper->loop, &running->input, in[1], EPOLLOUT))
        close(in[1]);
    if (pid < 0 || loop_watch_add(helper->loop, &running->output, out[0], EPOLLIN))
        close(out[0]);
    if (pid > 0)
        running->pid = pid;
    else
        child_fail(helper, running, error);
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

static struct hook_running *helper_place(struct hook_helper *helper)
{
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        if (!helper->running[i].pid)
            return &helper->running[i];
    return NULL;
}

// How long what begins now may run: for its timeout, and from the agent's end on all of it for one.
static int64_t helper_due(const struct hook_helper *helper, int64_t due)
{
    return helper->closed && due > helper->gone_at + HOOK_LEFT_NS ? helper->gone_at + HOOK_LEFT_NS : due;
}

static void helper_run(
    struct hook_helper *helper, struct hook_running *running, const char *packet, size_t length)
{
    struct hook_request request;
    char *argv[HOOK_ARGV_MAX + 1];
    memcpy(&request, packet, sizeof request);
    running->id = request.id;
    running->started = clock_work();
    int64_t from = helper->closed ? helper->gone_at : running->started;
    running->due = helper_due(helper, from + (int64_t)request.timeout_ms * CLOCK_MS);
    running->text = malloc(length);
    if (!running->text) {
        child_fail(helper, running, ENOMEM);
        return;
    }
    memcpy(running->text, packet + sizeof request, length - sizeof request);
    running->at = request.texts_size;
    running->left = request.input_size;
    if (!request_argv(&request, running->text, argv))
        child_fail(helper, running, EINVAL);
    else if (!helper->may_run(running->text, argv, helper->arg))
        child_fail(helper, running, EACCES);
    else if (running->started < running->due)
        helper_spawn(helper, running, running->text, argv);
    else
        child_fail(helper, running, ETIME);
}

static bool request_is_whole(const char *packet, size_t length)
{
    struct hook_request request;
    if (length < sizeof request)
        return false;
    memcpy(&request, packet, sizeof request);
    size_t texts = request.texts_size, input = request.input_size;
    return texts <= length && input <= length && sizeof request + texts + input == length;
}

static void helper_clock(struct hook_helper *helper);

static void helper_run_waiting(struct hook_helper *helper)
{
    struct hook_running *running;
    while (helper->first && (running = helper_place(helper))) {
        struct hook_waiting *waiting = helper->first;
        helper->first = waiting->next;
        if (!helper->first)
            helper->end = &helper->first;
        helper->n_waiting--;
        helper->size_waiting -= waiting->size;
        helper_run(helper, running, waiting->packet, waiting->size);
        free(waiting);
    }
    helper_clock(helper);
}

static void helper_request(struct hook_helper *helper, size_t length)
{
    struct hook_waiting *waiting = NULL;
    if (!request_is_whole(helper->packet, length))
        return;
    if (helper->n_waiting < HOOK_WAITING_MAX && helper->size_waiting < HOOK_WAITING_SIZE_MAX)
        waiting = malloc(sizeof *waiting + length);
    if (!waiting)
        return; // more than the agent ever sends
    *waiting = (struct hook_waiting){.size = length};
    memcpy(waiting->packet, helper->packet, length);
    *helper->end = waiting;
    helper->end = &waiting->next;
    helper->n_waiting++;
    helper->size_waiting += length;
}

// Takes in what was sent. 0 at the end, -EAGAIN where nothing more has come, or another negative errno.
static int helper_take(struct hook_helper *helper)
{
    ssize_t length;
    do {
        length = recv(helper->socket, helper->packet, sizeof helper->packet, MSG_DONTWAIT);
        if (length > 0)
            helper_request(helper, (size_t)length);
    } while (length > 0 || (length < 0 && errno == EINTR));
    return length < 0 ? -errno : 0;
}

void hook_helper_close(struct hook_helper *helper)
{
    if (helper->closed)
        return;
    (void)helper_take(helper); // the agent's last words
    helper->closed = true;
    helper->gone_at = clock_work();
    loop_watch_remove(helper->loop, &helper->requests);
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        helper->running[i].due = helper_due(helper, helper->running[i].due);
    helper_run_waiting(helper);
}

static void helper_read(struct loop_watch *watch, uint32_t events)
{
    struct hook_helper *helper = watch->arg;
    (void)events;
    if (helper_take(helper) != -EAGAIN)
        hook_helper_close(helper);
    helper_run_waiting(helper);
}

static void running_write(struct loop_watch *watch, uint32_t events)
{
    struct hook_running *running = watch->arg;
    ssize_t n = write(watch->fd, running->text + running->at, running->left);
    (void)events;
    if (n > 0) {
        running->at += (size_t)n;
        running->left -= (size_t)n;
    }
    if (!running->left || (n < 0 && errno != EAGAIN && errno != EINTR))
        running_close(running, watch); // all of it is written, or nobody reads it
}

// What does not fit is read all the same: a full pipe would stop the program.
static void running_read(struct loop_watch *watch, uint32_t events)
{
    struct hook_running *running = watch->arg;
    char text[4096];
    ssize_t n = read(watch->fd, text, sizeof text);
    (void)events;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        running_close(running, watch);
    size_t room = sizeof running->words - 1 - running->n_words, got = n > 0 ? (size_t)n : 0;
    memcpy(running->words + running->n_words, text, got < room ? got : room);
    running->n_words += got < room ? got : room;
}

static void running_init(struct hook_helper *helper, struct hook_running *running)
{
    *running = (struct hook_running){.helper = helper};
    loop_watch_init(&running->input, running_write, running);
    loop_watch_init(&running->output, running_read, running);
}

void hook_helper_reap(struct hook_helper *helper)
{
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
        struct hook_running *running = &helper->running[i];
        int status;
        if (!running->pid || waitpid(running->pid, &status, WNOHANG) != running->pid)
            continue;
        if (running->output.fd >= 0)
            running_read(&running->output, EPOLLIN);
        helper_reply(helper, running, status);
    }
    helper_run_waiting(helper);
}

// Time is up: a request first, then the end. Sets when to look again.
static void helper_clock(struct hook_helper *helper)
{
    int64_t now = clock_work(), next = INT64_MAX;
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
        struct hook_running *running = &helper->running[i];
        if (!running->pid)
            continue;
        if (now >= running->due) {
            (void)kill(-running->pid, running->terminated ? SIGKILL : SIGTERM);
            running->timed_out = running->terminated = true;
            running->due = now + HOOK_KILL_NS;
        }
        next = running->due < next ? running->due : next;
    }
    if (next == INT64_MAX)
        loop_timer_cancel(helper->loop, &helper->clock);
    else
        (void)loop_timer_set(helper->loop, &helper->clock, clock_boot() + next - now);
}

static void helper_fire(struct loop_timer *timer)
{
    helper_clock(timer->arg);
}

bool hook_helper_is_idle(const struct hook_helper *helper)
{
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        if (helper->running[i].pid)
            return false;
    return !helper->first;
}

int hook_helper_start(struct hook_helper *helper, struct loop *loop, int socket)
{
    helper->loop = loop;
    helper->socket = socket;
    helper->end = &helper->first;
    loop_watch_init(&helper->requests, helper_read, helper);
    loop_timer_init(&helper->clock, helper_fire, helper);
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        running_init(helper, &helper->running[i]);
    return loop_watch_add(loop, &helper->requests, socket, EPOLLIN);
}
