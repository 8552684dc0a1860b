// Text for the status file: a growing buffer with a maximum, and YAML scalars in it.
//
// Written by hand and not by libyaml's emitter, which cannot indent a sequence below its key as the format
// shows, and which refuses text that is not UTF-8. What it writes is checked against libyaml's parser by the
// unit tests.
#ifndef OUTTRAY_SPOOL_FORMAT_YAML_TEXT_H
#define OUTTRAY_SPOOL_FORMAT_YAML_TEXT_H

#include <stddef.h>

struct yaml_text {
    char *data; // owned; not terminated
    size_t length;
    size_t capacity;
    size_t max;
    int error; // the first one: -ENOMEM or -E2BIG; later calls do nothing then
};

void yaml_text_release(struct yaml_text *text);

// Appends text as it is.
void yaml_text_add(struct yaml_text *text, const char *raw);

// Appends one scalar: plain where that reads back as this very string, else as yaml_text_quoted does.
void yaml_text_scalar(struct yaml_text *text, const char *value);

// Appends one scalar in double quotes. Control characters, line ends and what YAML counts as such are
// escaped; an octet that is no UTF-8 becomes \xNN.
void yaml_text_quoted(struct yaml_text *text, const char *value);

#endif
