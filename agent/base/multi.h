// libcurl's multi handle on the loop: connection set-up for SMTP sessions and HTTPS requests share it.
//
// The owner configures an easy handle, adds it, and is called once when its transfer (or, with
// CURLOPT_CONNECT_ONLY, its connection) is done. The handle stays in the multi handle until multi_remove, as
// CURLOPT_CONNECT_ONLY needs; libcurl no longer watches its socket then, so the owner may. See
// libcurl-multi(3).
//
// In a sandbox some ports are closed to this process. multi_connect has the broker make a connection to such
// a port, and gives it to libcurl as one that is connected already; all else is as ever.
#ifndef OUTTRAY_AGENT_BASE_MULTI_H
#define OUTTRAY_AGENT_BASE_MULTI_H

#include "broker.h"
#include "loop.h"
#include "sandbox.h"
#include <curl/curl.h>

struct multi;

struct multi_transfer {
    CURL *easy; // NULL while not added
    void (*done)(struct multi_transfer *transfer, CURLcode result);
    void *arg;
    bool brokered; // by multi_connect: what follows is in use
    struct multi *multi;
    struct loop_watch answer;    // of the broker
    int socket;                  // from the broker, until libcurl takes it; -1
    char error[CURL_ERROR_SIZE]; // why the broker made no connection; "" where that is not so
    int os_error;                // and its errno
};

int multi_new(struct loop *loop, struct multi **ret_multi);
void multi_free(struct multi *multi); // takes NULL; all transfers must have been removed

// In a sandbox, entered as these say: what it closes is the broker's from now on. All are borrowed.
void multi_set_broker(struct multi *multi, const struct broker *broker, const struct sandbox *sandbox,
    const struct sandbox_state *walls);

// Adds easy (borrowed; its CURLOPT_PRIVATE is used by this module). 0 or negative errno.
int multi_add(struct multi *multi, struct multi_transfer *transfer, CURL *easy,
    void (*done)(struct multi_transfer *, CURLcode), void *arg);
// The same for a handle that connects to this host and port, which the broker does where the sandbox does not
// let us. Where it could not, transfer->error holds the words. timeout_ms: of that connecting.
int multi_connect(struct multi *multi, struct multi_transfer *transfer, CURL *easy,
    void (*done)(struct multi_transfer *, CURLcode), void *arg, const char *host, uint16_t port,
    int64_t timeout_ms);
void multi_remove(struct multi *multi,
    struct multi_transfer *transfer); // no-op while not added; done is not called any more

#endif
