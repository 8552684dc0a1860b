// Reverse-path and recipients: see envelope.h.
#include "envelope.h"

#include "encoded_word.h"
#include "envelope_line.h"
#include "idn.h"
#include "recipients.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 200 // octets of a message's own text quoted in a fault

struct envelope {
    char *x_sender; // address of the first counted X-Sender, NULL where none
    bool has_sender;
    struct recipients recipients;
    size_t n_addresses;        // entries of To, Cc and Bcc that are addresses
    struct outgoing_fault bad; // the first entry that is none; detail "" where all are
};

// Of two, the first counts.
static void keep_parameter(char **kept, char **found)
{
    if (*kept)
        return;
    *kept = *found;
    *found = NULL;
}

// The first X-Sender counts, and parameters alone that stand before it: `outtray submit` puts its own in
// front of whatever its input brings.
static int read_line(const struct header_field *field, bool sender, struct envelope *envelope,
    struct outgoing *outgoing, struct outgoing_fault *ret_fault)
{
    struct envelope_line line;
    int r = envelope_line_parse(field, sender, &line, ret_fault);
    if (r)
        return r;
    if (sender && !envelope->has_sender) {
        envelope->has_sender = line.address != NULL;
        keep_parameter(&envelope->x_sender, &line.address);
        keep_parameter(&outgoing->ret, &line.ret);
        keep_parameter(&outgoing->envid, &line.envid);
    } else if (!sender) {
        r = recipients_add(&envelope->recipients, line.address, line.notify, line.orcpt);
        line.notify = line.orcpt = NULL;
    }
    envelope_line_release(&line);
    return r;
}

static int read_leading_lines(const struct fields *fields, struct envelope *envelope,
    struct outgoing *outgoing, struct outgoing_fault *ret_fault)
{
    int r = 0;
    for (size_t i = 0; !r && i < fields->block->n_fields; i++) {
        enum field_kind kind = (enum field_kind)fields->kinds[i];
        if (kind == FIELD_X_SENDER || kind == FIELD_X_RECEIVER)
            r = read_line(&fields->block->fields[i], kind == FIELD_X_SENDER, envelope, outgoing, ret_fault);
        else if (!field_kind_leads(kind))
            break;
    }
    return r;
}

static int add_entry(struct envelope *envelope, enum field_kind kind, const struct mailbox *entry)
{
    if (!entry->problem) {
        envelope->n_addresses++;
        return recipients_add(&envelope->recipients, entry->address, NULL, NULL);
    }
    if (!*envelope->bad.detail)
        (void)fault_set(&envelope->bad, STATUS_REASON_MALFORMED, "%s is no list of addresses: %s: %.*s",
            field_kind_name(kind), entry->problem, WORDS_MAX, entry->address);
    return recipients_add_refused(&envelope->recipients, entry->address, entry->problem);
}

// An entry that is no address costs itself: it becomes a recipient that is refused.
static int read_header_recipients(
    const struct envelope_params *params, enum field_kind kind, struct envelope *envelope)
{
    const struct header_field *field;
    for (size_t position = 0; (field = fields_next(params->fields, kind, &position));) {
        struct mailbox_list list = {0};
        if (field_is_blank(field))
            continue;
        int r =
            mailbox_list_salvage(field->value, field->value_length, params->config->domain, SIZE_MAX, &list);
        for (size_t i = 0; !r && i < list.n; i++)
            r = add_entry(envelope, kind, &list.items[i]);
        mailbox_list_release(&list);
        if (r)
            return r;
    }
    return 0;
}

// Sets the reverse-path to address where it can be one. 0; 1 where it cannot; -ENOMEM.
static int set_from(struct outgoing *outgoing, const char *address, const char *rule)
{
    char *wire = NULL;
    const char *problem = *address ? address_problem(address) : NULL;
    if (!problem)
        problem = *address ? idn_address(address, &wire) : (wire = strdup("")) ? NULL : idn_no_memory;
    if (!problem && *wire && address_problem(wire)) {
        free(wire);
        return 1;
    }
    if (problem)
        return problem == idn_no_memory ? -ENOMEM : 1;
    outgoing->envelope_from = wire;
    outgoing->envelope_rule = rule;
    outgoing->smtputf8 = address_needs_smtputf8(wire);
    return 0;
}

// Return-Path and Sender are what some program left there: what cannot be used is passed over.
static int set_from_field(struct outgoing *outgoing, const struct fields *fields, enum field_kind kind)
{
    const struct header_field *field;
    if (!fields_have(fields, kind, &field))
        return 1;
    char *text = header_unfold(field);
    if (!text)
        return -ENOMEM;
    int r = 1;
    if (kind == FIELD_RETURN_PATH && text[0] == '<' && text[1 + strspn(text + 1, " \t")] == '>') {
        r = set_from(outgoing, "", field_kind_name(kind));
    } else {
        struct mailbox_list list = {0};
        int parsed = mailbox_list_parse(field->value, field->value_length, SENDER_AUTHORS_MAX, &list, NULL);
        if (!parsed && list.n)
            r = set_from(outgoing, list.items[0].address, field_kind_name(kind));
        else if (parsed == -ENOMEM)
            r = parsed;
        mailbox_list_release(&list);
    }
    free(text);
    return r;
}

static int decide_from(const struct envelope_params *params, const struct envelope *envelope,
    struct outgoing *outgoing, struct outgoing_fault *ret_fault)
{
    const struct config_account *account = params->tenant->account;
    int r = 1;
    if (account->envelope_from == CONFIG_ENVELOPE_ACCOUNT && *account->email) {
        r = set_from(outgoing, account->email, "account");
        if (r == 1)
            return fault_set(ret_fault, STATUS_REASON_POLICY,
                "the e-mail address of account %s cannot be used: %s", account->name,
                address_problem(account->email));
        return r;
    }
    if (envelope->has_sender) {
        r = set_from(outgoing, envelope->x_sender, "X-Sender");
        if (r == 1)
            return fault_set(ret_fault, STATUS_REASON_MALFORMED, "X-Sender is no address: %s: %.*s",
                address_problem(envelope->x_sender), WORDS_MAX, envelope->x_sender);
    }
    if (r == 1)
        r = set_from_field(outgoing, params->fields, FIELD_RETURN_PATH);
    if (r == 1)
        r = set_from_field(outgoing, params->fields, FIELD_SENDER);
    if (r == 1 && params->sender->authors.n)
        r = set_from(outgoing, params->sender->authors.items[0].address, "From");
    if (r == 1) // sender_decide has checked it
        r = set_from(outgoing, params->sender->address, "From");
    return r == 1 ? -EINVAL : r;
}

int envelope_read(
    const struct envelope_params *params, struct outgoing *outgoing, struct outgoing_fault *ret_fault)
{
    static const enum field_kind kinds[] = {FIELD_TO, FIELD_CC, FIELD_BCC};
    struct envelope envelope = {0};
    unsigned max = params->config->limits.recipients;
    recipients_init(&envelope.recipients, max);
    int r = 0;
    if (params->spool->envelope_headers)
        r = read_leading_lines(params->fields, &envelope, outgoing, ret_fault);
    outgoing->source = envelope.recipients.n ? OUTGOING_FROM_X_RECEIVER : OUTGOING_FROM_HEADERS;
    for (size_t i = 0; !r && outgoing->source == OUTGOING_FROM_HEADERS && i < sizeof kinds / sizeof *kinds;
         i++)
        r = read_header_recipients(params, kinds[i], &envelope);
    if (r == -E2BIG)
        r = fault_set(ret_fault, STATUS_REASON_MALFORMED, "more than %u recipients (limits.recipients)", max);
    if (!r && *envelope.bad.detail && !envelope.n_addresses) {
        *ret_fault = envelope.bad;
        r = -EBADMSG;
    }
    if (!r && !envelope.recipients.n)
        r = fault_set(ret_fault, STATUS_REASON_MALFORMED, "no recipients: To, Cc and Bcc name nobody%s",
            params->spool->envelope_headers ? ", and there is no X-Receiver" : "");
    if (!r)
        r = decide_from(params, &envelope, outgoing, ret_fault);
    if (!r) {
        outgoing->recipients = envelope.recipients.items;
        outgoing->n_recipients = envelope.recipients.n;
        envelope.recipients.items = NULL;
        envelope.recipients.n = 0;
    }
    recipients_release(&envelope.recipients);
    free(envelope.x_sender);
    return r;
}
