// Kinds of fields by name: see fields.h.
#include "fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    size_t length;
} names[FIELD_KINDS] = {
#define NAME(text)                                                                                           \
    {                                                                                                        \
        text, sizeof text - 1                                                                                \
    }
    [FIELD_OTHER] = NAME(""),
    [FIELD_FROM] = NAME("From"),
    [FIELD_SENDER] = NAME("Sender"),
    [FIELD_REPLY_TO] = NAME("Reply-To"),
    [FIELD_TO] = NAME("To"),
    [FIELD_CC] = NAME("Cc"),
    [FIELD_BCC] = NAME("Bcc"),
    [FIELD_RESENT_BCC] = NAME("Resent-Bcc"),
    [FIELD_DATE] = NAME("Date"),
    [FIELD_MESSAGE_ID] = NAME("Message-ID"),
    [FIELD_RETURN_PATH] = NAME("Return-Path"),
    [FIELD_DKIM_SIGNATURE] = NAME("DKIM-Signature"),
    [FIELD_X_SENDER] = NAME("X-Sender"),
    [FIELD_X_RECEIVER] = NAME("X-Receiver"),
    [FIELD_TENANT] = NAME("X-Outtray-Tenant"),
    [FIELD_NOT_BEFORE] = NAME("X-Outtray-Not-Before"),
    [FIELD_EXPIRES] = NAME("X-Outtray-Expires"),
    [FIELD_PRIORITY] = NAME("X-Outtray-Priority"),
    [FIELD_KEY] = NAME("X-Outtray-Key"),
    [FIELD_X_OUTTRAY] = NAME("X-Outtray-*"),
#undef NAME
};

static const char own_prefix[] = "X-Outtray-";

const char *field_kind_name(enum field_kind kind)
{
    return names[kind].name;
}

bool field_kind_leads(enum field_kind kind)
{
    return kind >= FIELD_X_SENDER && kind <= FIELD_X_OUTTRAY;
}

static enum field_kind kind_of(const struct header_field *field)
{
    for (enum field_kind kind = FIELD_FROM; kind < FIELD_X_OUTTRAY; kind++)
        if (names[kind].length == field->name_length &&
            !strncasecmp(names[kind].name, field->name, field->name_length))
            return kind;
    if (field->name_length >= sizeof own_prefix - 1 &&
        !strncasecmp(field->name, own_prefix, sizeof own_prefix - 1))
        return FIELD_X_OUTTRAY;
    return FIELD_OTHER;
}

int fields_index(const struct header_block *block, struct fields *ret_fields)
{
    struct fields fields = {.block = block, .kinds = malloc(block->n_fields + 1)};
    if (!fields.kinds)
        return -ENOMEM;
    for (size_t i = 0; i < block->n_fields; i++) {
        enum field_kind kind = kind_of(&block->fields[i]);
        fields.kinds[i] = (unsigned char)kind;
        fields.count[kind]++;
    }
    *ret_fields = fields;
    return 0;
}

void fields_release(struct fields *fields)
{
    free(fields->kinds);
    *fields = (struct fields){0};
}

const struct header_field *fields_next(const struct fields *fields, enum field_kind kind, size_t *position)
{
    if (!fields->count[kind])
        return NULL;
    for (size_t i = *position; i < fields->block->n_fields; i++)
        if (fields->kinds[i] == kind) {
            *position = i + 1;
            return &fields->block->fields[i];
        }
    *position = fields->block->n_fields;
    return NULL;
}

bool field_is_blank(const struct header_field *field)
{
    for (size_t i = 0; i < field->value_length; i++)
        if (!memchr(" \t\r\n", field->value[i], 4))
            return false;
    return true;
}

bool fields_have(const struct fields *fields, enum field_kind kind, const struct header_field **ret_field)
{
    const struct header_field *field;
    for (size_t position = 0; (field = fields_next(fields, kind, &position));)
        if (!field_is_blank(field)) {
            if (ret_field)
                *ret_field = field;
            return true;
        }
    return false;
}
