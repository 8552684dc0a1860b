// What status and top show: the agent's own word in status.json, the directories, and the operator's pauses,
// put together. Nothing is asked of the agent; without one the directories are all there is.
#ifndef OUTTRAY_AGENT_CLI_OVERVIEW_H
#define OUTTRAY_AGENT_CLI_OVERVIEW_H

#include "agent/cli/queue.h"
#include "agent/delivery/pause.h"
#include "agent/observe/snapshot.h"

#define OVERVIEW_FAILURES 10  // the latest that are kept
#define OVERVIEW_TEXT_MAX 400 // octets of reason and fix
#define OVERVIEW_STALE_S  30  // the agent writes status.json every 2 s
#define OVERVIEW_LATE_S   6   // so much is no hiccup where its disk is full

struct overview_tenant {
    const struct config_tenant *settings;
    struct observe_count states[OBSERVE_STATES], held;
    uint64_t sent_total, failed_total; // since the agent started; 0 without status.json
    struct timespec failed_changed;    // mtime of failed/ as last read
};

struct overview_account {
    const struct config_account *settings;
    bool known; // to status.json; else what follows up to `paused` is empty
    char breaker[24], reason[OVERVIEW_TEXT_MAX], fix[OVERVIEW_TEXT_MAX];
    int64_t probe_at; // wall ns; 0: none
    unsigned sessions, window, in_flight;
    uint64_t sent_total, logins_total;
    int64_t token_expires_s; // INT64_MIN: no token
    bool paused;
    struct pause pause;
};

struct overview_failure {
    int64_t at; // wall ns
    const struct config_tenant *tenant;
    char name[SPOOL_NAME_SIZE];
    enum status_reason reason;
    char detail[OVERVIEW_TEXT_MAX];
};

struct overview {
    struct queue queue;
    int state;    // O_DIRECTORY fd, -1 where it cannot be opened
    bool running; // the agent holds its lock
    bool told;    // status.json could be read
    bool fresh;   // and an agent that runs wrote it lately
    bool full;    // it cannot write it: the disk of the state directory is full
    int64_t time, started;
    int64_t pid;
    char spool[16];
    int64_t landlock;
    bool seccomp;
    struct overview_tenant *tenants; // as many as the configuration has, in its order
    struct overview_account *accounts;
    struct overview_failure failures[OVERVIEW_FAILURES]; // latest first
    size_t n_failures;
};

// Loads the configuration and opens spool and state. EX_OK, or words printed and the code. Close it in any
// case.
int overview_open(struct overview *overview, const struct cli_verb *verb, const char *config_path);
void overview_close(struct overview *overview);

// Looks again. count: messages are counted in the directories even where status.json is fresh. 0 or -ENOMEM;
// what cannot be read is in queue.code.
int overview_look(struct overview *overview, bool count);

// "ok", "paused", "unreachable", "credentials", "quota", or "?" where nobody knows.
const char *overview_account_state(const struct overview_account *account);

#endif
