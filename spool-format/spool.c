// A tenant's directories: opened once, checked for being replaced, synced (see spool.h).
#include "spool_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define MODE_PRODUCERS  02770 // tmp and new: the tenant's group writes here
#define MODE_AGENT      02750 // the rest: the group may look

static const char *const state_names[SPOOL_STATES] = {
    [SPOOL_TMP] = "tmp",
    [SPOOL_NEW] = "new",
    [SPOOL_CUR] = "cur",
    [SPOOL_DEFERRED] = "deferred",
    [SPOOL_SENT] = "sent",
    [SPOOL_FAILED] = "failed",
    [SPOOL_HOLD] = "hold",
};

const char *spool_state_name(enum spool_state state)
{
    return (unsigned)state < SPOOL_STATES ? state_names[state] : "tenant";
}

bool spool_state_has_status(enum spool_state state)
{
    return state == SPOOL_DEFERRED || state == SPOOL_FAILED;
}

DIR *spool_list(int dir)
{
    int fd = (int)TEMP_FAILURE_RETRY(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return NULL;
    DIR *list = fdopendir(fd);
    if (list == NULL) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return list;
}

int spool_open_directory(int parent, const char *name, bool create, mode_t mode)
{
    int fd = (int)TEMP_FAILURE_RETRY(openat(parent, name, DIRECTORY_FLAGS));
    if (fd >= 0 || errno != ENOENT || !create)
        return fd >= 0 ? fd : -errno;
    bool made = TEMP_FAILURE_RETRY(mkdirat(parent, name, 0700)) == 0;
    if (!made && errno != EEXIST)
        return -errno;
    fd = (int)TEMP_FAILURE_RETRY(openat(parent, name, DIRECTORY_FLAGS));
    if (fd < 0)
        return -errno;
    if (made && (fchmod(fd, mode) < 0 || TEMP_FAILURE_RETRY(fsync(parent)) < 0)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

// The same for a directory of the tenant, which keeps in mind that it was missing.
static int open_or_make(
    struct spool_tenant *tenant, enum spool_state state, int parent, const char *name, bool create)
{
    mode_t mode = state == SPOOL_TMP || state == SPOOL_NEW ? MODE_PRODUCERS : MODE_AGENT;
    int fd = spool_open_directory(parent, name, false, mode);
    if (fd != -ENOENT || !create)
        return fd;
    tenant->made |= 1u << state;
    return spool_open_directory(parent, name, true, mode);
}

static int open_state(struct spool_tenant *tenant, enum spool_state state, bool create)
{
    int fd = open_or_make(tenant, state, tenant->root, state_names[state], create);
    if (fd >= 0 && state == SPOOL_CUR && tenant->agent != NULL) {
        int cur = fd;
        fd = open_or_make(tenant, state, cur, tenant->agent, create);
        close(cur);
    }
    if (fd < 0)
        return fd;
    tenant->dir[state] = fd;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_dev != tenant->dev)
        return -EXDEV;
    tenant->ino[state] = st.st_ino;
    return 0;
}

static int open_all(int spool_fd, struct spool_tenant *tenant, bool create, enum spool_state *ret_state)
{
    struct stat st;
    tenant->root = open_or_make(tenant, SPOOL_STATES, spool_fd, tenant->name, create);
    if (tenant->root < 0)
        return tenant->root;
    if (fstat(tenant->root, &st) < 0)
        return -errno;
    tenant->dev = st.st_dev;
    for (enum spool_state state = 0; state < SPOOL_STATES; state++) {
        int r = open_state(tenant, state, create);
        if (r < 0) {
            *ret_state = state;
            return r;
        }
    }
    return 0;
}

int spool_tenant_open(int spool_fd, const char *tenant, const char *agent, bool create,
    struct spool_tenant **ret_tenant, enum spool_state *ret_state)
{
    enum spool_state at_fault = SPOOL_STATES;
    int r = -EINVAL;
    struct spool_tenant *self = NULL;
    if (spool_name_valid(tenant) && (agent == NULL || spool_name_valid(agent))) {
        r = -ENOMEM;
        self = calloc(1, sizeof *self);
    }
    if (self != NULL) {
        self->root = -1;
        for (int i = 0; i < SPOOL_STATES; i++)
            self->dir[i] = -1;
        self->name = strdup(tenant);
        self->agent = agent != NULL ? strdup(agent) : NULL;
        if (self->name != NULL && (agent == NULL || self->agent != NULL))
            r = open_all(spool_fd, self, create, &at_fault);
    }
    if (r < 0) {
        spool_tenant_close(self);
        if (ret_state != NULL)
            *ret_state = at_fault;
        return r;
    }
    *ret_tenant = self;
    return 0;
}

void spool_tenant_close(struct spool_tenant *tenant)
{
    if (tenant == NULL)
        return;
    for (int i = 0; i < SPOOL_STATES; i++) {
        if (tenant->dir[i] >= 0)
            close(tenant->dir[i]);
    }
    if (tenant->root >= 0)
        close(tenant->root);
    free(tenant->name);
    free(tenant->agent);
    free(tenant);
}

// 0 where dir/name is the directory (dev, ino), 1 where it is not, negative errno where that cannot be told.
static int replaced(int dir, const char *name, dev_t dev, ino_t ino)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 1 : -errno;
    return st.st_dev != dev || st.st_ino != ino || !S_ISDIR(st.st_mode);
}

int spool_tenant_stale(int spool_fd, const struct spool_tenant *tenant)
{
    struct stat root;
    if (fstat(tenant->root, &root) < 0)
        return -errno;
    int r = replaced(spool_fd, tenant->name, root.st_dev, root.st_ino);
    for (enum spool_state state = 0; state < SPOOL_STATES && r == 0; state++) {
        if (state != SPOOL_CUR || tenant->agent == NULL) {
            r = replaced(tenant->root, state_names[state], tenant->dev, tenant->ino[state]);
            continue;
        }
        int cur = spool_open_directory(tenant->root, state_names[state], false, 0);
        if (cur < 0)
            return cur == -ENOENT || cur == -ENOTDIR || cur == -ELOOP ? 1 : cur;
        r = replaced(cur, tenant->agent, tenant->dev, tenant->ino[state]);
        close(cur);
    }
    return r;
}

int spool_sync(const struct spool_tenant *tenant, enum spool_state state)
{
#ifdef OUTTRAY_TEST_NO_DIRECTORY_SYNC // the build that shows that tests/crash notices it
    (void)tenant;
    (void)state;
    return 0;
#else
    return TEMP_FAILURE_RETRY(fsync(tenant->dir[state])) < 0 ? -errno : 0;
#endif
}
