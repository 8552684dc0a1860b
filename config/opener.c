// Files by ourselves, or by who may.
#include "opener.h"

#include <errno.h>
#include <fcntl.h>

int opener_open(const struct opener *opener, const char *path, int flags, mode_t mode, bool *ret_asked)
{
    int fd = open(path, flags, mode);
    bool ask = fd < 0 && errno == EACCES && opener;
    if (ret_asked)
        *ret_asked = ask;
    if (ask)
        return opener->open(path, opener->arg);
    return fd < 0 ? -errno : fd;
}
