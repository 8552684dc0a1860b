// JSON of what the spool and the agent show: safe text, times, and the part of status.json that `outtray
// queue --json` prints too.
//
// Values are jansson's, with one reference for the caller; NULL where memory is short.
#ifndef OUTTRAY_AGENT_OBSERVE_JSON_H
#define OUTTRAY_AGENT_OBSERVE_JSON_H

#include "agent/base/buffer.h"
#include "agent/observe/snapshot.h"
#include <jansson.h>

// Any octets as a JSON string: what is not UTF-8 becomes U+FFFD, NULL an empty string.
json_t *observe_json_text(const char *text);
// The same as plain octets, for keys and labels; with `controls` control characters become U+FFFD too.
// free(3) it.
char *observe_clean(const char *text, bool controls);

// Puts value (its reference is taken) under any octets as key. 0 or -ENOMEM, also where value is NULL.
int observe_json_set(json_t *object, const char *key, json_t *value);

// The wall clock time ns as "2026-11-23T15:04:05Z" with so many fraction digits (0, 3, 6); null where ns is
// 0.
json_t *observe_json_time(int64_t ns, int fraction_digits);

// {"TENANT": {"account": …, "new": {"count": …}, …}, …}
json_t *observe_json_tenants(const struct observe_tenant *tenants, size_t n);

// Appends the value as indented text with a final line end. 0, -ENOMEM or the buffer's error.
int observe_json_print(const json_t *value, struct buffer *out);

#endif
