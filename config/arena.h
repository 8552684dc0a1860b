// Memory that is given back all at once: what a loaded configuration, and the YAML tree while it is read,
// live in.
//
// Calling sequence: a zeroed struct is initialized; config_arena_alloc and config_arena_copy any number of
// times; config_arena_release. Allocations are zeroed and aligned for any type. NULL means that memory is
// short. How much is taken is bounded by the size of the file that is read (CONFIG_FILE_MAX) and the number
// of its nodes.
#ifndef OUTTRAY_CONFIG_ARENA_H
#define OUTTRAY_CONFIG_ARENA_H

#include <stddef.h>

struct config_arena_chunk;

struct config_arena {
    struct config_arena_chunk *last;
};

void *config_arena_alloc(struct config_arena *arena, size_t count, size_t size);
// A NUL-terminated copy of length octets.
char *config_arena_copy(struct config_arena *arena, const char *text, size_t length);
void config_arena_release(struct config_arena *arena);

#endif
