// A descriptor that closes itself at the end of its scope: FD fd = -1;
#ifndef OUTTRAY_CONFIG_FD_H
#define OUTTRAY_CONFIG_FD_H

#include <errno.h>
#include <unistd.h>

#define FD __attribute__((cleanup(fd_close))) int

// Closes it, unless it is -1, and sets it to -1. errno is kept.
static inline void fd_close(int *fd)
{
    int error = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = error;
}

#endif
