// The rewritten header block: see outgoing_head.h. outtray-spool(5) has the rules.
#include "outgoing_head.h"

#include "encoded_word.h"
#include "header_text.h"
#include "mail_date.h"
#include <errno.h>
#include <string.h>

#define NAMES_MAX 1024 // octets of a list of field names: each kind is named once

struct head {
    struct buffer *out;
    const struct head_params *params;
    struct buffer removed, added;
    bool gone[FIELD_KINDS]; // named in removed already
    bool has_from, has_message_id;
};

static void list_name(struct buffer *list, const char *name)
{
    if (list->length)
        buffer_append(list, ", ", 2);
    buffer_text(list, name);
}

static void remove_field(struct head *head, enum field_kind kind)
{
    if (!head->gone[kind])
        list_name(&head->removed, field_kind_name(kind));
    head->gone[kind] = true;
}

static void add_field(struct head *head, enum field_kind kind, const char *value)
{
    const char *name = field_kind_name(kind);
    field_append(head->out, name, strlen(name), value, strlen(value));
    list_name(&head->added, name);
}

static void add_missing(struct head *head)
{
    const struct head_params *params = head->params;
    if (!params->fields->count[FIELD_FROM])
        add_field(head, FIELD_FROM, params->sender->from);
    if (!fields_have(params->fields, FIELD_DATE, NULL)) {
        char date[MAIL_DATE_SIZE];
        mail_date_format(params->submitted, date);
        add_field(head, FIELD_DATE, date);
    }
    if (params->message_id)
        add_field(head, FIELD_MESSAGE_ID, params->message_id);
    if (params->sender->reply_to)
        add_field(head, FIELD_REPLY_TO, params->sender->reply_to);
    if (!fields_have(params->fields, FIELD_TO, NULL) && !fields_have(params->fields, FIELD_CC, NULL))
        add_field(head, FIELD_TO, "undisclosed-recipients:;");
}

// Whether a field of this kind does not go out.
static bool is_removed(struct head *head, const struct header_field *field, enum field_kind kind)
{
    switch (kind) {
    case FIELD_BCC:
    case FIELD_RESENT_BCC:
    case FIELD_RETURN_PATH:
    case FIELD_X_SENDER:
    case FIELD_X_RECEIVER:
    case FIELD_TENANT:
    case FIELD_NOT_BEFORE:
    case FIELD_EXPIRES:
    case FIELD_PRIORITY:
    case FIELD_KEY:
    case FIELD_X_OUTTRAY:
        return true;
    case FIELD_SENDER: // who sent it for another author says nothing about the author it has now
        return head->params->sender->other_address;
    case FIELD_DKIM_SIGNATURE: // it covers the From that is gone
        return !head->params->sender->kept;
    case FIELD_FROM: { // the first one's place is kept
        bool again = head->has_from;
        head->has_from = true;
        return again;
    }
    case FIELD_MESSAGE_ID: { // RFC 5322 section 3.6: one, and some servers insist
        bool again = head->has_message_id || field_is_blank(field);
        head->has_message_id = head->has_message_id || !again;
        return again;
    }
    case FIELD_TO: // a blank one is no address list, and stands for none
    case FIELD_CC:
    case FIELD_REPLY_TO:
    case FIELD_DATE:
        return field_is_blank(field);
    default:
        return false;
    }
}

static int append_fields(struct head *head)
{
    const struct header_block *block = head->params->fields->block;
    const struct sender *sender = head->params->sender;
    int r = 0;
    for (size_t i = 0; !r && !head->out->error && i < block->n_fields; i++) {
        const struct header_field *field = &block->fields[i];
        enum field_kind kind = (enum field_kind)head->params->fields->kinds[i];
        if (kind != FIELD_OTHER && is_removed(head, field, kind))
            remove_field(head, kind);
        else if (kind == FIELD_FROM && !sender->kept)
            field_append(head->out, "From", 4, sender->from, strlen(sender->from));
        else if (block->has_8bit && text_has_8bit(field->raw, field->raw_length))
            r = header_encoded_append(head->out, field);
        else
            header_raw_append(head->out, field);
    }
    return r;
}

static int detach(struct buffer *list, char **ret_text)
{
    buffer_append(list, "", 0); // an empty list is an empty text, not NULL
    int r = buffer_error(list);
    if (!r)
        *ret_text = buffer_detach(list, NULL);
    return r;
}

int outgoing_head_append(struct buffer *out, const struct head_params *params, struct outgoing *outgoing)
{
    struct head head = {.out = out, .params = params};
    buffer_init(&head.removed, NAMES_MAX);
    buffer_init(&head.added, NAMES_MAX);
    add_missing(&head);
    int r = append_fields(&head);
    buffer_append(out, "\r\n", 2);
    if (!r)
        r = buffer_error(out);
    if (!r)
        r = detach(&head.removed, &outgoing->removed);
    if (!r)
        r = detach(&head.added, &outgoing->added);
    buffer_release(&head.removed);
    buffer_release(&head.added);
    return r;
}
