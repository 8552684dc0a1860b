// What the files of the spool module share; nobody else includes it.
#ifndef OUTTRAY_SPOOL_FORMAT_SPOOL_INTERNAL_H
#define OUTTRAY_SPOOL_FORMAT_SPOOL_INTERNAL_H

#include "spool.h"
#include <dirent.h>
#include <string.h>

// Copies a valid name.
static inline void spool_name_copy(char ret_name[static SPOOL_NAME_SIZE], const char *name)
{
    size_t length = strnlen(name, SPOOL_NAME_SIZE - 1);
    memmove(ret_name, name, length);
    ret_name[length] = 0;
}

// Whether messages in this state have status files beside them.
bool spool_state_has_status(enum spool_state state);

// Whether a status file may belong to a message with these facts: inode and size agree, birth times where
// both are known.
struct status_identity;
bool spool_identity_same(const struct status_identity *recorded, const struct status_identity *found);

// A fresh stream on the directory dir (its offset is its own). NULL and errno.
DIR *spool_list(int dir);

// Opens a directory below parent, made first (and durable) where `create` and missing. Its mode is set
// whatever the umask is, but only on a directory we made: an operator's choice stays. The fd, or negative
// errno.
int spool_open_directory(int parent, const char *name, bool create, mode_t mode);

// Looks upwards from name for `inode` as a message: 1 and ret_name, 0, or negative errno.
int spool_find_inode(int dir, const char *name, ino_t inode, char ret_name[static SPOOL_NAME_SIZE]);

#endif
