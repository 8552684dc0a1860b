// Secrets: held in memory that is wiped, read from files that nobody else can read or replace.
#include "secret.h"
#include "fd.h"
#include "opener.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// What a file may have beyond the secret itself: a line end.
#define LINE_END_MAX 2

// Whole pages for each secret: neither locking nor leaving out of dumps knows less. Short of RLIMIT_MEMLOCK
// it stays unlocked.
static size_t pages_of(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

// By its number: in sanitized builds mlock(3) does nothing.
static int pages_lock(const void *pages, size_t length)
{
    return (int)syscall(SYS_mlock, pages, length);
}

static char *pages_new(size_t size)
{
    size_t length = pages_of(size);
    void *pages = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
    (void)madvise(pages, length, MADV_DONTDUMP);
    (void)pages_lock(pages, length);
    return pages;
}

static void pages_free(char *pages, size_t size)
{
    if (!pages)
        return;
    explicit_bzero(pages, size);
    (void)munmap(pages, pages_of(size));
}

bool secret_can_lock(size_t n)
{
    size_t length = pages_of(1) * (n ? n : 1);
    void *pages = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return false;
    bool locked = pages_lock(pages, length) == 0;
    (void)munmap(pages, length);
    return locked;
}

void secret_init(struct secret *secret)
{
    *secret = (struct secret){0};
}

void secret_release(struct secret *secret)
{
    pages_free(secret->text, secret->length + 1);
    *secret = (struct secret){0};
}

int secret_set(struct secret *secret, const char *text, size_t length)
{
    if (length > SECRET_SIZE_MAX)
        return -E2BIG;
    char *copy = pages_new(length + 1);
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

static int open_secret(const char *path, const struct opener *opener, int *ret_fd, struct stat *ret_stat)
{
    FD fd = -1;
    bool credential = path[0] != '/';
    if (!credential) {
        fd = opener_open(opener, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0, NULL);
        if (fd < 0 && fd != -ENOENT)
            return fd == -ENXIO ? -EINVAL : fd; // a socket
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
    return open_secret(path, NULL, &fd, &status);
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

int secret_read_file(struct secret *secret, const char *path, const struct opener *opener)
{
    FD fd = -1;
    struct stat status;
    int result = open_secret(path, opener, &fd, &status);
    if (result < 0)
        return result;
    size_t size = SECRET_SIZE_MAX + LINE_END_MAX + 1, length = 0;
    char *buffer = pages_new(size);
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
    pages_free(buffer, size);
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
    case -EPIPE:
        return "lies beyond the agent's sandbox, and the helper process that could open it has ended: "
               "restart "
               "the agent";
    case -ENOMEM:
        return "cannot be read: memory is short";
    default:
        return "cannot be read: I/O error";
    }
}
