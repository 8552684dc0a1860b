// The intake desk's work: claiming a name, and reading directories.
//
// A claim is everything between a name in new/ or deferred/ and a message that can go on the wire: is it a
// message, is it complete, the claim (claim.h), what was known of it before (its status file), the header
// block, envelope and body plan.
#ifndef OUTTRAY_AGENT_DELIVERY_INTAKE_H
#define OUTTRAY_AGENT_DELIVERY_INTAKE_H

#include "agent/delivery/message.h"
#include "agent/delivery/moves.h"

// How long a file that may still be written to must stay unchanged before it is taken (see SPOOL.md).
#define INTAKE_SETTLE_MS 2000

// The steps of a claim. Each says CLAIM_READY where the next may follow, or how the claim ended.
enum claim_result intake_examine(struct message *message); // opens and locks it where it lies
enum claim_result intake_move(struct message *message); // renames it to cur/, where the lock is not the claim
enum claim_result intake_read(struct message *message); // what is known of it, what will be sent

// For desk_params: batch, with arg a struct moves. The desk's own jobs are messages to be claimed; how that
// ended is in message->claim. Claims in groups: all of a group are looked at, then those
// that are to be renamed are renamed in one turn, then all are read. The first claim of a tenant that has
// nothing else under way does not wait behind the claims of others. Other jobs are run between two groups.
void intake_batch(struct desk *desk, struct desk_job *first, void *arg);

#endif
