// What somebody who has taken over the agent can ask the helper for: `ask CONFIG NAMED-PORT OTHER-PORT
// NAMED-FILE OTHER-FILE NAMED-HOOK OTHER-HOOK`.
//
// It starts the helper, enters the agent's sandbox, and says "ready". When a line comes on standard input,
// the file has been changed, so that it names the one port, file and hook; then it asks for all of them, and
// more. One line for each try, "NAME: ok" or "NAME: refused" with the error; what is expected of them is the
// test's business.
#include "agent/delivery/agent.h"
#include "agent/delivery/helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 20000

static void say(const char *name, int error)
{
    if (error)
        printf("%s: refused (%s)\n", name, strerror(-error));
    else
        printf("%s: ok\n", name);
}

static int to_file(const struct broker *broker, enum broker_kind kind, const char *path)
{
    char octet;
    int fd = broker_open(broker, kind, path);
    if (fd < 0)
        return fd;
    int error = kind == BROKER_FILE && read(fd, &octet, 1) != 1 ? -EIO : 0;
    if (kind == BROKER_FILE && write(fd, "x", 1) >= 0)
        error = -ENOTRECOVERABLE; // it is for reading
    close(fd);
    return error;
}

static int to_port(const struct broker *broker, const char *host, const char *port)
{
    struct broker_reply reply;
    int fd, socket, error = broker_connect(broker, host, (uint16_t)strtoul(port, NULL, 10), WAIT_MS, &fd);
    struct pollfd ready = {fd, POLLIN, 0};
    if (error || poll(&ready, 1, WAIT_MS) != 1)
        return error ? error : -ETIME;
    broker_answer(fd, &reply, &socket);
    close(fd);
    if (socket >= 0)
        close(socket);
    return reply.error;
}

static int by_ourselves(const char *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = connect(fd, (const struct sockaddr *)&address, sizeof address) ? -errno : 0;
    close(fd);
    return error;
}

static int to_hook(int fd, const char *event, const char *program, const char *argument)
{
    char packet[4096];
    struct hook_reply reply;
    struct hook_request request = {.id = 1, .timeout_ms = WAIT_MS, .n_argv = argument ? 2 : 1};
    struct pollfd ready = {fd, POLLIN, 0};
    int length = snprintf(packet + sizeof request, sizeof packet - sizeof request, "%s%c%s%c%s", event, 0,
        program, 0, argument ? argument : "");
    request.texts_size = (uint32_t)(length + (argument ? 1 : 0));
    memcpy(packet, &request, sizeof request);
    if (send(fd, packet, sizeof request + request.texts_size, 0) < 0 || poll(&ready, 1, WAIT_MS) != 1 ||
        recv(fd, &reply, sizeof reply, 0) != (ssize_t)sizeof reply)
        return -EIO;
    return reply.status == 0 ? 0 : reply.status == -1 ? -EACCES : -ECHILD;
}

// Nothing of this may be answered, or disturb what comes after.
static void send_rubbish(const struct broker *broker)
{
    static const char rubbish[sizeof(struct broker_request) + BROKER_TEXT_MAX + 64] = {1, 2, 3};
    struct broker_request request = {.kind = 99};
    int pipes[2];
    (void)send(broker->fd, rubbish, 1, MSG_DONTWAIT);
    (void)send(broker->fd, rubbish, sizeof request, MSG_DONTWAIT);
    (void)send(broker->fd, rubbish, sizeof rubbish, MSG_DONTWAIT);
    memset(&request, 0xff, sizeof request);
    (void)broker_give(broker->fd, &request, sizeof request, broker->fd);
    if (pipe(pipes) == 0) { // no socket: the answer goes nowhere
        request.kind = BROKER_FILE;
        (void)broker_give(broker->fd, &request, sizeof request, pipes[1]);
        close(pipes[0]);
        close(pipes[1]);
    }
}

static void ask(const struct agent *agent, char **argv)
{
    const struct broker *broker = &agent->broker;
    char words[BROKER_WORDS_MAX];
    say("named port before", to_port(broker, "127.0.0.1", argv[2]));
    say("named file before", to_file(broker, BROKER_FILE, argv[4]));
    say("named hook before", to_hook(agent->hooks.fd, "sent", argv[6], NULL));
    printf("ready\n");
    (void)getchar();
    send_rubbish(broker);
    say("load", broker_load(broker, words));
    say("named port by ourselves", by_ourselves(argv[2]));
    say("named port", to_port(broker, "127.0.0.1", argv[2]));
    say("other port", to_port(broker, "127.0.0.1", argv[3]));
    say("other host", to_port(broker, "127.0.0.2", argv[2]));
    say("host that hides another", to_port(broker, "127.0.0.1@127.0.0.2", argv[2]));
    say("named file", to_file(broker, BROKER_FILE, argv[4]));
    say("other file", to_file(broker, BROKER_FILE, argv[5]));
    say("named file as log", to_file(broker, BROKER_LOG, argv[4]));
    say("configuration", to_file(broker, BROKER_FILE, argv[1]));
    say("shadow", to_file(broker, BROKER_FILE, "/etc/shadow"));
    say("nothing", to_file(broker, BROKER_FILE, ""));
    say("named hook", to_hook(agent->hooks.fd, "sent", argv[6], NULL));
    say("hook of another event", to_hook(agent->hooks.fd, "failed", argv[6], NULL));
    say("hook with an argument", to_hook(agent->hooks.fd, "sent", argv[6], "more"));
    say("other hook", to_hook(agent->hooks.fd, "sent", argv[7], NULL));
    broker_use(broker);
    say("named port in use", to_port(broker, "127.0.0.1", argv[2]));
    say("named file in use", to_file(broker, BROKER_FILE, argv[4]));
}

int main(int argc, char **argv)
{
    const struct config *config = NULL;
    struct config_findings findings = {0};
    static const struct config_checks checks;
    struct agent agent = {.lock_fd = -1, .signal_fd = -1};
    if (argc != 8 || config_load(argv[1], NULL, &config, &findings))
        return 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (log_open(&(struct log_target){.file = config->log.file, .facility = LOG_NO_SYSLOG, .opener = NULL},
            &agent.dispatch.log))
        return 73;
    agent_start_helper(&agent, config, &checks);
    pid_t helper = agent.hooks.helper;
    agent_enter_sandbox(&agent, config);
    printf("landlock: %d\n", agent.walls.landlock);
    ask(&agent, argv);
    close(agent.broker.fd);
    hooks_release(&agent.hooks);
    (void)waitpid(helper, NULL, 0);
    sandbox_release(&agent.sandbox);
    log_close(agent.dispatch.log);
    config_findings_release(&findings);
    config_unref(config);
    return 0;
}
