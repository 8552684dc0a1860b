// Requests in, descriptors out.
#include "broker_server.h"
#include "agent/base/log.h"
#include "agent/delivery/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

struct call { // one connection that is being made
    struct broker_server *server;
    struct multi_transfer transfer;
    CURL *easy;
    int answer; // where the reply goes
    char error[CURL_ERROR_SIZE];
};

static void answer(int fd, int error, const char *words, int pass)
{
    struct broker_reply reply = {.error = error};
    (void)snprintf(reply.words, sizeof reply.words, "%s", words);
    (void)broker_give(fd, &reply, sizeof reply, pass);
}

// Reads the file. What it says counts from broker_use on, and what it names may be had at once.
static void server_load(struct broker_server *server, int fd)
{
    const char *path = server->config->path;
    const struct config *next = NULL;
    struct config_findings findings = {0};
    config_unref(server->next); // whatever became of it: it is not the file any more
    server->next = NULL;
    if (sandbox_writes(&server->agent, path)) {
        answer(fd, -EINVAL, "the agent itself may write where the configuration file lies", -1);
        return;
    }
    int error = config_load(path, server->checks, &next, &findings);
    const char *words = "";
    for (size_t i = 0; error && i < findings.n && !*words; i++)
        words = findings.items[i].warning ? "" : findings.items[i].text;
    if (!error)
        server->next = next;
    answer(fd, error ? -EINVAL : 0, words, -1);
    config_findings_release(&findings);
}

static void server_use(struct broker_server *server)
{
    if (!server->next)
        return;
    config_unref(server->config);
    server->config = server->next;
    server->next = NULL;
}

// As the log's own opening (log.h); one that is named by neither configuration is no log.
static void server_log(const struct broker_server *server, int fd, const char *path)
{
    bool named = strcmp(server->config->log.file, path) == 0 ||
                 (server->next && strcmp(server->next->log.file, path) == 0);
    int log = named && *path ? open(path, LOG_OPEN_FLAGS, LOG_OPEN_MODE) : -1;
    answer(fd, !named || !*path ? -EACCES : log < 0 ? -errno : 0, "", log);
    if (log >= 0)
        close(log);
}

static void server_file(const struct broker_server *server, int fd, const char *path)
{
    bool secret = true;
    struct stat stat;
    bool named = policy_names_file(server->config, path, &secret) ||
                 (server->next && policy_names_file(server->next, path, &secret));
    if (!named ||
        sandbox_writes(&server->agent, path)) { // what lies there may be a link of the agent's making
        answer(fd, -EACCES, "", -1);
        return;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (secret ? O_NOFOLLOW : 0));
    int error = file < 0 || fstat(file, &stat) ? -errno : S_ISREG(stat.st_mode) ? 0 : -EINVAL;
    answer(fd, error, "", error ? -1 : file);
    if (file >= 0)
        close(file);
}

static void call_free(struct call *call)
{
    multi_remove(call->server->multi, &call->transfer);
    curl_easy_cleanup(call->easy); // takes NULL
    close(call->answer);
    call->server->n_calls--;
    free(call);
}

static void call_done(struct multi_transfer *transfer, CURLcode result)
{
    struct call *call = transfer->arg;
    curl_socket_t socket = CURL_SOCKET_BAD;
    long os_error = 0;
    curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &os_error);
    curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &socket);
    struct broker_reply reply = {.curl = (int32_t)result};
    if (result != CURLE_OK || socket == CURL_SOCKET_BAD) {
        reply.error = os_error ? -(int32_t)os_error : -EIO;
        (void)snprintf(
            reply.words, sizeof reply.words, "%s", *call->error ? call->error : curl_easy_strerror(result));
    }
    (void)broker_give(call->answer, &reply, sizeof reply, reply.error ? -1 : (int)socket);
    call_free(call);
}

static bool call_configure(struct call *call, const char *host, const struct broker_request *request)
{
    char url[BROKER_TEXT_MAX + 32];
    CURL *easy = call->easy = curl_easy_init();
    (void)snprintf(url, sizeof url, strchr(host, ':') ? "http://[%s]:%u/" : "http://%s:%u/", host,
        (unsigned)request->port);
    return easy && !curl_easy_setopt(easy, CURLOPT_URL, url) &&
           !curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L) && // nothing is said in HTTP
           !curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http") &&
           !curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) && !curl_easy_setopt(easy, CURLOPT_PROXY, "") &&
           !curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") &&
           !curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L) &&
           !curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->timeout_ms) &&
           !curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
}

// The descriptor for the answer is taken over.
static void server_connect(
    struct broker_server *server, int fd, const char *host, const struct broker_request *request)
{
    if (!policy_names_place(server->config, host, request->port) &&
        !(server->next && policy_names_place(server->next, host, request->port))) {
        answer(fd, -EACCES, "the configuration names no such server and port", -1);
        close(fd);
        return;
    }
    struct call *call = server->n_calls < BROKER_CALLS_MAX ? calloc(1, sizeof *call) : NULL;
    if (!call || (!server->multi && multi_new(server->loop, &server->multi))) {
        answer(fd, -ENOMEM, "too many connections are being made, or memory is short", -1);
        close(fd);
        free(call);
        return;
    }
    *call = (struct call){.server = server, .answer = fd};
    server->n_calls++;
    if (!call_configure(call, host, request) ||
        multi_add(server->multi, &call->transfer, call->easy, call_done, call)) {
        answer(fd, -ENOMEM, "memory is short", -1);
        call_free(call);
    }
}

static void server_request(
    struct broker_server *server, const struct broker_request *request, const char *text, int fd)
{
    switch (request->kind) {
    case BROKER_LOAD:
        server_load(server, fd);
        break;
    case BROKER_USE:
        server_use(server);
        break;
    case BROKER_FILE:
        server_file(server, fd, text);
        break;
    case BROKER_LOG:
        server_log(server, fd, text);
        break;
    case BROKER_CONNECT:
        server_connect(server, fd, text, request);
        return;
    default:
        answer(fd, -EINVAL, "no such request is known", -1);
    }
    close(fd);
}

static void server_ready(struct loop_watch *watch, uint32_t events)
{
    struct broker_server *server = watch->arg;
    struct {
        struct broker_request request;
        char text[BROKER_TEXT_MAX];
    } packet;
    int passed, got;
    (void)events;
    while ((got = broker_take(server->fd, &packet, sizeof packet, &passed)) > 0 || got == -EMFILE) {
        bool whole = got > (int)sizeof packet.request && ((const char *)&packet)[got - 1] == '\0';
        if (passed >= 0 && whole)
            server_request(server, &packet.request, packet.text, passed);
        else if (passed >= 0)
            close(passed);
    }
    if (got != -EAGAIN)
        loop_watch_remove(server->loop, &server->watch); // the agent is gone
}

int broker_server_start(struct broker_server *server, struct loop *loop, int fd, const struct config *config,
    const struct config_checks *checks)
{
    *server = (struct broker_server){.loop = loop, .fd = fd, .checks = checks, .config = config_ref(config)};
    sandbox_init(&server->agent);
    policy_add(&server->agent, config);
    loop_watch_init(&server->watch, server_ready, server);
    return server->agent.error ? server->agent.error : loop_watch_add(loop, &server->watch, fd, EPOLLIN);
}
