// Files by ourselves, or by who may.
#include "opener.h"

#include <errno.h>
#include <fcntl.h>

int opener_open(const struct opener *opener, const char *path, int flags)
{
    int fd = open(path, flags);
    if (fd >= 0)
        return fd;
    return errno == EACCES && opener ? opener->open(path, opener->arg) : -errno;
}
