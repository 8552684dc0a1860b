// libcurl's socket and timer callbacks, answered by the loop.
#include "multi.h"
#include "clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct multi {
    struct loop *loop;
    CURLM *curl;
    struct loop_timer timer;
    bool closing;
    const struct broker *broker; // NULL: every port is open
    const struct sandbox *sandbox;
    const struct sandbox_state *walls;
};

struct multi_socket {
    struct multi *multi;
    struct loop_watch watch;
};

static void multi_reap(struct multi *multi)
{
    int left;
    const CURLMsg *message;
    while ((message = curl_multi_info_read(multi->curl, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        struct multi_transfer *transfer = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        if (transfer)
            transfer->done(transfer, result); // may remove the handle: message is not used after this
    }
}

static void multi_ready(struct loop_watch *watch, uint32_t events)
{
    struct multi_socket *socket = watch->arg;
    struct multi *multi = socket->multi;
    int flags = (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    int running;
    curl_multi_socket_action(multi->curl, watch->fd, flags, &running);
    multi_reap(multi); // socket may be gone by now
}

static void multi_fire(struct loop_timer *timer)
{
    struct multi *multi = timer->arg;
    int running;
    curl_multi_socket_action(multi->curl, CURL_SOCKET_TIMEOUT, 0, &running);
    multi_reap(multi);
}

static int multi_timer(CURLM *curl, long timeout_ms, void *arg)
{
    (void)curl;
    struct multi *multi = arg;
    if (multi->closing || timeout_ms < 0) {
        loop_timer_cancel(multi->loop, &multi->timer);
        return 0;
    }
    return loop_timer_set(multi->loop, &multi->timer, clock_boot() + timeout_ms * CLOCK_MS) ? -1 : 0;
}

static int multi_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    struct multi *multi = arg;
    struct multi_socket *socket = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (socket) {
            loop_watch_remove(multi->loop, &socket->watch);
            free(socket);
            curl_multi_assign(multi->curl, fd, NULL);
        }
        return 0;
    }
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (socket)
        return loop_watch_set(multi->loop, &socket->watch, events) ? -1 : 0;
    socket = calloc(1, sizeof *socket);
    if (!socket)
        return -1;
    socket->multi = multi;
    loop_watch_init(&socket->watch, multi_ready, socket);
    if (loop_watch_add(multi->loop, &socket->watch, fd, events)) {
        free(socket);
        return -1;
    }
    curl_multi_assign(multi->curl, fd, socket);
    return 0;
}

int multi_new(struct loop *loop, struct multi **ret_multi)
{
    struct multi *multi = calloc(1, sizeof *multi);
    if (!multi)
        return -ENOMEM;
    multi->loop = loop;
    loop_timer_init(&multi->timer, multi_fire, multi);
    multi->curl = curl_multi_init();
    if (!multi->curl) {
        free(multi);
        return -ENOMEM;
    }
    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETFUNCTION, multi_socket);
    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETDATA, multi);
    curl_multi_setopt(multi->curl, CURLMOPT_TIMERFUNCTION, multi_timer);
    curl_multi_setopt(multi->curl, CURLMOPT_TIMERDATA, multi);
    *ret_multi = multi;
    return 0;
}

void multi_free(struct multi *multi)
{
    if (!multi)
        return;
    multi->closing = true;
    curl_multi_cleanup(multi->curl);
    loop_timer_cancel(multi->loop, &multi->timer);
    free(multi);
}

void multi_set_broker(struct multi *multi, const struct broker *broker, const struct sandbox *sandbox,
    const struct sandbox_state *walls)
{
    multi->broker = broker;
    multi->sandbox = sandbox;
    multi->walls = walls;
}

static int multi_hand_over(struct multi *multi, struct multi_transfer *transfer, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    return curl_multi_add_handle(multi->curl, easy) == CURLM_OK ? 0 : -ENOMEM;
}

int multi_add(struct multi *multi, struct multi_transfer *transfer, CURL *easy,
    void (*done)(struct multi_transfer *, CURLcode), void *arg)
{
    *transfer = (struct multi_transfer){.done = done, .arg = arg, .socket = -1};
    int error = multi_hand_over(multi, transfer, easy);
    if (!error)
        transfer->easy = easy;
    return error;
}

// libcurl 7.88 calls connect(2) even where it was told that the socket is connected (curl issue 10626). The
// kernel has nothing left to do then and does not look at the address, but Landlock does before it. So the
// address gets a port that Landlock knows.
static void broker_mend_port(const struct multi *multi, struct curl_sockaddr *address)
{
    unsigned version = curl_version_info(CURLVERSION_NOW)->version_num;
    uint16_t port = multi->sandbox->n_connect ? htons(multi->sandbox->connect[0]) : 0;
    if (version < CURL_VERSION_BITS(7, 88, 0) || version >= CURL_VERSION_BITS(8, 0, 0))
        return;
    char *to = (char *)&address->addr;
    if (address->family == AF_INET)
        memcpy(to + offsetof(struct sockaddr_in, sin_port), &port, sizeof port);
    else
        memcpy(to + offsetof(struct sockaddr_in6, sin6_port), &port, sizeof port);
}

// libcurl asks for a socket to an address, one after the other: the socket is given for one of its own kind.
// It asks again where the first served for nothing.
static curl_socket_t broker_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct multi_transfer *transfer = arg;
    int fd = transfer->socket, family = 0;
    socklen_t length = sizeof family;
    (void)purpose;
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) || family != address->family)
        return CURL_SOCKET_BAD;
    broker_mend_port(transfer->multi, address);
    transfer->socket = -1;
    return fd;
}

static int broker_connected(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    (void)arg, (void)fd, (void)purpose;
    return CURL_SOCKOPT_ALREADY_CONNECTED;
}

static void transfer_forget_answer(struct multi_transfer *transfer)
{
    int fd = transfer->answer.fd;
    loop_watch_remove(transfer->multi->loop, &transfer->answer);
    if (fd >= 0)
        close(fd);
}

static void multi_answered(struct loop_watch *watch, uint32_t events)
{
    struct multi_transfer *transfer = watch->arg;
    struct broker_reply reply;
    CURLcode result = CURLE_OUT_OF_MEMORY;
    (void)events;
    broker_answer(watch->fd, &reply, &transfer->socket);
    transfer_forget_answer(transfer);
    if (!reply.error && transfer->socket >= 0) {
        if (multi_hand_over(transfer->multi, transfer, transfer->easy) == 0)
            return;
    } else {
        transfer->os_error = reply.error == -EPIPE ? EACCES : -reply.error; // the sandbox is what stands
        result = reply.curl ? (CURLcode)reply.curl : CURLE_COULDNT_CONNECT;
        (void)snprintf(transfer->error, sizeof transfer->error, "%.*s", (int)sizeof transfer->error - 1,
            *reply.words ? reply.words : curl_easy_strerror(result));
    }
    transfer->done(transfer, result); // may free it
}

int multi_connect(struct multi *multi, struct multi_transfer *transfer, CURL *easy,
    void (*done)(struct multi_transfer *, CURLcode), void *arg, const char *host, uint16_t port,
    int64_t timeout_ms)
{
    int fd, error;
    if (!multi->broker || sandbox_connects(multi->sandbox, multi->walls, port))
        return multi_add(multi, transfer, easy, done, arg);
    *transfer =
        (struct multi_transfer){.done = done, .arg = arg, .socket = -1, .brokered = true, .multi = multi};
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, broker_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, broker_connected);
    error = broker_connect(multi->broker, host, port, timeout_ms, &fd);
    if (error)
        return error;
    loop_watch_init(&transfer->answer, multi_answered, transfer);
    error = loop_watch_add(multi->loop, &transfer->answer, fd, EPOLLIN);
    if (error)
        close(fd);
    else
        transfer->easy = easy;
    return error;
}

void multi_remove(struct multi *multi, struct multi_transfer *transfer)
{
    if (!transfer->easy)
        return;
    if (transfer->brokered)
        transfer_forget_answer(transfer);
    curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, NULL);
    curl_multi_remove_handle(multi->curl, transfer->easy); // one that was never added is no matter
    if (transfer->socket >= 0)
        close(transfer->socket);
    transfer->socket = -1;
    transfer->easy = NULL;
}
