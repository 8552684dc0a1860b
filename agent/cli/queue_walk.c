// Walking the spool as a reader who may lack permissions, while messages move on.
#include "agent/cli/queue.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WALK_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

void queue_unread(struct queue *queue, int error, const char *format, ...)
{
    if (error == ENOENT)
        return;
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    for (char *at = what; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    if (error == EACCES || error == EPERM)
        queue->code = EX_NOPERM;
    else if (error != EBADMSG && queue->code == 0)
        queue->code = EX_IOERR;
    cli_fail(queue->verb, 0, "cannot read %s/%s: %s", queue->config->spool, what, strerror(error));
}

static DIR *open_list(int dir)
{
    int fd = openat(dir, ".", WALK_FLAGS);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list && fd >= 0)
        close(fd);
    return list;
}

// cur/AGENT for each agent that ever ran here.
static int each_agent(struct queue *queue, const struct queue_place *cur,
    int (*visit)(struct queue *queue, const struct queue_place *place, void *arg), void *arg)
{
    DIR *list = open_list(cur->dir);
    if (!list) {
        queue_unread(queue, errno, "%s/cur", cur->tenant->name);
        return 0;
    }
    int r = 0;
    for (const struct dirent *entry; r == 0 && (entry = readdir(list));) {
        if (entry->d_name[0] == '.')
            continue;
        int dir = openat(cur->dir, entry->d_name, WALK_FLAGS);
        if (dir < 0) {
            if (errno != ENOTDIR && errno != ELOOP)
                queue_unread(queue, errno, "%s/cur/%s", cur->tenant->name, entry->d_name);
            continue;
        }
        struct queue_place place = *cur;
        place.agent = entry->d_name;
        place.dir = dir;
        r = visit(queue, &place, arg);
        close(dir);
    }
    closedir(list);
    return r;
}

int queue_each_place(struct queue *queue, const struct config_tenant *tenant, enum spool_state state,
    int (*visit)(struct queue *queue, const struct queue_place *place, void *arg), void *arg)
{
    const char *name = spool_state_name(state);
    int root = openat(queue->spool, tenant->name, WALK_FLAGS);
    if (root < 0) {
        if (queue->unread != tenant)
            queue_unread(queue, errno, "%s", tenant->name);
        queue->unread = tenant; // once is enough
        return 0;
    }
    int r = 0;
    struct queue_place place = {tenant, state, NULL, root, openat(root, name, WALK_FLAGS)};
    if (place.dir < 0)
        queue_unread(queue, errno, "%s/%s", tenant->name, name);
    else if (state == SPOOL_CUR)
        r = each_agent(queue, &place, visit, arg);
    else
        r = visit(queue, &place, arg);
    if (place.dir >= 0)
        close(place.dir);
    close(root);
    return r;
}

// The names of a directory, so that they can be sorted.
struct names {
    char **items;
    size_t n, capacity;
};

static void names_release(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
}

static int names_add(struct names *names, const char *name)
{
    if (names->n == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 64;
        char **items = reallocarray(names->items, capacity, sizeof *items);
        if (!items)
            return -ENOMEM;
        names->items = items;
        names->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    names->items[names->n++] = copy;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;
    return strcmp(*left, *right);
}

static int visit_name(struct queue *queue, const struct queue_place *place, const char *name,
    int (*visit)(struct queue *queue, const struct queue_message *message, void *arg), void *arg)
{
    struct queue_message message = {.place = place, .name = name};
    if (fstatat(place->dir, name, &message.stat, AT_SYMLINK_NOFOLLOW) < 0) {
        queue_unread(queue, errno, "%s/%s/%s", place->tenant->name, spool_state_name(place->state), name);
        return 0;
    }
    return S_ISREG(message.stat.st_mode) ? visit(queue, &message, arg) : 0;
}

int queue_each_message(struct queue *queue, const struct queue_place *place, bool sorted,
    int (*visit)(struct queue *queue, const struct queue_message *message, void *arg), void *arg)
{
    DIR *list = open_list(place->dir);
    if (!list) {
        queue_unread(queue, errno, "%s/%s", place->tenant->name, spool_state_name(place->state));
        return 0;
    }
    struct names names = {0};
    int r = 0;
    for (const struct dirent *entry; r == 0 && (entry = readdir(list));)
        if (spool_name_valid(entry->d_name))
            r = sorted ? names_add(&names, entry->d_name)
                       : visit_name(queue, place, entry->d_name, visit, arg);
    closedir(list);
    if (names.n > 1)
        qsort(names.items, names.n, sizeof *names.items, compare_names);
    for (size_t i = 0; r == 0 && i < names.n; i++)
        r = visit_name(queue, place, names.items[i], visit, arg);
    names_release(&names);
    return r;
}
