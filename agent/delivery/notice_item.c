// What is to be told about a message (see notice_item.h).
#include "notice_item.h"
#include "agent/base/buffer.h"
#include "agent/compose/fields.h"
#include "agent/compose/outgoing.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define LINE_MAX_QP 76 // octets of a line of quoted-printable, RFC 2045 section 6.7

const char *notice_kind_name(enum notice_kind kind)
{
    return kind == NOTICE_FAILED ? "failed" : "delayed";
}

static void recipient_free(struct notice_recipient *recipient)
{
    free(recipient->address);
    free(recipient->final);
    free(recipient->original);
    free(recipient->reply);
}

void notice_item_free(const struct spool_tenant *spool, struct notice_item *item)
{
    if (!item)
        return;
    // Its status lies in deferred/, so it goes back there, and if we die now, recovery brings it there.
    if (item->claimed)
        (void)spool_move(
            spool, SPOOL_CUR, item->claimed_name, item->inode, SPOOL_DEFERRED, item->claimed_name);
    for (size_t i = 0; i < item->n_recipients; i++)
        recipient_free(&item->recipients[i]);
    free(item->recipients);
    free(item->target);
    free(item->envid);
    free(item->head);
    status_free(item->status);
    free(item);
}

// A copy in printable ASCII, cut. NULL: no memory.
static char *ascii(const char *text, size_t max)
{
    char *copy = strndup(text, max);
    for (char *c = copy; c && *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7F)
            *c = '?';
    return copy;
}

// xtext (RFC 3461 section 4) decoded. NULL where it does not decode to printable ASCII, or memory is short.
static char *decode_xtext(const char *text)
{
    char *decoded = calloc(1, strlen(text) + 1);
    for (char *to = decoded; decoded && *text; to++) {
        unsigned value = (unsigned char)*text++;
        if (value == '+') {
            if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1])) {
                free(decoded);
                return NULL;
            }
            value = (unsigned)strtoul((char[]){text[0], text[1], '\0'}, NULL, 16);
            text += 2;
        }
        if (value < ' ' || value >= 0x7F) {
            free(decoded);
            return NULL;
        }
        *to = (char)value;
    }
    return decoded;
}

// "5.1.1" of a reply or of our own words; else what its first digit says.
static void status_of(
    const char *reply, enum notice_kind kind, enum status_reason reason, char ret_status[static 16])
{
    unsigned code = 0, class = 0, subject = 0, detail = 0;
    int used = 0;
    const char *rest = reply ? reply : "";
    if (reason == STATUS_REASON_EXPIRED) {
        (void)snprintf(ret_status, 16, "4.4.7"); // delivery time expired
        return;
    }
    if (sscanf(rest, "%3u%n", &code, &used) == 1 && used == 3 && code >= 400)
        rest += 3 + strspn(rest + 3, " -");
    bool enhanced = sscanf(rest, "%1u.%3u.%3u", &class, &subject, &detail) == 3 && (class == 4 || class == 5);
    if (enhanced)
        (void)snprintf(ret_status, 16, "%u.%u.%u", class, subject, detail);
    else
        (void)snprintf(ret_status, 16, "%c.0.0", code >= 500 || (!code && kind == NOTICE_FAILED) ? '5' : '4');
}

// Whether the recipient's own NOTIFY asks for it; without one it is told.
static bool notify_asks(const char *notify, enum notice_kind kind)
{
    return !notify || strcasestr(notify, kind == NOTICE_FAILED ? "FAILURE" : "DELAY");
}

static const struct outgoing_recipient *find_outgoing(const struct outgoing *outgoing, const char *address)
{
    for (size_t i = 0; outgoing && i < outgoing->n_recipients; i++)
        if (strcmp(outgoing->recipients[i].address, address) == 0)
            return &outgoing->recipients[i];
    return NULL;
}

static int fill_recipient(struct notice_item *item, const struct status_recipient *known,
    const struct outgoing_recipient *outgoing, struct notice_recipient *recipient)
{
    const char *address = outgoing && outgoing->wire ? outgoing->wire : known->address;
    char *orcpt = outgoing && outgoing->orcpt ? decode_xtext(outgoing->orcpt) : NULL;
    char *semicolon = orcpt ? strchr(orcpt, ';') : NULL;
    *recipient = (struct notice_recipient){.address = ascii(known->address, NOTICE_TEXT_MAX)};
    char *plain = ascii(address, NOTICE_TEXT_MAX);
    if (!plain || asprintf(&recipient->final, "rfc822; %s", plain) < 0)
        recipient->final = NULL;
    free(plain);
    if (semicolon && asprintf(&recipient->original, "%.*s; %.*s", (int)(semicolon - orcpt), orcpt,
                         NOTICE_TEXT_MAX, semicolon + 1) < 0)
        recipient->original = NULL;
    free(orcpt);
    if (known->reply)
        recipient->reply = ascii(known->reply, NOTICE_TEXT_MAX);
    status_of(known->reply, item->kind, item->status->reason, recipient->status);
    return recipient->address && recipient->final && (!known->reply || recipient->reply) ? 0 : -ENOMEM;
}

// The recipients that did not get it and whose NOTIFY does not forbid to tell.
static int fill_recipients(struct notice_item *item, const struct outgoing *outgoing)
{
    const struct status *status = item->status;
    enum status_recipient_state wanted = item->kind == NOTICE_FAILED ? STATUS_REFUSED : STATUS_PENDING;
    item->recipients = calloc(status->n_recipients + 1, sizeof *item->recipients);
    if (!item->recipients)
        return -ENOMEM;
    for (size_t i = 0; i < status->n_recipients; i++) {
        const struct status_recipient *known = &status->recipients[i];
        const struct outgoing_recipient *of = find_outgoing(outgoing, known->address);
        bool whole = item->kind == NOTICE_FAILED &&
                     known->state == STATUS_PENDING; // it failed before anybody was asked
        if ((known->state != wanted && !whole) || !notify_asks(of ? of->notify : NULL, item->kind))
            continue;
        int error = fill_recipient(item, known, of, &item->recipients[item->n_recipients++]);
        if (error)
            return error;
    }
    return 0;
}

// What nobody is told about: notices, and what no person wrote (RFC 3834 section 2).
static bool is_automatic(const struct header_block *block)
{
    size_t position = 0;
    if (header_find(block, "X-Outtray-Notice", &position))
        return true;
    position = 0;
    const struct header_field *field = header_find(block, "Auto-Submitted", &position);
    if (!field)
        return false;
    size_t at = 0;
    while (at < field->value_length && strchr(" \t\r\n", field->value[at]))
        at++;
    const char *word = field->value + at;
    size_t left = field->value_length - at;
    return left < 2 || strncasecmp(word, "no", 2) != 0 || (left > 2 && !strchr(" \t\r\n;(", word[2]));
}

static void append_encoded(struct buffer *out, const char *text, size_t length)
{
    size_t column = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\r' && i + 1 < length && text[i + 1] == '\n') {
            buffer_text(out, "\r\n");
            column = 0;
            i++;
            continue;
        }
        bool blank_at_end = (c == ' ' || c == '\t') && i + 1 < length && text[i + 1] == '\r';
        bool plain = (c >= ' ' && c < 0x7F && c != '=' && !blank_at_end) || (c == '\t' && !blank_at_end);
        if (column + (plain ? 1 : 3) >= LINE_MAX_QP) {
            buffer_text(out, "=\r\n");
            column = 0;
        }
        if (plain)
            buffer_append(out, &text[i], 1);
        else
            buffer_format(out, "=%02X", c);
        column += plain ? 1 : 3;
    }
}

// The original's fields, without those that are the envelope or name hidden recipients.
static int fill_head(struct notice_item *item, const struct header_block *block)
{
    struct fields fields;
    struct buffer plain, encoded;
    if (fields_index(block, &fields))
        return -ENOMEM;
    buffer_init(&plain, NOTICE_HEAD_MAX);
    buffer_init(&encoded, 4 * NOTICE_HEAD_MAX);
    for (size_t i = 0; i < block->n_fields && !buffer_error(&plain); i++) {
        enum field_kind kind = (enum field_kind)fields.kinds[i];
        size_t length;
        if (field_kind_leads(kind) || kind == FIELD_BCC || kind == FIELD_RESENT_BCC)
            continue;
        char *wire = header_field_wire(&block->fields[i], &length);
        if (wire)
            buffer_append(&plain, wire, length);
        free(wire);
    }
    item->head_encoded = block->has_8bit;
    if (item->head_encoded && plain.length)
        append_encoded(&encoded, plain.data, plain.length);
    item->head = buffer_detach(item->head_encoded ? &encoded : &plain, NULL);
    fields_release(&fields);
    buffer_release(&plain);
    buffer_release(&encoded);
    return 0;
}

// Composes it as if its account let each message say who its sender is: that is who wrote it. 1 to go on, 0
// nobody is told, or negative errno.
static int read_message(
    const struct notice_source *source, struct notice_item *item, int fd, const struct stat *stat)
{
    struct config_account account = *source->settings->account;
    struct config_tenant settings = *source->settings;
    struct header_block *block = NULL;
    struct outgoing *outgoing = NULL;
    struct outgoing_fault fault;
    account.envelope_from = CONFIG_ENVELOPE_MESSAGE;
    settings.account = &account;
    settings.tenant_header = false;
    int r = header_block_read(fd, (size_t)source->config->limits.header_size, &block);
    if (!r && is_automatic(block))
        goto nobody;
    int composed = outgoing_compose(source->config, &settings, item->name, fd, stat, &outgoing, &fault);
    if (composed && composed != -EBADMSG)
        r = composed;
    bool to_sender = source->settings->on_failure.notify == CONFIG_NOTIFY_SENDER;
    if (!composed && !*outgoing->envelope_from)
        goto nobody;
    if (composed && to_sender)
        goto nobody; // who that would be cannot be read
    if (!item->target)
        item->target =
            strdup(to_sender && outgoing ? outgoing->envelope_from : source->settings->on_failure.address);
    if (!composed || composed == -EBADMSG)
        r = item->target ? fill_recipients(item, outgoing) : -ENOMEM;
    if (!r && outgoing && outgoing->envid)
        item->envid = decode_xtext(outgoing->envid);
    if (!r && block)
        r = fill_head(item, block);
    if (!r && outgoing && !item->n_recipients)
        goto nobody;
    header_block_free(block);
    outgoing_free(outgoing);
    return r ? r : 1;
nobody:
    header_block_free(block);
    outgoing_free(outgoing);
    return 0;
}

static int read_status(const struct notice_source *source, struct notice_item *item)
{
    enum spool_state state = item->kind == NOTICE_FAILED ? SPOOL_FAILED : SPOOL_DEFERRED;
    struct timespec mtime;
    int r = status_read(source->spool->dir[state], item->name, &item->status, &mtime, NULL);
    if (r)
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
    item->inode = (ino_t)item->status->inode;
    if (item->kind == NOTICE_FAILED)
        return item->status->state == STATUS_FAILED && !item->status->notified.tv_sec;
    item->status->next_attempt = mtime; // whoever touched it means it
    return item->status->state == STATUS_DEFERRED && !item->status->delay_warned.tv_sec;
}

// Takes a delayed message out of the agent's way. 1, 0 where it is gone, or negative errno.
static int claim(const struct notice_source *source, struct notice_item *item)
{
    struct stat stat;
    if (fstatat(source->spool->dir[SPOOL_DEFERRED], item->name, &stat, AT_SYMLINK_NOFOLLOW) ||
        !S_ISREG(stat.st_mode))
        return 0;
    int r = spool_move(source->spool, SPOOL_DEFERRED, item->name, stat.st_ino, SPOOL_CUR, item->claimed_name);
    if (r)
        return r == -ENOENT ? 0 : r;
    item->claimed = true;
    item->inode = stat.st_ino;
    return 1;
}

int notice_item_read(const struct notice_source *source, enum notice_kind kind, const char *name,
    struct notice_item **ret_item)
{
    struct notice_item *item = calloc(1, sizeof *item);
    struct stat stat;
    if (!item)
        return -ENOMEM;
    item->kind = kind;
    (void)snprintf(item->name, sizeof item->name, "%s", name);
    int fd = -1, r = kind == NOTICE_DELAYED ? claim(source, item) : 1;
    if (r == 1)
        r = read_status(source, item);
    if (r == 1) {
        fd = openat(source->spool->dir[kind == NOTICE_FAILED ? SPOOL_FAILED : SPOOL_CUR],
            kind == NOTICE_FAILED ? name : item->claimed_name,
            O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            r = errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
        else if (fstat(fd, &stat) || !S_ISREG(stat.st_mode) || stat.st_ino != (ino_t)item->status->inode)
            r = 0;
    }
    if (r == 1 && item->status->submitted.tv_sec)
        stat.st_mtim = item->status->submitted;
    if (r == 1)
        r = read_message(source, item, fd, &stat);
    if (fd >= 0)
        close(fd);
    if (r == 1)
        *ret_item = item;
    else
        notice_item_free(source->spool, item);
    return r;
}
