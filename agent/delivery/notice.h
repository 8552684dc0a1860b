// Telling people about mail that fails or is late (wire thread; the work is the intake desk's).
//
// What is to be told stands in the status files: a failed one without `notified`, a deferred one without
// `delay_warned`. Events bring the names; after a start failed/ is read once for those that a crash left
// untold. A job reads each message, composes the notice and submits it into the tenant's own new/
// (notice_file.h). A tenant sends NOTICES_PER_HOUR at most; what is more waits for the end of the hour and is
// told in one summary per address. No notice is ever about a notice, about the null sender or about what no
// person wrote (notice_item.c).
#ifndef OUTTRAY_AGENT_DELIVERY_NOTICE_H
#define OUTTRAY_AGENT_DELIVERY_NOTICE_H

#include "agent/delivery/events.h"
#include "agent/delivery/notice_file.h"
#include "agent/delivery/notice_queue.h"

#define NOTICES_PER_HOUR   60
#define NOTICE_SCAN_AGE    (24 * 3600 * CLOCK_SECOND) // what failed longer ago is history when the agent starts
#define NOTICE_SUMMARY_MAX 500                        // messages of one summary

struct dispatch;
struct tenant;

void notices_subscribe(struct dispatch *dispatch);
// Starts what is due (every few seconds, and after an event).
void notices_tick(struct dispatch *dispatch, struct tenant *tenant);
// What a recovery brought to new/ (notice_file.h).
void notices_submitted(
    struct dispatch *dispatch, struct tenant *tenant, const struct notice_submitted *submitted);
// Whether there is something to do now (`run --once`).
bool notices_busy(const struct dispatch *dispatch, const struct tenant *tenant);

#endif
