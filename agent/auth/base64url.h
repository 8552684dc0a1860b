// base64url without padding (RFC 4648 section 5, RFC 7515 appendix C): JWTs, PKCE, state.
#ifndef OUTTRAY_AGENT_AUTH_BASE64URL_H
#define OUTTRAY_AGENT_AUTH_BASE64URL_H

#include "agent/base/buffer.h"

// Octets of text that length octets become, without a NUL.
#define BASE64URL_LENGTH(length) (((length)*8 + 5) / 6)

// Writes BASE64URL_LENGTH(length) octets and a NUL.
void base64url_encode(const void *data, size_t length, char *out);
int base64url_append(struct buffer *out, const void *data, size_t length);
// Appends what text stands for; padding is allowed. 0, -EBADMSG or the buffer's error.
int base64url_decode(const char *text, size_t length, struct buffer *out);

#endif
