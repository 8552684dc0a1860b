// Putting together what there is to see.
#include "agent/cli/overview.h"
#include "agent/base/clock.h"
#include "agent/observe/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const enum spool_state counted[OBSERVE_STATES] = {
    [OBSERVE_NEW] = SPOOL_NEW,
    [OBSERVE_CUR] = SPOOL_CUR,
    [OBSERVE_DEFERRED] = SPOOL_DEFERRED,
    [OBSERVE_FAILED] = SPOOL_FAILED,
};

int overview_open(struct overview *overview, const struct cli_verb *verb, const char *config_path)
{
    struct queue *queue = &overview->queue;
    int code = EX_OK;
    *overview = (struct overview){.queue = {.verb = verb, .spool = -1}, .state = -1};
    queue->config = cli_load(verb, config_path, false, &code);
    if (!queue->config)
        return code;
    overview->tenants = calloc(queue->config->n_tenants + 1, sizeof *overview->tenants);
    overview->accounts = calloc(queue->config->n_accounts + 1, sizeof *overview->accounts);
    if (!overview->tenants || !overview->accounts)
        return cli_fail(verb, EX_OSERR, "%s", strerror(ENOMEM));
    for (size_t i = 0; i < queue->config->n_tenants; i++)
        overview->tenants[i].settings = &queue->config->tenants[i];
    for (size_t i = 0; i < queue->config->n_accounts; i++)
        overview->accounts[i].settings = &queue->config->accounts[i];
    queue->spool = cli_open_spool(verb, queue->config, &code);
    if (queue->spool < 0)
        return code;
    overview->state = open(queue->config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (overview->state < 0 && errno != ENOENT)
        return cli_fail(verb, errno == EACCES ? EX_NOPERM : EX_IOERR, "the state directory %s: %s%s",
            queue->config->state, strerror(errno), cli_denied_hint(-errno));
    return EX_OK;
}

void overview_close(struct overview *overview)
{
    if (overview->queue.spool >= 0)
        close(overview->queue.spool);
    if (overview->state >= 0)
        close(overview->state);
    free(overview->tenants);
    free(overview->accounts);
    config_unref(overview->queue.config);
}

static int64_t number_of(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? (int64_t)value : 0;
}

static void text_of(const json_t *object, const char *key, char *to, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    (void)snprintf(to, size, "%s", text ? text : "");
}

static int64_t time_of(const json_t *object, const char *key)
{
    struct timespec time;
    const char *text = json_string_value(json_object_get(object, key));
    return text && status_time_parse(text, &time) == 0 ? clock_ns(&time) : 0;
}

static void take_tenant(struct overview_tenant *tenant, const json_t *told)
{
    for (size_t s = 0; s < OBSERVE_STATES; s++) {
        const json_t *state = json_object_get(told, observe_state_names[s]);
        tenant->states[s] = (struct observe_count){.count = (uint64_t)number_of(state, "count"),
            .bytes = (uint64_t)number_of(state, "bytes"),
            .oldest_s = number_of(state, "oldest_s")};
    }
    tenant->sent_total = (uint64_t)number_of(told, "sent_total");
    tenant->failed_total = (uint64_t)number_of(told, "failed_total");
}

static void take_account(struct overview_account *account, const json_t *told)
{
    const json_t *expires = json_object_get(told, "token_expires_s");
    account->known = told != NULL;
    text_of(told, "breaker", account->breaker, sizeof account->breaker);
    text_of(told, "reason", account->reason, sizeof account->reason);
    text_of(told, "fix", account->fix, sizeof account->fix);
    account->probe_at = time_of(told, "probe_at");
    account->sessions = (unsigned)number_of(told, "sessions");
    account->window = (unsigned)number_of(told, "window");
    account->in_flight = (unsigned)number_of(told, "in_flight");
    account->sent_total = (uint64_t)number_of(told, "sent_total");
    account->logins_total = (uint64_t)number_of(told, "logins_total");
    account->token_expires_s = json_is_integer(expires) ? json_integer_value(expires) : INT64_MIN;
}

// Whether the file system has no room, or no inode, for those without privileges.
static bool disk_is_full(int fd)
{
    struct statvfs disk;
    return fd >= 0 && fstatvfs(fd, &disk) == 0 && (!disk.f_bavail || (disk.f_files && !disk.f_favail));
}

// The agent's own word.
static void read_status_json(struct overview *overview)
{
    const struct config *config = overview->queue.config;
    int fd = overview->state < 0
                 ? -1
                 : openat(overview->state, "status.json", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    json_t *root = fd < 0 ? NULL : json_loadfd(fd, 0, NULL);
    const json_t *sandbox = json_object_get(root, "sandbox");
    overview->told = json_is_object(root);
    overview->time = time_of(root, "time");
    overview->started = time_of(root, "started");
    overview->pid = number_of(root, "pid");
    text_of(root, "spool", overview->spool, sizeof overview->spool);
    overview->landlock = number_of(sandbox, "landlock");
    overview->seccomp = json_is_true(json_object_get(sandbox, "seccomp"));
    for (size_t i = 0; i < config->n_tenants; i++)
        take_tenant(&overview->tenants[i],
            json_object_get(json_object_get(root, "tenants"), config->tenants[i].name));
    for (size_t i = 0; i < config->n_accounts; i++)
        take_account(&overview->accounts[i],
            json_object_get(json_object_get(root, "accounts"), config->accounts[i].name));
    json_decref(root);
    if (fd >= 0)
        close(fd);
    int64_t age = overview->queue.now - overview->time;
    bool live = overview->running && overview->told;
    overview->full = live && age > OVERVIEW_LATE_S * CLOCK_SECOND && disk_is_full(overview->state);
    overview->fresh = live && !overview->full && age <= OVERVIEW_STALE_S * CLOCK_SECOND;
}

static int count_place(struct queue *queue, const struct queue_place *place, void *arg)
{
    return queue_each_message(queue, place, false, queue_count, arg);
}

static int count_tenant(struct overview *overview, struct overview_tenant *tenant, bool all)
{
    int r = 0;
    for (size_t s = 0; r == 0 && all && s < OBSERVE_STATES; s++) {
        tenant->states[s] = (struct observe_count){0};
        r = queue_each_place(&overview->queue, tenant->settings, counted[s], count_place, &tenant->states[s]);
    }
    tenant->held = (struct observe_count){0};
    if (r == 0)
        r = queue_each_place(&overview->queue, tenant->settings, SPOOL_HOLD, count_place, &tenant->held);
    return r;
}

// Keeps the latest, by when they came into failed/.
static int offer_failure(struct queue *queue, const struct queue_message *message, void *arg)
{
    struct overview *overview = arg;
    int64_t at = clock_ns(&message->stat.st_ctim);
    size_t place = overview->n_failures;
    (void)queue;
    while (place > 0 && overview->failures[place - 1].at < at)
        place--;
    if (place == OVERVIEW_FAILURES)
        return 0;
    size_t kept = overview->n_failures < OVERVIEW_FAILURES ? overview->n_failures : OVERVIEW_FAILURES - 1;
    memmove(&overview->failures[place + 1], &overview->failures[place],
        (kept - place) * sizeof *overview->failures);
    overview->n_failures = kept + 1;
    overview->failures[place] = (struct overview_failure){.at = at, .tenant = message->place->tenant};
    (void)snprintf(
        overview->failures[place].name, sizeof overview->failures[place].name, "%s", message->name);
    return 0;
}

static int offer_failures(struct queue *queue, const struct queue_place *place, void *arg)
{
    return queue_each_message(queue, place, false, offer_failure, arg);
}

static int fill_failure(struct queue *queue, const struct queue_place *place, void *arg)
{
    struct overview_failure *failure = arg;
    struct status *status = NULL;
    (void)queue;
    if (status_read(place->dir, failure->name, &status, NULL, NULL) < 0)
        return 0;
    failure->reason = status->reason;
    (void)snprintf(failure->detail, sizeof failure->detail, "%s", status->detail ? status->detail : "");
    status_free(status);
    return 0;
}

// Read anew where a failed/ has changed.
static int look_for_failures(struct overview *overview)
{
    struct queue *queue = &overview->queue;
    bool changed = false;
    int r = 0;
    for (size_t i = 0; i < queue->config->n_tenants; i++) {
        struct overview_tenant *tenant = &overview->tenants[i];
        char path[512];
        struct stat stat;
        (void)snprintf(path, sizeof path, "%s/%s", tenant->settings->name, spool_state_name(SPOOL_FAILED));
        if (fstatat(queue->spool, path, &stat, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        changed |= clock_ns(&stat.st_mtim) != clock_ns(&tenant->failed_changed);
        tenant->failed_changed = stat.st_mtim;
    }
    if (!changed)
        return 0;
    overview->n_failures = 0;
    for (size_t i = 0; r == 0 && i < queue->config->n_tenants; i++)
        r = queue_each_place(queue, &queue->config->tenants[i], SPOOL_FAILED, offer_failures, overview);
    for (size_t i = 0; r == 0 && i < overview->n_failures; i++)
        r = queue_each_place(
            queue, overview->failures[i].tenant, SPOOL_FAILED, fill_failure, &overview->failures[i]);
    return r;
}

int overview_look(struct overview *overview, bool count)
{
    struct queue *queue = &overview->queue;
    int r = 0;
    clock_poll();
    queue->now = clock_wall();
    overview->running = spool_agent_running(queue->spool, queue->config->agent) == 1;
    read_status_json(overview);
    for (size_t i = 0; i < queue->config->n_accounts; i++) {
        struct overview_account *account = &overview->accounts[i];
        account->paused =
            overview->state >= 0 && pause_get(overview->state, account->settings->name, &account->pause) == 0;
    }
    for (size_t i = 0; r == 0 && i < queue->config->n_tenants; i++)
        r = count_tenant(overview, &overview->tenants[i], count || !overview->fresh);
    return r ? r : look_for_failures(overview);
}

const char *overview_account_state(const struct overview_account *account)
{
    static const char *const names[][2] = {{"closed", "ok"}, {"open_unreachable", "unreachable"},
        {"open_credentials", "credentials"}, {"open_quota", "quota"}};
    if (account->paused)
        return "paused";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(account->breaker, names[i][0]) == 0)
            return names[i][1];
    return "?";
}
