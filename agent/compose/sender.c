// From by tenant, Reply-To by author: see sender.h.
#include "sender.h"

#include "encoded_word.h"
#include "idn.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SENDER_VALUE_MAX                                                                                     \
    (16 * 1024 * 1024) // octets of a From or Reply-To value: a whole header block encoded

#define FROM_COLUMN     (sizeof "From: " - 1) // where the values begin in their lines
#define REPLY_TO_COLUMN (sizeof "Reply-To: " - 1)

void sender_release(struct sender *sender)
{
    mailbox_list_release(&sender->authors);
    free(sender->from);
    free(sender->address);
    free(sender->reply_to);
    *sender = (struct sender){0};
}

static bool has_text(const char *text)
{
    return text && text[strspn(text, " \t")];
}

// All From fields count: who wrote two has two authors. What is no mailbox list gives none.
static int read_authors(const struct fields *fields, const char *domain, struct mailbox_list *ret_authors)
{
    const struct header_field *field;
    for (size_t position = 0; (field = fields_next(fields, FIELD_FROM, &position));) {
        struct mailbox_list more = {0};
        int r = mailbox_list_parse_local(
            field->value, field->value_length, domain, SENDER_AUTHORS_MAX, &more, NULL);
        if (r == -ENOMEM)
            return r;
        if (r || !more.n)
            continue;
        if (ret_authors->n + more.n > SENDER_AUTHORS_MAX) {
            mailbox_list_release(&more);
            return 0;
        }
        struct mailbox *items = realloc(ret_authors->items, (ret_authors->n + more.n) * sizeof *items);
        if (!items) {
            mailbox_list_release(&more);
            return -ENOMEM;
        }
        memcpy(items + ret_authors->n, more.items, more.n * sizeof *items);
        ret_authors->items = items;
        ret_authors->n += more.n;
        free(more.items);
    }
    return 0;
}

static void append_mailbox(struct buffer *out, size_t column, const char *display, const char *address)
{
    if (has_text(display)) {
        phrase_append(out, column, display);
        buffer_append(out, " <", 2);
        buffer_text(out, address);
        buffer_append(out, ">", 1);
    } else {
        buffer_text(out, address);
    }
}

// Whether the message's own From, unfolded, is what we would write, but for quotes and brackets that mean
// nothing: then its octets stay, and with them a signature over them.
static int own_is_same(
    const struct header_field *field, const char *display, const char *address, bool *ret_same)
{
    char *own = header_unfold(field);
    struct buffer text;
    if (!own)
        return -ENOMEM;
    buffer_init(&text, SENDER_VALUE_MAX);
    append_mailbox(&text, FROM_COLUMN, display, address);
    *ret_same = !buffer_error(&text) && !strcmp(text.data, own);
    if (!*ret_same && has_text(display) && !strpbrk(display, "\"\\") &&
        !text_has_8bit(display, strlen(display))) {
        buffer_clear(&text);
        buffer_format(&text, "\"%s\" <%s>", display, address);
        *ret_same = !buffer_error(&text) && !strcmp(text.data, own);
    } else if (!*ret_same && !has_text(display)) {
        buffer_clear(&text);
        buffer_format(&text, "<%s>", address);
        *ret_same = !buffer_error(&text) && !strcmp(text.data, own);
    }
    int r = buffer_error(&text);
    buffer_release(&text);
    free(own);
    return r == -ENOMEM ? r : 0;
}

// The author for Reply-To: those of the message's own mailboxes that can be written to.
static int make_reply_to(const struct mailbox_list *authors, char **ret_reply_to)
{
    struct buffer out;
    buffer_init(&out, SENDER_VALUE_MAX);
    for (size_t i = 0; i < authors->n; i++) {
        char *wire = NULL;
        const char *problem = address_problem(authors->items[i].address);
        if (!problem)
            problem = idn_address(authors->items[i].address, &wire);
        if (problem == idn_no_memory) {
            buffer_release(&out);
            return -ENOMEM;
        }
        if (!problem) {
            if (out.length)
                buffer_append(&out, ", ", 2);
            append_mailbox(&out, REPLY_TO_COLUMN + out.length, authors->items[i].display, wire);
        }
        free(wire);
    }
    int r = buffer_error(&out);
    if (!r)
        *ret_reply_to = buffer_detach(&out, NULL);
    buffer_release(&out);
    return r;
}

// The configured mailbox with its domain in A-labels.
static int read_configured(const struct config_tenant *tenant, struct mailbox *ret_mailbox,
    struct sender *sender, struct outgoing_fault *ret_fault)
{
    const char *problem = mailbox_parse(tenant->from, ret_mailbox);
    if (!problem)
        problem = address_problem(ret_mailbox->address);
    if (!problem)
        problem = idn_address(ret_mailbox->address, &sender->address);
    if (problem == idn_no_memory || problem == address_no_memory)
        return -ENOMEM;
    if (problem)
        return fault_set(ret_fault, STATUS_REASON_POLICY, "the From of tenant %s (%s) cannot be used: %s",
            tenant->name, tenant->from_rule, problem);
    sender->smtputf8 = address_needs_smtputf8(sender->address);
    return 0;
}

static int decide(const struct config_tenant *tenant, const struct fields *fields,
    const struct mailbox *configured, struct sender *sender)
{
    const struct mailbox *own = sender->authors.n ? &sender->authors.items[0] : NULL;
    assert(own || sender->authors.n == 0);
    const char *display = has_text(configured->display) ? configured->display : own ? own->display : NULL;
    sender->other_address =
        sender->authors.n != 1 || fields->count[FIELD_FROM] != 1 ||
        (!address_same(own->address, configured->address) && !address_same(own->address, sender->address));
    size_t position = 0;
    const struct header_field *field = fields_next(fields, FIELD_FROM, &position);
    // "From :" is obsolete syntax that some servers refuse: it is written anew.
    if (!sender->other_address && field->raw[field->name_length] == ':' &&
        !text_has_8bit(field->raw, field->raw_length)) {
        int r = own_is_same(field, display, own->address, &sender->kept);
        if (r)
            return r;
    }
    assert(own || !sender->kept);
    struct buffer value;
    buffer_init(&value, SENDER_VALUE_MAX);
    append_mailbox(&value, FROM_COLUMN, display, sender->kept ? own->address : sender->address);
    int r = buffer_error(&value);
    if (!r)
        sender->from = buffer_detach(&value, NULL);
    buffer_release(&value);
    if (!r && sender->other_address && tenant->reply_to == CONFIG_REPLY_TO_ORIGINAL &&
        !fields_have(fields, FIELD_REPLY_TO, NULL))
        r = make_reply_to(&sender->authors, &sender->reply_to);
    return r;
}

int sender_decide(const struct config *config, const struct config_tenant *tenant,
    const struct fields *fields, struct sender *ret_sender, struct outgoing_fault *ret_fault)
{
    struct sender sender = {0};
    struct mailbox configured = {0};
    int r = read_configured(tenant, &configured, &sender, ret_fault);
    if (!r)
        r = read_authors(fields, config->domain, &sender.authors);
    if (!r)
        r = decide(tenant, fields, &configured, &sender);
    mailbox_release(&configured);
    if (r == -E2BIG)
        r = fault_set(ret_fault, STATUS_REASON_MALFORMED, "the display name in From is too long");
    if (r)
        sender_release(&sender);
    else
        *ret_sender = sender;
    return r;
}
