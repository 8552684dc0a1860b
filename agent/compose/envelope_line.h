// One X-Sender or X-Receiver line: an address and DSN parameters, as the pickup directories of Exchange and
// .NET have them:
//
//   X-Sender: <bob@example.com> BODY=7bit RET=HDRS ENVID=123
//   X-Receiver: <mary@example.com> NOTIFY=NEVER ORCPT=rfc822;mary@example.com
//
// An X-Sender may be parameters alone ("X-Sender: RET=HDRS"), which then go with the sender that would be
// taken without it. The brackets may be missing. Keywords are read without case. RET, ENVID, NOTIFY and ORCPT
// are passed on (RFC 3461); BODY, SIZE, AUTH and SMTPUTF8 are read over: we find these out ourselves. Any
// other parameter, and a value that RFC 3461 forbids, is an error, because a message that asks for what
// nobody will do should not go out as if all were well.
#ifndef OUTTRAY_AGENT_COMPOSE_ENVELOPE_LINE_H
#define OUTTRAY_AGENT_COMPOSE_ENVELOPE_LINE_H

#include "agent/compose/fault.h"

#define ENVELOPE_ENVID_MAX 100 // octets, RFC 3461 section 4.4
#define ENVELOPE_ORCPT_MAX 500 // octets, section 4.2

struct envelope_line {
    char *address;        // "" for <>; NULL where an X-Sender has none
    char *ret, *envid;    // X-Sender; NULL where absent
    char *notify, *orcpt; // X-Receiver; NULL where absent
};

// field is an X-Sender or X-Receiver field; sender says which parameters it may have. 0; -EBADMSG with
// *ret_fault; -ENOMEM. The address is not checked.
int envelope_line_parse(const struct header_field *field, bool sender, struct envelope_line *ret_line,
    struct outgoing_fault *ret_fault);
void envelope_line_release(struct envelope_line *line);

// What is wrong with this value of a parameter that is passed on ("NOTIFY", …), or NULL.
const char *envelope_parameter_problem(const char *key, const char *value);

#endif
