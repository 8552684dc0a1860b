// What a message says about its own delivery: the X-Outtray-* fields.
//
//   X-Outtray-Tenant: NAME          whose rules count, where the spool's tenant allows it (tenant_header)
//   X-Outtray-Not-Before: TIME      an RFC 5322 date, an RFC 3339 time, or +2h after submission
//   X-Outtray-Expires: TIME         the same
//   X-Outtray-Priority: high        high, normal or low; only high makes a difference
//   X-Outtray-Key: TEXT             a second message of the tenant with the same text is not sent (key.h)
//
// Others are taken off and mean nothing. A field that stands twice, or cannot be understood, is an error: a
// message that should wait must not go out because of a typing mistake.
#ifndef OUTTRAY_AGENT_COMPOSE_CONTROLS_H
#define OUTTRAY_AGENT_COMPOSE_CONTROLS_H

#include "agent/compose/fault.h"
#include "agent/compose/fields.h"

// Fills tenant, not_before, expires, high_priority and key of *outgoing. submitted: wall ns. 0; -EBADMSG with
// *ret_fault; -ENOMEM.
int controls_read(const struct config *config, const struct config_tenant *spool, const struct fields *fields,
    int64_t submitted, struct outgoing *outgoing, struct outgoing_fault *ret_fault);

#endif
