// The list of recipients being built: each mailbox once, checked, with its form for the wire.
#ifndef OUTTRAY_AGENT_COMPOSE_RECIPIENTS_H
#define OUTTRAY_AGENT_COMPOSE_RECIPIENTS_H

#include "agent/compose/outgoing.h"

struct recipients {
    struct outgoing_recipient *items;
    size_t n, capacity;
    size_t max;      // -E2BIG above
    uint32_t *slots; // hash table of indices + 1, only for long lists
    size_t n_slots;  // a power of two
};

void recipients_init(struct recipients *recipients, size_t max);
void recipients_release(struct recipients *recipients);

// Takes notify and orcpt (NULL allowed) whatever the result. An address that is there already is left out;
// one that cannot be sent to is listed with its problem. 0, -E2BIG, -ENOMEM.
int recipients_add(struct recipients *recipients, const char *address, char *notify, char *orcpt);
// The same for text of a list that is no address: it is listed as it stands (printable, bounded) with
// problem, a constant, so that the others get their mail and this one is refused.
int recipients_add_refused(struct recipients *recipients, const char *text, const char *problem);
// Frees what one recipient holds.
void recipient_release(struct outgoing_recipient *recipient);

#endif
