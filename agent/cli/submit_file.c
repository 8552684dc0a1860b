// The producer's side of the spool: see submit_file.h.
#include "agent/cli/submit_file.h"

#include "agent/base/clock.h"
#include "agent/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CREATE_TRIES 100
#define HOST_SIZE    65 // octets of the host name in a message's name, with the NUL

static int open_directory(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

// As maildir has it: time, microseconds, process, a random number, host. Nothing reads it for meaning.
static int make_name(char ret_name[static SPOOL_NAME_SIZE])
{
    char host[HOST_SIZE] = "";
    uint32_t random;
    struct timespec now = clock_timespec(clock_wall());
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return -EIO;
    if (gethostname(host, sizeof host - 1) < 0 || !*host)
        memcpy(host, "localhost", sizeof "localhost");
    for (char *c = host; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7F || *c == '/' || *c == ':' || *c == '~')
            *c = '_';
    (void)snprintf(ret_name, SPOOL_NAME_SIZE, "%" PRId64 ".M%06ldP%ldR%08" PRIx32 ".%s", (int64_t)now.tv_sec,
        now.tv_nsec / 1000, (long)getpid(), random, host);
    return spool_name_valid(ret_name) ? 0 : -EINVAL;
}

static int create(struct submit_file *file)
{
    for (int i = 0; i < CREATE_TRIES; i++) {
        int r = make_name(file->name);
        if (r)
            return r;
        file->fd = openat(file->tmp, file->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        file->there = file->fd >= 0;
        if (file->there || errno != EEXIST)
            return file->there ? 0 : -errno;
    }
    return -EEXIST;
}

int submit_file_create(struct submit_file *file, int spool_fd, const char *tenant, enum submit_step *ret_step)
{
    *file = (struct submit_file){.tmp = -1, .new = -1, .fd = -1};
    *ret_step = SUBMIT_STEP_OPEN;
    int root = open_directory(spool_fd, tenant);
    if (root < 0)
        return root;
    file->tmp = open_directory(root, "tmp");
    file->new = file->tmp < 0 ? file->tmp : open_directory(root, "new");
    close(root);
    if (file->new < 0)
        return file->new;
    *ret_step = SUBMIT_STEP_CREATE;
    return create(file);
}

int submit_file_write(struct submit_file *file, const void *data, size_t length)
{
    int error = file_write(file->fd, data, length);
    if (!error)
        file->length += length;
    return error;
}

// Whoever owns new/ is the agent. Where that is somebody else, who need not be in our group, the file must be
// readable for all: the directories above, which only the agent and the tenant's group may enter, keep others
// out.
static int set_mode(const struct submit_file *file)
{
    struct stat stat;
    if (fstat(file->new, &stat) < 0)
        return -errno;
    return fchmod(file->fd, stat.st_uid == geteuid() ? 0640 : 0644) < 0 ? -errno : 0;
}

int submit_file_commit(struct submit_file *file)
{
    int r = set_mode(file);
    if (!r && fsync(file->fd) < 0)
        r = -errno;
    for (int i = 0; !r && i < CREATE_TRIES; i++) {
        char name[SPOOL_NAME_SIZE];
        (void)snprintf(name, sizeof name, "%s", file->wanted ? file->wanted : file->name);
        if (i && (r = make_name(name)) < 0)
            break;
        if (renameat2(file->tmp, file->name, file->new, name, RENAME_NOREPLACE) == 0) {
            memcpy(file->name, name, sizeof name);
            file->there = false;
#ifdef OUTTRAY_TEST_NO_DIRECTORY_SYNC // the build that shows that tests/crash notices it
            return 0;
#else
            return fsync(file->new) < 0 ? -errno : 0;
#endif
        }
        r = errno == EEXIST && i + 1 < CREATE_TRIES && !file->wanted ? 0 : -errno;
    }
    return r;
}

void submit_file_release(struct submit_file *file)
{
    if (file->there)
        (void)unlinkat(file->tmp, file->name, 0);
    int fds[] = {file->fd, file->tmp, file->new};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    *file = (struct submit_file){.tmp = -1, .new = -1, .fd = -1};
}
