// Internationalized domains: the A-labels that go over the wire (RFC 5891, UTS 46 non-transitional).
#ifndef OUTTRAY_AGENT_COMPOSE_IDN_H
#define OUTTRAY_AGENT_COMPOSE_IDN_H

#include <stddef.h>

// *ret_domain: a copy of domain (length octets) with A-labels where it is not ASCII (free(3)). NULL for
// success, else a constant reason; idn_no_memory is one of them.
const char *idn_domain(const char *domain, size_t length, char **ret_domain);

// The same for local@domain: the local part stays as it is.
const char *idn_address(const char *address, char **ret_address);

extern const char idn_no_memory[];

#endif
