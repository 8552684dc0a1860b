// Whether each status file of a directory has its message, found out by one reading of names and in a fixed
// amount of memory.
//
// Each name is hashed into one of PAIRS_SLOTS sums, added where it is a status file's and taken off where it
// is a message's. A slot whose sum is zero holds pairs only; the others hold somebody who is alone, and few
// besides, so that only those names need be looked for. Where there is no memory every slot may hold one.
// Names that somebody made up to have sums of zero hide an orphan from one reading, until retention ends it.
#ifndef OUTTRAY_AGENT_DELIVERY_PAIRS_H
#define OUTTRAY_AGENT_DELIVERY_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAIRS_SLOTS 4096

struct pairs {      // zeroed: not in use
    uint64_t *sums; // owned; NULL: nothing is known
};

void pairs_init(struct pairs *pairs); // without memory: as zeroed
void pairs_release(struct pairs *pairs);

// name is what a message and its status file share: a message's name, a status file's without its suffix.
void pairs_add_status(struct pairs *pairs, const char *name, size_t length);
void pairs_add_message(struct pairs *pairs, const char *name, size_t length);

// Whether anybody may be alone; whether the one of this name may.
bool pairs_any_alone(const struct pairs *pairs);
bool pairs_may_be_alone(const struct pairs *pairs, const char *name, size_t length);

#endif
