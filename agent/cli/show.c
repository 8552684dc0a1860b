// `outtray show`: all there is to know of a message, in plain words.
#include "agent/base/clock.h"
#include "agent/cli/select.h"
#include "agent/cli/verbs.h"
#include "agent/compose/outgoing.h"
#include "agent/delivery/pause.h"
#include "agent/observe/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct show {
    struct select select;
    json_t *list; // NULL: text
    uint64_t shown;
};

struct shown {
    struct queue_view view;
    struct header_block *block; // NULL where it cannot be read
    struct outgoing *outgoing;  // NULL where it cannot be sent
    struct outgoing_fault fault;
    const struct config_tenant *tenant; // whose account carries it
};

static void release(struct shown *shown)
{
    queue_view_release(&shown->view);
    header_block_free(shown->block);
    outgoing_free(shown->outgoing);
}

static int fill(struct show *show, const struct queue_message *message, struct shown *shown)
{
    struct queue *queue = &show->select.queue;
    *shown = (struct shown){.tenant = message->place->tenant};
    int r = queue_view_fill(queue, message, &shown->view);
    int fd = openat(message->place->dir, message->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (r < 0 || fd < 0) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    r = header_block_read(fd, queue->config->limits.header_size, &shown->block);
    struct stat stat = message->stat;
    if (shown->view.recorded && shown->view.status->submitted.tv_sec)
        stat.st_mtim = shown->view.status->submitted; // touched since
    if (r != -ENOMEM)
        r = outgoing_compose(
            queue->config, message->place->tenant, message->name, fd, &stat, &shown->outgoing, &shown->fault);
    if (r == 0)
        shown->tenant = shown->outgoing->tenant;
    close(fd);
    return r == -ENOMEM ? r : 0; // what cannot be sent is shown all the same
}

static void print_moment(const struct timespec *time, int64_t now)
{
    char text[STATUS_TIME_SIZE], age[QUEUE_AGE_SIZE];
    int64_t since = (now - clock_ns(time)) / CLOCK_SECOND;
    status_time_format(time, 0, text);
    queue_age(since < 0 ? -since : since, age);
    printf(since < 0 ? "%s, in %s" : "%s, %s ago", text, age);
}

// What state it is in, as a sentence.
static void print_state(const struct show *show, const struct shown *shown)
{
    const struct queue_message *message = shown->view.message;
    const struct status *status = shown->view.status;
    int64_t now = show->select.queue.now;
    switch (message->place->state) {
    case SPOOL_NEW:
        printf("waits for its first attempt%s", status->n_attempts ? " since it was moved back" : "");
        break;
    case SPOOL_CUR:
        printf("is being delivered in this moment by agent ");
        queue_print(message->place->agent);
        break;
    case SPOOL_DEFERRED:
        if (shown->view.next.tv_sec && clock_ns(&shown->view.next) > now) {
            printf("waits for its next attempt: ");
            print_moment(&shown->view.next, now);
        } else {
            printf("is due for its next attempt now");
        }
        break;
    case SPOOL_SENT:
        printf("was delivered to every recipient");
        break;
    case SPOOL_FAILED:
        printf("was given up%s%s", status->reason != STATUS_REASON_NONE ? " as " : "",
            status->reason != STATUS_REASON_NONE ? status_reason_name(status->reason) : "");
        break;
    default:
        printf("is held until `outtray release`");
    }
    printf("\n");
}

static void print_text(const char *label, const char *text)
{
    if (!text)
        return;
    printf("  %-13s ", label);
    queue_print(text);
    printf("\n");
}

static void print_recipients(const struct shown *shown)
{
    static const char *const words[] = {
        [STATUS_PENDING] = "not delivered yet", [STATUS_SENT] = "delivered", [STATUS_REFUSED] = "refused"};
    const struct status *status = shown->view.status;
    bool sent = shown->view.message->place->state == SPOOL_SENT;
    for (size_t i = 0; i < status->n_recipients; i++) {
        const struct status_recipient *recipient = &status->recipients[i];
        printf("  %-13s ", i == 0 ? "to:" : "");
        queue_print(recipient->address);
        printf(": %s", sent ? "delivered" : words[recipient->state]);
        if (recipient->at.tv_sec) {
            char text[STATUS_TIME_SIZE];
            status_time_format(&recipient->at, 0, text);
            printf(" (%s)", text);
        }
        printf("%s", recipient->reply ? ": " : "");
        queue_print(recipient->reply);
        printf("\n");
    }
}

static void print_envelope(const struct show *show, const struct shown *shown)
{
    const struct config_account *account = shown->tenant->account;
    struct pause pause;
    int state = open(show->select.queue.config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    printf("\nEnvelope\n");
    if (shown->outgoing) {
        print_text("from:", *shown->outgoing->envelope_from ? shown->outgoing->envelope_from : "<>");
        print_text("From goes as:", shown->outgoing->from);
    }
    print_recipients(shown);
    printf("  %-13s %s by %s:%u\n", "account:", account->name, account->servers[0], account->port);
    if (state >= 0 && pause_get(state, account->name, &pause) == 0)
        printf("  %-13s by %s%s%s (`outtray resume %s` lets its mail go)\n",
            "paused:", *pause.by ? pause.by : "somebody", *pause.reason ? ": " : "", pause.reason,
            account->name);
    if (state >= 0)
        close(state);
}

static void print_attempts(const struct show *show, const struct shown *shown)
{
    const struct status *status = shown->view.status;
    uint64_t total =
        status->attempts_total > status->n_attempts ? status->attempts_total : status->n_attempts;
    printf("\nAttempts: %" PRIu64 "%s\n", total,
        total > status->n_attempts ? ", of which the first and the latest are kept" : "");
    for (size_t i = 0; i < status->n_attempts; i++) {
        const struct status_attempt *attempt = &status->attempts[i];
        uint64_t number = i == 0 ? 1 : total - status->n_attempts + i + 1;
        printf("  %" PRIu64 ". ", number);
        print_moment(&attempt->at, show->select.queue.now);
        printf("\n     ");
        if (attempt->account) {
            printf("account ");
            queue_print(attempt->account);
        }
        if (attempt->relay) {
            printf(" at ");
            queue_print(attempt->relay);
        }
        printf(attempt->tls && *attempt->tls ? " with " : attempt->relay ? " without TLS" : "");
        queue_print(attempt->tls);
        if (attempt->stage) {
            printf(", came to stage ");
            queue_print(attempt->stage);
        }
        printf("\n");
        if (attempt->reply) {
            printf("     answer: ");
            queue_print(attempt->reply);
            printf("\n");
        }
    }
}

static void print_header(const struct shown *shown)
{
    if (!shown->block)
        return;
    printf("\nHeader\n");
    for (size_t i = 0; i < shown->block->n_fields; i++) {
        const struct header_field *field = &shown->block->fields[i];
        char *value = header_unfold(field);
        printf("  %.*s: ", (int)field->name_length, field->name);
        queue_print(value);
        printf("\n");
        free(value);
    }
}

static void print(const struct show *show, const struct shown *shown)
{
    const struct queue_message *message = shown->view.message;
    const struct status *status = shown->view.status;
    printf("%s", show->shown ? "\n\n" : "");
    queue_print(message->place->tenant->name);
    printf("/%s%s", shown->view.state, message->place->agent ? "/" : "");
    queue_print(message->place->agent);
    printf("/");
    queue_print(message->name);
    printf("\n  %-13s ", "it");
    print_state(show, shown);
    printf("  %-13s ", "submitted:");
    print_moment(&status->submitted, show->select.queue.now);
    printf(", %" PRIu64 " octets\n", (uint64_t)message->stat.st_size);
    print_text("Message-ID:", status->message_id);
    print_text("detail:", status->detail);
    if (!shown->outgoing && *shown->fault.detail && !status->detail)
        print_text("cannot go out:", shown->fault.detail);
    if (message->place->state == SPOOL_FAILED) {
        print_text("fix:", status->fix);
        printf("  %-13s outtray retry %s/%s/", "or:", message->place->tenant->name, shown->view.state);
        queue_print(message->name);
        printf("\n");
    }
    print_envelope(show, shown);
    if (message->place->state != SPOOL_SENT)
        print_attempts(show, shown);
    print_header(shown);
}

static int put_header(json_t *object, const struct shown *shown)
{
    json_t *list = json_array();
    for (size_t i = 0; list && shown->block && i < shown->block->n_fields; i++) {
        const struct header_field *field = &shown->block->fields[i];
        char *value = header_unfold(field);
        char *name = strndup(field->name, field->name_length);
        json_t *pair =
            value && name ? json_pack("[o, o]", observe_json_text(name), observe_json_text(value)) : NULL;
        free(name);
        free(value);
        if (!pair || json_array_append_new(list, pair) < 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return observe_json_set(object, "header", list);
}

static int add_json(struct show *show, const struct shown *shown)
{
    const struct config_account *account = shown->tenant->account;
    json_t *object = json_object();
    int r = object ? queue_view_json(object, &shown->view) : -ENOMEM;
    if (r == 0 && shown->view.message->place->agent)
        r = observe_json_set(object, "agent", observe_json_text(shown->view.message->place->agent));
    if (r == 0)
        r = observe_json_set(object, "account", observe_json_text(account->name));
    if (r == 0)
        r = observe_json_set(
            object, "server", json_sprintf("%s:%u", account->servers[0], (unsigned)account->port));
    if (r == 0 && shown->outgoing)
        r = observe_json_set(object, "envelope_from", observe_json_text(shown->outgoing->envelope_from));
    if (r == 0 && shown->outgoing)
        r = observe_json_set(object, "from_sent", observe_json_text(shown->outgoing->from));
    if (r == 0)
        r = put_header(object, shown);
    if (r == 0 && json_array_append(show->list, object) < 0)
        r = -ENOMEM;
    json_decref(object);
    return r;
}

static int show_picked(struct queue *queue, const struct queue_place *place, void *arg)
{
    const struct picked *picked = arg;
    struct show *show = (struct show *)queue; // its first member's first
    struct queue_message message = {.place = place, .name = picked->name};
    struct shown shown;
    if (picked->agent && (!place->agent || strcmp(place->agent, picked->agent) != 0))
        return 0;
    if (fstatat(place->dir, message.name, &message.stat, AT_SYMLINK_NOFOLLOW) < 0) {
        cli_fail(queue->verb, 0, "%s/%s/%s moved on in this moment; look again", picked->tenant->name,
            spool_state_name(picked->state), picked->name);
        queue->code = queue->code ? queue->code : EX_TEMPFAIL;
        return 0;
    }
    int r = fill(show, &message, &shown);
    if (r == 0 && show->list)
        r = add_json(show, &shown);
    else if (r == 0)
        print(show, &shown);
    release(&shown);
    show->shown++;
    return r;
}

static int show_name(struct show *show, const char *name)
{
    struct queue *queue = &show->select.queue;
    struct picks picks = {0};
    int r = select_name(&show->select, name, &picks), code = EX_OK;
    for (size_t i = 0; r == 0 && i < picks.n; i++)
        r = queue_each_place(
            queue, picks.items[i].tenant, picks.items[i].state, show_picked, &picks.items[i]);
    if (r < 0)
        code = cli_fail(queue->verb, EX_OSERR, "%s", strerror(-r));
    else if (picks.n == 0)
        code =
            queue->code ? queue->code : cli_fail(queue->verb, EX_NOINPUT, "there is no message `%s`", name);
    picks_release(&picks);
    return code;
}

int cli_show(int argc, char **argv)
{
    struct show show = {.select = {.queue = {.verb = cli_find("show")}}};
    struct queue *queue = &show.select.queue;
    bool json = false;
    const char *path;
    const struct cli_option options[] = {
        {.name = "tenant", .value = &show.select.tenant_name}, {.name = "json", .flag = &json}, {0}};
    int code;
    if (cli_parse(queue->verb, &argc, argv, options, &path, &code) < 0)
        return code;
    if (argc < 2)
        return cli_usage(queue->verb, "which message?");
    code = select_open(&show.select, path, argc - 1, false);
    if (code == EX_OK && json && !(show.list = json_array()))
        code = cli_fail(queue->verb, EX_OSERR, "%s", strerror(ENOMEM));
    for (int i = 1; i < argc && queue->spool >= 0 && (!json || show.list); i++) {
        int one = show_name(&show, argv[i]);
        code = one != EX_OK ? one : code;
    }
    if (show.list && cli_print_json(show.list) < 0)
        code = EX_OSERR;
    code = code == EX_OK ? queue->code : code;
    json_decref(show.list);
    select_close(&show.select);
    return cli_end(queue->verb, code);
}
