// The log: lines of key and value, as logfmt or JSON, to standard error, to a file that can be reopened, or
// to syslog.
//
// Lines are built in a struct log_lines and written in one write(2), so lines of several threads never mix.
// Values are quoted where needed and control bytes escaped, whatever they hold: what a server says is data.
// Every line starts with time and event.
//
// Each line has a level. The journal is told it by "<N>" in front of the line (sd-daemon(3)) where standard
// error leads there, syslog by the priority of the datagram (RFC 3164, as syslog(3) of glibc sends it); a
// file gets the bare line.
#ifndef OUTTRAY_AGENT_BASE_LOG_H
#define OUTTRAY_AGENT_BASE_LOG_H

#include "buffer.h"
#include "config/opener.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

#define LOG_LINES_MAX (1024 * 1024) // octets of lines collected before a write
#define LOG_VALUE_MAX 4096          // octets of one value; longer ones are cut

enum log_level { LOG_ERROR_LEVEL, LOG_WARNING_LEVEL, LOG_NOTICE_LEVEL, LOG_INFO_LEVEL, LOG_DEBUG_LEVEL };
const char *log_level_name(enum log_level level); // "error", "warning", "notice", "info", "debug"

struct log;

// Where the lines go.
struct log_target {
    bool json;
    const char *file;            // "": standard error, or with syslog nowhere
    int facility;                // of syslog: LOG_MAIL, LOG_DAEMON, … (syslog(3)); LOG_NO_SYSLOG: none
    const struct opener *opener; // asked where open(2) says EACCES; opens with the same flags. NULL: nobody
};
#define LOG_NO_SYSLOG  (-1)
#define LOG_OPEN_FLAGS (O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
#define LOG_OPEN_MODE  0640

// The file is opened for appending (O_NOFOLLOW, mode 0640). 0 or negative errno. A syslog that is not there
// is no error: it is looked for again, and lines until then are lost and counted.
int log_open(const struct log_target *target, struct log **ret_log);
void log_close(struct log *log); // takes NULL
// Opens the file again by its name (after a rotation), or another target. The old one stays in use on
// failure.
int log_reopen(struct log *log, const struct log_target *target);

// Lines being built; several may be collected before they are written.
struct log_lines {
    struct buffer text;
    bool json;
    bool levels;   // each line begins with "<N>"
    bool first;    // no key was written in this line
    size_t start;  // of the line being built
    uint64_t lost; // lines left out because memory or LOG_LINES_MAX did not allow them
};
void log_lines_init(struct log_lines *lines, const struct log *log);
void log_lines_release(struct log_lines *lines);
// time is wall clock in nanoseconds.
void log_line_begin(struct log_lines *lines, int64_t time, enum log_level level, const char *event);
void log_line_text(
    struct log_lines *lines, const char *key, const char *value); // NULL value: the key is left out
void log_line_data(struct log_lines *lines, const char *key, const char *value, size_t length);
void log_line_number(struct log_lines *lines, const char *key, int64_t value);
// A line that did not fit is left out as a whole, and counted: what is written are whole lines.
void log_line_end(struct log_lines *lines);
// Writes what was collected and clears it. Thread-safe. A log that cannot be written never stops mail: the
// lines are lost and counted; log_lost tells how many times. What was left torn by a full disk is ended
// before the next line begins.
void log_write(struct log *log, struct log_lines *lines);
uint64_t log_lost(const struct log *log);

// One event with a message a person can act on: time, event, level, msg, then key and value pairs up to a
// NULL key.
void log_event(struct log *log, enum log_level level, const char *event, const char *msg, ...)
    __attribute__((sentinel));

#endif
