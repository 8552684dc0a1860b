// Address fields with octets above 127: phrases and comments to encoded words, domains to A-labels,
// everything else as it is.
#ifndef OUTTRAY_AGENT_COMPOSE_HEADER_ADDRESS_H
#define OUTTRAY_AGENT_COMPOSE_HEADER_ADDRESS_H

#include "agent/base/buffer.h"

// text: an unfolded address list (RFC 5322 section 3.4, RFC 6532), which need not be well-formed. column:
// where in its line it starts. Errors stay in the buffer.
void header_addresses_append(struct buffer *out, size_t column, const char *text, size_t length);

#endif
