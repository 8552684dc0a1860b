// What the two halves of concluding share: conclude.c (transactions) and conclude_rest.c (what becomes of the
// message).
#ifndef OUTTRAY_AGENT_DELIVERY_CONCLUDE_PRIVATE_H
#define OUTTRAY_AGENT_DELIVERY_CONCLUDE_PRIVATE_H

#include "conclude.h"

// One recipient's verdict is in. Only what must be remembered beyond this attempt goes into a status. 0 or
// -ENOMEM.
int conclude_recipient(struct message *message, size_t index, enum status_recipient_state state,
    const char *reply, int64_t wall);

// How long ago the first attempt was, ns; 0 before it.
int64_t conclude_age(const struct message *message, int64_t wall);
// The time of the next attempt (wall), the same for all transactions of this one.
int64_t conclude_next_attempt(struct message *message, int64_t wall);

#endif
