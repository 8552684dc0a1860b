// Whether the mail of each account moves: what /healthz tells (see observe_health).
#ifndef OUTTRAY_AGENT_DELIVERY_PROGRESS_H
#define OUTTRAY_AGENT_DELIVERY_PROGRESS_H

#include "agent/delivery/dispatch.h"

#define PROGRESS_ROUND_NS (30 * CLOCK_SECOND) // a longer pause between two looks: the machine slept

// Once a tick, on the wire thread: notes for every pool since when its mail could have moved and has not.
void progress_look(struct dispatch *dispatch);
// Whether something for the pool's account waits to go out now, or is on its way.
bool progress_has_mail(const struct pool *pool);
// For how long, in whole seconds; 0 where all is well.
int64_t progress_stalled_s(const struct pool *pool);

#endif
