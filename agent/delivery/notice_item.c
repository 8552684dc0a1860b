// What is to be told about a message (see notice_item.h).
#include "notice_item.h"
#include "agent/base/buffer.h"
#include "agent/compose/outgoing.h"
#include "agent/delivery/notice_original.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const char *notice_kind_name(enum notice_kind kind)
{
    static const char *const names[NOTICE_KINDS] = {[NOTICE_FAILED] = "failed",
        [NOTICE_DELAYED] = "delayed",
        [NOTICE_RELAYED] = "relayed",
        [NOTICE_RELAYED_PARTLY] = "relayed"};
    return names[kind];
}

enum spool_state notice_kind_state(enum notice_kind kind)
{
    static const enum spool_state states[NOTICE_KINDS] = {[NOTICE_FAILED] = SPOOL_FAILED,
        [NOTICE_DELAYED] = SPOOL_DEFERRED,
        [NOTICE_RELAYED] = SPOOL_SENT,
        [NOTICE_RELAYED_PARTLY] = SPOOL_FAILED};
    return states[kind];
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
    if (notice_kind_relayed(kind)) {
        (void)snprintf(ret_status, 16, "2.0.0");
        return;
    }
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
    if (notice_kind_relayed(kind))
        return notify && strcasestr(notify, "SUCCESS");
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

// The recipients that did not get it (relayed: that have it) and whose NOTIFY lets us tell.
static int fill_recipients(struct notice_item *item, const struct outgoing *outgoing)
{
    const struct status *status = item->status;
    static const enum status_recipient_state states[NOTICE_KINDS] = {[NOTICE_FAILED] = STATUS_REFUSED,
        [NOTICE_DELAYED] = STATUS_PENDING,
        [NOTICE_RELAYED] = STATUS_SENT,
        [NOTICE_RELAYED_PARTLY] = STATUS_SENT};
    enum status_recipient_state wanted = states[item->kind];
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

// In sent/ there is no status file: everybody has it.
static int make_status(struct notice_item *item, const struct outgoing *outgoing, const struct stat *stat)
{
    item->status = status_new();
    if (!item->status)
        return -ENOMEM;
    item->status->submitted = stat->st_mtim;
    int r = status_set_text(&item->status->message_id, outgoing->message_id);
    for (size_t i = 0; !r && i < outgoing->n_recipients; i++) {
        r = status_add_recipient(item->status, outgoing->recipients[i].address);
        if (!r)
            item->status->recipients[i].state = STATUS_SENT;
    }
    return r;
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
    if (!composed && item->kind == NOTICE_RELAYED)
        r = make_status(item, outgoing, stat);
    if (!r && (!composed || composed == -EBADMSG))
        r = item->target ? fill_recipients(item, outgoing) : -ENOMEM;
    if (!r && outgoing && outgoing->envid)
        item->envid = decode_xtext(outgoing->envid);
    bool whole = source->whole && to_sender && item->kind == NOTICE_FAILED && outgoing && outgoing->ret &&
                 strcasecmp(outgoing->ret, "FULL") == 0;
    if (!r && block)
        r = notice_original_read(item, block, whole ? fd : -1, stat);
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
    struct timespec mtime;
    if (item->kind == NOTICE_RELAYED)
        return 1;
    int r = status_read(
        source->spool->dir[notice_kind_state(item->kind)], item->name, &item->status, &mtime, NULL);
    if (r)
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
    item->inode = (ino_t)item->status->inode;
    if (item->kind == NOTICE_RELAYED_PARTLY)
        return item->status->state == STATUS_FAILED;
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

// The message itself, which has to be the one of the status file. 1, 0 where it is gone, or negative errno.
static int open_message(
    const struct notice_source *source, struct notice_item *item, int *ret_fd, struct stat *ret_stat)
{
    bool claimed = item->kind == NOTICE_DELAYED;
    int fd = openat(source->spool->dir[claimed ? SPOOL_CUR : notice_kind_state(item->kind)],
        claimed ? item->claimed_name : item->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
    *ret_fd = fd;
    if (fstat(fd, ret_stat) || !S_ISREG(ret_stat->st_mode) ||
        (item->status && ret_stat->st_ino != item->inode))
        return 0;
    item->inode = ret_stat->st_ino;
    if (item->status && item->status->submitted.tv_sec)
        ret_stat->st_mtim = item->status->submitted;
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
    if (r == 1)
        r = open_message(source, item, &fd, &stat);
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
