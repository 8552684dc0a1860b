// Records of keys (see key.h).
#include "key.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS_MODE   02750 // as the states that are the agent's
#define RECORD_MODE 0640  // the tenant's group may read what became of its key
#define RECORD_SIZE 512   // octets of a record at most
#define CLAIM_TRIES 8     // other agents may claim and expire the same key meanwhile

static int keys_open(const struct spool_tenant *tenant, bool create)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = (int)TEMP_FAILURE_RETRY(openat(tenant->root, SPOOL_KEYS, flags));
    if (fd >= 0 || errno != ENOENT || !create)
        return fd < 0 ? -errno : fd;
    if (mkdirat(tenant->root, SPOOL_KEYS, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = (int)TEMP_FAILURE_RETRY(openat(tenant->root, SPOOL_KEYS, flags));
    if (fd < 0)
        return -errno;
    if (fchmod(fd, KEYS_MODE) < 0 || TEMP_FAILURE_RETRY(fsync(tenant->root)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

// The value of a line "KEY: VALUE" of text, up to its end; NULL where there is none.
static const char *value_of(const char *text, const char *key, size_t *ret_length)
{
    size_t length = strlen(key);
    for (const char *line = text; *line; line += strcspn(line, "\n") + (strchr(line, '\n') != NULL))
        if (strncmp(line, key, length) == 0 && strncmp(line + length, ": ", 2) == 0) {
            *ret_length = strcspn(line + length + 2, "\n");
            return line + length + 2;
        }
    return NULL;
}

static int time_of(const char *text, const char *key, struct timespec *ret_time)
{
    size_t length;
    char value[STATUS_TIME_SIZE];
    const char *at = value_of(text, key, &length);
    if (at == NULL)
        return -EBADMSG;
    snprintf(value, sizeof value, "%.*s", (int)length, at);
    return status_time_parse(value, ret_time) < 0 ? -EBADMSG : 0;
}

static int record_parse(const char *text, struct spool_key *ret_key)
{
    struct spool_key key = {0};
    size_t inode_length, name_length;
    char *end;
    const char *inode = value_of(text, "inode", &inode_length), *name = value_of(text, "name", &name_length);
    if (inode == NULL || name == NULL || name_length >= sizeof key.name || time_of(text, "at", &key.at) < 0)
        return -EBADMSG;
    (void)time_of(text, "born", &key.born); // absent where it was not known
    key.inode = strtoull(inode, &end, 10);
    memcpy(key.name, name, name_length);
    if (end != inode + inode_length || !spool_name_valid(key.name))
        return -EBADMSG;
    *ret_key = key;
    return 0;
}

static int record_read(int dir, const char *digest, struct spool_key *ret_key)
{
    char text[RECORD_SIZE + 1];
    int fd = (int)TEMP_FAILURE_RETRY(openat(dir, digest, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd < 0)
        return errno == ELOOP ? -EBADMSG : -errno;
    ssize_t n = TEMP_FAILURE_RETRY(pread(fd, text, RECORD_SIZE, 0));
    int error = errno;
    close(fd);
    if (n < 0)
        return error == EISDIR ? -EBADMSG : -error;
    text[n] = '\0';
    return record_parse(text, ret_key);
}

int spool_key_read(const struct spool_tenant *tenant, const char *digest, struct spool_key *ret_key)
{
    int dir = keys_open(tenant, false);
    if (dir < 0)
        return dir;
    int r = record_read(dir, digest, ret_key);
    close(dir);
    return r;
}

static int record_format(const struct spool_key *key, char ret_text[static RECORD_SIZE])
{
    char at[STATUS_TIME_SIZE], born[STATUS_TIME_SIZE] = "";
    status_time_format(&key->at, 0, at);
    if (key->born.tv_sec != 0)
        status_time_format(&key->born, 9, born);
    int length = snprintf(ret_text, RECORD_SIZE, "name: %s\ninode: %" PRIu64 "\n%s%s%sat: %s\n", key->name,
        key->inode, *born ? "born: " : "", born, *born ? "\n" : "", at);
    return length > 0 && length < RECORD_SIZE ? length : -EINVAL;
}

static int record_write(int dir, const char *digest, const struct spool_key *key, unsigned flags)
{
    char text[RECORD_SIZE], temporary[64];
    int length = record_format(key, text);
    if (length < 0)
        return length;
    snprintf(temporary, sizeof temporary, ".%" PRIu64 ".tmp", key->inode);
    (void)unlinkat(dir, temporary, 0); // of a crash, and ours: nobody else has this inode
    int fd = (int)TEMP_FAILURE_RETRY(
        openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, RECORD_MODE));
    if (fd < 0)
        return -errno;
    ssize_t n = TEMP_FAILURE_RETRY(write(fd, text, (size_t)length));
    int r = n < 0 ? -errno : n < length ? -ENOSPC : 0;
    if (r == 0 && (fchmod(fd, RECORD_MODE) < 0 || TEMP_FAILURE_RETRY(fsync(fd)) < 0))
        r = -errno;
    if (close(fd) < 0 && r == 0 && errno != EINTR)
        r = -errno;
    if (r == 0 && TEMP_FAILURE_RETRY(renameat2(dir, temporary, dir, digest, flags)) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(dir, temporary, 0);
    else if (TEMP_FAILURE_RETRY(fsync(dir)) < 0)
        r = -errno;
    return r;
}

static bool same_message(const struct spool_key *a, const struct spool_key *b)
{
    return a->inode == b->inode && a->born.tv_sec == b->born.tv_sec && a->born.tv_nsec == b->born.tv_nsec;
}

int spool_key_claim(const struct spool_tenant *tenant, const char *digest, const struct spool_key *key,
    time_t since, struct spool_key *ret_first)
{
    struct spool_key found = {0};
    int dir = keys_open(tenant, true), r = -EAGAIN;
    if (dir < 0)
        return dir;
    for (int i = 0; i < CLAIM_TRIES; i++) {
        r = record_read(dir, digest, &found);
        if (r == 0 && found.at.tv_sec >= since) {
            r = same_message(&found, key);
            if (r == 0)
                *ret_first = found;
            break;
        }
        if (r < 0 && r != -ENOENT && r != -EBADMSG)
            break;
        r = record_write(dir, digest, key, r == -ENOENT ? RENAME_NOREPLACE : 0);
        if (r != -EEXIST) {
            r = r < 0 ? r : 1;
            break;
        }
    }
    close(dir);
    return r;
}

// A temporary's own time is its age; nobody writes one for long.
static bool is_over(int dir, const char *name, time_t since)
{
    struct spool_key key = {0};
    struct stat st;
    if (name[0] == '.')
        return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
               st.st_mtim.tv_sec < since;
    return record_read(dir, name, &key) == 0 && key.at.tv_sec < since;
}

int spool_keys_expire(const struct spool_tenant *tenant, time_t since)
{
    int fd = keys_open(tenant, false);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int error = errno;
        close(fd);
        return -error;
    }
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_type != DT_DIR && is_over(dirfd(dir), entry->d_name, since))
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    return 0;
}
