// The life of a session: connecting, open, draining, quitting, closed.
#include "agent/base/clock.h"
#include "session_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const stage_names[] = {
    [SMTP_STAGE_CONNECT] = "connect",
    [SMTP_STAGE_TLS] = "tls",
    [SMTP_STAGE_EHLO] = "ehlo",
    [SMTP_STAGE_AUTH] = "auth",
    [SMTP_STAGE_MAIL] = "mail",
    [SMTP_STAGE_RCPT] = "rcpt",
    [SMTP_STAGE_DATA] = "data",
    [SMTP_STAGE_FINAL] = "final",
    [SMTP_STAGE_IDLE] = "idle",
};

const char *smtp_stage_name(enum smtp_stage stage)
{
    return stage_names[stage];
}

// Which states may follow which.
static const bool follows[][SESSION_CLOSED + 1] = {
    [SESSION_CONNECTING] = {[SESSION_OPEN] = true, [SESSION_CLOSED] = true},
    [SESSION_OPEN] = {[SESSION_DRAINING] = true, [SESSION_CLOSED] = true},
    [SESSION_DRAINING] = {[SESSION_QUITTING] = true, [SESSION_CLOSED] = true},
    [SESSION_QUITTING] = {[SESSION_CLOSED] = true},
};

void session_set_state(struct smtp_session *session, enum session_state state)
{
    assert(follows[session->state][state]);
    session->state = state;
}

static void session_destroy(struct smtp_session *session)
{
    output_release(&session->output);
    pipeline_release(&session->pipeline);
    config_unref(session->config);
    free(session);
}

void session_enter(struct smtp_session *session)
{
    session->depth++;
}

void session_leave(struct smtp_session *session)
{
    if (--session->depth == 0 && session->freed)
        session_destroy(session);
}

bool session_report(struct smtp_session *session)
{
    const struct smtp_result *result;
    bool any = false;
    int64_t now = loop_now(session->loop);
    while (session->state != SESSION_CLOSED && (result = pipeline_finished(&session->pipeline, now))) {
        any = true;
        if (session->pipeline.n == 0)
            session->idle_since = now;
        session->room_told = false;
        session->events.done(session, result, session->arg);
    }
    return any;
}

void session_offer(struct smtp_session *session)
{
    if (!session->room_told && smtp_session_room(session) > 0) {
        session->room_told = true;
        session->events.ready(session, session->arg);
    }
}

static void session_disconnect(struct smtp_session *session)
{
    session_io_stop(session);
    loop_timer_cancel(session->loop, &session->deadline);
    loop_timer_cancel(session->loop, &session->soon);
    multi_remove(session->multi, &session->transfer);
    connect_close(&session->connect);
}

void session_end(struct smtp_session *session, struct smtp_closing *closing)
{
    session_enter(session);
    session_set_state(session, SESSION_CLOSED);
    session_disconnect(session);
    enum smtp_failure failure = closing->failure ? closing->failure : SMTP_FAILURE_CANCELLED;
    const char *problem = *closing->problem ? closing->problem : "the session was closed";
    // With several mails in flight it may have been their being so close that the server could not stand.
    if (session->pipeline.n_begun > 1 &&
        (failure == SMTP_FAILURE_CONNECTION || failure == SMTP_FAILURE_TIMEOUT))
        session->pipeline.anomaly = true;
    closing->no_chunking = session->pipeline.no_chunking;
    closing->anomaly = session->pipeline.anomaly;
    const struct smtp_result *result;
    int64_t now = loop_now(session->loop);
    while ((result = pipeline_drop(&session->pipeline, &session->output, failure, problem, now)))
        session->events.done(session, result, session->arg);
    session->events.closed(session, closing, session->arg);
    session_leave(session);
}

void session_fail(struct smtp_session *session, enum smtp_failure failure, CURLcode curl, const char *problem)
{
    struct smtp_closing closing = {
        .stage = pipeline_stage(&session->pipeline, &session->output), .failure = failure, .curl = curl};
    if (failure == SMTP_FAILURE_CANCELLED) // our own doing
        closing.failure = SMTP_FAILURE_NONE;
    if (session->connect.easy)
        curl_easy_getinfo(session->connect.easy, CURLINFO_OS_ERRNO, &closing.os_error);
    (void)snprintf(closing.problem, sizeof closing.problem, "%s", problem);
    session_end(session, &closing);
}

static void session_timed_out(struct smtp_session *session)
{
    struct smtp_closing closing = {.stage = pipeline_stage(&session->pipeline, &session->output)};
    enum transaction_wait wait = pipeline_waits(&session->pipeline);
    const struct config_timeouts *timeouts = &session->account->timeouts;
    if (session->state == SESSION_QUITTING) {
        session_end(session, &closing);
        return;
    }
    bool sent = pipeline_oldest_sent(&session->pipeline, &session->output);
    closing.failure = SMTP_FAILURE_TIMEOUT;
    if (wait == TRANSACTION_AWAITS_FINAL && !sent)
        (void)snprintf(closing.problem, sizeof closing.problem,
            "the server took nothing of the message for %lld ms", (long long)timeouts->data_ms);
    else
        (void)snprintf(closing.problem, sizeof closing.problem, "no reply to %s within %lld ms",
            transaction_wait_name(wait),
            (long long)(wait == TRANSACTION_AWAITS_FINAL ? timeouts->data_ms : timeouts->command_ms));
    session_end(session, &closing);
}

static void session_on_deadline(struct loop_timer *timer)
{
    struct smtp_session *session = timer->arg;
    session_enter(session);
    if (loop_now(session->loop) < session->due) {
        (void)loop_timer_set(session->loop, timer, session->due); // there is room: it was just taken out
    } else if (session->state == SESSION_CONNECTING) {
        struct smtp_closing closing;
        connect_timed_out(&session->connect, session->account->timeouts.connect_ms, &closing);
        session_end(session, &closing);
    } else if (session->state == SESSION_OPEN && session->pipeline.n == 0) {
        smtp_session_quit(session); // idle for too long
        session_run(session);
    } else {
        session_timed_out(session);
    }
    session_leave(session);
}

static void session_on_soon(struct loop_timer *timer)
{
    struct smtp_session *session = timer->arg;
    session_enter(session);
    if (session->state != SESSION_CONNECTING && session->state != SESSION_CLOSED)
        session_run(session);
    session_leave(session);
}

static void session_on_connected(struct multi_transfer *transfer, CURLcode result)
{
    struct smtp_session *session = transfer->arg;
    struct smtp_closing closing;
    session_enter(session);
    int error = 0;
    if (*transfer->error)
        connect_refused(&session->connect, transfer->error, transfer->os_error);
    if (!connect_finish(&session->connect, result, &closing)) {
        session_end(session, &closing);
    } else if ((error = session_io_start(session))) {
        closing.failure = SMTP_FAILURE_CONNECTION;
        (void)snprintf(closing.problem, sizeof closing.problem, "the connection cannot be watched: %s",
            strerror(-error));
        session_end(session, &closing);
    } else {
        session->ready = session->idle_since = session->waiting_since = session->progress = clock_boot();
        session->connect.capabilities.chunking &= !session->no_chunking;
        pipeline_open(&session->pipeline, &session->connect.capabilities);
        loop_timer_cancel(session->loop, &session->deadline);
        session_set_state(session, SESSION_OPEN);
        session_offer(session);
        if (session->state != SESSION_CLOSED)
            session_run(session);
    }
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the enter above keeps it until here
    session_leave(session);
}

static int session_begin(struct smtp_session *session, const struct smtp_session_params *params)
{
    int error = output_init(&session->output);
    if (!error)
        error = pipeline_init(
            &session->pipeline, params->window < SMTP_WINDOW_MAX ? params->window : SMTP_WINDOW_MAX);
    if (!error)
        error = connect_open(&session->connect, params);
    if (error)
        return error;
    session->opened = clock_boot();
    session->due = session->opened + params->account->timeouts.connect_ms * CLOCK_MS;
    error = loop_timer_set(session->loop, &session->deadline, session->due);
    if (!error)
        error = multi_connect(session->multi, &session->transfer, session->connect.easy, session_on_connected,
            session, params->server, params->account->port, params->account->timeouts.connect_ms);
    if (error) {
        loop_timer_cancel(session->loop, &session->deadline);
        connect_close(&session->connect);
    }
    return error;
}

int smtp_session_open(struct loop *loop, struct multi *multi, const struct smtp_session_params *params,
    struct smtp_session **ret_session)
{
    struct smtp_session *session = calloc(1, sizeof *session);
    if (!session)
        return -ENOMEM;
    session->loop = loop;
    session->multi = multi;
    session->config = config_ref(params->config);
    session->account = params->account;
    session->events = params->events;
    session->arg = params->arg;
    session->no_chunking = params->no_chunking;
    session->patient = params->patient;
    session->watch.fd = -1;
    loop_timer_init(&session->deadline, session_on_deadline, session);
    loop_timer_init(&session->soon, session_on_soon, session);
    bool ipv6 = strchr(params->server, ':') && *params->server != '[';
    (void)snprintf(session->relay, sizeof session->relay, ipv6 ? "[%s]:%u" : "%s:%u", params->server,
        (unsigned)params->account->port);
    int error = session_begin(session, params);
    if (error) {
        session_destroy(session);
        return error;
    }
    *ret_session = session;
    return 0;
}

static unsigned session_room(const struct smtp_session *session, unsigned room)
{
    unsigned most = session->account->limits.messages_per_connection;
    if (session->state != SESSION_OPEN)
        return 0;
    return most && room > most - session->mails ? most - session->mails : room;
}

unsigned smtp_session_room(const struct smtp_session *session)
{
    return session_room(session, pipeline_room(&session->pipeline));
}

unsigned smtp_session_room_now(const struct smtp_session *session)
{
    return session_room(session, pipeline_room_now(&session->pipeline));
}

bool smtp_session_streams(const struct smtp_session *session)
{
    return session->state == SESSION_OPEN && session->pipeline.mode == PIPELINE_STREAMED;
}

unsigned smtp_session_in_flight(const struct smtp_session *session)
{
    return session->pipeline.n;
}

void smtp_session_send(struct smtp_session *session, const struct smtp_mail *mail)
{
    assert(smtp_session_room(session) > 0);
    pipeline_push(&session->pipeline, mail);
    session->mails++;
    unsigned most = session->account->limits.messages_per_connection;
    if (most && session->mails >= most)
        session_set_state(session, SESSION_DRAINING);
    if (session->depth == 0 && !loop_timer_pending(&session->soon))
        (void)loop_timer_set(session->loop, &session->soon, loop_now(session->loop));
}

void smtp_session_quit(struct smtp_session *session)
{
    if (session->state == SESSION_CONNECTING) {
        smtp_session_abort(session);
        return;
    }
    if (session->state != SESSION_OPEN)
        return;
    session_set_state(session, SESSION_DRAINING);
    if (session->depth == 0)
        (void)loop_timer_set(session->loop, &session->soon, loop_now(session->loop));
}

void smtp_session_abort(struct smtp_session *session)
{
    if (session->state == SESSION_CLOSED)
        return;
    struct smtp_closing closing = {.stage = pipeline_stage(&session->pipeline, &session->output)};
    if (session->state == SESSION_CONNECTING)
        closing.stage = SMTP_STAGE_CONNECT;
    session_end(session, &closing);
}

void smtp_session_free(struct smtp_session *session)
{
    if (!session)
        return;
    assert(session->state == SESSION_CLOSED && !session->freed);
    session->freed = true;
    if (session->depth == 0)
        session_destroy(session);
}

const struct smtp_capabilities *smtp_session_capabilities(const struct smtp_session *session)
{
    return &session->connect.capabilities;
}

const char *smtp_session_relay(const struct smtp_session *session)
{
    return session->relay;
}

const char *smtp_session_tls(const struct smtp_session *session)
{
    return session->connect.tls;
}

unsigned smtp_session_mails(const struct smtp_session *session)
{
    return session->mails;
}

int64_t smtp_session_connect_ns(const struct smtp_session *session)
{
    return session->ready ? session->ready - session->opened : 0;
}

int64_t smtp_session_progress(const struct smtp_session *session)
{
    return session->progress > session->waiting_since ? session->progress : session->waiting_since;
}

int64_t smtp_session_due(const struct smtp_session *session)
{
    return session->state == SESSION_CLOSED ? INT64_MAX : session->due;
}
