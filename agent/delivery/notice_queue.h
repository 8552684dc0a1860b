// What a tenant's people are to be told, as the wire thread remembers it: see notice.h.
#ifndef OUTTRAY_AGENT_DELIVERY_NOTICE_QUEUE_H
#define OUTTRAY_AGENT_DELIVERY_NOTICE_QUEUE_H

#include "agent/delivery/notice_item.h"

#define NOTICE_NAMES_MAX 4096 // names remembered; more are found by reading failed/ again

struct notice_name {
    enum notice_kind kind;
    char name[SPOOL_NAME_SIZE];
};

struct notice_names {
    struct notice_name *items;
    size_t n, capacity;
};

struct notice_queue { // of one tenant
    struct notice_names names;
    bool scanned;     // failed/ was read since the start
    bool running;     // a job is under way
    bool over;        // more than an hour's notices: the rest is told in summaries
    int64_t ready_at; // boot: not before this
    int64_t hour;     // boot: when the hour under way began
    unsigned in_hour; // notices submitted in it
};

void notice_queue_release(struct notice_queue *queue);

// 0 or -ENOMEM; -E2BIG where there is no room. A name that is there already is not added again.
int notice_names_add(struct notice_names *names, enum notice_kind kind, const char *name);

#endif
