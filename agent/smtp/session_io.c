// The wire side of a session: octets in, octets out, and the one timeout.
#include "agent/base/clock.h"
#include "session_private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

// Without this the server's small replies wait for our delayed ACK (Nagle): 25 messages/s instead of 911. It
// is only needed where more replies are to come and nothing was sent since the last one.
static void session_quickack(struct smtp_session *session)
{
    session->unacknowledged = false;
    int on = 1;
    (void)setsockopt(session->watch.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

static void session_bye(struct smtp_session *session, enum smtp_stage stage, const struct smtp_reply *reply)
{
    struct smtp_closing closing = {.stage = stage};
    reply_copy(&closing.reply, reply);
    (void)snprintf(closing.problem, sizeof closing.problem, "the server ended the session");
    session_end(session, &closing);
}

// One whole reply. False where the session is over.
static bool session_take(struct smtp_session *session)
{
    const struct smtp_reply *reply = &session->reader.reply;
    session->waiting_since = loop_now(session->loop);
    if (session->state == SESSION_QUITTING) { // the reply to QUIT, or a 421 that crossed it
        struct smtp_closing closing = {.stage = SMTP_STAGE_IDLE};
        session_end(session, &closing);
        return false;
    }
    enum smtp_stage stage = pipeline_stage(&session->pipeline, &session->output);
    const char *problem = NULL;
    switch (pipeline_reply(&session->pipeline, &session->output, reply, &problem)) {
    case PIPELINE_GOES_ON:
        session_report(session);
        return session->state != SESSION_CLOSED;
    case PIPELINE_BYE:
        session_bye(session, stage, reply);
        return false;
    case PIPELINE_FAULT:
        session_fail(session, SMTP_FAILURE_PROTOCOL, CURLE_OK, problem);
        return false;
    }
    return false;
}

// Replies out of one receive. False where the session is over.
static bool session_replies(struct smtp_session *session, const char *data, size_t length)
{
    while (length) {
        size_t used;
        const char *problem;
        int result = reply_read(&session->reader, data, length, &used, &problem);
        data += used;
        length -= used;
        if (result < 0) {
            session_fail(session, SMTP_FAILURE_PROTOCOL, CURLE_OK, problem);
            return false;
        }
        if (result > 0 && !session_take(session))
            return false;
    }
    return true;
}

static void session_eof(struct smtp_session *session, CURLcode code)
{
    // Between mails a server, or a router on the way, may forget an idle connection: no fault of anybody.
    if (pipeline_stage(&session->pipeline, &session->output) == SMTP_STAGE_IDLE) {
        struct smtp_closing closing = {.stage = SMTP_STAGE_IDLE, .curl = code};
        if (session->state != SESSION_QUITTING)
            (void)snprintf(closing.problem, sizeof closing.problem, "the server closed the idle connection");
        session_end(session, &closing);
        return;
    }
    session_fail(session, SMTP_FAILURE_CONNECTION, code,
        code == CURLE_OK ? "the server closed the connection" : "the connection was lost");
}

// Everything there is to read. TLS keeps octets that epoll does not know of, so it is read until CURLE_AGAIN;
// without TLS a short receive was the last. broken: how a write failed before, else CURLE_OK.
static void session_read(struct smtp_session *session, CURLcode broken)
{
    char data[SESSION_READ_SIZE];
    bool tls = *session->connect.tls;
    for (;;) {
        size_t n = 0;
        CURLcode code = curl_easy_recv(session->connect.easy, data, sizeof data, &n);
        if (code == CURLE_AGAIN)
            break;
        if (code != CURLE_OK || n == 0) {
            session_eof(session, broken ? broken : code);
            return;
        }
        if (session->connect.trace)
            session->connect.trace(false, data, n, session->connect.trace_arg);
        session->unacknowledged = true;
        if (!session_replies(session, data, n))
            return;
        if (!tls && n < sizeof data)
            break;
    }
}

static void session_broken_write(struct smtp_session *session, CURLcode code)
{
    session_read(session, code); // the server may have said why before it closed
    if (session->state != SESSION_CLOSED)
        session_fail(session, SMTP_FAILURE_CONNECTION, code, "the connection was lost");
}

static void session_write(struct smtp_session *session)
{
    struct output *output = &session->output;
    int64_t now = loop_now(session->loop);
    bool want = false;
    for (unsigned left = SESSION_WRITES_MAX;; left--) {
        if (output_waiting(output) == 0)
            session->progress = now;
        if (session->state != SESSION_QUITTING)
            pipeline_write(&session->pipeline, output, now);
        size_t length = output->retry ? output->retry : output_waiting(output), n = 0;
        if (length == 0)
            break;
        want = true;
        if (left == 0)
            break;
        CURLcode code = curl_easy_send(session->connect.easy, output->data + output->start, length, &n);
        if (code == CURLE_AGAIN) {
            output_refused(output, length);
            break;
        }
        if (code != CURLE_OK) {
            session_broken_write(session, code);
            return;
        }
        if (session->connect.trace)
            session->connect.trace(true, output->data + output->start, n, session->connect.trace_arg);
        output_taken(output, n);
        session->unacknowledged = false; // what was sent takes the acknowledgement along
        session->progress = now;
        want = false;
    }
    bool waiting = pipeline_waits(&session->pipeline) != TRANSACTION_AWAITS_NOTHING;
    if (waiting && !session->waiting)
        session->waiting_since = now;
    session->waiting = waiting;
    if (loop_watch_set(session->loop, &session->watch, EPOLLIN | (want ? EPOLLOUT : 0u)))
        session_fail(session, SMTP_FAILURE_CONNECTION, CURLE_OK, "the connection cannot be watched");
}

// When the present state of affairs has lasted too long.
static int64_t session_due(const struct smtp_session *session)
{
    const struct config_timeouts *timeouts = &session->account->timeouts;
    int64_t due = INT64_MAX, since = session->waiting_since;
    if (session->state == SESSION_QUITTING)
        return session->waiting_since + SESSION_QUIT_TIMEOUT;
    enum transaction_wait wait = pipeline_waits(&session->pipeline);
    if (wait == TRANSACTION_AWAITS_NOTHING && session->pipeline.n == 0)
        return session->idle_since + (session->patient ? SESSION_PATIENCE : timeouts->idle_ms * CLOCK_MS);
    if (wait < TRANSACTION_AWAITS_FINAL)
        due = since + timeouts->command_ms * CLOCK_MS;
    int64_t moved = since > session->progress ? since : session->progress;
    if (wait >= TRANSACTION_AWAITS_FINAL || output_waiting(&session->output)) {
        int64_t data = moved + timeouts->data_ms * CLOCK_MS;
        due = due < data ? due : data;
    }
    return due;
}

static void session_arm(struct smtp_session *session)
{
    session->due = session_due(session);
    // A timer that is early looks again when it fires: most deadlines only ever move away.
    if (!loop_timer_pending(&session->deadline) || session->deadline.due > session->due)
        if (loop_timer_set(session->loop, &session->deadline, session->due))
            session_fail(session, SMTP_FAILURE_CONNECTION, CURLE_OK, "out of memory");
}

static void session_quit_if_over(struct smtp_session *session)
{
    if (session->state != SESSION_DRAINING || session->pipeline.n > 0 || output_waiting(&session->output))
        return;
    session_set_state(session, SESSION_QUITTING);
    output_text(&session->output, "QUIT\r\n");
    session->waiting_since = loop_now(session->loop);
    session_write(session);
}

void session_run(struct smtp_session *session)
{
    for (unsigned round = 0; round < SESSION_ROUNDS_MAX; round++) {
        session_write(session);
        if (session->state == SESSION_CLOSED)
            return;
        bool reported = session_report(session);
        if (session->state == SESSION_CLOSED)
            return;
        if (pipeline_broken(&session->pipeline)) {
            session_fail(session, SMTP_FAILURE_CANCELLED, CURLE_OK,
                "the session was ended because a message file changed or failed while it was sent");
            return;
        }
        if (!reported)
            break;
        session_offer(session);
        if (session->state == SESSION_CLOSED)
            return;
        if (round + 1 == SESSION_ROUNDS_MAX)
            (void)loop_timer_set(session->loop, &session->soon, loop_now(session->loop));
    }
    session_quit_if_over(session);
    if (session->state != SESSION_CLOSED)
        session_arm(session);
}

static void session_on_watch(struct loop_watch *watch, uint32_t events)
{
    struct smtp_session *session = watch->arg;
    session_enter(session);
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        session_read(session, CURLE_OK);
    if (session->state != SESSION_CLOSED)
        session_offer(session);
    if (session->state != SESSION_CLOSED)
        session_run(session);
    if (session->state != SESSION_CLOSED && session->unacknowledged && session->waiting)
        session_quickack(session);
    session_leave(session);
}

int session_io_start(struct smtp_session *session)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    curl_easy_getinfo(session->connect.easy, CURLINFO_ACTIVESOCKET, &fd);
    loop_watch_init(&session->watch, session_on_watch, session);
    reply_reader_init(&session->reader);
    int error = loop_watch_add(session->loop, &session->watch, (int)fd, EPOLLIN);
    if (!error)
        session_quickack(session);
    return error;
}

void session_io_stop(struct smtp_session *session)
{
    loop_watch_remove(session->loop, &session->watch);
}
