// The header block for the wire: what is taken off, what is added, and everything else as it stands.
#ifndef OUTTRAY_AGENT_COMPOSE_OUTGOING_HEAD_H
#define OUTTRAY_AGENT_COMPOSE_OUTGOING_HEAD_H

#include "agent/base/buffer.h"
#include "agent/compose/sender.h"

struct head_params {
    const struct fields *fields;
    const struct sender *sender;
    const char *message_id; // to add; NULL where the message has its own
    int64_t submitted;      // wall ns: the Date to add where the message has none
};

// Appends the block with CRLF line ends and its empty line, and sets removed and added of *outgoing (comma
// separated names). 0, -ENOMEM, -E2BIG where the buffer's maximum was reached.
int outgoing_head_append(struct buffer *out, const struct head_params *params, struct outgoing *outgoing);

#endif
