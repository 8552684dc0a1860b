// The intake desk's part of notices: reading failed/, reading messages, composing, submitting; in slices.
#ifndef OUTTRAY_AGENT_DELIVERY_NOTICE_JOB_H
#define OUTTRAY_AGENT_DELIVERY_NOTICE_JOB_H

#include "agent/delivery/desk.h"
#include "agent/delivery/notice.h"
#include "agent/delivery/notice_file.h"
#include "agent/delivery/tenant.h"

struct notice_job {
    struct desk_job job; // first
    struct dispatch *dispatch;
    struct tenant *tenant;
    struct tenant_dirs *dirs;    // a reference
    const struct config *config; // a reference
    const struct config_tenant *settings;
    bool scan;                         // in: recover, and look for untold failures first
    bool summary;                      // in: one for all messages with the same target
    unsigned allowed;                  // in: notices that may be submitted
    struct notice_names names;         // in and out: what is left to be told
    bool scanned;                      // out: the scan came to its end
    int64_t oldest;                    // out: wall: of what the scan found; 0: nothing
    struct notice_submitted submitted; // out
    int error;                         // out: the first one

    int step;
    void *dir; // DIR, while failed/ is read
    size_t at; // of names
    struct notice_item **items;
    size_t n_items;
};

struct notice_job *notice_job_new(
    struct dispatch *dispatch, struct tenant *tenant, void (*done)(struct desk_job *));
void notice_job_free(struct notice_job *job); // takes NULL

#endif
