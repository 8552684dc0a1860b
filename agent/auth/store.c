// Small secret files, durable and closed to others (see store.h).
#include "store.h"
#include "agent/base/file.h"
#include "config/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_DIRECTORY_MODE 0700
#define STORE_FILE_MODE      0600

// What root makes belongs to the owner of the state directory: the agent must be able to use it.
static int store_give(int state_fd, int fd)
{
    struct stat state;
    if (geteuid() != 0)
        return 0;
    if (fstat(state_fd, &state))
        return -errno;
    return fchown(fd, state.st_uid, state.st_gid) ? -errno : 0;
}

int store_open(int state_fd, bool make, int *ret_fd)
{
    bool made = make && mkdirat(state_fd, STORE_DIRECTORY, STORE_DIRECTORY_MODE) == 0;
    if (make && !made && errno != EEXIST)
        return -errno;
    FD fd = openat(state_fd, STORE_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = made && fchmod(fd, STORE_DIRECTORY_MODE) ? -errno : 0;
    if (!error && make)
        error = store_give(state_fd, fd);
    if (!error && made && fsync(state_fd))
        error = -errno;
    if (error)
        return error;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

// Accounts are file names already (config/texts.c); this holds where one comes from elsewhere.
static int store_name(const char *account, const char *suffix, char name[static STORE_NAME_MAX + 1])
{
    if (!*account || account[0] == '.' || strchr(account, '/'))
        return -EINVAL;
    int n = snprintf(name, STORE_NAME_MAX + 1, "%s%s", account, suffix);
    return n < 0 || n > STORE_NAME_MAX ? -ENAMETOOLONG : 0;
}

// Owned by us, by root or by the owner of the state directory, and closed to everybody else.
static int store_check(int state_fd, int fd)
{
    struct stat file, state;
    if (fstat(fd, &file) || fstat(state_fd, &state))
        return -errno;
    if (!S_ISREG(file.st_mode))
        return -EINVAL;
    bool ours = file.st_uid == geteuid() || file.st_uid == 0 || file.st_uid == state.st_uid;
    return ours && (file.st_mode & 077) == 0 ? 0 : -EPERM;
}

static int read_all(int fd, struct buffer *out)
{
    for (;;) {
        // One octet more than fits tells a file that is too long from one that just fits.
        size_t room = out->max - out->length < 4096 ? out->max - out->length : 4096;
        char over, *to = room ? buffer_reserve(out, room) : &over;
        if (!to)
            return buffer_error(out);
        ssize_t n = read(fd, to, room ? room : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        if (!room)
            return -E2BIG;
        buffer_grew(out, (size_t)n);
    }
}

int store_read(int state_fd, const char *account, const char *suffix, struct buffer *out)
{
    char name[STORE_NAME_MAX + 1];
    FD dir = -1, fd = -1;
    buffer_make_secret(out);
    int error = store_name(account, suffix, name);
    if (!error)
        error = store_open(state_fd, false, &dir);
    if (error)
        return error;
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENXIO ? -EINVAL : -errno; // a socket
    error = store_check(state_fd, fd);
    return error ? error : read_all(fd, out);
}

static int store_put(int state_fd, int dir, const char *temporary, const void *data, size_t length)
{
    // What a crash left behind under the temporary name is nobody's.
    if (unlinkat(dir, temporary, 0) && errno != ENOENT)
        return -errno;
    FD fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, STORE_FILE_MODE);
    if (fd < 0)
        return -errno;
    int error = store_give(state_fd, fd);
    if (!error)
        error = file_write(fd, data, length);
    return !error && fsync(fd) ? -errno : error;
}

int store_write(int state_fd, const char *account, const char *suffix, const void *data, size_t length)
{
    char name[STORE_NAME_MAX + 1], temporary[STORE_NAME_MAX + 8];
    FD dir = -1;
    int error = store_name(account, suffix, name);
    if (!error)
        error = store_open(state_fd, true, &dir);
    if (error)
        return error;
    (void)snprintf(temporary, sizeof temporary, ".%s.new", name);
    error = store_put(state_fd, dir, temporary, data, length);
    if (!error && renameat(dir, temporary, dir, name))
        error = -errno;
    if (error) {
        (void)unlinkat(dir, temporary, 0);
        return error;
    }
#ifdef OUTTRAY_TEST_NO_DIRECTORY_SYNC // the build that shows that tests/crash notices it
    return 0;
#else
    return fsync(dir) ? -errno : 0;
#endif
}

int store_remove(int state_fd, const char *account, const char *suffix)
{
    char name[STORE_NAME_MAX + 1];
    FD dir = -1;
    int error = store_name(account, suffix, name);
    if (!error)
        error = store_open(state_fd, false, &dir);
    if (error)
        return error;
    return unlinkat(dir, name, 0) || fsync(dir) ? -errno : 0;
}

int store_lock(int state_fd, const char *account, const char *suffix, int *ret_fd)
{
    char name[STORE_NAME_MAX + 1];
    FD dir = -1, fd = -1;
    int error = store_name(account, suffix, name);
    if (!error)
        error = store_open(state_fd, true, &dir);
    if (error)
        return error;
    // The file stays: removing it would let two processes lock two files of one name.
    fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, STORE_FILE_MODE);
    if (fd < 0)
        return -errno;
    error = store_give(state_fd, fd);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!error && fcntl(fd, F_OFD_SETLK, &lock))
        error = errno == EACCES ? -EAGAIN : -errno;
    if (error)
        return error;
    *ret_fd = fd;
    fd = -1;
    return 0;
}
