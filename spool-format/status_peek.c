// Opening a status file, and a look at what it belongs to (see status.h).
#include "name.h"
#include "status_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEEK_SIZE 4096

// Opens dir/NAME.status. A symlink, FIFO or other thing under that name is no status file.
int status_open(int dir, const char *name, struct stat *ret_st)
{
    char path[SPOOL_STATUS_SIZE];
    if (!spool_name_valid(name))
        return -EINVAL;
    spool_name_status(name, path);
    int fd =
        (int)TEMP_FAILURE_RETRY(openat(dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (fd < 0)
        return errno == ELOOP || errno == ENXIO || errno == ENODEV ? -EBADMSG : -errno;
    int r = fstat(fd, ret_st) < 0 ? -errno : 0;
    if (r == 0 && (!S_ISREG(ret_st->st_mode) || ret_st->st_size > STATUS_FILE_MAX))
        r = -EBADMSG;
    if (r < 0)
        close(fd);
    return r < 0 ? r : fd;
}

// Looks through the lines as status_write makes them. False where they are not like that: the YAML reader
// decides then.
static bool peek_lines(char *text, struct status_identity *ret_identity)
{
    static const char first[] = "version: 1\n";
    bool has_inode = false, has_size = false;
    if (strncmp(text, first, sizeof first - 1) != 0)
        return false;
    char *end;
    for (char *line = text; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        if (strncmp(line, "inode: ", 7) == 0)
            has_inode = status_number_parse(line + 7, &ret_identity->inode) == 0;
        else if (strncmp(line, "size: ", 6) == 0)
            has_size = status_number_parse(line + 6, &ret_identity->size) == 0;
        else if (strncmp(line, "born: ", 6) == 0 && status_time_parse(line + 6, &ret_identity->born) < 0)
            return false;
        else if (strcmp(line, "recipients:") == 0)
            break;
    }
    return has_inode && has_size;
}

int status_peek_identity(int dir, const char *name, struct status_identity *ret_identity)
{
    char text[PEEK_SIZE + 1];
    struct stat st;
    struct status_identity identity = {0};
    int fd = status_open(dir, name, &st);
    if (fd < 0)
        return fd;
    ssize_t n = TEMP_FAILURE_RETRY(pread(fd, text, PEEK_SIZE, 0));
    int r = n < 0 ? -errno : 0;
    if (r == 0) {
        text[n] = 0;
        if (!peek_lines(text, &identity)) {
            struct status *status;
            r = status_parse(fd, &status);
            if (r == 0) {
                identity = (struct status_identity){status->inode, status->size, status->born};
                status_free(status);
            }
        }
    }
    close(fd);
    if (r == 0)
        *ret_identity = identity;
    return r;
}

int status_peek(int dir, const char *name, uint64_t *ret_inode, uint64_t *ret_size)
{
    struct status_identity identity = {0};
    int r = status_peek_identity(dir, name, &identity);
    if (r < 0)
        return r;
    *ret_inode = identity.inode;
    *ret_size = identity.size;
    return 0;
}
