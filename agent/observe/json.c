// JSON values from octets that anybody may have written.
#include "agent/observe/json.h"

#include "agent/base/clock.h"
#include "spool-format/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" // U+FFFD

// Length of the well-formed UTF-8 sequence at text (RFC 3629), 0 where there is none. Stops at the NUL.
static size_t sequence_length(const unsigned char *text)
{
    unsigned char low = 0x80, high = 0xbf; // bounds of the second octet
    size_t length = 1;
    if (text[0] < 0x80)
        return 1;
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] == 0xe0)
        low = 0xa0; // no overlong forms
    else if (text[0] == 0xed)
        high = 0x9f; // no surrogates
    else if (text[0] == 0xf0)
        low = 0x90;
    else if (text[0] == 0xf4)
        high = 0x8f;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

static bool is_control(const unsigned char *text)
{
    return text[0] < 0x20 || text[0] == 0x7f || (text[0] == 0xc2 && text[1] < 0xa0);
}

char *observe_clean(const char *text, bool controls)
{
    const unsigned char *at = (const unsigned char *)(text ? text : "");
    size_t length = strlen((const char *)at), used = 0;
    char *clean =
        reallocarray(NULL, length + 1, sizeof REPLACEMENT - 1); // the worst case: each octet replaced
    if (!clean)
        return NULL;
    while (*at) {
        size_t n = sequence_length(at);
        if (n == 0 || (controls && is_control(at))) {
            memcpy(clean + used, REPLACEMENT, sizeof REPLACEMENT - 1);
            used += sizeof REPLACEMENT - 1;
        } else {
            memcpy(clean + used, at, n);
            used += n;
        }
        at += n ? n : 1;
    }
    clean[used] = '\0';
    return clean;
}

json_t *observe_json_text(const char *text)
{
    char *clean = observe_clean(text, false);
    json_t *value = clean ? json_string_nocheck(clean) : NULL;
    free(clean);
    return value;
}

int observe_json_set(json_t *object, const char *key, json_t *value)
{
    char *clean = observe_clean(key, false);
    if (!clean) {
        json_decref(value);
        return -ENOMEM;
    }
    int r = json_object_set_new_nocheck(object, clean, value);
    free(clean);
    return r < 0 ? -ENOMEM : 0;
}

json_t *observe_json_time(int64_t ns, int fraction_digits)
{
    if (ns == 0)
        return json_null();
    char text[STATUS_TIME_SIZE];
    struct timespec time = clock_timespec(ns);
    status_time_format(&time, fraction_digits, text);
    return json_string(text);
}

static json_t *tenant_json(const struct observe_tenant *tenant)
{
    uint64_t failed = 0;
    for (size_t i = 0; i < OBSERVE_REASONS; i++)
        failed += tenant->failed[i];
    json_t *object = json_pack("{s:o}", "account", observe_json_text(tenant->account));
    int r = object ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < OBSERVE_STATES; i++) {
        const struct observe_count *state = &tenant->states[i];
        r = json_object_set_new(object, observe_state_names[i],
            json_pack("{s:I, s:I, s:I}", "count", (json_int_t)state->count, "bytes", (json_int_t)state->bytes,
                "oldest_s", (json_int_t)state->oldest_s));
    }
    if (r == 0)
        r = json_object_update_new(
            object, json_pack("{s:I, s:I, s:I}", "sent_total", (json_int_t)tenant->sent_total, "failed_total",
                        (json_int_t)failed, "ignored", (json_int_t)tenant->ignored));
    if (r != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *observe_json_tenants(const struct observe_tenant *tenants, size_t n)
{
    json_t *object = json_object();
    for (size_t i = 0; object && i < n; i++)
        if (observe_json_set(object, tenants[i].name, tenant_json(&tenants[i])) < 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

static int append(const char *text, size_t length, void *arg)
{
    return buffer_append(arg, text, length);
}

int observe_json_print(const json_t *value, struct buffer *out)
{
    if (!value)
        return -ENOMEM;
    if (json_dump_callback(value, append, out, JSON_INDENT(2) | JSON_ENCODE_ANY) < 0)
        return buffer_error(out) ? buffer_error(out) : -ENOMEM;
    return buffer_text(out, "\n");
}
