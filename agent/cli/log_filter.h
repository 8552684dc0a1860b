// Lines of the log, taken apart and chosen: what `outtray log` looks for.
//
// A line is logfmt or a JSON object as outtray-log(5) has them, perhaps behind what syslog(3) or a journal
// put in front.
#ifndef OUTTRAY_AGENT_CLI_LOG_FILTER_H
#define OUTTRAY_AGENT_CLI_LOG_FILTER_H

#include "agent/base/buffer.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct log_filter {
    const char *tenant, *account, *name; // NULL: any
    const char *events;                  // one or several with commas
    const char *recipient;               // a part of one, without regard to case
    int64_t since;                       // wall ns; 0: any
};

// The line as an object with its keys in order, numbers as numbers; NULL where it is no line of the log (or
// memory is short). json_decref it.
json_t *log_filter_parse(const char *line);

// Whether the filter asks for anything.
bool log_filter_is_empty(const struct log_filter *filter);
bool log_filter_fits(const struct log_filter *filter, const json_t *line);

#endif
