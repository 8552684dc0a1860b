// Writing small files whole.
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int file_write(int fd, const void *data, size_t length)
{
    const char *at = data;
    while (length) {
        ssize_t n = TEMP_FAILURE_RETRY(write(fd, at, length));
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

static int write_temporary(
    int dir, const char *temporary, const void *data, size_t length, mode_t mode, enum file_care care)
{
    if (unlinkat(dir, temporary, 0) && errno != ENOENT)
        return -errno;
    int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    int error = file_write(fd, data, length);
    if (!error && (fchmod(fd, mode) || (care != FILE_FLEETING && fsync(fd))))
        error = -errno;
    if (close(fd) && !error)
        error = -errno;
    return error;
}

int file_replace(int dir, const char *name, const void *data, size_t length, mode_t mode, enum file_care care)
{
    char temporary[FILE_NAME_MAX + 1];
    int n = snprintf(temporary, sizeof temporary, ".%s.tmp", name);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return -ENAMETOOLONG;
    int error = write_temporary(dir, temporary, data, length, mode, care);
    if (!error && renameat(dir, temporary, dir, name))
        error = -errno;
    if (error) {
        (void)unlinkat(dir, temporary, 0);
        return error;
    }
    return care == FILE_DURABLE && fsync(dir) ? -errno : 0;
}
