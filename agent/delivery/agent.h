// The agent as a whole: started, run until it is told to stop, reloaded.
#ifndef OUTTRAY_AGENT_DELIVERY_AGENT_H
#define OUTTRAY_AGENT_DELIVERY_AGENT_H

#include "agent/base/sandbox.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/hooks.h"
#include "agent/delivery/watchdog.h"

#define AGENT_TICK_NS       (2 * CLOCK_SECOND)  // status files, surveys that are due, changed secrets
#define AGENT_NEIGHBOURS_NS (30 * CLOCK_SECOND) // other agents' locks are tried
#define AGENT_GRACE_NS      (10 * CLOCK_SECOND) // after SIGTERM: how long what is in flight may take

struct listener;

struct agent {
    struct dispatch dispatch;      // first
    struct listener *listener;     // of metrics.listen
    struct config_checks checks;   // for a reload: with the opener
    struct broker broker;          // for what the sandbox does not let us have
    struct opener files, log_file; // by it
    int lock_fd, signal_fd;
    struct loop_watch signals;
    struct loop_timer tick, grace;
    struct notify *notify; // the service manager; NULL: none
    struct watchdog watchdog;
    struct hooks hooks;
    bool grace_over;                // after SIGTERM
    struct sandbox sandbox;         // as it was entered
    struct sandbox_state walls;     // of it that hold
    int64_t started, neighbours_at; // wall; boot
    struct timespec began;          // of the file's clock: before the lock was taken
    int64_t drift;                  // wall less boot, as last seen: a step of the clock shows in it
    bool ending;                    // stop was asked for
    bool reloading, reload_again;
    bool writing;    // status files are being written
    int write_error; // negative errno of the last time, as logged
};

// Runs the agent with this configuration until SIGTERM or SIGINT, or with `once` until nothing is left to do
// now. Returns an exit code (sysexits.h): 0; 1 with `once` and findings; EX_UNAVAILABLE where an agent of
// that name runs, EX_CONFIG where the spool is missing, EX_CANTCREAT, EX_NOPERM, EX_IOERR where the spool
// broke, EX_OSERR. Errors are printed on standard error.
int agent_run(const struct config *config, const struct config_checks *checks, bool once);

// Where the log of this configuration goes; borrows its texts and the agent's opener.
struct log_target agent_log_target(const struct agent *agent, const struct config *config);

// rounds.c: listens to signals; begins to tick; what loop_run is to do before each sleep, arg is the agent.
int agent_watch_signals(struct agent *agent);
int agent_start_ticking(struct agent *agent);
void agent_round(void *arg);

// reload.c: takes a new configuration from the file (on SIGHUP), and applies the first one.
void agent_reload(struct agent *agent);
int agent_apply(struct agent *agent, const struct config *config);

// enter.c: starts the helper process, before everything else; what goes wrong is logged, and the agent works
// without.
void agent_start_helper(struct agent *agent, const struct config *config, const struct config_checks *checks);
// Shuts the sandbox behind what was opened, before the first thread; what is missing is logged.
void agent_enter_sandbox(struct agent *agent, const struct config *config);
// Whether an agent with this configuration would need no more than the sandbox lets through, or the broker
// hands over; else the words. problem: why the broker would not; NULL: it has read this configuration.
bool agent_sandbox_allows(
    const struct agent *agent, const struct config *config, const char *problem, char *words, size_t size);

// observer.c: writes STATE/status.json, STATE/metrics.prom and STATE/accounts.json on the intake desk.
void agent_write_state(struct agent *agent);

// neighbours.c: returns what agents that are gone had claimed, on the intake desk.
void agent_visit_neighbours(struct agent *agent);

#endif
