// One page on 127.0.0.1, served by libmicrohttpd on the caller's thread.
#include "redirect.h"
#include "agent/base/clock.h"
#include "form.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define REDIRECT_IDLE_S   10   // an idle connection is closed
#define REDIRECT_FLUSH_MS 2000 // for the browser to take the page

#define PAGE_HEAD                                                                                            \
    "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>outtray</title>"                        \
    "<body style=\"font: 1.2em sans-serif; margin: 3em\">"
static const char page_taken[] =
    PAGE_HEAD "<h1>outtray has the answer</h1>"
              "<p>Go back to the terminal: it says whether the account is ready. "
              "This page can be closed.</p>";
static const char page_refused[] = PAGE_HEAD "<h1>Not this one</h1>"
                                             "<p>outtray waits for the answer to another request.</p>";

struct redirect {
    struct MHD_Daemon *daemon;
    uint16_t port;
    const char *state;   // waited for; NULL while nobody waits
    struct secret query; // taken
    bool answered;       // the page has gone out
};

// Every argument of a GET as one query again, decoded by libmicrohttpd.
static enum MHD_Result redirect_collect(
    void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind;
    form_text(arg, key, value);
    return MHD_YES;
}

static bool redirect_take(struct redirect *redirect, struct MHD_Connection *connection)
{
    const char *state = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "state");
    if (!redirect->state || redirect->query.length || !state || strcmp(state, redirect->state) != 0)
        return false;
    struct buffer query;
    buffer_init(&query, REDIRECT_QUERY_MAX);
    buffer_make_secret(&query);
    (void)buffer_text(&query, "?");
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, redirect_collect, &query);
    bool taken = !buffer_error(&query) && !secret_set(&redirect->query, query.data, query.length);
    buffer_release(&query);
    return taken;
}

static enum MHD_Result redirect_reply(struct MHD_Connection *connection, unsigned status, const char *page)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(page), (void *)(uintptr_t)page, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/html; charset=utf-8");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer"); // the address holds the code
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result redirect_request(void *arg, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *body, size_t *body_length, void **request)
{
    struct redirect *redirect = arg;
    (void)version, (void)body;
    if (!*request) { // the head has come; answers are queued at its end
        *request = redirect;
        return MHD_YES;
    }
    if (*body_length) { // of no use here, whatever it is
        *body_length = 0;
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
        return redirect_reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, page_refused);
    if (strcmp(url, "/") != 0)
        return redirect_reply(connection, MHD_HTTP_NOT_FOUND, page_refused);
    bool taken = redirect_take(redirect, connection);
    if (taken)
        *request = &redirect->query; // so that its end is known
    return redirect_reply(
        connection, taken ? MHD_HTTP_OK : MHD_HTTP_BAD_REQUEST, taken ? page_taken : page_refused);
}

static void redirect_completed(
    void *arg, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode code)
{
    struct redirect *redirect = arg;
    (void)connection, (void)code;
    if (*request == &redirect->query)
        redirect->answered = true;
}

// libmicrohttpd's own words would go to standard error, where the code must not get to.
static void redirect_silence(void *arg, const char *format, va_list arguments)
{
    (void)arg, (void)format, (void)arguments;
}

int redirect_open(uint16_t port, struct redirect **ret_redirect)
{
    struct redirect *redirect = calloc(1, sizeof *redirect);
    if (!redirect)
        return -ENOMEM;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    errno = 0;
    redirect->daemon = MHD_start_daemon(MHD_USE_ERROR_LOG, port, NULL, NULL, redirect_request, redirect,
        MHD_OPTION_EXTERNAL_LOGGER, redirect_silence, NULL, MHD_OPTION_SOCK_ADDR, &address,
        MHD_OPTION_CONNECTION_LIMIT, REDIRECT_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, REDIRECT_IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)2 * REDIRECT_QUERY_MAX, MHD_OPTION_NOTIFY_COMPLETED,
        redirect_completed, redirect, MHD_OPTION_END);
    if (!redirect->daemon) {
        int error = errno ? -errno : -EADDRINUSE;
        free(redirect);
        return error;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(redirect->daemon, MHD_DAEMON_INFO_BIND_PORT);
    redirect->port = info && info->port ? info->port : port;
    *ret_redirect = redirect;
    return 0;
}

void redirect_close(struct redirect *redirect)
{
    if (!redirect)
        return;
    MHD_stop_daemon(redirect->daemon);
    secret_release(&redirect->query);
    free(redirect);
}

uint16_t redirect_port(const struct redirect *redirect)
{
    return redirect->port;
}

int redirect_uri(const struct config_account *account, uint16_t port, char uri[static REDIRECT_URI_MAX])
{
    bool google = account->auth == CONFIG_AUTH_GOOGLE;
    int n = snprintf(
        uri, REDIRECT_URI_MAX, google ? "http://127.0.0.1:%u/" : "http://localhost:%u", (unsigned)port);
    return n < 0 || (size_t)n >= REDIRECT_URI_MAX ? -E2BIG : 0;
}

// One round of at most timeout_ms.
static int redirect_run(struct redirect *redirect, int64_t timeout_ms)
{
    fd_set reading, writing, failing;
    int max = -1;
    unsigned MHD_LONG_LONG wanted;
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    FD_ZERO(&failing);
    if (MHD_get_fdset(redirect->daemon, &reading, &writing, &failing, &max) != MHD_YES)
        return -EIO;
    if (MHD_get_timeout(redirect->daemon, &wanted) == MHD_YES && (int64_t)wanted < timeout_ms)
        timeout_ms = (int64_t)wanted;
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = (timeout_ms % 1000) * 1000};
    if (select(max + 1, &reading, &writing, &failing, &timeout) < 0)
        return -errno;
    return MHD_run_from_select(redirect->daemon, &reading, &writing, &failing) == MHD_YES ? 0 : -EIO;
}

int redirect_wait(struct redirect *redirect, const char *state, int64_t timeout_ms, struct secret *ret_query)
{
    int64_t end = clock_boot() + timeout_ms * CLOCK_MS, flushed = 0;
    int error = 0;
    redirect->state = state;
    while (!error && !redirect->answered) {
        clock_poll();
        int64_t now = clock_boot();
        if (redirect->query.length && !flushed)
            flushed = now + REDIRECT_FLUSH_MS * CLOCK_MS;
        int64_t left = (flushed ? flushed : end) - now;
        if (left <= 0)
            break;
        // Short rounds: a test's clock is noticed, and so is a signal that came just before.
        error = redirect_run(redirect, left / CLOCK_MS < 200 ? left / CLOCK_MS + 1 : 200);
    }
    redirect->state = NULL;
    if (!redirect->query.length)
        return error ? error : -ETIMEDOUT;
    *ret_query = redirect->query;
    redirect->query = (struct secret){0};
    return 0;
}
