// Running hooks, in the helper process (agent/delivery/helper.h), since the agent itself cannot exec.
//
// They come over a SOCK_SEQPACKET pair in whole packets: a request to run one program, and later a reply with
// what became of it. A program is run only where `may_run` says that the configuration names it: the agent's
// word does not count. HOOK_RUNNING_MAX run at a time, each for its timeout, then SIGTERM to its process
// group and HOOK_KILL_NS later SIGKILL; what comes meanwhile waits. A program starts without a shell, in a
// session of its own, in /, with a clean environment (PATH, HOME, LANG, OUTTRAY_EVENT), the request's input
// on standard input, and its output collected up to HOOK_WORDS_MAX octets.
//
// When the agent is gone, what waits is still run, all of it within one timeout, and at most HOOK_LEFT_NS,
// from then on.
#ifndef OUTTRAY_AGENT_OBSERVE_HOOK_HELPER_H
#define OUTTRAY_AGENT_OBSERVE_HOOK_HELPER_H

#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOOK_RUNNING_MAX      6
#define HOOK_PACKET_MAX       (128 * 1024) // octets of one request
#define HOOK_ARGV_MAX         64
#define HOOK_WORDS_MAX        512
#define HOOK_KILL_NS          (2 * CLOCK_SECOND)
#define HOOK_LEFT_NS          (60 * CLOCK_SECOND) // from the agent's end on, where the timeout is longer
#define HOOK_WAITING_MAX      4096                // requests that wait
#define HOOK_WAITING_SIZE_MAX (32 * 1024 * 1024)  // octets of them

struct hook_request { // followed by event NUL, argv each with its NUL, then the input
    uint32_t id, timeout_ms;
    uint32_t n_argv;
    uint32_t texts_size; // octets of event and argv
    uint32_t input_size;
};

struct hook_reply {
    uint32_t id;
    int32_t status; // as of waitpid(2); -1: it could not be started, words say why
    uint32_t ms;
    bool timed_out;
    char words[HOOK_WORDS_MAX]; // the beginning of what it printed
};

struct hook_running { // one program
    struct hook_helper *helper;
    pid_t pid; // also its process group; 0: this place is free
    uint32_t id;
    int64_t started, due; // due: SIGTERM, then SIGKILL
    bool terminated, timed_out;
    struct loop_watch input, output; // pipes
    char *text;                      // the whole packet; its end is what is written to input
    size_t left, at;                 // of the input
    char words[HOOK_WORDS_MAX];
    size_t n_words;
};

struct hook_waiting { // a request that waits for a place
    struct hook_waiting *next;
    size_t size;
    char packet[];
};

struct hook_helper {
    struct loop *loop;
    int socket;
    struct loop_watch requests;
    struct loop_timer clock;
    // Whether the configuration names this program for this event.
    bool (*may_run)(const char *event, char *const argv[], void *arg);
    void *arg;
    bool closed;     // the agent is gone
    int64_t gone_at; // since then
    struct hook_running running[HOOK_RUNNING_MAX];
    struct hook_waiting *first, **end;
    unsigned n_waiting;
    size_t size_waiting;
    char packet[HOOK_PACKET_MAX];
};

// socket: the helper's end, taken over. may_run and arg are set before. 0 or negative errno.
int hook_helper_start(struct hook_helper *helper, struct loop *loop, int socket);
void hook_helper_close(struct hook_helper *helper); // the agent is gone
void hook_helper_reap(struct hook_helper *helper);  // a child ended
bool hook_helper_is_idle(const struct hook_helper *helper);

#endif
