// Writing down an SMTP dialogue as it passes, line by line, without the credentials in it.
//
// What a client sends from AUTH up to the server's verdict is blanked but for the name of the mechanism, and
// so are the challenges; in every other line the secret, as it is or encoded, is.
#ifndef OUTTRAY_AGENT_CLI_DIALOGUE_H
#define OUTTRAY_AGENT_CLI_DIALOGUE_H

#include "agent/cli/doctor.h"

#define DIALOGUE_LINE_MAX (64 * 1024) // octets; what is longer is cut into pieces

struct dialogue {
    const struct doctor_login *login; // borrowed
    json_t *lines;                    // NULL: printed at once
    bool logging_in;
    struct buffer said[2]; // octets of a line that has not ended: the server's, the client's
};

int dialogue_init(struct dialogue *dialogue, const struct doctor_login *login, bool json);
void dialogue_take(struct dialogue *dialogue, bool client, const char *data, size_t length);
void dialogue_end(struct dialogue *dialogue); // what has no line end; releases all but `lines`

#endif
