// Packets with descriptors, and the agent's questions.
#include "broker.h"
#include "config/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union control { // room for one descriptor, aligned as cmsg(3) wants it
    struct cmsghdr head;
    char space[CMSG_SPACE(sizeof(int))];
};

int broker_give(int fd, const void *data, size_t size, int pass)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union control control = {0};
    if (pass >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof pass), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &pass, sizeof pass);
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : (int)sent;
}

int broker_take(int fd, void *data, size_t size, int *ret_passed)
{
    struct iovec part = {.iov_base = data, .iov_len = size};
    union control control = {0};
    struct msghdr message = {.msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = CMSG_LEN(sizeof(int))}; // without the padding, in which a second one would fit
    ssize_t got;
    *ret_passed = -1;
    do // the kernel closes what does not fit into the one place
        got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_passed, CMSG_DATA(head), sizeof(int));
    if (*ret_passed < 0 && message.msg_flags & MSG_CTRUNC)
        return -EMFILE;
    return (int)got;
}

// Sends a request; *ret_fd is where its answer comes.
static int broker_ask(
    const struct broker *broker, const struct broker_request *request, const char *text, int *ret_fd)
{
    struct {
        struct broker_request request;
        char text[BROKER_TEXT_MAX];
    } packet = {.request = *request};
    int pair[2];
    size_t length = strlen(text) + 1;
    if (broker->fd < 0)
        return -EPIPE;
    if (length > BROKER_TEXT_MAX)
        return -ENAMETOOLONG;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return -errno;
    memcpy(packet.text, text, length);
    int sent = broker_give(broker->fd, &packet, sizeof packet.request + length, pair[1]);
    close(pair[1]);
    if (sent < 0) {
        close(pair[0]);
        return sent == -ECONNRESET ? -EPIPE : sent;
    }
    *ret_fd = pair[0];
    return 0;
}

static void reply_error(struct broker_reply *reply, int error, const char *words)
{
    *reply = (struct broker_reply){.error = error};
    (void)snprintf(reply->words, sizeof reply->words, "%s", words);
}

void broker_answer(int fd, struct broker_reply *ret_reply, int *ret_socket)
{
    int got = broker_take(fd, ret_reply, sizeof *ret_reply, ret_socket);
    if (got == (int)sizeof *ret_reply) {
        ret_reply->words[BROKER_WORDS_MAX - 1] = '\0';
        return;
    }
    fd_close(ret_socket);
    if (got == -EMFILE)
        reply_error(ret_reply, got, "too many open files; raise the limit (LimitNOFILE=, ulimit -n)");
    else
        reply_error(ret_reply, -EPIPE, "the helper process has ended");
}

// Asks and waits.
static void broker_call(const struct broker *broker, const struct broker_request *request, const char *text,
    int wait_ms, struct broker_reply *ret_reply, int *ret_socket)
{
    FD fd = -1;
    *ret_socket = -1;
    int error = broker_ask(broker, request, text, &fd);
    struct pollfd ready = {fd, POLLIN, 0};
    if (error == -EPIPE)
        reply_error(ret_reply, -EPIPE, "the helper process has ended");
    else if (error)
        *ret_reply = (struct broker_reply){.error = error};
    else if (poll(&ready, 1, wait_ms) == 1)
        broker_answer(fd, ret_reply, ret_socket);
    else
        reply_error(ret_reply, -EPIPE, "the helper process does not answer");
}

int broker_load(const struct broker *broker, char words[static BROKER_WORDS_MAX])
{
    struct broker_request request = {.kind = BROKER_LOAD};
    struct broker_reply reply;
    FD none = -1;
    broker_call(broker, &request, "", BROKER_LOAD_WAIT_MS, &reply, &none);
    (void)snprintf(words, BROKER_WORDS_MAX, "%s", *reply.words ? reply.words : strerror(-reply.error));
    return reply.error;
}

void broker_use(const struct broker *broker)
{
    struct broker_request request = {.kind = BROKER_USE};
    FD fd = -1;
    (void)broker_ask(broker, &request, "", &fd);
}

int broker_open(const struct broker *broker, enum broker_kind kind, const char *path)
{
    struct broker_request request = {.kind = kind};
    struct broker_reply reply;
    int fd;
    broker_call(broker, &request, path, BROKER_WAIT_MS, &reply, &fd);
    return reply.error ? reply.error : fd < 0 ? -EPIPE : fd;
}

int broker_connect(
    const struct broker *broker, const char *host, uint16_t port, int64_t timeout_ms, int *ret_fd)
{
    struct broker_request request = {.kind = BROKER_CONNECT,
        .port = port,
        .timeout_ms =
            (uint32_t)(timeout_ms > 0 && timeout_ms < BROKER_CONNECT_MS ? timeout_ms : BROKER_CONNECT_MS)};
    int pair[2], error = broker_ask(broker, &request, host, ret_fd);
    if (error != -EPIPE)
        return error;
    // That the helper is gone comes as an answer as well: there is one way to tell of it.
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return -errno;
    close(pair[1]);
    *ret_fd = pair[0];
    return 0;
}
