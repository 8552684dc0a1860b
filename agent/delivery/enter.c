// Entering the sandbox, and what a reload would need beyond it.
#include "agent.h"
#include "agent/delivery/helper.h"
#include "agent/delivery/policy.h"
#include "config/secret.h"

#include <stdio.h>
#include <string.h>

static void enter_tell(const struct agent *agent, int error)
{
    const struct sandbox_state *walls = &agent->walls;
    char landlock[32] = "none";
    if (walls->landlock)
        (void)snprintf(landlock, sizeof landlock, "%d", walls->landlock);
    bool whole = !error && walls->tcp && walls->seccomp;
    const char *msg =
        whole   ? "files, ports and system calls are held to what the agent needs"
        : error ? "the sandbox could not be entered as a whole; what is active stands here"
        : walls->landlock || walls->seccomp
            ? "this kernel offers a part of the sandbox only; the agent runs with that"
            : "this kernel offers neither Landlock nor seccomp; the agent runs without a sandbox";
    log_event(agent->dispatch.log, whole ? LOG_NOTICE_LEVEL : LOG_WARNING_LEVEL, "sandbox", msg, "landlock",
        landlock, "ports", walls->tcp ? "yes" : "no", "seccomp", walls->seccomp ? "yes" : "no", "reason",
        error ? strerror(-error) : NULL, NULL);
}

// A password, or an access and a refresh token with a copy in use.
#define ENTER_SECRETS_EACH 3

void agent_enter_sandbox(struct agent *agent, const struct config *config)
{
    if (!secret_can_lock(config->n_accounts * ENTER_SECRETS_EACH))
        log_event(agent->dispatch.log, LOG_WARNING_LEVEL, "secrets_unlocked",
            "passwords and tokens may get into swap space: raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=)",
            NULL);
    sandbox_init(&agent->sandbox);
    if (!config->sandbox) {
        log_event(agent->dispatch.log, LOG_WARNING_LEVEL, "sandbox",
            "the configuration says `sandbox: false`: nothing keeps the agent from what its user may do",
            NULL);
        return;
    }
    policy_add(&agent->sandbox, config);
    enter_tell(agent, sandbox_enter(&agent->sandbox, &agent->walls));
}

bool agent_sandbox_allows(
    const struct agent *agent, const struct config *config, const char *problem, char *words, size_t size)
{
    struct sandbox wanted;
    char what[256];
    if (!agent->walls.landlock)
        return true;
    sandbox_init(&wanted);
    policy_add(&wanted, config);
    const struct sandbox *entered = &agent->sandbox;
    bool fits = sandbox_covers(entered, &agent->walls, &wanted, !problem, what, sizeof what);
    bool helps = fits || sandbox_covers(entered, &agent->walls, &wanted, true, words, size);
    if (!fits)
        (void)snprintf(words, size, helps ? "%s: restart needed (%s)" : "%s: restart needed", what, problem);
    sandbox_release(&wanted);
    return fits;
}

static int open_file(const char *path, void *arg)
{
    return broker_open(arg, BROKER_FILE, path);
}

static int open_log(const char *path, void *arg)
{
    return broker_open(arg, BROKER_LOG, path);
}

void agent_start_helper(struct agent *agent, const struct config *config, const struct config_checks *checks)
{
    struct helper_ends ends = {-1, -1, 0};
    int error = helper_start(config, checks, &ends);
    if (error)
        log_event(agent->dispatch.log, LOG_WARNING_LEVEL, "hooks_ended",
            "the helper process cannot be started; no hook is run, and a reload gets no further than the "
            "sandbox",
            "reason", strerror(-error), NULL);
    hooks_init(&agent->hooks, agent->dispatch.log, ends.hooks, ends.pid);
    agent->broker.fd = ends.broker;
    agent->files = (struct opener){open_file, &agent->broker};
    agent->log_file = (struct opener){open_log, &agent->broker};
    agent->checks = *checks;
    agent->checks.opener = &agent->files;
}
