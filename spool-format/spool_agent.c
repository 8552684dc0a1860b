// The liveness locks of agents: SPOOL/.agents/AGENT.lock (see spool.h).
#include "spool_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGENTS_DIRECTORY ".agents"
#define LOCK_SUFFIX      ".lock"
#define LOCK_SUFFIX_LEN  (sizeof LOCK_SUFFIX - 1)
#define LOCK_NAME_SIZE   (SPOOL_NAME_SIZE + LOCK_SUFFIX_LEN)
#define LOCK_LINE_SIZE   256 // of /proc/locks
#define LOCKS_LINES_MAX  1000000

// Producers may ask whether an agent runs: all may look into it.
static int open_agents(int spool_fd, bool create)
{
    return spool_open_directory(spool_fd, AGENTS_DIRECTORY, create, 0755);
}

static void lock_name(const char *agent, char ret_name[static LOCK_NAME_SIZE])
{
    size_t length = strnlen(agent, SPOOL_NAME_SIZE - 1);
    memcpy(ret_name, agent, length);
    memcpy(ret_name + length, LOCK_SUFFIX, sizeof LOCK_SUFFIX);
}

// For people who ask who holds it; the lock is the proof, so a failure to write is none of ours.
static void write_pid(int fd)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) != length)
        (void)!ftruncate(fd, 0);
}

int spool_agent_lock(int spool_fd, const char *agent, int *ret_fd)
{
    char name[LOCK_NAME_SIZE];
    if (!spool_name_valid(agent))
        return -EINVAL;
    int dir = open_agents(spool_fd, true);
    if (dir < 0)
        return dir;
    lock_name(agent, name);
    int fd = (int)TEMP_FAILURE_RETRY(
        openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640));
    int r = fd < 0 ? -errno : 0;
    close(dir);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (r == 0 && TEMP_FAILURE_RETRY(fcntl(fd, F_OFD_SETLK, &lock)) < 0)
        r = errno == EACCES ? -EAGAIN : -errno;
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    write_pid(fd);
    *ret_fd = fd;
    return 0;
}

int spool_agents_visit(int spool_fd, int (*visit)(const char *agent, void *arg), void *arg)
{
    int dir = open_agents(spool_fd, false);
    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    DIR *list = spool_list(dir);
    int r = list == NULL ? -errno : 0;
    close(dir);
    if (list == NULL)
        return r;
    errno = 0;
    for (struct dirent *entry; r == 0 && (entry = readdir(list)) != NULL; errno = 0) {
        char agent[LOCK_NAME_SIZE];
        size_t length = strnlen(entry->d_name, sizeof agent);
        if (length <= LOCK_SUFFIX_LEN || length == sizeof agent ||
            strcmp(entry->d_name + length - LOCK_SUFFIX_LEN, LOCK_SUFFIX) != 0)
            continue;
        memcpy(agent, entry->d_name, length - LOCK_SUFFIX_LEN);
        agent[length - LOCK_SUFFIX_LEN] = 0;
        if (spool_name_valid(agent))
            r = visit(agent, arg);
    }
    if (r == 0 && errno != 0)
        r = -errno;
    closedir(list);
    return r;
}

// Whether /proc/locks (proc_locks(5)) has an OFD write lock on this inode. Device numbers are not compared:
// on btrfs the kernel shows another one there than stat(2) does.
static int listed_as_locked(ino_t inode)
{
    FILE *locks = fopen("/proc/locks", "re");
    if (locks == NULL)
        return -errno;
    char line[LOCK_LINE_SIZE];
    int found = 0;
    for (int i = 0; found == 0 && i < LOCKS_LINES_MAX && fgets(line, sizeof line, locks) != NULL; i++) {
        uintmax_t number;
        char type[16], access[16];
        if (sscanf(line, "%*d: %15s %*s %15s %*d %*x:%*x:%ju", type, access, &number) == 3)
            found = strcmp(type, "OFDLCK") == 0 && strcmp(access, "WRITE") == 0 && number == inode;
    }
    fclose(locks);
    return found;
}

// Asking with F_OFD_GETLK takes no lock, so an agent that starts at this moment is not disturbed.
static int is_running(int dir, const char *agent)
{
    char name[LOCK_NAME_SIZE];
    struct stat st;
    lock_name(agent, name);
    int fd = (int)TEMP_FAILURE_RETRY(openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd < 0 && errno == EACCES)
        return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : listed_as_locked(st.st_ino);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int r = TEMP_FAILURE_RETRY(fcntl(fd, F_OFD_GETLK, &lock)) < 0 ? -errno : lock.l_type != F_UNLCK;
    close(fd);
    return r;
}

static int visit_running(const char *agent, void *arg)
{
    return is_running(*(const int *)arg, agent);
}

int spool_agent_running(int spool_fd, const char *agent)
{
    if (agent != NULL && !spool_name_valid(agent))
        return -EINVAL;
    int dir = open_agents(spool_fd, false);
    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    int r = agent != NULL ? is_running(dir, agent) : spool_agents_visit(spool_fd, visit_running, &dir);
    close(dir);
    return r;
}
