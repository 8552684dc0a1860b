// The claim of a message: what makes it ours alone, and where its file lies meanwhile (desks only).
//
// A message of new/ is claimed by a lock on its open file (flock(2), exclusive): the kernel gives it to one
// agent alone, and takes it from one that dies. The file stays in new/ until its outcome is known and moves
// once, to sent/; a rename costs more than all else that the agent does with a message. What needs a status
// file, or is under way for longer than SETTLE_AFTER_MS (settle.h), is moved to cur/AGENT first, where
// operators see it. Messages above CLAIM_LOCK_MAX, which are under way for long, are moved at once. What is
// deferred is claimed by that move alone, and so is what cannot be locked: a file that may not be opened, a
// file system without locks, or more claims than files may be open.
//
// As long as a claimed file lies in new/, anybody who may write there can take it away or put another one in
// its place. So each move looks before and after at which file it moves.
//
// All return 0, -ENOENT where the file is not there any more, 1 where another file has its name, or a
// negative errno. The three that rename are called by who has the turn (moves.h).
#ifndef OUTTRAY_AGENT_DELIVERY_CLAIM_H
#define OUTTRAY_AGENT_DELIVERY_CLAIM_H

#include "agent/delivery/message.h"

#define CLAIM_LOCK_MAX (1024 * 1024) // octets of a message that lies in new/ while it is claimed

// Takes the lock of an open file of new/, which must still be there. -EWOULDBLOCK where somebody else has it.
// What cannot be locked is to be moved: keep_lock is false then.
int claim_lock(struct message *message);
// Moves it to cur/, where it does not lie there yet. After an error `place` tells where it is.
int claim_move(struct message *message);
// Moves it back to `origin`, where it does not lie there.
int claim_return(struct message *message);
// Moves it to its final place: `name` is what it is called there.
int claim_file(struct message *message, enum spool_state to);
// Ends the lock. A message that was sent keeps it until message_free.
void claim_unlock(struct message *message);

#endif
