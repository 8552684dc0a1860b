// The helper's process and loop.
#include "helper.h"
#include "agent/delivery/broker_server.h"
#include "agent/delivery/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

// Where its descriptors go once all others are closed.
enum { HOOKS_FD = STDERR_FILENO + 1, BROKER_FD, FIRST_FREE_FD };

struct helper {
    struct loop *loop;
    pid_t agent;
    struct loop_watch signals;
    struct hook_helper hooks;
    struct broker_server broker;
};

static bool config_names_hook(const struct config *config, const char *event, char *const argv[])
{
    for (enum event_kind kind = 0; config && kind < EVENT_KINDS; kind++) {
        const char *const *named = hooks_argv(config, kind);
        size_t i = 0;
        if (strcmp(event_name(kind), event) != 0 || !*named)
            continue;
        while (named[i] && argv[i] && strcmp(named[i], argv[i]) == 0)
            i++;
        return !named[i] && !argv[i];
    }
    return false;
}

// Without a sandbox the agent may run what it likes by itself.
static bool helper_may_run(const char *event, char *const argv[], void *arg)
{
    const struct helper *helper = arg;
    const struct broker_server *broker = &helper->broker;
    return !broker->config->sandbox || config_names_hook(broker->config, event, argv) ||
           config_names_hook(broker->next, event, argv);
}

// SIGTERM comes from the kernel when the agent dies, and from a service manager that ends the whole service:
// then the agent decides how long it goes on.
static void helper_signal(struct loop_watch *watch, uint32_t events)
{
    struct helper *helper = watch->arg;
    struct signalfd_siginfo info;
    bool died = false;
    (void)events;
    while (read(watch->fd, &info, sizeof info) == (ssize_t)sizeof info)
        died |= info.ssi_signo == SIGTERM && getppid() != helper->agent;
    hook_helper_reap(&helper->hooks);
    if (died)
        hook_helper_close(&helper->hooks);
}

static void helper_before_sleep(void *arg)
{
    struct helper *helper = arg;
    if (helper->hooks.closed && hook_helper_is_idle(&helper->hooks))
        loop_stop(helper->loop);
}

static int helper_open_signals(struct helper *helper)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT); // of the terminal: the agent decides
    sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_SETMASK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    sigdelset(&set, SIGINT);
    sigdelset(&set, SIGHUP);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    loop_watch_init(&helper->signals, helper_signal, helper);
    return fd < 0 ? -errno : loop_watch_add(helper->loop, &helper->signals, fd, EPOLLIN);
}

// Everything that was the agent's goes, its lock on the spool above all.
static void helper_shed(int hooks, int broker)
{
    int null = open("/dev/null", O_RDWR);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        (void)dup2(null, fd);
    // By a detour, since one may lie where the other shall be.
    int from[] = {fcntl(hooks, F_DUPFD, FIRST_FREE_FD), fcntl(broker, F_DUPFD, FIRST_FREE_FD)};
    if (dup3(from[0], HOOKS_FD, O_CLOEXEC) < 0 || dup3(from[1], BROKER_FD, O_CLOEXEC) < 0)
        _exit(1);
    (void)close_range(FIRST_FREE_FD, ~0u, 0);
}

static _Noreturn void helper_main(
    int hooks, int broker, pid_t agent, const struct config *config, const struct config_checks *checks)
{
    struct helper *helper = calloc(1, sizeof *helper);
    helper_shed(hooks, broker);
    (void)prctl(PR_SET_NAME, "outtray-hooks");
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (!helper || loop_new(&helper->loop) || helper_open_signals(helper))
        _exit(1);
    helper->agent = agent;
    helper->hooks.may_run = helper_may_run;
    helper->hooks.arg = helper;
    if (hook_helper_start(&helper->hooks, helper->loop, HOOKS_FD) ||
        broker_server_start(&helper->broker, helper->loop, BROKER_FD, config, checks))
        _exit(1);
    if (getppid() == agent)
        (void)loop_run(helper->loop, helper_before_sleep, helper);
    _exit(0);
}

int helper_start(
    const struct config *config, const struct config_checks *checks, struct helper_ends *ret_ends)
{
    int hooks[2], broker[2], error;
    pid_t agent = getpid();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, hooks))
        return -errno;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, broker)) {
        error = errno;
        close(hooks[0]);
        close(hooks[1]);
        return -error;
    }
    int room = 2 * HOOK_PACKET_MAX;
    (void)setsockopt(hooks[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    (void)setsockopt(broker[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    pid_t pid = fork();
    if (pid == 0)
        helper_main(hooks[1], broker[1], agent, config, checks);
    error = errno;
    close(hooks[1]);
    close(broker[1]);
    if (pid < 0) {
        close(hooks[0]);
        close(broker[0]);
        return -error;
    }
    *ret_ends = (struct helper_ends){.hooks = hooks[0], .broker = broker[0], .pid = pid};
    return 0;
}
