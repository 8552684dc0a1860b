// The arena of arena.h: a chain of chunks, of which only the last one has room left.
#include "arena.h"
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE                                                                                           \
    ((size_t)16 * 1024) // octets of a chunk; an allocation larger than that gets a chunk of its own

struct config_arena_chunk {
    struct config_arena_chunk *previous;
    size_t used, size; // octets of data
    alignas(max_align_t) unsigned char data[];
};

void *config_arena_alloc(struct config_arena *arena, size_t count, size_t size)
{
    size_t wanted;
    if (__builtin_mul_overflow(count, size, &wanted) || wanted > SIZE_MAX / 2)
        return NULL;
    wanted = (wanted + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct config_arena_chunk *chunk = arena->last;
    if (!chunk || chunk->size - chunk->used < wanted) {
        size_t room = wanted > CHUNK_SIZE ? wanted : CHUNK_SIZE;
        chunk = calloc(1, sizeof(*chunk) + room);
        if (!chunk)
            return NULL;
        chunk->size = room;
        chunk->previous = arena->last;
        arena->last = chunk;
    }
    void *place = chunk->data + chunk->used;
    chunk->used += wanted;
    return place;
}

char *config_arena_copy(struct config_arena *arena, const char *text, size_t length)
{
    char *copy = config_arena_alloc(arena, 1, length + 1);
    if (copy && length > 0)
        memcpy(copy, text, length);
    return copy;
}

void config_arena_release(struct config_arena *arena)
{
    while (arena->last) {
        struct config_arena_chunk *chunk = arena->last;
        arena->last = chunk->previous;
        free(chunk);
    }
}
