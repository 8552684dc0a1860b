// Making, ending and listing claimed messages.
#include "message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct message *message_new(
    const struct config *config, struct tenant *tenant, struct backlog_entry *entry, const struct log *log)
{
    struct message *message = calloc(1, sizeof *message);
    if (!message)
        return NULL;
    message->config = config_ref(config);
    message->tenant = message->route = tenant;
    message->attempt = 1;
    message->settings = tenant->settings;
    message->dirs = tenant_dirs_ref(tenant->dirs);
    message->entry = entry;
    message->sure = entry->sure;
    message->regular = entry->regular;
    message->seen_size = entry->size;
    message->seen_mtime = entry->mtime;
    message->origin = message->place = entry->from;
    message->recorded = entry->recorded;
    message->fd = backlog_take_file(&tenant->backlog, entry);
    message->status_in = SPOOL_STATES;
    (void)snprintf(message->name, sizeof message->name, "%s", entry->name);
    (void)snprintf(message->claimed_name, sizeof message->claimed_name, "%s", entry->name);
    log_lines_init(&message->lines, log);
    return message;
}

void message_free(struct message *message)
{
    if (!message)
        return;
    if (message->fd >= 0)
        close(message->fd);
    outgoing_free(message->outgoing);
    status_free(message->status);
    free(message->fault);
    free(message->detail);
    free(message->wire_recipients);
    free(message->recipient_index);
    free(message->recipient_state);
    free(message->recipient_tried);
    log_lines_release(&message->lines);
    tenant_dirs_unref(message->dirs);
    config_unref(message->config);
    free(message);
}

void message_list_append(struct message_list *list, struct message *message)
{
    message->next = NULL;
    *(list->last ? &list->last->next : &list->first) = message;
    list->last = message;
    list->n++;
}

void message_list_prepend(struct message_list *list, struct message *message)
{
    message->next = list->first;
    list->first = message;
    if (!list->last)
        list->last = message;
    list->n++;
}

struct message *message_list_take(struct message_list *list)
{
    struct message *message = list->first;
    if (!message)
        return NULL;
    list->first = message->next;
    if (!list->first)
        list->last = NULL;
    list->n--;
    message->next = NULL;
    return message;
}

void message_set_detail(struct message *message, const char *format, ...)
{
    char text[STATUS_TEXT_MAX];
    va_list values;
    va_start(values, format);
    (void)vsnprintf(text, sizeof text, format, values);
    va_end(values);
    char *detail = strdup(text);
    if (!detail)
        return;
    free(message->detail);
    message->detail = detail;
}

static int message_fill_status(struct message *message, struct status *status)
{
    const struct outgoing *outgoing = message->outgoing;
    status->inode = message->stat.st_ino;
    status->size = (uint64_t)message->stat.st_size;
    status->submitted = message->stat.st_mtim;
    if (status_set_text(&status->tenant, message->tenant->name) ||
        status_set_text(&status->name, message->name))
        return -ENOMEM;
    if (!outgoing)
        return 0;
    if (status_set_text(&status->message_id, outgoing->message_id))
        return -ENOMEM;
    for (size_t i = 0; i < outgoing->n_recipients; i++)
        if (status_add_recipient(status, outgoing->recipients[i].address))
            return -ENOMEM;
    return 0;
}

int message_need_status(struct message *message)
{
    if (message->status)
        return 0;
    struct status *status = status_new();
    if (!status || message_fill_status(message, status)) {
        status_free(status);
        return -ENOMEM;
    }
    message->status = status;
    return 0;
}
