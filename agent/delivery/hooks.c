// The queue of hooks, and their results (wire thread).
#include "hooks.h"
#include "agent/base/clock.h"
#include "config/config.h"

#include <assert.h>
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

// The helper takes all that waits when the agent ends.
static_assert(HOOK_RANKS * HOOKS_QUEUE_MAX <= HOOK_WAITING_MAX, "as many requests");
static_assert(
    HOOK_RANKS * (HOOKS_QUEUE_SIZE_MAX + HOOK_PACKET_MAX) <= HOOK_WAITING_SIZE_MAX, "as many octets");

static enum hook_rank rank_of(enum event_kind kind)
{
    if (kind == EVENT_SENT || kind == EVENT_DEFERRED)
        return HOOK_FLOW;
    return kind == EVENT_FAILED || kind == EVENT_BACKLOG ? HOOK_REPORT : HOOK_ALARM;
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
    for (size_t rank = 0; rank < HOOK_RANKS; rank++)
        hooks->waiting[rank].end = &hooks->waiting[rank].first;
}

static void queue_put(struct hook_queue *queue, struct hook_job *job)
{
    *queue->end = job;
    queue->end = &job->next;
    queue->n++;
    queue->size += job->size;
}

// at: where the job hangs in the queue.
static struct hook_job *queue_take(struct hook_queue *queue, struct hook_job **at)
{
    struct hook_job *job = *at;
    *at = job->next;
    if (queue->end == &job->next)
        queue->end = at;
    queue->n--;
    queue->size -= job->size;
    return job;
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
    for (size_t rank = 0; rank < HOOK_RANKS; rank++)
        if (hooks->waiting[rank].first && hooks->fd >= 0)
            return false;
    return true;
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

// The queue whose turn it is, or NULL: the first that has something, where as many run as leave it a place.
static struct hook_queue *hooks_next(struct hooks *hooks, struct hook_job ***ret_place)
{
    static const size_t places[HOOK_RANKS] = {HOOK_ALARM_PLACES, HOOK_REPORT_PLACES, HOOK_FLOW_PLACES};
    size_t n_running = 0;
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++) {
        n_running += hooks->running[i] != NULL;
        if (!hooks->running[i])
            *ret_place = &hooks->running[i];
    }
    for (size_t rank = 0; rank < HOOK_RANKS; rank++)
        if (hooks->waiting[rank].first && n_running < places[rank])
            return &hooks->waiting[rank];
    return NULL;
}

// As many as the helper runs at a time; what it does not take now waits for its next word.
static void hooks_send(struct hooks *hooks)
{
    struct hook_queue *queue;
    struct hook_job **place = NULL;
    while (hooks->fd >= 0 && (queue = hooks_next(hooks, &place))) {
        const struct hook_job *job = queue->first;
        if (send(hooks->fd, job->packet, job->size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            if (errno == EPIPE || errno == ECONNRESET)
                hooks_give_up(hooks);
            else if (errno == EAGAIN && hooks->loop)
                (void)loop_watch_set(hooks->loop, &hooks->watch, EPOLLIN | EPOLLOUT);
            return;
        }
        *place = queue_take(queue, &queue->first);
        if (!queue->first) {
            hooks_log_count(hooks, LOG_WARNING_LEVEL, "hooks_lost",
                "hooks are run again; so many were left out", queue->lost);
            queue->lost = 0;
        }
    }
    if (hooks->fd >= 0 && hooks->loop)
        (void)loop_watch_set(hooks->loop, &hooks->watch, EPOLLIN);
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
    struct hook_queue *queue = &hooks->waiting[rank_of(event->kind)];
    struct hook_job *job = NULL;
    if (queue->n < HOOKS_QUEUE_MAX && queue->size < HOOKS_QUEUE_SIZE_MAX)
        job = job_new(hooks, event, hooks_argv(hooks->config, event->kind), ++hooks->last_id);
    if (!job) {
        if (queue->lost++ == 0)
            log_event(hooks->log, LOG_WARNING_LEVEL, "hooks_overflow",
                "more happens than hooks can be run for; some are left out until they have caught up", "hook",
                event_name(event->kind), NULL);
        return;
    }
    queue_put(queue, job);
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

// Gives the helper what waits in this queue, as far as it would run it. How many it took.
static unsigned hooks_leave(struct hooks *hooks, struct hook_queue *queue, int64_t until)
{
    struct pollfd room = {hooks->fd, POLLOUT, 0};
    unsigned left = 0;
    for (struct hook_job **at = &queue->first, *job; hooks->fd >= 0 && (job = *at);) {
        if (!job_is_meant(hooks, job)) {
            at = &job->next;
            continue;
        }
        if (send(hooks->fd, job->packet, job->size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            free(queue_take(queue, at));
            left++;
            continue;
        }
        int64_t wait = (until - clock_work()) / CLOCK_MS;
        if ((errno != EAGAIN && errno != EINTR) || wait <= 0 || poll(&room, 1, (int)wait) < 0)
            break;
    }
    return left;
}

void hooks_release(struct hooks *hooks)
{
    int64_t until = clock_work() + HOOKS_LEAVE_MS * CLOCK_MS;
    uint64_t left = 0, lost = 0;
    for (size_t rank = 0; rank < HOOK_RANKS; rank++) {
        struct hook_queue *queue = &hooks->waiting[rank];
        left += hooks_leave(hooks, queue, until);
        lost += queue->lost + queue->n;
        while (queue->first)
            free(queue_take(queue, &queue->first));
    }
    hooks_log_count(hooks, LOG_NOTICE_LEVEL, "hooks_left",
        "the agent ends before these hooks were run; the helper still does, within hooks.timeout", left);
    hooks_log_count(
        hooks, LOG_WARNING_LEVEL, "hooks_lost", "the agent ends before these hooks were run", lost);
    if (hooks->fd >= 0) {
        if (hooks->loop)
            loop_watch_remove(hooks->loop, &hooks->watch);
        close(hooks->fd);
    }
    for (size_t i = 0; i < HOOK_RUNNING_MAX; i++)
        free(hooks->running[i]);
    config_unref(hooks->config);
    *hooks = (struct hooks){.fd = -1};
}
