// Message-ID: the message's own, or one that the same submission always gets again and no other ever does.
#ifndef OUTTRAY_AGENT_COMPOSE_MESSAGE_ID_H
#define OUTTRAY_AGENT_COMPOSE_MESSAGE_ID_H

#include "agent/compose/fields.h"
#include "config/config.h"
#include <sys/stat.h>

struct message_id_source {
    const struct config *config;        // its domain is the right side
    const struct config_tenant *tenant; // whose spool the message lies in
    const char *name;                   // with or without ~N, which does not count
    int fd;                             // the file
    const struct stat *stat;
    const char *data; // the whole file where it was read already, else NULL
    size_t length;
};

// "<HEX@DOMAIN>" from tenant, name without ~N, submission time in µs and the file's SHA-256. 0 and *ret_id
// (free(3)); read errors; -ENOMEM, also where OpenSSL fails: a hash has no other reason to.
int message_id_make(const struct message_id_source *source, char **ret_id);

// The identifier in a Message-ID field: what stands in brackets, with them, else its text; control octets and
// what is not UTF-8 replaced, at most MESSAGE_ID_MAX octets. NULL: no memory.
#define MESSAGE_ID_MAX 998
char *message_id_of(const struct header_field *field);

#endif
