// Enters the very sandbox of the agent and tries to leave it: `leave CONFIG ALLOWED-PORT OTHER-PORT
// PARENT-PID`.
//
// One line for each try, "NAME: ok" or "NAME: refused" with the error; what is expected of them is the test's
// business. First what must be refused, then the agent's own work.
#include "agent/delivery/agent.h"
#include "config/secret.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void say(const char *name, long result)
{
    if (result < 0)
        printf("%s: refused (%s)\n", name, strerrorname_np(errno));
    else
        printf("%s: ok\n", name);
}

static long open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd;
}

static long to_port(const char *port, bool bound)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    long result =
        fd < 0 ? -1 : (bound ? bind : connect)(fd, (const struct sockaddr *)&address, sizeof address);
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return result;
}

static long to_abstract(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path + 1, name, strlen(name));
    long result = connect(fd, (const struct sockaddr *)&address,
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

static void try_to_leave(const char *other_port, pid_t parent)
{
    char abstract[64];
    (void)snprintf(abstract, sizeof abstract, "outtray-test-%.16s", other_port); // the test listens there
    char *const argv[] = {(char *)"true", NULL}, *const none[] = {NULL};
    char parameters[256] = {0};
    say("read /etc/shadow", open_file("/etc/shadow", O_RDONLY));
    say("read /root", open_file("/root", O_RDONLY | O_DIRECTORY));
    say("write /tmp", open_file("/tmp/outtray-left-the-sandbox", O_WRONLY | O_CREAT));
    say("write /usr", open_file("/usr/outtray-left-the-sandbox", O_WRONLY | O_CREAT));
    say("read another process", open_file("/proc/1/environ", O_RDONLY));
    say("connect to another port", to_port(other_port, false));
    say("listen on another port", to_port(other_port, true));
    say("connect to an abstract socket", to_abstract(abstract));
    say("signal another process", kill(parent, 0));
    say("exec", execve("/bin/true", argv, none));
    say("execveat", syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, none, 0));
#ifndef __SANITIZE_ADDRESS__ // LeakSanitizer needs it, so the filter of such a build lets it pass
    say("fork", syscall(SYS_clone, (long)SIGCHLD, 0, 0, 0, 0));
#endif
    say("ptrace", ptrace(PTRACE_ATTACH, parent, NULL, NULL));
    say("io_uring_setup", syscall(SYS_io_uring_setup, 4, parameters));
    say("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
    say("unshare", unshare(CLONE_NEWUSER));
    say("chroot", syscall(SYS_chroot, "/"));
    say("bpf", syscall(SYS_bpf, 0, parameters, sizeof parameters));
    say("perf_event_open", syscall(SYS_perf_event_open, parameters, 0, -1, -1, 0));
    say("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    say("setuid", syscall(SYS_setuid, 65534));
    say("packet socket", socket(AF_PACKET, SOCK_RAW, 0));
    say("multipath TCP", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 262 /* IPPROTO_MPTCP */));
    say("SCTP", socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP));
    say("memfd_create", syscall(SYS_memfd_create, "x", 0));
    say("terminal input", syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"));
    say("be dumped", prctl(PR_GET_DUMPABLE) == 0 ? -1 : 0);
}

static void *in_a_thread(void *arg)
{
    say("a thread may not either", open_file("/etc/shadow", O_RDONLY));
    return arg;
}

static void work(const struct dispatch *dispatch, const struct config *config, const char *port)
{
    struct spool_tenant *spool = NULL;
    struct secret secret = {0};
    struct addrinfo *list = NULL;
    struct stat stat;
    pthread_t thread;
    say("connect to the account's port", to_port(port, false));
    errno = -spool_tenant_open(dispatch->spool_fd, config->tenants[0].name, "main", true, &spool, NULL);
    say("open the spool", errno ? -1 : 0);
    say("write a status", openat(dispatch->state_fd, "x", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    say("replace a status", renameat(dispatch->state_fd, "x", dispatch->state_fd, "y"));
    int fd = openat(spool->dir[SPOOL_NEW], "m", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    say("write a message", fd);
    say("find it", fstat(fd, &stat));
    close(fd);
    errno = -spool_move(spool, SPOOL_NEW, "m", stat.st_ino, SPOOL_CUR, (char[SPOOL_NAME_SIZE]){"m"});
    say("claim it", errno ? -1 : 0);
    errno = -spool_move(spool, SPOOL_CUR, "m", stat.st_ino, SPOOL_SENT, (char[SPOOL_NAME_SIZE]){"m"});
    say("move it to sent", errno ? -1 : 0);
    spool_tenant_close(spool);
    errno = -secret_read_file(&secret, config->accounts[0].password_file, NULL);
    say("read the password", errno ? -1 : 0);
    secret_release(&secret);
    say("read the authorities", open_file("/etc/ssl/certs", O_RDONLY | O_DIRECTORY));
    say("read resolv.conf", open_file("/etc/resolv.conf", O_RDONLY));
    say("read the configuration", open_file(config->path, O_RDONLY));
    say("append to the log", open_file(config->log.file, O_WRONLY | O_APPEND | O_CREAT));
    errno = EHOSTUNREACH;
    say("find a name", getaddrinfo("localhost", NULL, NULL, &list) ? -1 : 0);
    if (list)
        freeaddrinfo(list);
    errno = pthread_create(&thread, NULL, in_a_thread, NULL);
    say("make a thread", errno ? -1 : 0);
    if (!errno)
        pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    const struct config *config = NULL;
    struct config_findings findings = {0};
    struct agent agent = {.lock_fd = -1, .signal_fd = -1};
    if (argc != 5 || config_load(argv[1], NULL, &config, &findings))
        return 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    agent.dispatch.spool_fd = open(config->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    agent.dispatch.state_fd = open(config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log_open(
            &(struct log_target){.file = config->log.file, .facility = LOG_NO_SYSLOG}, &agent.dispatch.log))
        return 73;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    (void)prctl(PR_SET_DUMPABLE, 0);
    agent_enter_sandbox(&agent, config);
    printf("landlock: %d\nseccomp: %d\n", agent.walls.landlock, agent.walls.seccomp);
    try_to_leave(argv[3], (pid_t)strtol(argv[4], NULL, 10));
    work(&agent.dispatch, config, argv[2]);
    curl_global_cleanup();
    sandbox_release(&agent.sandbox);
    log_close(agent.dispatch.log);
    close(agent.dispatch.spool_fd);
    close(agent.dispatch.state_fd);
    config_findings_release(&findings);
    config_unref(config);
    return 0;
}
