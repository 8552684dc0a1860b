// The start of a submitted message: see submit_head.h.
#include "agent/cli/submit_head.h"

#include "agent/compose/encoded_word.h"
#include "agent/compose/fields.h"
#include "spool-format/address.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char submit_no_memory[] = "out of memory";
static const char control_problem[] = "it has a control character";

void submit_envelope_release(struct submit_envelope *envelope)
{
    for (size_t i = 0; i < envelope->n_recipients; i++)
        free(envelope->recipients[i]);
    free(envelope->recipients);
    free(envelope->sender);
    *envelope = (struct submit_envelope){0};
}

static const char *add_list(struct submit_envelope *envelope, const char *text, size_t length)
{
    struct mailbox_list list = {0};
    const char *problem = submit_no_memory;
    int r = mailbox_list_parse_local(text, length, envelope->config->domain, SIZE_MAX, &list, &problem);
    if (r)
        return r == -ENOMEM ? submit_no_memory : problem;
    problem = NULL;
    char **recipients =
        reallocarray(envelope->recipients, envelope->n_recipients + list.n + 1, sizeof *recipients);
    if (!recipients)
        problem = submit_no_memory;
    else
        envelope->recipients = recipients;
    for (size_t i = 0; !problem && i < list.n; i++) {
        problem = address_problem(list.items[i].address);
        if (problem)
            break;
        recipients[envelope->n_recipients++] = list.items[i].address;
        list.items[i].address = NULL;
    }
    mailbox_list_release(&list);
    return problem;
}

// In a header field a line end is a fold; in an argument it is an attempt at something.
static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7F)
            return true;
    return false;
}

const char *submit_add_recipients(struct submit_envelope *envelope, const char *text)
{
    size_t before = envelope->n_recipients;
    const char *problem = has_control(text) ? control_problem : add_list(envelope, text, strlen(text));
    return problem ? problem : envelope->n_recipients == before ? "it names nobody" : NULL;
}

const char *submit_set_sender(struct submit_envelope *envelope, const char *text)
{
    struct mailbox_list list = {0};
    const char *problem = submit_no_memory;
    envelope->has_sender = true;
    if (!*text || !strcmp(text, "<>")) {
        envelope->sender = strdup("");
        return envelope->sender ? NULL : submit_no_memory;
    }
    if (has_control(text))
        return control_problem;
    int r = mailbox_list_parse_local(text, strlen(text), envelope->config->domain, 1, &list, &problem);
    if (r)
        return r == -ENOMEM ? submit_no_memory : problem;
    problem = list.n ? address_problem(list.items[0].address) : "it names nobody";
    if (!problem) {
        envelope->sender = list.items[0].address;
        list.items[0].address = NULL;
    }
    mailbox_list_release(&list);
    return problem;
}

// Whether the recipients are those of the message's own X-Receiver lines.
static bool has_own_receivers(const struct submit_envelope *envelope, const struct fields *fields)
{
    bool any = false;
    for (size_t i = 0; i < fields->block->n_fields && field_kind_leads((enum field_kind)fields->kinds[i]);
         i++)
        any |= fields->kinds[i] == FIELD_X_RECEIVER;
    return any && !envelope->n_recipients && !envelope->from_headers;
}

// -t together with arguments: who stands in the headers is added to them, as Postfix's sendmail(1) does it.
static const char *add_header_recipients(struct submit_envelope *envelope, const struct fields *fields)
{
    static const enum field_kind kinds[] = {FIELD_TO, FIELD_CC, FIELD_BCC};
    const char *problem = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct header_field *field;
        for (size_t position = 0; !problem && (field = fields_next(fields, kinds[i], &position));)
            if (!field_is_blank(field))
                problem = add_list(envelope, field->value, field->value_length);
    }
    return problem;
}

// The author that -F names: the sender given with -f, else whoever runs us.
static void append_from(const struct submit_envelope *envelope, struct buffer *out)
{
    const char *address = envelope->sender ? envelope->sender : "";
    char *own = NULL;
    struct passwd *user = *address ? NULL : getpwuid(getuid());
    if (user && asprintf(&own, "%s@%s", user->pw_name, envelope->config->domain) < 0)
        own = NULL;
    if (own && !address_problem(own))
        address = own;
    struct buffer value;
    buffer_init(&value, out->max);
    phrase_append(&value, sizeof "From: " - 1, envelope->full_name);
    buffer_format(&value, " <%s%s>", *address ? address : "root@", *address ? "" : envelope->config->domain);
    if (buffer_error(&value))
        out->error = out->error ? out->error : buffer_error(&value);
    else
        field_append(out, "From", 4, value.data, value.length);
    buffer_release(&value);
    free(own);
}

static void append_parameter(struct buffer *out, const char *key, const char *value)
{
    if (value)
        buffer_format(out, " %s=%s", key, value);
}

static void append_lines(const struct submit_envelope *envelope, bool has_from, struct buffer *out)
{
    bool has_sender = envelope->has_sender && envelope->tenant->envelope_headers;
    if (has_sender || envelope->ret || envelope->envid) {
        buffer_text(out, "X-Sender:");
        if (has_sender)
            buffer_format(out, " <%s>", envelope->sender);
        append_parameter(out, "RET", envelope->ret);
        append_parameter(out, "ENVID", envelope->envid);
        buffer_text(out, "\n");
    }
    for (size_t i = 0; i < envelope->n_recipients; i++) {
        buffer_format(out, "X-Receiver: <%s>", envelope->recipients[i]);
        append_parameter(out, "NOTIFY", envelope->notify);
        buffer_text(out, "\n");
    }
    if (envelope->key)
        buffer_format(out, "X-Outtray-Key: %s\n", envelope->key);
    if (envelope->has_sender && !envelope->tenant->envelope_headers)
        buffer_format(out, "Return-Path: <%s>\n", envelope->sender); // counts everywhere
    if (envelope->full_name && !has_from)
        append_from(envelope, out);
}

// Where the line behind a field's last octet ends: CR* LF or one CR, as header.h reads line ends.
static const char *skip_line_end(const char *at, const char *limit)
{
    const char *lf = at;
    while (lf < limit && *lf == '\r')
        lf++;
    if (lf < limit && *lf == '\n')
        return lf + 1;
    return at < limit ? at + 1 : at;
}

// Copies data without the leading X-Sender and X-Receiver lines that the command line replaces: what it says
// is all that counts.
static void append_rest(const struct submit_envelope *envelope, const struct fields *fields, const char *data,
    size_t length, struct buffer *out)
{
    const struct header_block *block = fields->block;
    const char *copied = data, *limit = data + length;
    if (out->length && block->n_fields)
        copied = data + (block->fields[0].raw -
                            block->data); // behind an mbox "From " line, which would end our lines
    for (size_t i = 0; i < block->n_fields; i++) {
        enum field_kind kind = (enum field_kind)fields->kinds[i];
        const char *start = data + (block->fields[i].raw - block->data);
        bool replaced = kind == FIELD_X_SENDER     ? envelope->has_sender
                        : kind == FIELD_X_RECEIVER ? envelope->n_recipients || envelope->from_headers
                                                   : false;
        if (replaced) {
            buffer_append(out, copied, (size_t)(start - copied));
            copied = skip_line_end(start + block->fields[i].raw_length, limit);
        } else if (!field_kind_leads(kind)) {
            break; // the leading lines end here
        }
    }
    if (out->length && !block->n_fields && !block->has_separator)
        buffer_append(out, "\n", 1); // a body without a header block
    buffer_append(out, copied, (size_t)(limit - copied));
}

const char *submit_head_append(struct submit_envelope *envelope, const struct header_block *block,
    const char *data, size_t length, struct buffer *out)
{
    struct fields fields;
    const char *problem = NULL;
    if (fields_index(block, &fields) < 0)
        return submit_no_memory;
    bool from_headers = envelope->from_headers || !envelope->n_recipients;
    if (envelope->notify && has_own_receivers(envelope, &fields))
        problem = "the message has X-Receiver lines of its own: what -N says belongs there";
    else if (from_headers && (envelope->n_recipients || envelope->notify)) // each needs a line
        problem = add_header_recipients(envelope, &fields);
    if (!problem) {
        append_lines(envelope, fields.count[FIELD_FROM], out);
        append_rest(envelope, &fields, data, length, out);
    }
    fields_release(&fields);
    if (!problem && buffer_error(out))
        problem = buffer_error(out) == -ENOMEM ? submit_no_memory : "its header block is too long";
    return problem;
}
