// Turns of the desks at renaming.
#include "moves.h"

void moves_init(struct moves *moves)
{
    *moves = (struct moves){0};
    pthread_mutex_init(&moves->lock, NULL);
    pthread_cond_init(&moves->turned, NULL);
}

void moves_release(struct moves *moves)
{
    pthread_cond_destroy(&moves->turned);
    pthread_mutex_destroy(&moves->lock);
}

void moves_begin(struct moves *moves)
{
    if (!moves)
        return;
    pthread_mutex_lock(&moves->lock);
    unsigned ticket = moves->next++;
    while (moves->serving != ticket)
        pthread_cond_wait(&moves->turned, &moves->lock);
    pthread_mutex_unlock(&moves->lock);
}

void moves_end(struct moves *moves)
{
    if (!moves)
        return;
    pthread_mutex_lock(&moves->lock);
    moves->serving++;
    pthread_cond_broadcast(&moves->turned);
    pthread_mutex_unlock(&moves->lock);
}
