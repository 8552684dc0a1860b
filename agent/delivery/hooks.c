// The queue of hooks, and their results (wire thread).
#include "hooks.h"
#include "agent/base/clock.h"
#include "config/config.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const *hooks_argv(const struct config *config, enum event_kind kind)
{
    const struct config_hooks *hooks = &config->hooks;
    switch (kind) {
    case EVENT_SENT:
        return hooks->sent;
    case EVENT_DEFERRED:
        return hooks->deferred;
    case EVENT_FAILED:
        return hooks->failed;
    case EVENT_BACKLOG:
        return hooks->backlog;
    case EVENT_ACCOUNT_PAUSED:
        return hooks->account_paused;
    case EVENT_ACCOUNT_RESUMED:
        return hooks->account_resumed;
    case EVENT_SPOOL_BROKEN:
        return hooks->spool_broken;
    case EVENT_RETURNED:
    case EVENT_RELAYED:
    case EVENT_KINDS:
        break;
    }
    static const char *const none[] = {NULL};
    return none;
}

static void hooks_send(struct hooks *hooks);

static void hooks_log_count(
    const struct hooks *hooks, enum log_level level, const char *event, const char *msg, uint64_t n)
{
    char count[24];
    (void)snprintf(count, sizeof count, "%" PRIu64, n);
    if (n)
        log_event(hooks->log, level, event, msg, "count", count, NULL);
}

void hooks_init(struct hooks *hooks, struct log *log, int fd, pid_t helper)
{
    *hooks = (struct hooks){.log = log, .fd = fd, .helper = helper};
    hooks->end = &hooks->first;
}

void hooks_configure(struct hooks *hooks, const struct config *config)
{
    config_unref(hooks->config);
    hooks->config = config_ref(config);
    hooks->subscriber.kinds = 0;
    for (enum event_kind kind = 0; kind < EVENT_KINDS; kind++)
        if (hooks->fd >= 0 && hooks_argv(config, kind)[0])
            hooks->subscriber.kinds |= 1u << kind;
}

bool hooks_are_idle(const struct hooks *hooks)
{
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        if (hooks->running[i])
            return false;
    return !hooks->first || hooks->fd < 0;
}

// The helper is gone: it was killed by somebody. Mail goes on without hooks.
static void hooks_give_up(struct hooks *hooks)
{
    if (hooks->fd < 0)
        return;
    log_event(hooks->log, LOG_ERROR_LEVEL, "hooks_ended",
        "the helper process has ended; until the agent is started again no hook is run, and a reload gets no "
        "further than the sandbox",
        NULL);
    if (hooks->loop)
        loop_watch_remove(hooks->loop, &hooks->watch);
    close(hooks->fd);
    hooks->fd = -1;
    hooks->subscriber.kinds = 0;
    (void)waitpid(hooks->helper, NULL, WNOHANG);
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
        free(hooks->running[i]);
        hooks->running[i] = NULL;
    }
}

static const char *job_program(const struct hook_job *job)
{
    const char *event = job->packet + sizeof(struct hook_request);
    return event + strlen(event) + 1;
}

static void hooks_log_result(
    const struct hooks *hooks, const struct hook_job *job, const struct hook_reply *reply)
{
    char status[32], ms[16];
    int said = reply->status;
    bool good = said == 0 && !reply->timed_out;
    if (said == -1)
        (void)snprintf(status, sizeof status, "not started");
    else if (WIFSIGNALED(said))
        (void)snprintf(status, sizeof status, "signal %d", WTERMSIG(said));
    else
        (void)snprintf(status, sizeof status, "%d", WEXITSTATUS(said));
    (void)snprintf(ms, sizeof ms, "%" PRIu32, reply->ms);
    const char *msg = good               ? "the hook is done"
                      : reply->timed_out ? "the hook took longer than hooks.timeout and was ended"
                      : said == -1       ? "the hook could not be started"
                                         : "the hook failed; see what it printed, or run it by hand";
    log_event(hooks->log, good ? LOG_NOTICE_LEVEL : LOG_WARNING_LEVEL, "hook", msg, "hook",
        event_name(job->kind), "program", job_program(job), "status", status, "ms", ms, "output",
        !good && reply->words[0] ? reply->words : NULL, NULL);
}

static void hooks_reply(struct hooks *hooks, const struct hook_reply *reply)
{
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
        struct hook_job *job = hooks->running[i];
        if (!job || job->id != reply->id)
            continue;
        hooks_log_result(hooks, job, reply);
        hooks->running[i] = NULL;
        free(job);
        return;
    }
}

static void hooks_ready(struct loop_watch *watch, uint32_t events)
{
    struct hooks *hooks = watch->arg;
    struct hook_reply reply;
    (void)events;
    for (;;) {
        ssize_t n = recv(hooks->fd, &reply, sizeof reply, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            hooks_give_up(hooks);
            return;
        }
        reply.words[HOOK_WORDS_MAX - 1] = '\0';
        if ((size_t)n == sizeof reply)
            hooks_reply(hooks, &reply);
    }
    hooks_send(hooks);
}

// As many as the helper runs at a time; what it does not take now waits for its next word.
static void hooks_send(struct hooks *hooks)
{
    for (size_t i = 0; i < HOOK_RUNNING_MAX && hooks->first && hooks->fd >= 0; i++) {
        struct hook_job *job = hooks->first;
        if (hooks->running[i])
            continue;
        if (send(hooks->fd, job->packet, job->size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            if (errno == EPIPE || errno == ECONNRESET)
                hooks_give_up(hooks);
            else if (errno == EAGAIN && hooks->loop)
                (void)loop_watch_set(hooks->loop, &hooks->watch, EPOLLIN | EPOLLOUT);
            return;
        }
        hooks->first = job->next;
        if (!hooks->first)
            hooks->end = &hooks->first;
        hooks->n_waiting--;
        hooks->size_waiting -= job->size;
        hooks->running[i] = job;
    }
    if (hooks->fd >= 0 && hooks->loop)
        (void)loop_watch_set(hooks->loop, &hooks->watch, EPOLLIN);
    if (!hooks->first) {
        hooks_log_count(hooks, LOG_WARNING_LEVEL, "hooks_lost", "hooks are run again; so many were left out",
            hooks->lost);
        hooks->lost = 0;
    }
}

static struct hook_job *job_new(
    const struct hooks *hooks, const struct event *event, const char *const *argv, uint32_t id)
{
    struct hook_request request = {.id = id, .timeout_ms = (uint32_t)hooks->config->hooks.timeout_ms};
    const char *name = event_name(event->kind);
    size_t texts = strlen(name) + 1;
    for (; argv[request.n_argv]; request.n_argv++)
        texts += strlen(argv[request.n_argv]) + 1;
    size_t room = HOOK_PACKET_MAX - sizeof request;
    char *input = texts < room ? hook_json(event, hooks->config, room - texts) : NULL;
    size_t length = input ? strlen(input) : 0, size = sizeof request + texts + length;
    struct hook_job *job = input ? malloc(sizeof *job + size) : NULL;
    if (job) {
        *job = (struct hook_job){.kind = event->kind, .id = id, .size = size};
        request.texts_size = (uint32_t)texts;
        request.input_size = (uint32_t)length;
        char *at = job->packet;
        at = (char *)memcpy(at, &request, sizeof request) + sizeof request;
        at = (char *)memcpy(at, name, strlen(name) + 1) + strlen(name) + 1;
        for (uint32_t i = 0; i < request.n_argv; i++)
            at = (char *)memcpy(at, argv[i], strlen(argv[i]) + 1) + strlen(argv[i]) + 1;
        memcpy(at, input, length);
    }
    free(input);
    return job;
}

static void hooks_happened(const struct event *event, void *arg)
{
    struct hooks *hooks = arg;
    struct hook_job *job = NULL;
    if (hooks->n_waiting < HOOKS_QUEUE_MAX && hooks->size_waiting < HOOKS_QUEUE_SIZE_MAX)
        job = job_new(hooks, event, hooks_argv(hooks->config, event->kind), ++hooks->last_id);
    if (!job) {
        if (hooks->lost++ == 0)
            log_event(hooks->log, LOG_WARNING_LEVEL, "hooks_overflow",
                "more happens than hooks can be run for; some are left out until they have caught up", "hook",
                event_name(event->kind), NULL);
        return;
    }
    *hooks->end = job;
    hooks->end = &job->next;
    hooks->n_waiting++;
    hooks->size_waiting += job->size;
    hooks_send(hooks);
}

int hooks_attach(struct hooks *hooks, struct loop *loop, struct events *events)
{
    hooks->subscriber.happened = hooks_happened;
    hooks->subscriber.arg = hooks;
    events_subscribe(events, &hooks->subscriber);
    loop_watch_init(&hooks->watch, hooks_ready, hooks);
    hooks->loop = loop;
    return hooks->fd < 0 ? 0 : loop_watch_add(loop, &hooks->watch, hooks->fd, EPOLLIN);
}

// Whether the configuration in use still has the job's program for it: no other is run.
static bool job_is_meant(const struct hooks *hooks, const struct hook_job *job)
{
    const char *const *argv = hooks->config ? hooks_argv(hooks->config, job->kind) : NULL;
    const char *text = job_program(job);
    struct hook_request request;
    memcpy(&request, job->packet, sizeof request);
    for (uint32_t i = 0; i < request.n_argv; i++) {
        if (!argv || !argv[i] || strcmp(argv[i], text) != 0)
            return false;
        text += strlen(text) + 1;
    }
    return argv && !argv[request.n_argv];
}

// Gives the helper what waits, as far as it would run it. How many it took.
static unsigned hooks_leave(struct hooks *hooks)
{
    int64_t until = clock_work() + HOOKS_LEAVE_MS * CLOCK_MS;
    struct pollfd room = {hooks->fd, POLLOUT, 0};
    unsigned left = 0;
    for (struct hook_job **at = &hooks->first, *job; hooks->fd >= 0 && (job = *at);) {
        if (!job_is_meant(hooks, job)) {
            at = &job->next;
            continue;
        }
        if (send(hooks->fd, job->packet, job->size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            *at = job->next;
            free(job);
            left++;
            continue;
        }
        int64_t wait = (until - clock_work()) / CLOCK_MS;
        if ((errno != EAGAIN && errno != EINTR) || wait <= 0 || poll(&room, 1, (int)wait) < 0)
            break;
    }
    hooks->n_waiting -= left;
    return left;
}

void hooks_release(struct hooks *hooks)
{
    hooks_log_count(hooks, LOG_NOTICE_LEVEL, "hooks_left",
        "the agent ends before these hooks were run; the helper still does, within hooks.timeout",
        hooks_leave(hooks));
    hooks_log_count(hooks, LOG_WARNING_LEVEL, "hooks_lost", "the agent ends before these hooks were run",
        hooks->lost + hooks->n_waiting);
    if (hooks->fd >= 0) {
        if (hooks->loop)
            loop_watch_remove(hooks->loop, &hooks->watch);
        close(hooks->fd);
    }
    for (struct hook_job *job = hooks->first, *next; job; job = next) {
        next = job->next;
        free(job);
    }
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        free(hooks->running[i]);
    config_unref(hooks->config);
    *hooks = (struct hooks){.fd = -1};
}
