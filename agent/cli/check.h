// The parts of `outtray check`: what is said about a configuration that loads.
#ifndef OUTTRAY_AGENT_CLI_CHECK_H
#define OUTTRAY_AGENT_CLI_CHECK_H

#include "config/config.h"
#include <stdio.h>

// Prints what every tenant gets once presets and parents are applied, a block of "key: value" lines each. 0,
// or -EIO where out takes no more.
int check_print(const struct config *config, FILE *out);

// Prints what is wrong around the configuration (secrets that cannot be read, a missing spool, unknown
// groups) and which of its keys this version does not act on yet, a line each. Returns the number of errors;
// warnings do not count.
size_t check_report(const struct config *config, FILE *out);

#endif
