// The fields of a header block, by what they mean to us: looked up once, then asked for by kind.
#ifndef OUTTRAY_AGENT_COMPOSE_FIELDS_H
#define OUTTRAY_AGENT_COMPOSE_FIELDS_H

#include "spool-format/header.h"

enum field_kind {
    FIELD_OTHER,
    FIELD_FROM,
    FIELD_SENDER,
    FIELD_REPLY_TO,
    FIELD_TO,
    FIELD_CC,
    FIELD_BCC,
    FIELD_RESENT_BCC,
    FIELD_DATE,
    FIELD_MESSAGE_ID,
    FIELD_RETURN_PATH,
    FIELD_DKIM_SIGNATURE,
    FIELD_X_SENDER,
    FIELD_X_RECEIVER,
    FIELD_TENANT,     // X-Outtray-Tenant
    FIELD_NOT_BEFORE, // X-Outtray-Not-Before
    FIELD_EXPIRES,    // X-Outtray-Expires
    FIELD_PRIORITY,   // X-Outtray-Priority
    FIELD_KEY,        // X-Outtray-Key
    FIELD_X_OUTTRAY,  // any other X-Outtray-*
    FIELD_KINDS
};
const char *field_kind_name(enum field_kind kind); // as RFC 5322 and we write it; "X-Outtray-*" for the last

// Whether fields of this kind may stand among the lines that lead a header block as its envelope.
bool field_kind_leads(enum field_kind kind);

struct fields {
    const struct header_block *block; // borrowed
    unsigned char *kinds;             // owned: one enum field_kind per field of the block
    size_t count[FIELD_KINDS];
};

// 0 or -ENOMEM.
int fields_index(const struct header_block *block, struct fields *ret_fields);
void fields_release(struct fields *fields);

// The first field of this kind at or after *position (0 to start), which is advanced past it; NULL where none
// is left.
const struct header_field *fields_next(const struct fields *fields, enum field_kind kind, size_t *position);

// Whether a field's value is only blanks and line ends: as good as absent.
bool field_is_blank(const struct header_field *field);
// Whether there is a field of this kind that is not blank; *ret_field (where not NULL) is the first.
bool fields_have(const struct fields *fields, enum field_kind kind, const struct header_field **ret_field);

#endif
