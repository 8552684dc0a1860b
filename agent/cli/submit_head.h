// What `outtray submit` puts in front of a message: the envelope of the command line as X-Sender and
// X-Receiver lines, and a From where -F gives a name and the message has none.
#ifndef OUTTRAY_AGENT_CLI_SUBMIT_HEAD_H
#define OUTTRAY_AGENT_CLI_SUBMIT_HEAD_H

#include "agent/base/buffer.h"
#include "config/config.h"
#include "spool-format/header.h"

struct submit_envelope {
    const struct config *config;
    const struct config_tenant *tenant;
    bool has_sender;       // -f
    char *sender;          // its address, "" for <>
    const char *full_name; // -F, or NULL
    char **recipients;     // from the command line, checked
    size_t n_recipients;
    bool from_headers;                // -t
    const char *notify, *ret, *envid; // borrowed: -N, -R and -V, or NULL
    const char *key;                  // borrowed: an X-Outtray-Key to add, or NULL
};

// NULL, or a constant reason why text is no list of recipients or no sender. Addresses without a domain get
// the configuration's. submit_no_memory is one of the reasons.
const char *submit_add_recipients(struct submit_envelope *envelope, const char *text);
const char *submit_set_sender(struct submit_envelope *envelope, const char *text);
void submit_envelope_release(struct submit_envelope *envelope);
extern const char submit_no_memory[];

// Appends to out the start of the file for the message that begins with data, of which block is the header
// block: all of data, with lines in front and without those that the command line replaces. NULL, or a reason
// as above.
const char *submit_head_append(struct submit_envelope *envelope, const struct header_block *block,
    const char *data, size_t length, struct buffer *out);

#endif
