// What a server offers in its EHLO reply (RFC 5321 section 4.1.1.1), line by line.
#ifndef OUTTRAY_AGENT_SMTP_CAPABILITIES_H
#define OUTTRAY_AGENT_SMTP_CAPABILITIES_H

#include "session.h"

// Takes one keyword line of an EHLO reply: the text behind "250-" or "250 ", with or without its line end.
// The first line of the reply (the server's name) is not one. Keywords have no case; unknown ones, and
// parameters that make no sense, are ignored.
void capabilities_line(struct smtp_capabilities *capabilities, const char *text, size_t length);

#endif
