// JSON that holds secrets: bounded, without duplicate keys, wiped when it is freed.
#ifndef OUTTRAY_AGENT_AUTH_JSON_H
#define OUTTRAY_AGENT_AUTH_JSON_H

#include "agent/base/buffer.h"
#include <jansson.h>
#include <stdint.h>

#define JSON_SECRET __attribute__((cleanup(json_secret_drop))) json_t

// An object, or NULL. One reference for the caller; JSON_SECRET drops it.
json_t *json_secret_parse(const char *text, size_t length);
void json_secret_drop(json_t **json);
// Appends the value as text (flags of json_dumps) to out, which becomes a secret buffer. 0 or negative errno.
int json_secret_print(const json_t *json, size_t flags, struct buffer *out);

// The string member of an object, NULL where it is missing or no string. Borrowed.
const char *json_secret_text(const json_t *object, const char *key);
// A number member, which some servers send as a string. False where it is neither, or out of int64_t.
bool json_secret_number(const json_t *object, const char *key, int64_t *ret_number);

#endif
