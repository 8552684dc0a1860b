// Which messages a verb works on: NAME..., --tenant, --account, --all, --reason, found in the directories and
// collected before anything is moved.
//
// A NAME is the name alone, TENANT/NAME, TENANT/STATE/NAME, or the path of the file. The walk is that of
// queue.h.
#ifndef OUTTRAY_AGENT_CLI_SELECT_H
#define OUTTRAY_AGENT_CLI_SELECT_H

#include "agent/cli/queue.h"

#define SELECT_STATE(state) (1u << (state))
#define SELECT_MAX          10000000 // messages of one call

struct select {
    struct queue queue;
    const char *tenant_name, *account_name, *reason_name; // as asked for; NULL: not
    bool all;
    const struct config_tenant *tenant; // NULL: any
    const struct config_account *account;
    enum status_reason reason;
};

struct picked {
    const struct config_tenant *tenant;
    enum spool_state state;
    char *agent; // owned; NULL but for cur
    char *name;  // owned
    ino_t inode;
    off_t size;
};
struct picks {
    struct picked *items;
    size_t n, capacity;
};
void picks_release(struct picks *picks);

// Whether the options go together and name what the configuration has; EX_OK, or words printed and the code.
// names: how many NAMEs there are. Loads the configuration and opens the spool; as root it becomes the user
// that outtray runs as where `change`. Close it in any case.
int select_open(struct select *select, const char *config_path, int names, bool change);
void select_close(struct select *select);

// Adds every message in one of the states (bits) that the options ask for, by name in each directory. 0, or
// -ENOMEM, or -E2BIG.
int select_all(struct select *select, unsigned states, struct picks *picks);
// Adds what NAME stands for, in all states but tmp. 0 where there is none.
int select_name(struct select *select, const char *name, struct picks *picks);

// Prints TENANT/STATE/NAME, safe on a terminal, without a line end.
void select_print(const struct picked *picked);
// The same as text: free(3) it. NULL where memory is short.
char *select_path(const struct picked *picked);

#endif
