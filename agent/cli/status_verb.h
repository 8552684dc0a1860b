// The parts of `outtray status`: what is said of the overview (overview.h) to people, to Nagios and to
// scripts.
#ifndef OUTTRAY_AGENT_CLI_STATUS_VERB_H
#define OUTTRAY_AGENT_CLI_STATUS_VERB_H

#include "agent/cli/overview.h"

#define STATUS_WORDS_MAX 1024 // octets of the Nagios line

// Worst last; the exit codes of the Monitoring Plugins' guidelines.
enum status_level { LEVEL_OK, LEVEL_WARNING, LEVEL_CRITICAL, LEVEL_UNKNOWN };

struct status_verb {
    struct overview overview;
    bool json, nagios, colours;
    int64_t warning_ms, critical_ms; // ages of mail in new/
    enum status_level level;         // the worst that was found
    char words[STATUS_WORDS_MAX];    // what was found; "" where all is well
};

enum status_level status_account_level(const struct overview_account *account);
// Fills level and words from the overview.
void status_judge(struct status_verb *verb);
// One line, with performance data; the exit code.
int status_print_nagios(struct status_verb *verb);
// Prints it all; the exit code.
int status_print_json(const struct status_verb *verb);

#endif
