// The intake desk's work: claiming a name, and reading directories.
//
// intake_claim: everything between a name in new/ or deferred/ and a message that can go on the wire: is it a
// message, is it complete, the claim by rename, what was known of it before (its status file), the header
// block, envelope and body plan.
#ifndef OUTTRAY_AGENT_DELIVERY_INTAKE_H
#define OUTTRAY_AGENT_DELIVERY_INTAKE_H

#include "agent/delivery/message.h"

// How long a file that may still be written to must stay unchanged before it is taken (see SPOOL.md).
#define INTAKE_SETTLE_MS 2000

// A message's job on the intake desk; the result is in message->claim.
void intake_claim(struct desk_job *job);

#endif
