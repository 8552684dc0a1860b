// From what the hub knows to what subscribers are told.
#include "events.h"
#include "agent/base/clock.h"
#include "agent/delivery/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *event_name(enum event_kind kind)
{
    static const char *const names[EVENT_KINDS] = {
        [EVENT_SENT] = "sent",
        [EVENT_DEFERRED] = "deferred",
        [EVENT_FAILED] = "failed",
        [EVENT_RETURNED] = "returned",
        [EVENT_ACCOUNT_PAUSED] = "account_paused",
        [EVENT_ACCOUNT_RESUMED] = "account_resumed",
        [EVENT_BACKLOG] = "backlog",
        [EVENT_SPOOL_BROKEN] = "spool_broken",
        [EVENT_RELAYED] = "relayed",
    };
    assert(kind < EVENT_KINDS);
    return names[kind];
}

void events_subscribe(struct events *events, struct events_subscriber *subscriber)
{
    struct events_subscriber **end = &events->first;
    while (*end)
        end = &(*end)->next;
    subscriber->next = NULL;
    *end = subscriber;
}

bool events_wanted(const struct events *events, enum event_kind kind)
{
    for (const struct events_subscriber *one = events->first; one; one = one->next)
        if (one->kinds & 1u << kind)
            return true;
    return false;
}

static void events_tell(const struct events *events, const struct event *event)
{
    for (const struct events_subscriber *one = events->first; one; one = one->next)
        if (one->kinds & 1u << event->kind)
            one->happened(event, one->arg);
}

static const char *events_words(const struct message *message)
{
    return message->detail && *message->detail ? message->detail : NULL;
}

// The states of all recipients: the status file's where there is one; without one they all went the same way.
static struct event_recipient *events_recipients(const struct message *message, size_t *ret_n)
{
    const struct status *status = message->status;
    const struct outgoing *outgoing = message->outgoing;
    size_t n = status && status->n_recipients ? status->n_recipients : outgoing ? outgoing->n_recipients : 0;
    struct event_recipient *recipients = n ? calloc(n, sizeof *recipients) : NULL;
    *ret_n = recipients ? n : 0;
    for (size_t i = 0; i < *ret_n; i++) {
        if (status && status->n_recipients)
            recipients[i] = (struct event_recipient){
                status->recipients[i].address, status->recipients[i].state, status->recipients[i].reply};
        else
            recipients[i] = (struct event_recipient){outgoing->recipients[i].address,
                message->filing == FILING_SENT ? STATUS_SENT : STATUS_PENDING, events_words(message)};
    }
    return recipients;
}

static enum event_kind events_kind(const struct message *message)
{
    switch (message->filing) {
    case FILING_SENT:
        return message->claim == CLAIM_REPEAT ? EVENT_KINDS : EVENT_SENT;
    case FILING_DEFER:
        return EVENT_DEFERRED;
    case FILING_FAIL:
        return EVENT_FAILED;
    case FILING_RETURN:
        return EVENT_RETURNED;
    case FILING_RECORD:
        break;
    }
    return EVENT_KINDS;
}

void events_message(const struct events *events, const struct message *message)
{
    enum event_kind kind = events_kind(message);
    if (message->relayed && (kind == EVENT_SENT || kind == EVENT_FAILED))
        events_tell(events, &(struct event){
                                .kind = EVENT_RELAYED,
                                .time = clock_wall(),
                                .message = message,
                                .tenant = message->tenant->name,
                                .name = message->name,
                            });
    if (kind == EVENT_KINDS || !events_wanted(events, kind))
        return;
    const struct outgoing *outgoing = message->outgoing;
    const struct status *status = message->status;
    const struct tenant *route = message->route ? message->route : message->tenant;
    int64_t now = clock_wall(), age = (now - clock_ns(&message->stat.st_mtim)) / CLOCK_SECOND;
    struct event event = {
        .kind = kind,
        .time = now,
        .message = message,
        .tenant = message->tenant->name,
        .account = route->pool ? route->pool->account->name : NULL,
        .name = message->name,
        .claimed_name = message->claimed_name,
        .message_id = outgoing ? outgoing->message_id : NULL,
        .from = outgoing ? outgoing->envelope_from : NULL,
        .size = (int64_t)message->stat.st_size,
        .attempt = message->attempt,
        .age_s = age > 0 ? age : 0,
        .reply = events_words(message),
    };
    if (kind == EVENT_DEFERRED) {
        event.class = message->deferred_class;
        event.reply = status ? status->detail : NULL;
        event.next_attempt = status ? clock_ns(&status->next_attempt) : 0;
    } else if (kind == EVENT_FAILED) {
        event.reason = status_reason_name(message->refused_reason);
        event.reply = status && status->detail ? status->detail : event.reply;
        event.fix = status ? status->fix : NULL;
    }
    struct event_recipient *recipients = events_recipients(message, &event.n_recipients);
    event.recipients = recipients;
    events_tell(events, &event);
    free(recipients);
}

void events_account(const struct events *events, const struct account *account, enum account_change change)
{
    if (change == ACCOUNT_SAME)
        return;
    bool paused = change == ACCOUNT_PAUSED;
    events_tell(events, &(struct event){
                            .kind = paused ? EVENT_ACCOUNT_PAUSED : EVENT_ACCOUNT_RESUMED,
                            .time = clock_wall(),
                            .account = account->name,
                            .reason = paused ? breaker_name(account->breaker) : NULL,
                            .reply = paused && account->reason[0] ? account->reason : NULL,
                            .fix = paused ? account->fix : NULL,
                        });
}

void events_operator(
    const struct events *events, const struct account *account, bool paused, const char *words)
{
    events_tell(events, &(struct event){
                            .kind = paused ? EVENT_ACCOUNT_PAUSED : EVENT_ACCOUNT_RESUMED,
                            .time = clock_wall(),
                            .account = account->name,
                            .reason = paused ? "operator" : NULL,
                            .reply = words,
                            .fix = paused ? "`outtray resume` lets its mail go again" : NULL,
                        });
}

// The age is that at the time of counting: what has gone since must not raise an alarm. While the account is
// paused nothing has gone: a message that the count missed is out as a probe, and comes back.
void events_backlog(const struct events *events, struct tenant *tenant, int64_t limit_ms)
{
    const struct observe_count *new = &tenant->counts[OBSERVE_NEW];
    bool over = new->count &&new->oldest_s > limit_ms / 1000;
    bool paused = tenant->pool && tenant->pool->account->breaker != BREAKER_CLOSED;
    bool told = tenant->backlog_told;
    tenant->backlog_told = over || (told && paused);
    if (!over || told)
        return;
    events_tell(events, &(struct event){
                            .kind = EVENT_BACKLOG,
                            .time = clock_wall(),
                            .tenant = tenant->name,
                            .account = tenant->settings ? tenant->settings->account->name : NULL,
                            .age_s = new->oldest_s,
                            .count = new->count,
                            .fix = "see whether the account is paused (status.json, log), and whether more "
                                   "comes in than its limits let out",
                        });
}

void events_spool_broken(const struct events *events, int error)
{
    events_tell(events, &(struct event){
                            .kind = EVENT_SPOOL_BROKEN,
                            .time = clock_wall(),
                            .reason = strerror(-error),
                            .fix = "check the disk, then start the agent again",
                        });
}
