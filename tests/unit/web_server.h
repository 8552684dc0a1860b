// A tiny HTTP server for unit tests: one thread, one request a connection, an ephemeral port on 127.0.0.1,
// and every fault that a provider can show.
//
// What it answers is asked of a function for each request; that function runs on the server's thread. Include
// it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_WEB_SERVER_H
#define OUTTRAY_TESTS_UNIT_WEB_SERVER_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum web_fault {
    WEB_NONE,
    WEB_TRUNCATED, // more is promised than comes
    WEB_HANG,      // nothing comes until the client goes
    WEB_ENDLESS,   // more comes until the client goes
    WEB_CLOSE,     // the connection is closed at once
    WEB_LATE,      // answered when web_release is called
};

struct web_reply {
    int status;
    const char *type;    // NULL: application/json
    const char *headers; // whole lines with CRLF; NULL: none
    const char *body;
    enum web_fault fault;
};

struct web {
    int listener, wake[2];
    uint16_t port;
    pthread_t thread;
    struct web_reply (*answer)(const char *head, const char *body, void *arg);
    void *arg;
    _Atomic unsigned requests;
    _Atomic bool released;
};

static inline void web_send(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t n = send(fd, text, length, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        length -= (size_t)n;
    }
}

// Until the client goes, or the server is stopped.
static inline void web_wait_gone(const struct web *web, int fd)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = web->wake[0], .events = POLLIN}};
    char octet;
    while (poll(fds, 2, -1) > 0 && !fds[1].revents && recv(fd, &octet, 1, 0) > 0)
        ;
}

static inline void web_endless(int fd)
{
    char block[65536];
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"a\":\"";
    memset(block, 'x', sizeof block);
    web_send(fd, head, sizeof head - 1);
    for (unsigned i = 0; i < 1600; i++) { // 100 MB
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL);
        if (n <= 0)
            return;
    }
}

static inline void web_reply(const struct web *web, int fd, const struct web_reply *reply)
{
    char head[2048];
    size_t length = strlen(reply->body);
    int n = snprintf(head, sizeof head,
        "HTTP/1.1 %d Whatever\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
        reply->status, reply->type ? reply->type : "application/json",
        length + (reply->fault == WEB_TRUNCATED ? 10 : 0), reply->headers ? reply->headers : "");
    while (reply->fault == WEB_LATE && !atomic_load(&web->released))
        if (poll(&(struct pollfd){.fd = web->wake[0], .events = POLLIN}, 1, 2) > 0)
            return;
    web_send(fd, head, (size_t)n);
    web_send(fd, reply->body, length);
}

// Reads one request: head and Content-Length octets. False where the client went before.
static inline bool web_read(int fd, char *text, size_t size, char **ret_body)
{
    size_t length = 0, wanted = SIZE_MAX;
    *ret_body = NULL;
    while (length < wanted) {
        ssize_t n = recv(fd, text + length, size - 1 - length, 0);
        if (n <= 0)
            return false;
        length += (size_t)n;
        text[length] = '\0';
        char *end = strstr(text, "\r\n\r\n");
        if (!end)
            continue;
        const char *told = strcasestr(text, "\r\nContent-Length:");
        *ret_body = end + 4;
        wanted = (size_t)(end + 4 - text) + (told && told < end ? strtoul(told + 17, NULL, 10) : 0);
    }
    return true;
}

static inline void *web_thread(void *arg)
{
    struct web *web = arg;
    char *text = malloc(262144), *body;
    for (;;) {
        struct pollfd fds[2] = {
            {.fd = web->listener, .events = POLLIN}, {.fd = web->wake[0], .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 || fds[1].revents)
            break;
        int fd = accept(web->listener, NULL, NULL);
        if (fd < 0)
            continue;
        if (web_read(fd, text, 262144, &body)) {
            struct web_reply reply = web->answer(text, body, web->arg);
            atomic_fetch_add(&web->requests, 1);
            if (reply.fault == WEB_HANG)
                web_wait_gone(web, fd);
            else if (reply.fault == WEB_ENDLESS)
                web_endless(fd);
            else if (reply.fault != WEB_CLOSE)
                web_reply(web, fd, &reply);
        }
        shutdown(fd, SHUT_WR);
        close(fd);
    }
    free(text);
    return NULL;
}

static inline void web_start(
    struct web *web, struct web_reply (*answer)(const char *head, const char *body, void *arg), void *arg)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *web = (struct web){.answer = answer, .arg = arg};
    web->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(web->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(web->listener, 8), 0);
    assert_int_equal(getsockname(web->listener, (struct sockaddr *)&address, &size), 0);
    web->port = ntohs(address.sin_port);
    assert_int_equal(pipe(web->wake), 0);
    assert_int_equal(pthread_create(&web->thread, NULL, web_thread, web), 0);
}

static inline void web_release(struct web *web)
{
    atomic_store(&web->released, true);
}

static inline unsigned web_requests(struct web *web)
{
    return atomic_load(&web->requests);
}

static inline void web_stop(struct web *web)
{
    assert_int_equal(write(web->wake[1], "x", 1), 1);
    pthread_join(web->thread, NULL);
    close(web->listener);
    close(web->wake[0]);
    close(web->wake[1]);
}

#endif
