// libcurl's multi handle on the loop: connection set-up for SMTP sessions and HTTPS requests share it.
//
// The owner configures an easy handle, adds it, and is called once when its transfer (or, with
// CURLOPT_CONNECT_ONLY, its connection) is done. The handle stays in the multi handle until multi_remove, as
// CURLOPT_CONNECT_ONLY needs; libcurl no longer watches its socket then, so the owner may. See
// libcurl-multi(3).
#ifndef OUTTRAY_AGENT_BASE_MULTI_H
#define OUTTRAY_AGENT_BASE_MULTI_H

#include "loop.h"
#include <curl/curl.h>

struct multi;

struct multi_transfer {
    CURL *easy; // NULL while not added
    void (*done)(struct multi_transfer *transfer, CURLcode result);
    void *arg;
};

int multi_new(struct loop *loop, struct multi **ret_multi);
void multi_free(struct multi *multi); // takes NULL; all transfers must have been removed

// Adds easy (borrowed; its CURLOPT_PRIVATE is used by this module). 0 or negative errno.
int multi_add(struct multi *multi, struct multi_transfer *transfer, CURL *easy,
    void (*done)(struct multi_transfer *, CURLcode), void *arg);
void multi_remove(struct multi *multi,
    struct multi_transfer *transfer); // no-op while not added; done is not called any more

#endif
