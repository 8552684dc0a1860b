// Asking the helper process for what the sandbox does not let this one have: the broker.
//
// Landlock cannot be widened, so a configuration that was read later may name a port or a file that the agent
// cannot reach. The helper, which was forked before, can. It never takes the agent's word for it: it reads
// the configuration file by itself (broker_load), and from then on hands over what that names and nothing
// else, as a descriptor (SCM_RIGHTS, unix(7)): a connected TCP socket, a file open for reading, the log open
// for appending.
//
// A request is one packet, which brings the socket that the answer comes by. So any thread may ask at any
// time, whoever does not want to wait watches that socket, and a helper that dies closes it.
#ifndef OUTTRAY_AGENT_BASE_BROKER_H
#define OUTTRAY_AGENT_BASE_BROKER_H

#include <stddef.h>
#include <stdint.h>

#define BROKER_TEXT_MAX     4096 // a path or a host, with its NUL
#define BROKER_WORDS_MAX    512
#define BROKER_WAIT_MS      2000   // for a file: the helper does nothing else for longer
#define BROKER_LOAD_WAIT_MS 10000  // for a configuration file
#define BROKER_CONNECT_MS   300000 // no connection is tried for longer

enum broker_kind {
    BROKER_LOAD,    // read the configuration file, beside the one in use
    BROKER_USE,     // what was read last is in use from now on; no answer
    BROKER_FILE,    // text: the path of a file for an account
    BROKER_LOG,     // text: the path of the log
    BROKER_CONNECT, // text: host; port, timeout_ms
};

struct broker_request { // followed by the text with its NUL
    uint32_t kind;
    uint32_t timeout_ms;
    uint16_t port;
};

struct broker_reply { // with a descriptor where error is 0 and one was asked for
    int32_t error;    // 0 or negative errno
    int32_t curl;     // BROKER_CONNECT: libcurl's result
    char words[BROKER_WORDS_MAX];
};

// The agent's end; constant once it is made.
struct broker {
    int fd; // -1: there is no helper
};

// Has the helper read the configuration file, and waits. 0; -EINVAL where it refuses it; -EPIPE where the
// helper is gone or does not answer. `words` (BROKER_WORDS_MAX octets) says why. What is in use stays so
// until broker_use.
int broker_load(const struct broker *broker, char words[static BROKER_WORDS_MAX]);
void broker_use(const struct broker *broker);

// The descriptor of a file of the configuration, or negative errno: -EACCES where it names no such file,
// -EPIPE as above, or what open(2) says there. Waits for up to BROKER_WAIT_MS.
int broker_open(const struct broker *broker, enum broker_kind kind, const char *path);

// Begins to connect. *ret_fd becomes readable when the answer is there, for broker_answer; closing it before
// gives it up. 0 or negative errno: -EAGAIN where too much is asked at a time.
int broker_connect(
    const struct broker *broker, const char *host, uint16_t port, int64_t timeout_ms, int *ret_fd);
// Reads the answer: *ret_reply, and *ret_socket, -1 where none came. A helper that is gone gives an error in
// the reply, as any other. Does not wait.
void broker_answer(int fd, struct broker_reply *ret_reply, int *ret_socket);

// For both ends: one packet with or without (-1) a descriptor. What send(2) and recv(2) return, or negative
// errno; never waits. broker_take closes what is too much; -EMFILE where a packet came whose descriptor found
// no place, so that it is lost, which is no end of the line.
int broker_give(int fd, const void *data, size_t size, int pass);
int broker_take(int fd, void *data, size_t size, int *ret_passed);

#endif
