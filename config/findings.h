// How the parts of config/ tell what is wrong with a file: findings with a place and the path of the key.
//
// A struct report collects into a struct config_findings. Errors of the operator are findings; errors of the
// machine (memory) are kept in `error`, where the first one stays. Text that came from the file may be passed
// to report_error as it is: control octets are escaped and what is too long is cut.
#ifndef OUTTRAY_CONFIG_FINDINGS_H
#define OUTTRAY_CONFIG_FINDINGS_H

#include "config.h"
#include <stdarg.h>

#define FINDINGS_MAX         1000 // errors of one file, and warnings; one more says that there are others
#define FINDING_TEXT_MAX     1024 // octets of one finding's text, without file, place and path
#define FINDING_PATH_MAX     512  // octets of one key's path
#define FINDING_PATH_PART    120  // octets of one part of it
#define FINDING_POSITION_MAX 4096 // octets of "FILE:LINE:COL"

// The path of a key as a chain of names; NULL is the file itself.
struct config_path {
    const struct config_path *up;
    const char *name;
};

// A place in the file, both counted from 1; 0 where a finding has none.
struct config_mark {
    unsigned line, column;
};

struct report {
    const char *file; // borrowed
    struct config_findings *findings;
    int error; // 0 or the first negative errno
};

void report_error(struct report *report, struct config_mark mark, const struct config_path *path,
    const char *format, ...) __attribute__((format(printf, 4, 5)));
void report_warning(struct report *report, struct config_mark mark, const struct config_path *path,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

// The same for functions that take the arguments of a finding themselves.
void report_finding(struct report *report, bool warning, struct config_mark mark,
    const struct config_path *path, const char *format, va_list arguments)
    __attribute__((format(printf, 5, 0)));

// Whether more errors are kept; where not, costly searches for the right words can be left out.
bool report_has_room(const struct report *report);

// Brings the findings into the order of the file; those without a place come first.
void report_sort(struct report *report);

#endif
