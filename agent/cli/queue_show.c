// One message of the spool for people, or as a JSON object with the keys of NAME.status.
#include "agent/base/clock.h"
#include "agent/cli/queue.h"
#include "agent/observe/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void queue_print(const char *text)
{
    char *clean = observe_clean(text, true);
    (void)fputs(clean ? clean : "?", stdout);
    free(clean);
}

void queue_age(int64_t seconds, char ret_text[static QUEUE_AGE_SIZE])
{
    unsigned long long s = seconds > 0 ? (unsigned long long)seconds : 0;
    if (s < 60)
        (void)snprintf(ret_text, QUEUE_AGE_SIZE, "%llus", s);
    else if (s < 3600)
        (void)snprintf(ret_text, QUEUE_AGE_SIZE, "%llum", s / 60);
    else if (s < 86400)
        (void)snprintf(ret_text, QUEUE_AGE_SIZE, "%lluh%02llum", s / 3600, s / 60 % 60);
    else
        (void)snprintf(ret_text, QUEUE_AGE_SIZE, "%llud%02lluh", s / 86400, s / 3600 % 24);
}

static void print_time(const char *label, const struct timespec *time)
{
    char text[STATUS_TIME_SIZE];
    status_time_format(time, 0, text);
    printf("  %-11s %s", label, text);
}

static void print_line(const char *label, const char *text)
{
    if (!text || !*text)
        return;
    printf("  %-11s ", label);
    queue_print(text);
    printf("\n");
}

static void print_recipients(const struct status *status)
{
    for (size_t i = 0; i < status->n_recipients; i++) {
        const struct status_recipient *recipient = &status->recipients[i];
        printf("  %-11s ", i == 0 ? "recipients:" : "");
        queue_print(recipient->address);
        printf(" (%s)%s", status_recipient_state_name(recipient->state), recipient->reply ? " " : "");
        queue_print(recipient->reply);
        printf("\n");
    }
}

static void print_attempts(struct queue *queue, const struct queue_view *view)
{
    const struct status *status = view->status;
    const struct status_attempt *last = status->n_attempts ? &status->attempts[status->n_attempts - 1] : NULL;
    char age[QUEUE_AGE_SIZE];
    uint64_t total =
        status->attempts_total > status->n_attempts ? status->attempts_total : status->n_attempts;
    printf("  %-11s %" PRIu64 "\n", "attempts:", total);
    if (last) {
        queue_age((queue->now - clock_ns(&last->at)) / CLOCK_SECOND, age);
        print_time("last:", &last->at);
        printf(", %s ago%s", age, last->relay ? ", " : "");
        queue_print(last->relay);
        printf("%s", last->stage ? " at " : "");
        queue_print(last->stage);
        printf("\n");
        print_line("reply:", last->reply);
    }
    if (view->next.tv_sec && view->message->place->state == SPOOL_DEFERRED) {
        int64_t wait = (clock_ns(&view->next) - queue->now) / CLOCK_SECOND;
        queue_age(wait, age);
        print_time("next:", &view->next);
        printf(wait > 0 ? ", in %s\n" : ", due now\n", age);
    }
}

static void print_text(struct queue *queue, const struct queue_view *view)
{
    const struct queue_message *message = view->message;
    const struct status *status = view->status;
    char age[QUEUE_AGE_SIZE];
    printf("%s", queue->shown ? "\n" : "");
    queue_print(message->place->tenant->name);
    printf("/%s%s", view->state, message->place->agent ? "/" : "");
    queue_print(message->place->agent);
    printf("/");
    queue_print(message->name);
    printf("\n");
    print_line("From:", view->from);
    print_time("submitted:", &status->submitted);
    queue_age((queue->now - clock_ns(&status->submitted)) / CLOCK_SECOND, age);
    printf(", %s ago, %" PRIu64 " octets\n", age, status->size);
    print_recipients(status);
    print_attempts(queue, view);
    if (status->state == STATUS_FAILED && status->reason != STATUS_REASON_NONE)
        print_line("reason:", status_reason_name(status->reason));
    print_line("detail:", status->detail);
    print_line("fix:", status->fix);
}

static json_t *time_json(const struct timespec *time, int digits)
{
    return observe_json_time(time->tv_sec ? clock_ns(time) : 0, digits);
}

// Leaves the key out where there is no text.
static int put_text(json_t *object, const char *key, const char *text)
{
    return text ? observe_json_set(object, key, observe_json_text(text)) : 0;
}

static int put_time(json_t *object, const char *key, const struct timespec *time, int digits)
{
    return time->tv_sec ? observe_json_set(object, key, time_json(time, digits)) : 0;
}

// Appends item to list and, where it stays NULL or cannot be added, tells so.
static int put_item(json_t *list, json_t *item, int r)
{
    if (r == 0 && item)
        return json_array_append_new(list, item) < 0 ? -ENOMEM : 0;
    json_decref(item);
    return -ENOMEM;
}

static int put_recipients(json_t *object, const struct status *status)
{
    json_t *list = json_array();
    int r = list ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < status->n_recipients; i++) {
        const struct status_recipient *recipient = &status->recipients[i];
        json_t *item = json_object();
        r = item ? put_text(item, "address", recipient->address) : -ENOMEM;
        if (r == 0)
            r = put_text(item, "state", status_recipient_state_name(recipient->state));
        if (r == 0)
            r = put_text(item, "reply", recipient->reply);
        if (r == 0)
            r = put_time(item, "at", &recipient->at, 0);
        r = put_item(list, item, r);
    }
    if (r == 0)
        return observe_json_set(object, "recipients", list);
    json_decref(list);
    return r;
}

static int put_attempts(json_t *object, const struct status *status)
{
    json_t *list = json_array();
    int r = list ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < status->n_attempts; i++) {
        const struct status_attempt *attempt = &status->attempts[i];
        const char *const texts[][2] = {{"account", attempt->account}, {"relay", attempt->relay},
            {"tls", attempt->tls}, {"stage", attempt->stage}, {"reply", attempt->reply}};
        json_t *item = json_object();
        r = item ? put_time(item, "at", &attempt->at, 0) : -ENOMEM;
        for (size_t t = 0; r == 0 && t < sizeof texts / sizeof *texts; t++)
            r = put_text(item, texts[t][0], texts[t][1]);
        r = put_item(list, item, r);
    }
    if (r == 0)
        return observe_json_set(object, "attempts", list);
    json_decref(list);
    return r;
}

int queue_view_json(json_t *object, const struct queue_view *view)
{
    const struct queue_message *message = view->message;
    const struct status *status = view->status;
    bool deferred = message->place->state == SPOOL_DEFERRED, failed = message->place->state == SPOOL_FAILED;
    int r = observe_json_set(object, "version", json_integer(1));
    r = r ? r : put_text(object, "tenant", message->place->tenant->name);
    r = r ? r : put_text(object, "name", message->name);
    r = r ? r : observe_json_set(object, "inode", json_integer((json_int_t)message->stat.st_ino));
    r = r ? r : observe_json_set(object, "size", json_integer((json_int_t)message->stat.st_size));
    r = r ? r : put_time(object, "submitted", &status->submitted, 6);
    r = r ? r : put_text(object, "message_id", status->message_id);
    r = r ? r : put_text(object, "state", view->state);
    r = r || !deferred ? r : put_time(object, "next_attempt", &view->next, 0);
    if (failed && status->state == STATUS_FAILED && status->reason != STATUS_REASON_NONE)
        r = r ? r : put_text(object, "reason", status_reason_name(status->reason));
    r = r ? r : put_text(object, "detail", status->detail);
    r = r ? r : put_text(object, "fix", status->fix);
    r = r ? r : put_recipients(object, status);
    r = r ? r : put_attempts(object, status);
    return r ? r : put_text(object, "from", view->from);
}

static int print_json(struct queue *queue, const struct queue_view *view)
{
    json_t *object = json_object();
    int r = object ? queue_view_json(object, view) : -ENOMEM;
    if (r == 0) {
        printf(queue->shown ? ",\n" : "\n");
        if (json_dumpf(object, stdout, JSON_INDENT(2)) < 0)
            r = -ENOMEM;
    }
    json_decref(object);
    return r;
}

int queue_show(struct queue *queue, const struct queue_message *message, void *arg)
{
    (void)arg;
    struct queue_view view;
    int r = queue_view_fill(queue, message, &view);
    if (r == 0 && queue->json)
        r = print_json(queue, &view);
    else if (r == 0)
        print_text(queue, &view);
    queue_view_release(&view);
    queue->shown++;
    return r;
}
