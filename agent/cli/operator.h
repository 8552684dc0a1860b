// What the operator's verbs share: who is at work, the state directory, and a word on what keeps mail waiting
// that they cannot help.
#ifndef OUTTRAY_AGENT_CLI_OPERATOR_H
#define OUTTRAY_AGENT_CLI_OPERATOR_H

#include "agent/cli/act.h"

#define OPERATOR_NAME_MAX 64 // octets

// The person at work: who called sudo(8), else the real user's name.
void operator_name(char name[static OPERATOR_NAME_MAX + 1]);

// Opens the state directory for writing in it; as root it becomes the user that outtray runs as first. EX_OK
// and *ret_fd, or words printed and the code.
int operator_open_state(const struct cli_verb *verb, const struct config *config, int *ret_fd);
// Words for what went wrong with a file of the state directory; returns the code.
int operator_fail(const struct cli_verb *verb, const struct config *config, const char *what, int error);

// Says on standard error where an account is paused, or no agent runs, so that what was just asked for does
// not happen yet.
void operator_note_account(const struct cli_verb *verb, const struct config *config, const char *account);
void operator_note_agent(const struct cli_verb *verb, int spool);
// The same for what was worked on.
void operator_note_items(const struct act *act, const struct act_item *items, size_t n);

#endif
