// Making and ending what the agent knows of a tenant.
#include "tenant.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct tenant_dirs *tenant_dirs_new(struct spool_tenant *spool)
{
    struct tenant_dirs *dirs = aligned_alloc(TENANT_LINE, sizeof *dirs);
    if (!dirs) {
        spool_tenant_close(spool);
        return NULL;
    }
    *dirs = (struct tenant_dirs){.spool = spool, .references = 1};
    return dirs;
}

struct tenant_dirs *tenant_dirs_ref(struct tenant_dirs *dirs)
{
    atomic_fetch_add(&dirs->references, 1);
    return dirs;
}

void tenant_dirs_unref(struct tenant_dirs *dirs)
{
    if (!dirs || atomic_fetch_sub(&dirs->references, 1) > 1)
        return;
    for (enum spool_state state = 0; state < SPOOL_STATES; state++)
        orphans_release(&dirs->orphans[state]);
    spool_tenant_close(dirs->spool);
    free(dirs);
}

int tenant_dirs_open(struct tenant_dirs *dirs, enum spool_state state, const char *name)
{
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int dir = dirs->spool->dir[state];
    int fd = dirs->atimes ? -1 : openat(dir, name, flags | O_NOATIME);
    if (fd >= 0 || (!dirs->atimes && errno != EPERM))
        return fd;
    dirs->atimes = true;
    return openat(dir, name, flags);
}

struct tenant *tenant_new(const char *name)
{
    struct tenant *tenant = calloc(1, sizeof *tenant);
    if (!tenant || !(tenant->name = strdup(name))) {
        free(tenant);
        return NULL;
    }
    backlog_init(&tenant->backlog);
    tenant->watch_new = tenant->watch_deferred = -1;
    return tenant;
}

void tenant_free(struct tenant *tenant)
{
    if (!tenant)
        return;
    assert(tenant->claimed == 0 && tenant->claiming == 0);
    for (size_t i = 0; i < tenant->n_ignored_names; i++)
        free(tenant->ignored_names[i]);
    notice_queue_release(&tenant->notices);
    backlog_release(&tenant->backlog);
    tenant_dirs_unref(tenant->dirs);
    free(tenant->name);
    free(tenant);
}

void tenant_note_change(struct tenant *tenant)
{
    tenant->changed = tenant->deferred_changed = true;
}

bool tenant_note_ignored(struct tenant *tenant, const char *name)
{
    for (size_t i = 0; i < tenant->n_ignored_names; i++)
        if (strcmp(tenant->ignored_names[i], name) == 0)
            return false;
    if (tenant->n_ignored_names == TENANT_IGNORED_MAX)
        return false;
    char *copy = strdup(name);
    if (copy)
        tenant->ignored_names[tenant->n_ignored_names++] = copy;
    return copy;
}
