// application/x-www-form-urlencoded: bodies and queries (RFC 3986 section 2, WHATWG URL).
#ifndef OUTTRAY_AGENT_AUTH_FORM_H
#define OUTTRAY_AGENT_AUTH_FORM_H

#include "agent/base/buffer.h"
#include "config/secret.h"

// Appends NAME=VALUE, with an & before it unless the buffer is empty or ends in ? or &. An empty value is
// left out with its name. The buffer remembers failures.
void form_text(struct buffer *form, const char *name, const char *value);
void form_data(struct buffer *form, const char *name, const char *value, size_t length);
void form_secret(struct buffer *form, const char *name, const struct secret *value);

// Finds a field of a query and appends its decoded value. 0; -ENOENT; -EBADMSG (given twice, NUL or % without
// two digits in it); the buffer's error.
int form_find(const char *query, size_t length, const char *name, struct buffer *ret_value);
// Appends the decoded text. 0, -EBADMSG or the buffer's error.
int form_decode(const char *text, size_t length, struct buffer *out);

#endif
