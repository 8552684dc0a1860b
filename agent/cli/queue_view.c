// What there is to know of one message of the spool.
//
// What the status file knows comes from it; what a message without one would be sent to is composed as the
// agent would compose it, so that there is one set of rules.
#include "agent/base/clock.h"
#include "agent/cli/queue.h"
#include "agent/compose/outgoing.h"
#include "agent/observe/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void queue_view_release(struct queue_view *view)
{
    status_free(view->status);
    free(view->from);
}

// The status file that `dir` has for the message.
static int read_status_in(struct queue *queue, struct queue_view *view, int dir, enum spool_state where)
{
    const struct queue_message *message = view->message;
    struct timespec changed;
    int r = status_read(dir, message->name, &view->status, &view->next, &changed);
    if (r == 0 && clock_ns(&message->stat.st_mtim) > clock_ns(&changed))
        view->next = message->stat.st_mtim; // touch deferred/NAME: due at once
    if (view->status && view->status->inode != message->stat.st_ino) {
        status_free(view->status); // another message had this name
        view->status = NULL;
    }
    if (r < 0 && r != -ENOENT && r != -ENOMEM)
        queue_unread(queue, -r, "%s/%s/%s.status", message->place->tenant->name, spool_state_name(where),
            message->name);
    return r == -ENOMEM ? r : 0;
}

// Beside the message, in deferred/ and failed/. What was claimed from there, held or moved back by hand has
// left it there.
static int read_status(struct queue *queue, struct queue_view *view)
{
    static const enum spool_state places[] = {SPOOL_DEFERRED, SPOOL_FAILED};
    const struct queue_place *place = view->message->place;
    if (place->state == SPOOL_DEFERRED || place->state == SPOOL_FAILED)
        return read_status_in(queue, view, place->dir, place->state);
    int r = 0;
    for (size_t i = 0; r == 0 && !view->status && i < sizeof places / sizeof *places; i++) {
        int dir =
            openat(place->root, spool_state_name(places[i]), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir < 0)
            continue;
        r = read_status_in(queue, view, dir, places[i]);
        close(dir);
    }
    return r;
}

// A message without a status file: what the agent would make of it.
static int compose_status(struct queue *queue, struct queue_view *view, int fd)
{
    const struct queue_message *message = view->message;
    struct outgoing *outgoing = NULL;
    struct outgoing_fault fault;
    struct status *status = view->status = status_new();
    if (!status)
        return -ENOMEM;
    status->inode = message->stat.st_ino;
    status->size = (uint64_t)message->stat.st_size;
    status->submitted = message->stat.st_mtim;
    int r = status_set_text(&status->tenant, message->place->tenant->name);
    if (r == 0)
        r = status_set_text(&status->name, message->name);
    if (r < 0 || fd < 0)
        return r;
    r = outgoing_compose(
        queue->config, message->place->tenant, message->name, fd, &message->stat, &outgoing, &fault);
    if (r == -EBADMSG)
        return status_set_text(&status->detail, fault.detail);
    if (r == 0)
        r = status_set_text(&status->message_id, outgoing->message_id);
    for (size_t i = 0; r == 0 && i < outgoing->n_recipients; i++)
        r = status_add_recipient(status, outgoing->recipients[i].address);
    outgoing_free(outgoing);
    if (r < 0 && r != -ENOMEM) {
        queue_unread(queue, -r, "%s/%s/%s", message->place->tenant->name, view->state, message->name);
        r = 0;
    }
    return r;
}

static int read_from(struct queue *queue, struct queue_view *view, int fd)
{
    struct header_block *block = NULL;
    size_t position = 0;
    int r = header_block_read(fd, queue->config->limits.header_size, &block);
    const struct header_field *field = r == 0 ? header_find(block, "From", &position) : NULL;
    if (field && !(view->from = header_unfold(field)))
        r = -ENOMEM;
    header_block_free(block);
    return r == -ENOMEM ? r : 0; // others show up where the message is composed, or do not matter here
}

int queue_view_fill(struct queue *queue, const struct queue_message *message, struct queue_view *view)
{
    const struct queue_place *place = message->place;
    *view = (struct queue_view){.message = message, .state = spool_state_name(place->state)};
    int r = read_status(queue, view);
    int fd = r < 0 ? -1 : openat(place->dir, message->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (r == 0 && fd < 0)
        queue_unread(queue, errno, "%s/%s/%s", place->tenant->name, view->state, message->name);
    if (fd >= 0)
        r = read_from(queue, view, fd);
    view->recorded = view->status != NULL;
    if (r == 0 && !view->status)
        r = compose_status(queue, view, fd);
    if (fd >= 0)
        close(fd);
    return r;
}
