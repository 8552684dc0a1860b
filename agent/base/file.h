// Small files that are written whole.
#ifndef OUTTRAY_AGENT_BASE_FILE_H
#define OUTTRAY_AGENT_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#define FILE_NAME_MAX 255 // octets, of the temporary too

// Writes all of it. 0 or negative errno.
int file_write(int fd, const void *data, size_t length);

enum file_care {
    FILE_FLEETING, // made anew soon: a power cut may leave the old one, or an empty one
    FILE_SYNCED,   // its content is on the disk before it gets its name
    FILE_DURABLE,  // and so is its name, when this returns
};

// Puts a file with this content and mode (whatever the umask) in the place of dir/name, by a temporary
// ".NAME.tmp": whoever reads finds the old or the new one. A temporary that a crash left is nobody's. 0 or
// negative errno, the old one untouched; with FILE_DURABLE an error may come from the last fsync, when the
// new one is in place.
int file_replace(
    int dir, const char *name, const void *data, size_t length, mode_t mode, enum file_care care);

#endif
