// Running the programs that `hooks` names when something happened, without ever holding up mail.
//
// A subscriber of events.h: what happened becomes one JSON object in a bounded queue; the helper process
// (hook_helper.h) runs a few at a time, and what became of each is logged. Where the queue is full, the new
// one is left out and counted, and said once. Nothing here blocks.
//
// There are three queues (enum hook_rank). What is rare and urgent goes first, and has a place to run that
// what happens with every message cannot take, so that a program for `sent` that hangs delays no alarm.
#ifndef OUTTRAY_AGENT_DELIVERY_HOOKS_H
#define OUTTRAY_AGENT_DELIVERY_HOOKS_H

#include "agent/base/log.h"
#include "agent/base/loop.h"
#include "agent/delivery/events.h"
#include "agent/observe/hook_helper.h"

#define HOOKS_QUEUE_MAX      1000              // events that wait, in each queue
#define HOOKS_QUEUE_SIZE_MAX (8 * 1024 * 1024) // octets of them
#define HOOKS_LEAVE_MS       1000              // for handing the helper what waits at the end
#define HOOKS_RECIPIENTS_MAX 100               // listed in one object; recipients_total counts all

enum hook_rank { // who goes first
    HOOK_ALARM,  // spool_broken, account_paused, account_resumed
    HOOK_REPORT, // failed, backlog
    HOOK_FLOW,   // deferred, sent: as many as there are messages
    HOOK_RANKS,
};
// A hook is started only while fewer than this many run, so each rank has places that those below leave free.
#define HOOK_ALARM_PLACES  HOOK_RUNNING_MAX
#define HOOK_REPORT_PLACES (HOOK_RUNNING_MAX - 1)
#define HOOK_FLOW_PLACES   (HOOK_RUNNING_MAX - 2)

struct hook_job { // one event for one program
    struct hook_job *next;
    enum event_kind kind;
    uint32_t id;
    size_t size;
    char packet[]; // a hook_request and what follows it
};

struct hook_queue { // of one rank, in the order in which they happened
    struct hook_job *first, **end;
    unsigned n;
    size_t size;
    uint64_t lost; // left out since it was full
};

struct hooks {
    struct log *log;             // borrowed
    struct loop *loop;           // borrowed; NULL until hooks_attach
    const struct config *config; // a reference: which programs
    struct events_subscriber subscriber;
    int fd; // to the helper; -1: none
    pid_t helper;
    struct loop_watch watch;
    struct hook_queue waiting[HOOK_RANKS];
    struct hook_job *running[HOOK_RUNNING_MAX];
    uint32_t last_id;
};

// fd: the end of the pair that leads to the helper (helper.h), whose process id is `helper`; taken over. -1:
// without a helper no hook is ever run.
void hooks_init(struct hooks *hooks, struct log *log, int fd, pid_t helper);
// The loop and the events are there.
int hooks_attach(struct hooks *hooks, struct loop *loop, struct events *events);
// From now on these programs are meant; what waits is run as it was meant, if its program still has its place
// in the configuration.
void hooks_configure(struct hooks *hooks, const struct config *config);
// Whether nothing waits and nothing runs.
bool hooks_are_idle(const struct hooks *hooks);
// What waits is left to the helper, which runs it within hooks.timeout and then ends by itself; it says how
// many.
void hooks_release(struct hooks *hooks);

// The program that this configuration has for such an event, with its arguments; an empty list where it has
// none.
const char *const *hooks_argv(const struct config *config, enum event_kind kind);

// hook_json.c: the object, with a final line end, in at most `max` octets (without the recipients where it
// were longer). free(3) it; NULL where memory is short.
char *hook_json(const struct event *event, const struct config *config, size_t max);

#endif
