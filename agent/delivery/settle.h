// Moving to cur/ what has been claimed for longer than a moment (wire thread; the moves on the filing desk).
//
// Most messages are sent and filed within milliseconds of their claim, and their files move once, from new/
// to sent/. Where a server takes its time, or an account has to wait, operators are to see in the directories
// what is under way, and to have their hands kept off it: such a message is moved to cur/AGENT.
#ifndef OUTTRAY_AGENT_DELIVERY_SETTLE_H
#define OUTTRAY_AGENT_DELIVERY_SETTLE_H

#include "agent/base/loop.h"

struct dispatch;
struct message;

// How long a message may be claimed and lie in new/.
#define SETTLE_AFTER_MS 100

// Claimed messages that lie in new/, oldest claim first.
struct settle {
    struct message *first, *last;
    struct loop_timer timer;
    int64_t after; // ns: SETTLE_AFTER_MS, or what a test sets
};

void settle_init(struct dispatch *dispatch);
void settle_stop(struct dispatch *dispatch);

// The message was claimed where it lies.
void settle_watch(struct dispatch *dispatch, struct message *message);
// Its outcome goes to the filing desk, behind whatever was handed to that before. No matter whether it was
// watched.
void settle_forget(struct dispatch *dispatch, struct message *message);

#endif
