// What the operator asks of a running agent, by files in STATE (see pause.h): accounts paused and resumed,
// and everything due now. Wire thread; the files are read on the intake desk.
//
// STATE and STATE/paused are watched, and looked at again with every tick in any case.
#ifndef OUTTRAY_AGENT_DELIVERY_CONTROL_H
#define OUTTRAY_AGENT_DELIVERY_CONTROL_H

#include "agent/delivery/watch.h"
#include <stdbool.h>
#include <stdint.h>

struct dispatch;
struct pool;

struct control {
    int watch_state, watch_paused; // inotify descriptors; -1: none
    bool look;                     // something may have changed: look before sleeping
    bool looking;                  // a look is under way
    int64_t flushed;               // the mtime of STATE/flush that was acted on
};

// The first look, before anything is claimed: it reads the disk on this thread. A flush that was asked for
// after began (ns of the file's clock) counts.
void control_start(struct dispatch *dispatch, int64_t began);
// A reload brought a new account: is it paused?
void control_new_pool(struct dispatch *dispatch, struct pool *pool);
// Whether the event was one of STATE.
bool control_event(struct dispatch *dispatch, int watch, enum watch_what what, const char *name);
// Looks where there is reason to; once a round of the loop.
void control_look(struct dispatch *dispatch);

#endif
