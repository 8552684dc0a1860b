// A message that cannot be read now, with the disk as a whole in order: a bad sector under one file.
//
// It is the message's own misfortune. It goes back to where it was claimed from, unchanged and not counted as
// an attempt, and is tried again after retry.first, then twice as long, up to retry.max; nothing else waits
// for it. It is never given up, since nobody knows what it says. Failures to write, sync or move are another
// thing: they break the spool (filing.h).
#ifndef OUTTRAY_AGENT_DELIVERY_UNREADABLE_H
#define OUTTRAY_AGENT_DELIVERY_UNREADABLE_H

#include "agent/delivery/message.h"

struct dispatch;

// Whether reading failed for what is under the file.
bool unreadable_is(int error);

// Intake desk, before the message goes back: one of deferred/ gets its next time there, on its status file,
// and in `recorded`. False where it has no status file there: then a survey would find it due at once.
bool unreadable_mark(struct message *message);

// Wire thread: the claim came back as CLAIM_UNREADABLE. Logs it and has it wait; the entry is free again.
void unreadable_wait(struct dispatch *dispatch, struct message *message);

#endif
