// libcurl's socket and timer callbacks, answered by the loop.
#include "multi.h"
#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

struct multi {
    struct loop *loop;
    CURLM *curl;
    struct loop_timer timer;
    bool closing;
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

int multi_add(struct multi *multi, struct multi_transfer *transfer, CURL *easy,
    void (*done)(struct multi_transfer *, CURLcode), void *arg)
{
    transfer->done = done;
    transfer->arg = arg;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (curl_multi_add_handle(multi->curl, easy) != CURLM_OK)
        return -ENOMEM;
    transfer->easy = easy;
    return 0;
}

void multi_remove(struct multi *multi, struct multi_transfer *transfer)
{
    if (!transfer->easy)
        return;
    curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, NULL);
    curl_multi_remove_handle(multi->curl, transfer->easy);
    transfer->easy = NULL;
}
