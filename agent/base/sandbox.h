// The agent's sandbox: what this process may do with files, ports and system calls from now on.
//
// Calling sequence: sandbox_init; sandbox_add_… what is needed; sandbox_enter before the first thread (both
// walls hold for the calling thread and those that it makes); keep it for sandbox_allows_… at a reload;
// sandbox_release.
//
// The first wall is Landlock (landlock(7)): files below the paths that were added, TCP to the ports that were
// added, no signal and no abstract socket out of the sandbox, each as far as the kernel has it. The second is
// seccomp(2): the system calls of the table in seccomp.c and no others. A kernel that lacks one is told of in
// the state and is no error: the agent works without. Descriptors that are open already are not affected.
#ifndef OUTTRAY_AGENT_BASE_SANDBOX_H
#define OUTTRAY_AGENT_BASE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SANDBOX_PATHS_MAX 65536 // rules of one sandbox: accounts bring their files and ports
#define SANDBOX_PORTS_MAX 4096

// The least ABI of Landlock that is used: before it, no file could be moved from one directory to another.
#define SANDBOX_LANDLOCK_REFER 2
#define SANDBOX_LANDLOCK_TCP   4 // the first one that knows ports

enum sandbox_access {
    SANDBOX_READ,   // read files, list directories
    SANDBOX_WRITE,  // and make, write, move, remove them
    SANDBOX_APPEND, // a directory in which a file is made and written: the log's
};

struct sandbox_path {
    enum sandbox_access access;
    char *path; // absolute; a directory stands for all below it
};

struct sandbox {
    struct sandbox_path *paths;
    size_t n_paths;
    uint16_t *connect, *bind; // TCP ports
    size_t n_connect, n_bind;
    int error; // the first failure to add
};

// What is active, or would be.
struct sandbox_state {
    int landlock; // its ABI; 0: not used
    bool tcp;     // ports are held to the list, too
    bool seccomp;
};

void sandbox_init(struct sandbox *sandbox);
void sandbox_release(struct sandbox *sandbox);
// A path that does not exist when the sandbox is entered is left out. NULL and "" are nothing.
void sandbox_add_path(struct sandbox *sandbox, enum sandbox_access access, const char *path);
void sandbox_add_connect(struct sandbox *sandbox, uint16_t port);
void sandbox_add_bind(struct sandbox *sandbox, uint16_t port);

// Shuts the door. 0 or negative errno: -ENOMEM, or what a system call said that should not fail; *ret_state
// tells what is active in both cases.
int sandbox_enter(const struct sandbox *sandbox, struct sandbox_state *ret_state);
// What this kernel offers, without entering anything.
void sandbox_probe(struct sandbox_state *ret_state);
// "Landlock 7 (files and TCP ports), seccomp": in words, what of it is there.
void sandbox_words(const struct sandbox_state *state, char *words, size_t size);
// Whether one entered as `state` lets the other's wishes pass. The first that it does not is described in
// words, `size` octets; true where all pass. With `broker`, what a broker (broker.h) can hand over counts as
// passing: files to read, the log, connections.
bool sandbox_covers(const struct sandbox *entered, const struct sandbox_state *state,
    const struct sandbox *wanted, bool broker, char *words, size_t size);
// Whether one entered as `state` lets connect(2) have this port.
bool sandbox_connects(const struct sandbox *entered, const struct sandbox_state *state, uint16_t port);
// Whether what was added lets the file at this path be written or made, wherever links lead.
bool sandbox_writes(const struct sandbox *sandbox, const char *path);

// seccomp.c: the second wall alone. 0, -ENOSYS where the kernel or the processor is not known, or an errno.
int seccomp_enter(void);
bool seccomp_is_there(void);

// landlock.c: the first wall alone.
int landlock_abi(void); // 0: none that can be used
int landlock_enter(const struct sandbox *sandbox, int abi);

#endif
