// How the parts of outgoing say that a file cannot be a message.
#ifndef OUTTRAY_AGENT_COMPOSE_FAULT_H
#define OUTTRAY_AGENT_COMPOSE_FAULT_H

#include "agent/compose/outgoing.h"

// Fills *fault: the reason, and the words with control octets and what is not UTF-8 replaced. Returns
// -EBADMSG, so that a caller can return its result.
int fault_set(struct outgoing_fault *fault, enum status_reason reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Replaces in place what must not reach a terminal, a log or a YAML file raw: control octets and octets that
// are not UTF-8 become '?'; a character cut off at the end is dropped.
void fault_make_printable(char *text);

#endif
