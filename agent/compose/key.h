// X-Outtray-Key as the spool files it: see spool-format/key.h.
#ifndef OUTTRAY_AGENT_COMPOSE_KEY_H
#define OUTTRAY_AGENT_COMPOSE_KEY_H

#include "spool-format/key.h"

#define KEY_MAX 200 // octets of a key

// NULL where text can be a key, else a constant reason.
const char *key_problem(const char *text);

// The digest of a key: SHA-256 in hexadecimal. 0 or -ENOMEM.
int key_digest(const char *key, char ret_digest[static SPOOL_KEY_DIGEST]);

#endif
