// `outtray queue`: what lies in the spool, read from the directories alone.
#include "agent/cli/queue.h"
#include "agent/base/clock.h"
#include "agent/cli/verbs.h"
#include "agent/observe/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const enum spool_state counted[OBSERVE_STATES] = {
    [OBSERVE_NEW] = SPOOL_NEW,
    [OBSERVE_CUR] = SPOOL_CUR,
    [OBSERVE_DEFERRED] = SPOOL_DEFERRED,
    [OBSERVE_FAILED] = SPOOL_FAILED,
};

int queue_count(struct queue *queue, const struct queue_message *message, void *arg)
{
    struct observe_count *count = arg;
    int64_t age = (queue->now - clock_ns(&message->stat.st_mtim)) / CLOCK_SECOND;
    count->count++;
    count->bytes += (uint64_t)message->stat.st_size;
    if (age > count->oldest_s)
        count->oldest_s = age;
    return 0;
}

static int count_place(struct queue *queue, const struct queue_place *place, void *arg)
{
    return queue_each_message(queue, place, false, queue_count, arg);
}

static uint64_t total_of(const json_t *tenant, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(tenant, key));
    return value > 0 ? (uint64_t)value : 0;
}

// Totals that no directory holds come from what an agent wrote last; without it they are 0.
static void read_totals(const struct config *config, struct observe_tenant *tenants)
{
    int state = open(config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = state < 0 ? -1 : openat(state, "status.json", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    json_t *root = fd < 0 ? NULL : json_loadfd(fd, 0, NULL);
    const json_t *all = json_object_get(root, "tenants");
    for (size_t i = 0; i < config->n_tenants; i++) {
        const json_t *tenant = json_object_get(all, tenants[i].name);
        tenants[i].sent_total = total_of(tenant, "sent_total");
        tenants[i].failed[0] = total_of(tenant, "failed_total"); // only their sum is shown
        tenants[i].ignored = total_of(tenant, "ignored");
    }
    json_decref(root);
    if (fd >= 0)
        close(fd);
    if (state >= 0)
        close(state);
}

size_t queue_columns(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_row(const char *tenant, size_t width, const char *state, const struct observe_count *count)
{
    char age[QUEUE_AGE_SIZE] = "-";
    if (count->count > 0)
        queue_age(count->oldest_s, age);
    printf("%s%*s  %-8s  %8" PRIu64 "  %12" PRIu64 "  %8s\n", tenant, (int)(width - queue_columns(tenant)),
        "", state, count->count, count->bytes, age);
}

static void print_table(
    const struct config *config, const struct observe_tenant *tenants, const struct observe_count *held)
{
    size_t width = queue_columns("TENANT");
    for (size_t i = 0; i < config->n_tenants; i++)
        width = queue_columns(tenants[i].name) > width ? queue_columns(tenants[i].name) : width;
    printf("%-*s  %-8s  %8s  %12s  %8s\n", (int)width, "TENANT", "STATE", "COUNT", "BYTES", "OLDEST");
    for (size_t i = 0; i < config->n_tenants; i++) {
        for (size_t s = 0; s < OBSERVE_STATES; s++)
            print_row(tenants[i].name, width, observe_state_names[s], &tenants[i].states[s]);
        if (held[i].count > 0)
            print_row(tenants[i].name, width, "hold", &held[i]);
    }
}

static int print_tenants_json(const struct config *config, const struct observe_tenant *tenants)
{
    json_t *object = observe_json_tenants(tenants, config->n_tenants);
    int r = cli_print_json(object);
    json_decref(object);
    return r;
}

static int overview(struct queue *queue)
{
    const struct config *config = queue->config;
    struct observe_tenant *tenants = calloc(config->n_tenants, sizeof *tenants);
    struct observe_count *held = calloc(config->n_tenants, sizeof *held);
    int r = tenants && held ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < config->n_tenants; i++) {
        tenants[i].name = config->tenants[i].name;
        tenants[i].account = config->tenants[i].account->name;
        for (size_t s = 0; r == 0 && s < OBSERVE_STATES; s++)
            r = queue_each_place(queue, &config->tenants[i], counted[s], count_place, &tenants[i].states[s]);
        if (r == 0 && !queue->json)
            r = queue_each_place(queue, &config->tenants[i], SPOOL_HOLD, count_place, &held[i]);
    }
    if (r == 0 && queue->json) {
        read_totals(config, tenants);
        r = print_tenants_json(config, tenants);
    } else if (r == 0) {
        print_table(config, tenants, held);
    }
    free(tenants);
    free(held);
    return r;
}

static int show_place(struct queue *queue, const struct queue_place *place, void *arg)
{
    return queue_each_message(queue, place, true, queue_show, arg);
}

static int show_tenant(struct queue *queue, const struct config_tenant *tenant)
{
    static const enum spool_state waiting[] = {
        SPOOL_NEW, SPOOL_CUR, SPOOL_DEFERRED, SPOOL_FAILED, SPOOL_HOLD};
    uint64_t before = queue->shown;
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof waiting / sizeof *waiting; i++)
        r = queue_each_place(queue, tenant, waiting[i], show_place, NULL);
    if (r == 0 && queue->shown == before && queue->code == EX_OK)
        (void)fprintf(stderr, "outtray queue: tenant %s has no mail that waits or failed\n", tenant->name);
    return r;
}

static int show_if_there(struct queue *queue, const struct queue_place *place, void *arg)
{
    struct queue_message message = {.place = place, .name = arg};
    if (fstatat(place->dir, message.name, &message.stat, AT_SYMLINK_NOFOLLOW) < 0) {
        queue_unread(
            queue, errno, "%s/%s/%s", place->tenant->name, spool_state_name(place->state), message.name);
        return 0;
    }
    return S_ISREG(message.stat.st_mode) ? queue_show(queue, &message, NULL) : 0;
}

// Every message called name, whosever it is and wherever it lies.
static int show_name(struct queue *queue, char *name)
{
    uint64_t before = queue->shown;
    int r = 0;
    if (!spool_name_valid(name))
        return -ENOENT;
    for (size_t i = 0; r == 0 && i < queue->config->n_tenants; i++)
        for (enum spool_state state = SPOOL_NEW; r == 0 && state < SPOOL_STATES; state++)
            r = queue_each_place(queue, &queue->config->tenants[i], state, show_if_there, name);
    return r == 0 && queue->shown == before ? -ENOENT : r;
}

static int show_arguments(struct queue *queue, int argc, char **argv)
{
    int r = 0, code = EX_OK;
    if (queue->json)
        printf("[");
    for (int i = 1; i < argc && r == 0; i++) {
        const struct config_tenant *tenant = config_find_tenant(queue->config, argv[i]);
        r = tenant ? show_tenant(queue, tenant) : show_name(queue, argv[i]);
        if (r == -ENOENT) {
            code = cli_fail(queue->verb, EX_NOINPUT, "there is no tenant and no message `%s`", argv[i]);
            r = 0;
        }
    }
    if (queue->json)
        printf(queue->shown ? "\n]\n" : "]\n");
    return r < 0 ? r : code;
}

int cli_queue(int argc, char **argv)
{
    struct queue queue = {.verb = cli_find("queue"), .spool = -1};
    const struct cli_option options[] = {{.name = "json", .flag = &queue.json}, {0}};
    const char *path;
    int code;
    if (cli_parse(queue.verb, &argc, argv, options, &path, &code) < 0)
        return code;
    queue.config = cli_load(queue.verb, path, false, &code);
    if (!queue.config)
        return code;
    clock_poll();
    queue.now = clock_wall();
    queue.spool = cli_open_spool(queue.verb, queue.config, &code);
    if (queue.spool >= 0) {
        code = argc > 1 ? show_arguments(&queue, argc, argv) : overview(&queue);
        if (code < 0)
            code = cli_fail(queue.verb, EX_OSERR, "%s", strerror(-code));
        else if (code == EX_OK)
            code = queue.code;
        if (queue.code == EX_NOPERM)
            cli_note_left_out(queue.verb);
        close(queue.spool);
    }
    config_unref(queue.config);
    return cli_end(queue.verb, code);
}
