// Finding the messages that a verb is to work on.
#include "agent/cli/select.h"
#include "agent/base/clock.h"
#include "agent/cli/service_user.h"
#include "agent/observe/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void picks_release(struct picks *picks)
{
    for (size_t i = 0; i < picks->n; i++) {
        free(picks->items[i].agent);
        free(picks->items[i].name);
    }
    free(picks->items);
    *picks = (struct picks){0};
}

static int picks_add(struct picks *picks, const struct queue_message *message)
{
    const struct queue_place *place = message->place;
    if (picks->n >= SELECT_MAX)
        return -E2BIG;
    if (picks->n == picks->capacity) {
        size_t capacity = picks->capacity ? picks->capacity * 2 : 64;
        struct picked *items = reallocarray(picks->items, capacity, sizeof *items);
        if (!items)
            return -ENOMEM;
        picks->items = items;
        picks->capacity = capacity;
    }
    struct picked picked = {.tenant = place->tenant,
        .state = place->state,
        .agent = place->agent ? strdup(place->agent) : NULL,
        .name = strdup(message->name),
        .inode = message->stat.st_ino,
        .size = message->stat.st_size};
    if (!picked.name || (place->agent && !picked.agent)) {
        free(picked.agent);
        free(picked.name);
        return -ENOMEM;
    }
    picks->items[picks->n++] = picked;
    return 0;
}

static int find_names(struct select *select)
{
    const struct queue *queue = &select->queue;
    if (select->tenant_name)
        select->tenant = cli_find_tenant(queue->verb, queue->config, select->tenant_name);
    if (select->tenant_name && !select->tenant)
        return EX_NOINPUT;
    if (select->account_name)
        select->account = cli_find_account(queue->verb, queue->config, select->account_name);
    return select->account_name && !select->account ? EX_NOINPUT : EX_OK;
}

static int find_reason(struct select *select)
{
    if (!select->reason_name)
        return EX_OK;
    for (enum status_reason reason = STATUS_REASON_RECIPIENT; reason <= STATUS_REASON_EXPIRED; reason++)
        if (strcmp(select->reason_name, status_reason_name(reason)) == 0) {
            select->reason = reason;
            return EX_OK;
        }
    return cli_usage(select->queue.verb,
        "--reason %s: it is one of recipient, policy, size, malformed, expired", select->reason_name);
}

static int check_options(struct select *select, int names)
{
    const struct cli_verb *verb = select->queue.verb;
    bool some = select->tenant_name || select->account_name;
    if (select->all && (names || some))
        return cli_usage(verb, "--all goes with no other choice");
    if (names && select->account_name)
        return cli_usage(verb, "--account goes without names");
    if (names && select->reason_name)
        return cli_usage(verb, "--reason goes without names");
    if (!names && !some && !select->all)
        return cli_usage(verb, "which messages? name them, or say --tenant, --account or --all");
    return find_reason(select);
}

int select_open(struct select *select, const char *config_path, int names, bool change)
{
    struct queue *queue = &select->queue;
    int code = check_options(select, names);
    queue->spool = -1;
    if (code != EX_OK)
        return code;
    queue->config = cli_load(queue->verb, config_path, false, &code);
    if (!queue->config)
        return code;
    code = find_names(select);
    if (code != EX_OK)
        return code;
    struct service_user user;
    if (change && geteuid() == 0 && service_user_become(queue->verb, queue->config, &user, &code) < 0)
        return code;
    clock_poll();
    queue->now = clock_wall();
    queue->spool = cli_open_spool(queue->verb, queue->config, &code);
    return queue->spool < 0 ? code : EX_OK;
}

void select_close(struct select *select)
{
    if (select->queue.code == EX_NOPERM)
        cli_note_left_out(select->queue.verb);
    if (select->queue.spool >= 0)
        close(select->queue.spool);
    select->queue.spool = -1;
    config_unref(select->queue.config);
    select->queue.config = NULL;
}

struct walk {
    struct select *select;
    struct picks *picks;
    const char *name, *agent; // what a NAME says
};

static bool reason_fits(const struct select *select, const struct queue_message *message)
{
    struct status *status = NULL;
    if (select->reason == STATUS_REASON_NONE)
        return true;
    if (status_read(message->place->dir, message->name, &status, NULL, NULL) < 0)
        return false;
    bool fits = status->inode == message->stat.st_ino && status->reason == select->reason;
    status_free(status);
    return fits;
}

static int walk_message(struct queue *queue, const struct queue_message *message, void *arg)
{
    struct walk *walk = arg;
    (void)queue;
    return reason_fits(walk->select, message) ? picks_add(walk->picks, message) : 0;
}

static int walk_place(struct queue *queue, const struct queue_place *place, void *arg)
{
    return queue_each_message(queue, place, true, walk_message, arg);
}

static bool tenant_fits(const struct select *select, const struct config_tenant *tenant)
{
    return (!select->tenant || select->tenant == tenant) &&
           (!select->account || select->account == tenant->account);
}

int select_all(struct select *select, unsigned states, struct picks *picks)
{
    struct walk walk = {.select = select, .picks = picks};
    const struct config *config = select->queue.config;
    int r = 0;
    for (size_t i = 0; r == 0 && i < config->n_tenants; i++)
        for (enum spool_state state = SPOOL_NEW; r == 0 && state < SPOOL_STATES; state++)
            if (states & SELECT_STATE(state) && tenant_fits(select, &config->tenants[i]))
                r = queue_each_place(&select->queue, &config->tenants[i], state, walk_place, &walk);
    return r;
}

static int walk_name(struct queue *queue, const struct queue_place *place, void *arg)
{
    const struct walk *walk = arg;
    struct queue_message message = {.place = place, .name = walk->name};
    if (walk->agent && (!place->agent || strcmp(place->agent, walk->agent) != 0))
        return 0;
    if (fstatat(place->dir, message.name, &message.stat, AT_SYMLINK_NOFOLLOW) < 0) {
        queue_unread(
            queue, errno, "%s/%s/%s", place->tenant->name, spool_state_name(place->state), message.name);
        return 0;
    }
    return S_ISREG(message.stat.st_mode) ? picks_add(walk->picks, &message) : 0;
}

// A NAME taken apart, from its end: name, agent (of cur), state, tenant.
struct address {
    char *name, *agent, *tenant;
    enum spool_state state; // SPOOL_STATES: any
};

// What stands behind the last slash, which is cut off.
static char *last_part(char *text)
{
    char *slash = strrchr(text, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    return slash + 1;
}

static enum spool_state state_of(const char *name)
{
    for (enum spool_state state = SPOOL_NEW; state < SPOOL_STATES; state++)
        if (strcmp(name, spool_state_name(state)) == 0)
            return state;
    return SPOOL_STATES;
}

// Takes text apart in place. False where it is no such thing.
static bool take_apart(const struct select *select, char *text, struct address *ret)
{
    size_t length = strlen(select->queue.config->spool);
    if (strncmp(text, select->queue.config->spool, length) == 0 && text[length] == '/')
        text += length + 1;
    *ret = (struct address){.name = text, .state = SPOOL_STATES};
    char *part = last_part(text);
    if (!part)
        return spool_name_valid(text);
    ret->name = part;
    part = last_part(text);
    const char *above = part ? part : text;
    ret->state = state_of(above);
    if (part && ret->state == SPOOL_STATES) { // TENANT/cur/AGENT/NAME
        ret->agent = part;
        part = last_part(text);
        ret->state = SPOOL_CUR;
        if (!part || strcmp(part, spool_state_name(SPOOL_CUR)) != 0)
            return false;
    }
    ret->tenant = ret->state == SPOOL_STATES || part ? text : NULL;
    return spool_name_valid(ret->name) && (!ret->tenant || !strchr(ret->tenant, '/'));
}

int select_name(struct select *select, const char *name, struct picks *picks)
{
    const struct config *config = select->queue.config;
    struct address address;
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    int r = 0;
    bool good = take_apart(select, copy, &address);
    struct walk walk = {.select = select, .picks = picks, .name = address.name, .agent = address.agent};
    for (size_t i = 0; good && r == 0 && i < config->n_tenants; i++) {
        const struct config_tenant *tenant = &config->tenants[i];
        if (!tenant_fits(select, tenant) || (address.tenant && strcmp(address.tenant, tenant->name) != 0))
            continue;
        for (enum spool_state state = SPOOL_NEW; r == 0 && state < SPOOL_STATES; state++)
            if (address.state == SPOOL_STATES || address.state == state)
                r = queue_each_place(&select->queue, tenant, state, walk_name, &walk);
    }
    free(copy);
    return r;
}

char *select_path(const struct picked *picked)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s%s%s/%s", picked->tenant->name, spool_state_name(picked->state),
            picked->agent ? "/" : "", picked->agent ? picked->agent : "", picked->name) < 0)
        return NULL;
    char *clean = observe_clean(path, true);
    free(path);
    return clean;
}

void select_print(const struct picked *picked)
{
    char *path = select_path(picked);
    (void)fputs(path ? path : "?", stdout);
    free(path);
}
