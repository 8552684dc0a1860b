// What retry, hold, release and drop share: choosing messages, moving them, telling what became of each.
//
// A running agent may take a message at any moment. So a message is moved by one rename or not at all, what
// the agent has claimed is said to be so, and what is printed as done is durable: per tenant all
// destinations are synced, then all sources.
#ifndef OUTTRAY_AGENT_CLI_ACT_H
#define OUTTRAY_AGENT_CLI_ACT_H

#include "agent/cli/select.h"

#define ACT_WORDS_MAX 256
#define ACT_OWN_MAX   4 // options of one verb

extern const char act_busy[]; // says that the agent has it in this moment

enum act_outcome {
    ACT_DONE,
    ACT_NOTHING, // there is nothing to do: as good as done
    ACT_BUSY,    // the agent has it in this moment (75 where it was named)
    ACT_FAILED,  // error says why
};

struct act_item {
    const struct picked *picked;
    enum act_outcome outcome;
    int error;                  // negative errno
    enum spool_state at;        // where it lies now; SPOOL_STATES: gone
    char name[SPOOL_NAME_SIZE]; // and what it is called there
    char words[ACT_WORDS_MAX];  // what became of it
    enum spool_state status_in; // finish: where its old status file lies; SPOOL_STATES: nowhere
    char status_name[SPOOL_NAME_SIZE];
};

struct act {
    struct select select;
    bool json;
    unsigned chosen;  // states that --tenant, --account and --all look in
    unsigned by_name; // states in which a NAME can be worked on
    // Why a NAME that lies in this other state cannot be.
    const char *(*why_not)(enum spool_state state);
    // Works on one message.
    void (*step)(struct act *act, const struct spool_tenant *spool, struct act_item *item);
    // After the tenant was synced; may be NULL.
    void (*finish)(struct act *act, const struct spool_tenant *spool, struct act_item *item);
    // Asked once before anything is done, where something is to be done; may be NULL. EX_OK: go on.
    int (*confirm)(struct act *act, const struct picks *picks);
    // Said behind the last result; may be NULL.
    void (*after)(const struct act *act, const struct act_item *items, size_t n);

    const char *config_path;
    unsigned touched_to, touched_from; // states (bits) of the tenant under way
    uint64_t moved_on;                 // chosen messages that the agent took meanwhile
};

// Takes the options out of argv: those that all these verbs have, and the verb's own (at most ACT_OWN_MAX, or
// NULL). As cli_parse.
int act_parse(struct act *act, const struct cli_option *own, int *argc, char **argv, int *ret_code);
// Runs the verb: argv holds NAMEs. The exit code.
int act_run(struct act *act, int argc, char **argv);

// Moves the message from where it was picked. Sets the item's outcome and place; words where it did not work.
bool act_move(struct act *act, const struct spool_tenant *spool, struct act_item *item, enum spool_state to);
void act_touch(struct act *act, enum spool_state to, enum spool_state from);
void act_fail(struct act_item *item, int error);
void act_words(struct act_item *item, const char *format, ...) __attribute__((format(printf, 2, 3)));
// It was not where it had been found: says where it is by now.
void act_gone(const struct spool_tenant *spool, struct act_item *item);

#endif
