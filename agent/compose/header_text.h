// Header fields for the wire: as they stand where they are ASCII, encoded where they are not.
//
// Raw UTF-8 in a header needs SMTPUTF8 (RFC 6532), which few servers offer, so it is encoded where RFC 2047
// and RFC 2231 give a way: unstructured text, phrases and comments become encoded words, domains of addresses
// A-labels, parameters of Content-* fields the extended form. What has none (local parts, identifiers) stays
// as it is.
#ifndef OUTTRAY_AGENT_COMPOSE_HEADER_TEXT_H
#define OUTTRAY_AGENT_COMPOSE_HEADER_TEXT_H

#include "agent/base/buffer.h"
#include "spool-format/header.h"

// Appends the field octet for octet, line ends made CRLF, with one behind it. A line that would not continue
// the field gets a blank in front, so that no value can start a field of its own.
void header_raw_append(struct buffer *out, const struct header_field *field);

// Appends a field that has octets above 127, encoded; folded anew. 0 or -ENOMEM (the buffer keeps its own
// errors).
int header_encoded_append(struct buffer *out, const struct header_field *field);

#endif
