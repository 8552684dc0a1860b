// Taking lines of the log apart.
#include "agent/cli/log_filter.h"
#include "agent/base/clock.h"
#include "agent/observe/json.h"
#include "spool-format/status.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX (1024 * 1024) // octets

static bool is_key(char c)
{
    return (c >= 'a' && c <= 'z') || c == '_' || (c >= '0' && c <= '9');
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// One escape behind its backslash; where the next octet is.
static const char *unescape(const char *at, struct buffer *value)
{
    static const char from[] = "nrt", to[] = "\n\r\t";
    const char *known = *at ? strchr(from, *at) : NULL;
    int high, low;
    if (known) {
        (void)buffer_append(value, &to[known - from], 1);
        return at + 1;
    }
    if (at[0] == 'u' && at[1] == '0' && at[2] == '0' && (high = hex_digit(at[3])) >= 0 &&
        (low = hex_digit(at[4])) >= 0) {
        char octet = (char)(high * 16 + low);
        (void)buffer_append(value, octet ? &octet : "?", 1);
        return at + 5;
    }
    (void)buffer_append(value, at, *at ? 1 : 0); // a quote or a backslash
    return *at ? at + 1 : at;
}

// The value at `at`; where it ends.
static const char *take_value(const char *at, struct buffer *value)
{
    buffer_clear(value);
    if (*at != '"') {
        size_t length = strcspn(at, " ");
        (void)buffer_append(value, at, length);
        return at + length;
    }
    for (at++; *at && *at != '"';) {
        if (*at == '\\') {
            at = unescape(at + 1, value);
            continue;
        }
        (void)buffer_append(value, at++, 1);
    }
    return *at ? at + 1 : at;
}

static json_t *value_json(const char *key, const char *text)
{
    static const char *const numbers[] = {
        "nrcpt", "size", "attempt", "conn_use", "queue_ms", "conn_ms", "xfer_ms"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(key, numbers[i]) == 0 && *text && text[strspn(text, "0123456789")] == '\0')
            return json_integer((json_int_t)strtoll(text, NULL, 10));
    return observe_json_text(text);
}

static json_t *parse_logfmt(const char *at)
{
    struct buffer value;
    json_t *object = json_object();
    buffer_init(&value, VALUE_MAX);
    while (object && *at) {
        const char *key = at;
        char name[64];
        while (is_key(*at))
            at++;
        size_t length = (size_t)(at - key);
        if (*at != '=' || length == 0 || length >= sizeof name)
            break;
        memcpy(name, key, length);
        name[length] = '\0';
        at = take_value(at + 1, &value);
        if (buffer_error(&value) ||
            observe_json_set(object, name, value_json(name, value.data ? value.data : "")) < 0)
            break;
        while (*at == ' ')
            at++;
    }
    buffer_release(&value);
    return object;
}

// Where the line begins that outtray wrote: at time=, or at the object.
static const char *find_start(const char *line)
{
    for (const char *at = line; (at = strstr(at, "time=")); at++)
        if ((at == line || at[-1] == ' ' || at[-1] == '>') && isdigit((unsigned char)at[5]))
            return at;
    const char *brace = strstr(line, "{\"time\"");
    return brace ? brace : strchr(line, '{');
}

json_t *log_filter_parse(const char *line)
{
    const char *start = find_start(line);
    json_t *object = !start          ? NULL
                     : *start == '{' ? json_loads(start, JSON_DISABLE_EOF_CHECK, NULL)
                                     : parse_logfmt(start);
    if (json_is_object(object) && json_object_get(object, "event"))
        return object;
    json_decref(object);
    return NULL;
}

bool log_filter_is_empty(const struct log_filter *filter)
{
    return !filter->tenant && !filter->account && !filter->name && !filter->events && !filter->recipient &&
           !filter->since;
}

static bool is_listed(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        if (n == length && strncmp(at, word, n) == 0)
            return true;
        at += n + (at[n] == ',');
    }
    return false;
}

static bool same(const json_t *line, const char *key, const char *wanted)
{
    const char *text = json_string_value(json_object_get(line, key));
    return !wanted || (text && strcmp(text, wanted) == 0);
}

bool log_filter_fits(const struct log_filter *filter, const json_t *line)
{
    const char *event = json_string_value(json_object_get(line, "event"));
    const char *to = json_string_value(json_object_get(line, "to"));
    const char *when = json_string_value(json_object_get(line, "time"));
    struct timespec time;
    if (!same(line, "tenant", filter->tenant) || !same(line, "account", filter->account) ||
        !same(line, "name", filter->name))
        return false;
    if (filter->events && (!event || !is_listed(filter->events, event)))
        return false;
    if (filter->recipient && (!to || !strcasestr(to, filter->recipient)))
        return false;
    return !filter->since ||
           (when && status_time_parse(when, &time) == 0 && clock_ns(&time) >= filter->since);
}
