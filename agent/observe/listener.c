// Answers out of memory, on libmicrohttpd's own thread.
#include "listener.h"
#include "agent/base/clock.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WHERE_MAX 272 // octets of "[ADDRESS]:PORT"

struct page { // constant but for its references
    _Atomic unsigned references;
    struct listener_view view;
};

struct listener {
    struct log *log;
    pthread_mutex_t lock; // guards page
    struct page *page;    // NULL before the first is published
    struct MHD_Daemon *daemon;
    char where[WHERE_MAX]; // as asked for last
    int error;             // of the last attempt there
};

static void page_unref(void *arg)
{
    struct page *page = arg;
    if (!page || atomic_fetch_sub(&page->references, 1) > 1)
        return;
    buffer_release(&page->view.status);
    buffer_release(&page->view.metrics);
    free(page);
}

static struct page *listener_page(struct listener *listener)
{
    pthread_mutex_lock(&listener->lock);
    struct page *page = listener->page;
    if (page)
        atomic_fetch_add(&page->references, 1);
    pthread_mutex_unlock(&listener->lock);
    return page;
}

static enum MHD_Result reply(
    struct MHD_Connection *connection, unsigned code, const char *type, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result reply_words(struct MHD_Connection *connection, unsigned code, const char *words)
{
    char line[LISTENER_WORDS_MAX + 2];
    int n = snprintf(line, sizeof line, "%s\n", words);
    return reply(connection, code, "text/plain; charset=utf-8",
        MHD_create_response_from_buffer((size_t)n, line, MHD_RESPMEM_MUST_COPY));
}

// The page's reference goes to the answer.
static enum MHD_Result reply_page(
    struct MHD_Connection *connection, const char *type, const struct buffer *text, struct page *page)
{
    if (!text->length || buffer_error(text)) {
        page_unref(page);
        return reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "nothing to show: memory is short");
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback_cls(text->length, text->data, page_unref, page);
    if (!response)
        page_unref(page);
    return reply(connection, MHD_HTTP_OK, type, response);
}

static int64_t page_age_s(const struct page *page)
{
    return (clock_work() - page->view.at) / CLOCK_SECOND;
}

// alive: only whether the agent comes round; else whether mail goes out, too.
static enum MHD_Result reply_health(struct MHD_Connection *connection, const struct page *page, bool alive)
{
    char words[LISTENER_WORDS_MAX];
    int64_t age = page_age_s(page);
    if (age > LISTENER_STALE_S) {
        (void)snprintf(words, sizeof words,
            "the agent has not come round for %lld s: its loop or its intake desk hangs", (long long)age);
        return reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE, words);
    }
    if (alive)
        return reply_words(connection, MHD_HTTP_OK, "alive");
    return reply_words(
        connection, page->view.healthy ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, page->view.words);
}

static enum MHD_Result listener_answer(
    struct listener *listener, struct MHD_Connection *connection, const char *url)
{
    enum MHD_Result result;
    struct page *page = listener_page(listener);
    if (strcmp(url, "/") == 0)
        result = reply_words(
            connection, MHD_HTTP_OK, "outtray " OUTTRAY_VERSION ": /metrics /healthz /livez /status.json");
    else if (!page)
        result = reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "the agent is starting");
    else if (strcmp(url, "/metrics") == 0)
        return reply_page(connection, "text/plain; version=0.0.4; charset=utf-8", &page->view.metrics, page);
    else if (strcmp(url, "/status.json") == 0)
        return reply_page(connection, "application/json", &page->view.status, page);
    else if (strcmp(url, "/healthz") == 0 || strcmp(url, "/livez") == 0)
        result = reply_health(connection, page, url[1] == 'l');
    else
        result =
            reply_words(connection, MHD_HTTP_NOT_FOUND, "there are /metrics /healthz /livez /status.json");
    page_unref(page);
    return result;
}

static enum MHD_Result listener_request(void *arg, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *body, size_t *body_length, void **request)
{
    (void)version, (void)body;
    bool reads = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    if (!*request) { // the head has come
        if (!reads)  // answered before a body comes: the connection ends with it
            return reply_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only");
        *request = arg;
        return MHD_YES;
    }
    if (*body_length) { // of a GET: of no use here
        *body_length = 0;
        return MHD_YES;
    }
    return listener_answer(arg, connection, url);
}

// What clients do wrong is no news for standard error.
static void listener_silence(void *arg, const char *format, va_list arguments)
{
    (void)arg, (void)format, (void)arguments;
}

int listener_new(struct log *log, struct listener **ret_listener)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return -ENOMEM;
    listener->log = log;
    pthread_mutex_init(&listener->lock, NULL);
    *ret_listener = listener;
    return 0;
}

static void listener_stop(struct listener *listener)
{
    if (listener->daemon)
        MHD_stop_daemon(listener->daemon); // closes the socket and ends the thread
    listener->daemon = NULL;
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    listener_stop(listener);
    page_unref(listener->page);
    pthread_mutex_destroy(&listener->lock);
    free(listener);
}

void listener_publish(struct listener *listener, struct listener_view *view)
{
    struct page *page = calloc(1, sizeof *page);
    if (!page)
        return; // the old one grows stale, and says so
    page->references = 1;
    page->view = *view;
    buffer_init(&view->status, view->status.max);
    buffer_init(&view->metrics, view->metrics.max);
    pthread_mutex_lock(&listener->lock);
    struct page *old = listener->page;
    listener->page = page;
    pthread_mutex_unlock(&listener->lock);
    page_unref(old);
}

// Host and port of "HOST:PORT"; the host without brackets, 127.0.0.1 where there is none.
static int split_where(const char *where, char host[static WHERE_MAX], const char **ret_port)
{
    const char *colon = strrchr(where, ':');
    if (!colon)
        return -EINVAL;
    size_t length = (size_t)(colon - where);
    if (length > 1 && where[0] == '[' && where[length - 1] == ']') {
        where++;
        length -= 2;
    }
    int n = length ? snprintf(host, WHERE_MAX, "%.*s", (int)length, where)
                   : snprintf(host, WHERE_MAX, "127.0.0.1");
    *ret_port = colon + 1;
    return n < 0 || n >= WHERE_MAX ? -EINVAL : 0;
}

static int listener_socket(const char *where, int *ret_fd)
{
    char host[WHERE_MAX];
    const char *port;
    struct addrinfo *found = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int error = split_where(where, host, &port);
    if (error)
        return error;
    if (getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hints, &found))
        return -EADDRNOTAVAIL;
    int on = 1, fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        error = -errno;
    if (!error && found->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on); // [::] is not 0.0.0.0
    if (!error)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!error && (bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, LISTENER_CONNECTIONS)))
        error = -errno;
    freeaddrinfo(found);
    if (error && fd >= 0)
        close(fd);
    if (!error)
        *ret_fd = fd;
    return error;
}

static int listener_start(struct listener *listener, const char *where)
{
    int fd, error = listener_socket(where, &fd);
    if (error)
        return error;
    errno = 0;
    listener->daemon = MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, listener_request, listener, MHD_OPTION_EXTERNAL_LOGGER, listener_silence, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, LISTENER_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, LISTENER_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, LISTENER_MEMORY,
        MHD_OPTION_END);
    if (listener->daemon)
        return 0;
    error = errno ? -errno : -EIO;
    close(fd);
    return error;
}

int listener_listen(struct listener *listener, const char *where)
{
    bool same = strcmp(listener->where, where) == 0;
    if (same && (listener->daemon || !*where))
        return 0;
    listener_stop(listener);
    if (!same)
        listener->error = 0;
    (void)snprintf(listener->where, sizeof listener->where, "%s", where);
    int error = *where ? listener_start(listener, where) : 0;
    if (error && error != listener->error)
        log_event(listener->log, LOG_WARNING_LEVEL, "listen_failed",
            "metrics are not served over HTTP; mail is not affected, and it is tried again every few seconds",
            "listen", where, "reason", strerror(-error), NULL);
    if (!error && *where)
        log_event(listener->log, LOG_NOTICE_LEVEL, "listening", "metrics are served over HTTP", "listen",
            where, NULL);
    listener->error = error;
    return error;
}
