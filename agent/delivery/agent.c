// Starting and stopping; what is done in between is in rounds.c.
#include "agent.h"
#include "agent/base/clock.h"
#include "agent/delivery/intake.h"
#include "agent/delivery/notice.h"
#include "agent/observe/listener.h"

#include <assert.h>
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <syslog.h>
#include <unistd.h>

// Of the descriptors that the process may have.
#define AGENT_HELD_PART   8 // for names read ahead
#define AGENT_LOCKED_PART 4 // for claimed messages

static int agent_fail(int code, const char *what, const char *path, int error)
{
    fprintf(stderr, "outtray run: %s %s: %s\n", what, path, strerror(-error));
    return code;
}

static int agent_open_directories(struct agent *agent, const struct config *config)
{
    struct dispatch *dispatch = &agent->dispatch;
    dispatch->spool_fd = open(config->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dispatch->spool_fd < 0)
        return agent_fail(errno == EACCES ? EX_NOPERM
                          : errno == EIO  ? EX_IOERR
                                          : EX_CONFIG,
            "the spool cannot be opened (make it with `outtray init`):", config->spool, -errno);
    if (mkdir(config->state, 0750) && errno != EEXIST)
        return agent_fail(
            EX_CANTCREAT, "the state directory cannot be made (see `outtray init`):", config->state, -errno);
    dispatch->state_fd = open(config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dispatch->state_fd < 0)
        return agent_fail(errno == EACCES ? EX_NOPERM : EX_CANTCREAT,
            "the state directory cannot be opened:", config->state, -errno);
    if (faccessat(dispatch->state_fd, ".", W_OK | X_OK, AT_EACCESS))
        return agent_fail(EX_NOPERM, "the state directory cannot be written to:", config->state, -errno);
    int error = spool_agent_lock(dispatch->spool_fd, config->agent, &agent->lock_fd);
    if (error == -EAGAIN) {
        fprintf(stderr,
            "outtray run: an agent called %s runs on %s already (stop it, or give this one another name "
            "with `agent:`)\n",
            config->agent, config->spool);
        return EX_UNAVAILABLE;
    }
    if (error)
        return agent_fail(error == -EACCES || error == -EPERM ? EX_NOPERM
                          : error == -EIO                     ? EX_IOERR
                                                              : EX_CANTCREAT,
            "the agent's lock cannot be taken in", config->spool, error);
    return EX_OK;
}

static int agent_start_desks(struct dispatch *dispatch)
{
    moves_init(&dispatch->moves);
    settle_init(dispatch);
    filing_init(&dispatch->filing_state, dispatch->log, &dispatch->moves);
    struct desk_params intake = {
        .name = "intake", .loop = dispatch->loop, .batch = intake_batch, .arg = &dispatch->moves};
    struct desk_params filing = {.name = "filing",
        .loop = dispatch->loop,
        .batch = filing_batch,
        .idle = filing_idle,
        .idle_ms = 1000,
        .arg = &dispatch->filing_state};
    int error = desk_start(&intake, &dispatch->intake);
    return error ? error : desk_start(&filing, &dispatch->filing);
}

// Directories of the spool that no tenant of the configuration has: warned about once, never touched.
static void agent_warn_strangers(const struct dispatch *dispatch)
{
    int fd = openat(dispatch->spool_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && entry->d_type == DT_DIR &&
            !config_find_tenant(dispatch->config, entry->d_name))
            log_event(dispatch->log, LOG_WARNING_LEVEL, "stranger",
                "a directory of the spool belongs to no tenant of the configuration; it is ignored",
                "directory", entry->d_name, NULL);
    if (dir)
        closedir(dir);
}

static void agent_load_accounts(struct dispatch *dispatch)
{
    struct account **accounts = calloc(dispatch->n_pools + 1, sizeof(struct account *));
    if (!accounts)
        return;
    for (size_t i = 0; i < dispatch->n_pools; i++)
        accounts[i] = dispatch->pools[i]->account;
    int error = account_load_all(dispatch->state_fd, accounts, dispatch->n_pools, clock_boot(), clock_wall());
    if (error && error != -ENOENT)
        log_event(dispatch->log, LOG_WARNING_LEVEL, "accounts_unreadable",
            "accounts.json could not be read; parks and day counts start anew", "reason", strerror(-error),
            NULL);
    free(accounts);
}

static int agent_start(struct agent *agent, const struct config *config)
{
    static const struct watch_events watch_events = {dispatch_watch_event, dispatch_watch_lost};
    struct dispatch *dispatch = &agent->dispatch;
    int error = loop_new(&dispatch->loop);
    if (!error)
        error = multi_new(dispatch->loop, &dispatch->multi);
    if (!error)
        multi_set_broker(dispatch->multi, &agent->broker, &agent->sandbox, &agent->walls);
    if (!error)
        error = agent_watch_signals(agent);
    if (!error)
        error = hooks_attach(&agent->hooks, dispatch->loop, &dispatch->events);
    if (!error)
        error = listener_new(dispatch->log, &agent->listener);
    if (!error)
        error = agent_start_desks(dispatch);
    if (!error)
        error = dispatch_start_keeper(dispatch);
    if (!error)
        error = watch_new(dispatch->loop, &watch_events, dispatch, &dispatch->watch, &dispatch->watch_error);
    if (error)
        return error;
    if (dispatch->watch_error)
        log_event(dispatch->log, LOG_WARNING_LEVEL, "watch_missing",
            "inotify is not available; directories are scanned every few seconds instead "
            "(raise fs.inotify.max_user_instances)",
            "reason", strerror(-dispatch->watch_error), NULL);
    notices_subscribe(dispatch);
    agent->started = clock_wall();
    agent->drift = clock_wall() - clock_boot();
    error = agent_apply(agent, config);
    if (error)
        return error;
    agent_load_accounts(dispatch);
    control_start(dispatch, clock_ns(&agent->began));
    agent_warn_strangers(dispatch);
    error = agent_start_ticking(agent);
    return error ? error : watchdog_start(&agent->watchdog, dispatch, agent->notify);
}

static void agent_stop(struct agent *agent)
{
    struct dispatch *dispatch = &agent->dispatch;
    dispatch->stopping = true;
    agent->ending = true;
    watchdog_stop(&agent->watchdog);
    (void)keeper_end(dispatch->keeper);
    if (dispatch->filing)
        filing_abandon(&dispatch->filing_state);
    desk_stop(dispatch->filing);
    dispatch->filing = NULL;
    agent->writing = false; // what is under way is written before this
    if (dispatch->intake && dispatch->config)
        agent_write_state(agent);
    desk_stop(dispatch->intake);
    settle_stop(dispatch);
    moves_release(&dispatch->moves);
    listener_free(agent->listener);
    keeper_free(dispatch->keeper);
    watch_free(dispatch->watch);
    for (size_t i = 0; i < dispatch->n_pools; i++) {
        pool_sweep(dispatch->pools[i]);
        pool_free(dispatch->pools[i]);
    }
    for (size_t i = 0; i < dispatch->n_tenants; i++)
        tenant_free(dispatch->tenants[i]);
    free(dispatch->pools);
    free(dispatch->tenants);
    free(dispatch->watches);
    if (agent->signal_fd >= 0) {
        loop_watch_remove(dispatch->loop, &agent->signals);
        close(agent->signal_fd);
    }
    hooks_release(&agent->hooks);
    multi_free(dispatch->multi);
    loop_free(dispatch->loop);
    config_unref(dispatch->config);
}

static size_t at_most(rlim_t n, size_t most)
{
    return n < most ? (size_t)n : most;
}

// Where a process has threads the kernel waits for all processors before it enlarges the table of open files:
// for ten milliseconds each time that it doubles. As long as there is one thread it does not wait.
static void agent_widen_table(size_t files)
{
    int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, (int)files);
    if (fd >= 0)
        close(fd);
}

// Names read ahead and claimed messages may hold parts of the descriptors.
static void agent_raise_limits(struct dispatch *dispatch)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        if (files.rlim_cur < files.rlim_max) {
            files.rlim_cur = files.rlim_max;
            (void)setrlimit(RLIMIT_NOFILE, &files);
        }
        dispatch->held_max = at_most(files.rlim_max / AGENT_HELD_PART, BACKLOG_HELD_MAX);
        dispatch->locked_max = at_most(files.rlim_max / AGENT_LOCKED_PART, DISPATCH_CLAIMED_MAX);
        agent_widen_table(dispatch->held_max + dispatch->locked_max);
    }
    (void)prctl(PR_SET_DUMPABLE, 0); // secrets must not get into core files
}

struct log_target agent_log_target(const struct agent *agent, const struct config *config)
{
    static const int facilities[] = {
        [CONFIG_SYSLOG_NONE] = LOG_NO_SYSLOG,
        [CONFIG_SYSLOG_MAIL] = LOG_MAIL,
        [CONFIG_SYSLOG_DAEMON] = LOG_DAEMON,
        [CONFIG_SYSLOG_USER] = LOG_USER,
        [CONFIG_SYSLOG_LOCAL0] = LOG_LOCAL0,
        LOG_LOCAL1,
        LOG_LOCAL2,
        LOG_LOCAL3,
        LOG_LOCAL4,
        LOG_LOCAL5,
        LOG_LOCAL6,
        LOG_LOCAL7,
    };
    static_assert(sizeof facilities / sizeof *facilities == CONFIG_SYSLOG_LOCAL7 + 1, "a facility each");
    return (struct log_target){
        .json = config->log.format == CONFIG_LOG_JSON,
        .file = config->log.file,
        .facility = facilities[config->log.syslog],
        .opener = agent->log_file.open ? &agent->log_file : NULL,
    };
}

// What OpenSSL could not set up at its first use for want of memory it never sets up again, and no message
// could be composed.
static int agent_open_libraries(void)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    bool good = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK &&
                EVP_Digest("", 0, digest, NULL, EVP_sha256(), NULL);
    return good ? 0 : -ENOMEM;
}

// Without it the agent is as good an agent.
static void agent_open_notify(struct agent *agent)
{
    int error = notify_open(&agent->notify);
    if (error)
        log_event(agent->dispatch.log, LOG_WARNING_LEVEL, "notify_failed",
            "the service manager cannot be told that the agent is ready (see NOTIFY_SOCKET)", "reason",
            strerror(-error), NULL);
}

// From the sandbox to the end of the loop; the exit code.
static int agent_work(struct agent *agent, const struct config *config)
{
    struct dispatch *dispatch = &agent->dispatch;
    int error = agent_open_libraries();
    if (!error) {
        agent_enter_sandbox(agent, config);
        error = agent_start(agent, config);
    }
    if (!error) {
        log_event(dispatch->log, LOG_NOTICE_LEVEL, "started", "outtray " OUTTRAY_VERSION " is running",
            "agent", config->agent, NULL);
        notify_ready(agent->notify);
        error = loop_run(dispatch->loop, agent_round, agent);
    }
    bool broken = atomic_load(&dispatch->filing_state.broken) != 0;
    int code = error    ? agent_fail(EX_OSERR, "cannot run on", config->spool, error)
               : broken ? EX_IOERR
               : dispatch->once && dispatch->once_findings ? 1
                                                           : EX_OK;
    agent_stop(agent);
    log_event(dispatch->log, LOG_NOTICE_LEVEL, "stopped", broken ? "the spool is broken" : "done", NULL);
    curl_global_cleanup();
    return code;
}

static void agent_close(struct agent *agent)
{
    struct dispatch *dispatch = &agent->dispatch;
    if (agent->lock_fd >= 0)
        close(agent->lock_fd);
    if (dispatch->state_fd >= 0)
        close(dispatch->state_fd);
    if (dispatch->spool_fd >= 0)
        close(dispatch->spool_fd);
    if (!agent->hooks.loop) // it never came to a loop
        hooks_release(&agent->hooks);
    if (agent->broker.fd >= 0)
        close(agent->broker.fd);
    notify_close(agent->notify);
    sandbox_release(&agent->sandbox);
    log_close(dispatch->log);
}

int agent_run(const struct config *config, const struct config_checks *checks, bool once)
{
    struct agent agent = {.lock_fd = -1, .signal_fd = -1, .hooks.fd = -1, .broker.fd = -1};
    struct dispatch *dispatch = &agent.dispatch;
    dispatch->once = once;
    dispatch->spool_fd = dispatch->state_fd = -1;
    umask(0027);
    agent_raise_limits(dispatch);
    struct log_target target = agent_log_target(&agent, config);
    int error = log_open(&target, &dispatch->log);
    if (error)
        return agent_fail(EX_CANTCREAT, "the log cannot be opened:", config->log.file, error);
    agent_start_helper(&agent, config, checks);
    agent_open_notify(&agent);
    (void)clock_gettime(CLOCK_REALTIME, &agent.began);
    int code = agent_open_directories(&agent, config);
    if (code == EX_OK)
        code = agent_work(&agent, config);
    agent_close(&agent);
    return code;
}
