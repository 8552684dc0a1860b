// The HTTP listener of `metrics.listen`: /metrics, /healthz, /livez and /status.json for monitoring.
//
// It serves what was published last, from a thread of its own: a client that asks often, reads slowly or says
// nothing costs the wire thread nothing, and an agent whose loop hangs is still told of. What is published is
// constant and counted; a request holds it for as long as its answer takes.
//
// Calling sequence: listener_new; listener_publish and listener_listen as often as things change, both from
// one thread that may wait; listener_free. GET and HEAD only, no body is read, connections and their time are
// bounded.
#ifndef OUTTRAY_AGENT_OBSERVE_LISTENER_H
#define OUTTRAY_AGENT_OBSERVE_LISTENER_H

#include "agent/base/buffer.h"
#include "agent/base/log.h"

#define LISTENER_CONNECTIONS 32                  // at a time; more wait in the kernel's queue
#define LISTENER_IDLE_S      10                  // a connection on which nothing moves is closed
#define LISTENER_MEMORY      (size_t)(16 * 1024) // octets of one connection: a request head above it is refused
#define LISTENER_STALE_S     30 // what was published longer ago than this is not healthy any more
#define LISTENER_WORDS_MAX   2048

struct listener;

// What is shown until the next one is published.
struct listener_view {
    int64_t at;                    // clock_work: when it was true
    struct buffer status, metrics; // taken over: empty afterwards
    bool healthy;
    char words[LISTENER_WORDS_MAX]; // of /healthz, without a line end
};

int listener_new(struct log *log, struct listener **ret_listener); // 0 or -ENOMEM; listens nowhere yet
void listener_free(struct listener *listener);                     // takes NULL
void listener_publish(struct listener *listener, struct listener_view *view);

// Listens on "ADDRESS:PORT" or "[ADDRESS]:PORT"; ":PORT" is the loopback address, "" is nowhere. Does nothing
// where that is so already, and tries again what failed: call it every few seconds. Success and a failure
// that is not the last one again are logged. 0 or negative errno.
int listener_listen(struct listener *listener, const char *where);

#endif
