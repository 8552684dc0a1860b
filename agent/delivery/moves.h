// Whose turn it is to move files: the desks' renames in runs instead of at the same time.
//
// The kernel lets only one rename between directories run in a file system: it holds s_vfs_rename_mutex and
// both directories' locks. Who comes second spins on its core for as long as the first needs. Two desks
// that rename at the same time spend a fifth of the agent's CPU that way. So each takes its turn for a run of
// renames, and the other reads, composes or syncs meanwhile. Turns are given in the order in which they were
// asked for.
#ifndef OUTTRAY_AGENT_DELIVERY_MOVES_H
#define OUTTRAY_AGENT_DELIVERY_MOVES_H

#include <pthread.h>

// How many renames a run has at most while another desk waits.
#define MOVES_RUN 32

struct moves {
    pthread_mutex_t lock;
    pthread_cond_t turned;
    unsigned next, serving; // tickets
};

void moves_init(struct moves *moves);
void moves_release(struct moves *moves);

// Waits for a turn; ends it. Not recursive. Both take NULL, where nobody else moves anything.
void moves_begin(struct moves *moves);
void moves_end(struct moves *moves);

#endif
