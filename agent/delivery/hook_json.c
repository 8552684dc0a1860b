// What a hook reads on its standard input: outtray-hooks in outtray.yaml(5) names every key.
#include "agent/base/clock.h"
#include "agent/delivery/hooks.h"
#include "agent/observe/json.h"

#include <errno.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOOK_VERSION   1
#define HOOK_TEXT_MAX  1024 // octets of a reply
#define HOOK_REPLY_MAX 256  // of one among many
#define HOOK_HOST_MAX  256

// Text that is cut may end within a character: observe_json_text mends that.
static int set_text(json_t *object, const char *key, const char *text, size_t max)
{
    if (!text)
        return 0;
    char *cut = strndup(text, max);
    json_t *value = cut ? observe_json_text(cut) : NULL;
    free(cut);
    return observe_json_set(object, key, value);
}

static int set_number(json_t *object, const char *key, int64_t number)
{
    return observe_json_set(object, key, json_integer(number));
}

static int set_recipients(json_t *object, const struct event *event)
{
    json_t *list = json_array();
    size_t n = event->n_recipients < HOOKS_RECIPIENTS_MAX ? event->n_recipients : HOOKS_RECIPIENTS_MAX;
    int error = list ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < n; i++) {
        const struct event_recipient *one = &event->recipients[i];
        json_t *shown = json_object();
        error = shown ? set_text(shown, "address", one->address, HOOK_TEXT_MAX) : -ENOMEM;
        if (!error)
            error = set_text(shown, "state", status_recipient_state_name(one->state), HOOK_TEXT_MAX);
        if (!error)
            error = set_text(shown, "reply", one->reply, HOOK_REPLY_MAX);
        if (!error)
            error = json_array_append(list, shown) ? -ENOMEM : 0;
        json_decref(shown);
    }
    if (!error)
        error = observe_json_set(object, "recipients", json_incref(list));
    json_decref(list);
    return error;
}

// Where the message lies now.
static int set_path(json_t *object, const struct event *event, const struct config *config)
{
    struct buffer path;
    buffer_init(&path, 8192);
    int error = buffer_format(&path, "%s/%s/%s/%s", config->spool, event->tenant,
        spool_state_name(event->message->filed_in), event->name);
    if (!error)
        error = set_text(object, "path", path.data, path.length);
    buffer_release(&path);
    return error;
}

static int set_message(json_t *object, const struct event *event, const struct config *config)
{
    int error = set_text(object, "name", event->name, HOOK_TEXT_MAX);
    if (!error)
        error = set_path(object, event, config);
    if (!error)
        error = set_text(object, "message_id", event->message_id, HOOK_TEXT_MAX);
    if (!error)
        error = set_text(object, "from", event->from, HOOK_TEXT_MAX);
    if (!error)
        error = set_number(object, "recipients_total", (int64_t)event->n_recipients);
    if (!error)
        error = set_number(object, "size", event->size);
    if (!error)
        error = set_number(object, "attempt", event->attempt);
    if (!error && event->kind == EVENT_DEFERRED)
        error = observe_json_set(object, "next_attempt", observe_json_time(event->next_attempt, 0));
    return error;
}

static json_t *hook_object(const struct event *event, const struct config *config)
{
    char host[HOOK_HOST_MAX] = "";
    (void)gethostname(host, sizeof host - 1);
    json_t *object = json_object();
    int error = object ? set_number(object, "version", HOOK_VERSION) : -ENOMEM;
    const struct {
        const char *key, *text;
    } texts[] = {{"event", event_name(event->kind)}, {"host", host}, {"agent", config->agent},
        {"tenant", event->tenant}, {"account", event->account}, {"class", event->class},
        {"reason", event->reason}, {"reply", event->reply}, {"fix", event->fix}};
    for (size_t i = 0; !error && i < sizeof texts / sizeof *texts; i++)
        error = set_text(object, texts[i].key, texts[i].text, HOOK_TEXT_MAX);
    if (!error)
        error = observe_json_set(object, "time", observe_json_time(event->time, 3));
    if (!error && event->message)
        error = set_message(object, event, config);
    if (!error && (event->message || event->kind == EVENT_BACKLOG))
        error = set_number(object, "age_s", event->age_s);
    if (!error && event->kind == EVENT_BACKLOG)
        error = set_number(object, "count", (int64_t)event->count);
    if (error) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static char *hook_print(const json_t *object, size_t max)
{
    char *text = json_dumps(object, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0;
    char *line = text && length + 2 <= max ? realloc(text, length + 2) : NULL;
    if (!line) {
        free(text);
        return NULL;
    }
    line[length] = '\n';
    line[length + 1] = '\0';
    return line;
}

char *hook_json(const struct event *event, const struct config *config, size_t max)
{
    json_t *object = hook_object(event, config);
    char *text = NULL;
    if (object && event->n_recipients && !set_recipients(object, event))
        text = hook_print(object, max);
    if (object && !text) {
        (void)json_object_del(object, "recipients");
        text = hook_print(object, max);
    }
    json_decref(object);
    return text;
}
