// The process that runs hooks: forked before the agent shuts its sandbox, since the agent itself cannot exec.
//
// They talk over a SOCK_SEQPACKET pair in whole packets: a request to run one program, and later a reply with
// what became of it. The helper trusts the requests, which come from the agent's configuration, and bounds
// everything else: HOOK_RUNNING_MAX programs at a time (the agent sends no more), each for its timeout, then
// SIGTERM to its process group and HOOK_KILL_NS later SIGKILL. A program starts without a shell, in a session
// of its own, in /, with a clean environment (PATH, HOME, LANG, OUTTRAY_EVENT), the request's input on
// standard input, and its output collected up to HOOK_WORDS_MAX octets.
//
// The helper ends when the agent's end of the pair is closed, or the agent dies: what runs then may take
// HOOK_GRACE_NS more.
#ifndef OUTTRAY_AGENT_OBSERVE_HOOK_HELPER_H
#define OUTTRAY_AGENT_OBSERVE_HOOK_HELPER_H

#include "agent/base/clock.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOOK_RUNNING_MAX 4
#define HOOK_PACKET_MAX  (128 * 1024) // octets of one request
#define HOOK_ARGV_MAX    64
#define HOOK_WORDS_MAX   512
#define HOOK_KILL_NS     (2 * CLOCK_SECOND)
#define HOOK_GRACE_NS    (5 * CLOCK_SECOND)

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

// Forks the helper. The agent's end of the pair, non-blocking, and the helper's process id. 0 or negative
// errno. To be called while there is one thread and nothing open that must not stay open for the helper's
// life is needed: it closes all but its own descriptors.
int hook_helper_start(int *ret_fd, pid_t *ret_pid);

#endif
