// Secrets: held in memory that is wiped, read from files that nobody else can read or replace.
#include "secret.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// What a file may have beyond the secret itself: a line end.
#define LINE_END_MAX 2

static void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define FD __attribute__((cleanup(fd_close))) int

void secret_init(struct secret *secret)
{
    *secret = (struct secret){0};
}

void secret_release(struct secret *secret)
{
    if (secret->text) {
        explicit_bzero(secret->text, secret->length);
        free(secret->text);
    }
    *secret = (struct secret){0};
}

int secret_set(struct secret *secret, const char *text, size_t length)
{
    if (length > SECRET_SIZE_MAX)
        return -E2BIG;
    char *copy = malloc(length + 1);
    if (!copy)
        return -ENOMEM;
    if (length > 0)
        memcpy(copy, text, length);
    copy[length] = '\0';
    secret_release(secret); // only now: text may be the secret's own
    secret->text = copy;
    secret->length = length;
    return 0;
}

// Opens name below systemd's credentials directory. No symlink is followed there either.
static int open_credential(const char *name, int *ret_fd)
{
    const char *path = getenv("CREDENTIALS_DIRECTORY");
    if (!path || path[0] != '/' || !*name || strcmp(name, "..") == 0 || strchr(name, '/'))
        return -ENOENT;
    FD directory = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

static int open_secret(const char *path, int *ret_fd, struct stat *ret_stat)
{
    FD fd = -1;
    bool credential = path[0] != '/';
    if (!credential) {
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 && errno != ENOENT)
            return errno == ENXIO ? -EINVAL : -errno; // a socket
        credential = fd < 0;
    }
    if (fd < 0) {
        const char *slash = strrchr(path, '/');
        int result = open_credential(slash && path[0] == '/' ? slash + 1 : path, &fd);
        if (result < 0)
            return result;
    }
    if (fstat(fd, ret_stat) < 0)
        return -errno;
    if (!S_ISREG(ret_stat->st_mode))
        return -EINVAL;
    if (ret_stat->st_uid != 0 && ret_stat->st_uid != geteuid())
        return -EPERM;
    if (!credential && (ret_stat->st_mode & 077) != 0)
        return -EPERM;
    if (ret_stat->st_size == 0)
        return -EINVAL;
    if (ret_stat->st_size > SECRET_SIZE_MAX + LINE_END_MAX)
        return -E2BIG;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int secret_check_file(const char *path)
{
    FD fd = -1;
    struct stat status;
    return open_secret(path, &fd, &status);
}

// Reads up to size octets; the file may be shorter or longer than it said.
static int read_all(int fd, char *buffer, size_t size, size_t *ret_length)
{
    size_t length = 0;
    while (length < size) {
        ssize_t got = read(fd, buffer + length, size - length);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got == 0)
            break;
        if (got > 0)
            length += (size_t)got;
    }
    *ret_length = length;
    return 0;
}

int secret_read_file(struct secret *secret, const char *path)
{
    FD fd = -1;
    struct stat status;
    int result = open_secret(path, &fd, &status);
    if (result < 0)
        return result;
    size_t size = SECRET_SIZE_MAX + LINE_END_MAX + 1, length = 0;
    char *buffer = malloc(size);
    if (!buffer)
        return -ENOMEM;
    result = read_all(fd, buffer, size, &length);
    if (result == 0 && length == size)
        result = -E2BIG;
    if (result == 0) {
        if (length > 0 && buffer[length - 1] == '\n' && --length > 0 && buffer[length - 1] == '\r')
            length--;
        result = length == 0 || memchr(buffer, '\0', length) ? -EINVAL : secret_set(secret, buffer, length);
    }
    explicit_bzero(buffer, size);
    free(buffer);
    return result;
}

const char *secret_problem(int error)
{
    switch (error) {
    case 0:
        return "is readable";
    case -ENOENT:
    case -ENOTDIR:
        return "does not exist (a name without a leading / is looked up in $CREDENTIALS_DIRECTORY)";
    case -EACCES:
        return "cannot be read by this user; it must be owned by the user that runs outtray, with mode 0600";
    case -ELOOP:
        return "is a symbolic link; name the file itself";
    case -EPERM:
        return "must be owned by you or root, with mode 0600: chmod 600, and chown to the user that runs "
               "outtray";
    case -EINVAL:
        return "must be a regular file that holds the secret, not empty and without NUL octets";
    case -E2BIG:
        return "is larger than 64 kB; that is no secret";
    case -ENOMEM:
        return "cannot be read: memory is short";
    default:
        return "cannot be read: I/O error";
    }
}
