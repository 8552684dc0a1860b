// Replacing a small file that is made anew every few seconds.
#include "agent/observe/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_MODE 0644 // monitoring reads it as somebody else

static int write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = TEMP_FAILURE_RETRY(write(fd, text, length));
        if (n < 0)
            return -errno;
        text += n;
        length -= (size_t)n;
    }
    return 0;
}

int observe_write(int dir, const char *name, const char *text, size_t length)
{
    char temporary[256];
    int n = snprintf(temporary, sizeof temporary, ".%s.tmp", name);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return -ENAMETOOLONG;
    int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, WRITE_MODE);
    if (fd < 0)
        return -errno;
    int r = fchmod(fd, WRITE_MODE) < 0 ? -errno : write_all(fd, text, length); // whatever the umask is
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && renameat(dir, temporary, dir, name) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(dir, temporary, 0);
    return r;
}
