// Composes what goes over the wire: see outgoing.h. The rules are in sender.c, envelope.c, controls.c and
// outgoing_head.c; this file reads, calls them in their order, and builds the body plan.
#include "outgoing.h"

#include "agent/base/clock.h"
#include "controls.h"
#include "encoded_word.h"
#include "envelope.h"
#include "message_id.h"
#include "outgoing_head.h"
#include "recipients.h"
#include "sender.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HEAD_FACTOR 8           // encoding makes a header block at most so many times longer
#define HEAD_EXTRA  (64 * 1024) // octets for what is added
#define PEEK_SIZE   4096        // octets looked at for a priority

struct composing {
    const struct config *config;
    const struct config_tenant *spool;
    const char *name;
    int fd;
    const struct stat *stat;
    const char *data; // the whole file where it is small, else NULL
    size_t length;
    struct header_block *block;
    struct fields fields;
    struct sender sender;
    char *made_id; // a Message-ID to add, NULL where the message has one
    struct outgoing *outgoing;
    struct outgoing_fault *fault;
};

void outgoing_drop_octets(struct outgoing *outgoing)
{
    free(outgoing->head);
    outgoing->head = NULL;
    outgoing->body.head = NULL;
    outgoing->body.fd = -1;
}

void outgoing_free(struct outgoing *outgoing)
{
    if (!outgoing)
        return;
    for (size_t i = 0; i < outgoing->n_recipients; i++)
        recipient_release(&outgoing->recipients[i]);
    free(outgoing->recipients);
    free(outgoing->envelope_from);
    free(outgoing->from);
    free(outgoing->ret);
    free(outgoing->envid);
    free(outgoing->key);
    free(outgoing->message_id);
    free(outgoing->removed);
    free(outgoing->added);
    free(outgoing->head);
    free(outgoing);
}

// Reads the whole of a small file. 0; -EAGAIN where it is no longer as long as it was.
static int read_small(struct composing *c, char buffer[static OUTGOING_INLINE_MAX + 1])
{
    size_t done = 0, length = (size_t)c->stat->st_size;
    // One octet more than there should be: a read that comes short of it says that the file ends there.
    for (bool more = true; more && done <= length;) {
        ssize_t n = TEMP_FAILURE_RETRY(pread(c->fd, buffer + done, length + 1 - done, (off_t)done));
        if (n < 0)
            return -errno;
        done += (size_t)n;
        more = n > 0 && done != length;
    }
    if (done != length)
        return -EAGAIN;
    c->data = buffer;
    c->length = done;
    return 0;
}

static int has_nul(struct composing *c)
{
    return fault_set(
        c->fault, STATUS_REASON_MALFORMED, "the message has a NUL octet, which no mail may have");
}

static int read_header(struct composing *c)
{
    size_t max = (size_t)c->config->limits.header_size;
    if (!S_ISREG(c->stat->st_mode))
        return fault_set(c->fault, STATUS_REASON_MALFORMED, "not a regular file");
    if (c->stat->st_size == 0)
        return fault_set(c->fault, STATUS_REASON_MALFORMED, "the file is empty");
    if ((uint64_t)c->stat->st_size > c->config->limits.message_size)
        return fault_set(c->fault, STATUS_REASON_MALFORMED,
            "%" PRIu64 " octets are more than limits.message_size allows (%" PRIu64 ")",
            (uint64_t)c->stat->st_size, c->config->limits.message_size);
    int r = c->data ? header_block_parse(c->data, c->length, true, max, &c->block)
                    : header_block_read(c->fd, max, &c->block);
    if (r == -E2BIG)
        return fault_set(c->fault, STATUS_REASON_MALFORMED,
            "the header block is longer than limits.header_size (%zu) or has more than %d fields", max,
            HEADER_FIELDS_MAX);
    if (r)
        return r;
    if (c->block->has_nul || (c->data && memchr(c->data, '\0', c->length)))
        return has_nul(c);
    return fields_index(c->block, &c->fields);
}

static int find_message_id(struct composing *c)
{
    const struct header_field *field;
    if (fields_have(&c->fields, FIELD_MESSAGE_ID, &field)) {
        c->outgoing->message_id = message_id_of(field);
        return c->outgoing->message_id ? 0 : -ENOMEM;
    }
    struct message_id_source source = {.config = c->config,
        .tenant = c->spool,
        .name = c->name,
        .fd = c->fd,
        .stat = c->stat,
        .data = c->data,
        .length = c->length};
    int r = message_id_make(&source, &c->made_id);
    if (r)
        return r;
    c->outgoing->message_id = strdup(c->made_id);
    return c->outgoing->message_id ? 0 : -ENOMEM;
}

// A small message is composed whole, and its file is needed no more.
static int plan_inline(struct composing *c, const struct buffer *head)
{
    const char *body = c->data + c->block->body_offset;
    size_t length = c->length - (size_t)c->block->body_offset;
    char wire[2 * OUTGOING_INLINE_MAX + 2];
    size_t converted = smtp_body_convert(body, length, wire), size = head->length + converted;
    char *whole = malloc(size + 1); // no more than that: some hundred messages are on their way
    if (!whole)
        return -ENOMEM;
    char *end = mempcpy(mempcpy(whole, head->data, head->length), wire, converted);
    *end = '\0';
    c->outgoing->head = whole;
    c->outgoing->body = (struct smtp_body){
        .fd = -1, .size = size, .has_8bit = text_has_8bit(body, length), .head_length = size};
    return 0;
}

// A larger one is measured now and streamed later.
static int plan_streamed(struct composing *c, struct buffer *head)
{
    struct smtp_body_scan scan = {0};
    uint64_t offset = c->block->body_offset;
    int r = smtp_body_scan(c->fd, offset, c->config->limits.message_size, &scan);
    if (r == -EFBIG || (!r && offset + scan.file_length != (uint64_t)c->stat->st_size))
        return -EAGAIN;
    if (r)
        return r;
    if (scan.has_nul)
        return has_nul(c);
    c->outgoing->body = (struct smtp_body){.head_length = head->length,
        .fd = scan.file_length ? c->fd : -1,
        .file_offset = offset,
        .file_length = scan.file_length,
        .size = head->length + scan.wire_length,
        .has_8bit = scan.has_8bit};
    c->outgoing->head = buffer_detach(head, NULL);
    return 0;
}

static int build(struct composing *c, struct buffer *out)
{
    struct head_params params = {.fields = &c->fields,
        .sender = &c->sender,
        .message_id = c->made_id,
        .submitted = clock_ns(&c->stat->st_mtim)};
    int r = outgoing_head_append(out, &params, c->outgoing);
    if (r == -E2BIG)
        return fault_set(
            c->fault, STATUS_REASON_MALFORMED, "the header block is too long once its text is encoded");
    if (r)
        return r;
    bool eight_bit = text_has_8bit(out->data, out->length);
    r = c->data ? plan_inline(c, out) : plan_streamed(c, out);
    if (r)
        return r;
    c->outgoing->eight_bit = eight_bit || c->outgoing->body.has_8bit;
    c->outgoing->body.head = c->outgoing->head;
    return 0;
}

static int compose(struct composing *c)
{
    int r = read_header(c);
    if (!r)
        r = controls_read(
            c->config, c->spool, &c->fields, clock_ns(&c->stat->st_mtim), c->outgoing, c->fault);
    if (!r)
        r = sender_decide(c->config, c->outgoing->tenant, &c->fields, &c->sender, c->fault);
    struct envelope_params envelope = {.config = c->config,
        .spool = c->spool,
        .tenant = c->outgoing->tenant,
        .fields = &c->fields,
        .sender = &c->sender};
    if (!r)
        r = envelope_read(&envelope, c->outgoing, c->fault);
    if (!r)
        r = find_message_id(c);
    if (r)
        return r;
    c->outgoing->smtputf8 = c->outgoing->smtputf8 || c->sender.smtputf8;
    struct buffer out;
    buffer_init(&out, HEAD_FACTOR * c->block->length + HEAD_EXTRA);
    r = build(c, &out);
    buffer_release(&out);
    if (!r) {
        c->outgoing->from = c->sender.from;
        c->sender.from = NULL;
    }
    return r;
}

int outgoing_compose(const struct config *config, const struct config_tenant *tenant, const char *name,
    int fd, const struct stat *stat, struct outgoing **ret_outgoing, struct outgoing_fault *ret_fault)
{
    char small[OUTGOING_INLINE_MAX + 1];
    struct composing c = {
        .config = config, .spool = tenant, .name = name, .fd = fd, .stat = stat, .fault = ret_fault};
    *ret_fault = (struct outgoing_fault){0};
    c.outgoing = calloc(1, sizeof *c.outgoing);
    if (!c.outgoing)
        return -ENOMEM;
    int r = 0;
    if (S_ISREG(stat->st_mode) && stat->st_size <= OUTGOING_INLINE_MAX &&
        (uint64_t)stat->st_size <= config->limits.message_size)
        r = read_small(&c, small);
    if (!r)
        r = compose(&c);
    sender_release(&c.sender);
    fields_release(&c.fields);
    header_block_free(c.block);
    free(c.made_id);
    if (r)
        outgoing_free(c.outgoing);
    else
        *ret_outgoing = c.outgoing;
    return r;
}

bool outgoing_peek_priority_of(int fd)
{
    static const char key[] = "X-Outtray-Priority:", high[] = "high";
    char data[PEEK_SIZE + 1];
    ssize_t n = TEMP_FAILURE_RETRY(pread(fd, data, PEEK_SIZE, 0));
    data[n > 0 ? n : 0] = '\0';
    for (const char *line = data; *line && *line != '\n' && *line != '\r';) {
        if (!strncasecmp(line, key, sizeof key - 1)) {
            const char *value = line + sizeof key - 1 + strspn(line + sizeof key - 1, " \t");
            return !strncasecmp(value, high, sizeof high - 1) && strspn(value + sizeof high - 1, " \t\r\n");
        }
        line += strcspn(line, "\n");
        line += *line != '\0';
    }
    return false;
}

bool outgoing_peek_priority(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool high = outgoing_peek_priority_of(fd);
    close(fd);
    return high;
}
