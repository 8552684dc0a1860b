// The first wall: Landlock by its system calls (landlock(7)); the C library has no wrappers, and the kernel's
// header of the build machine may be older than the kernel that we run on.
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// The same numbers on every processor.
#define LANDLOCK_CREATE_RULESET 444
#define LANDLOCK_ADD_RULE       445
#define LANDLOCK_RESTRICT_SELF  446

#define LANDLOCK_VERSION           1u
#define LANDLOCK_RULE_PATH_BENEATH 1
#define LANDLOCK_RULE_NET_PORT     2

struct ruleset { // struct landlock_ruleset_attr of ABI 6; older kernels take its beginning
    uint64_t files, net, scoped;
};
struct path_rule {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));
struct port_rule {
    uint64_t access, port;
};

// LANDLOCK_ACCESS_FS_…, with the ABI that brought it.
enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_ABI_1 = (1 << 13) - 1,
    FS_REFER = 1 << 13,     // 2
    FS_TRUNCATE = 1 << 14,  // 3
    FS_IOCTL_DEV = 1 << 15, // 5
};
enum { NET_BIND = 1 << 0, NET_CONNECT = 1 << 1 };             // 4
enum { SCOPE_ABSTRACT_UNIX = 1 << 0, SCOPE_SIGNAL = 1 << 1 }; // 6

// Everything that the kernel can refuse is refused, but for these.
static const uint64_t granted[] = {
    [SANDBOX_READ] = FS_READ_FILE | FS_READ_DIR,
    [SANDBOX_WRITE] = FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_TRUNCATE | FS_REMOVE_DIR |
                      FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_REFER,
    [SANDBOX_APPEND] = FS_READ_DIR | FS_WRITE_FILE | FS_MAKE_REG,
};
#define FS_FOR_FILES (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

int landlock_abi(void)
{
    long abi = syscall(LANDLOCK_CREATE_RULESET, NULL, (size_t)0, LANDLOCK_VERSION);
    return abi >= SANDBOX_LANDLOCK_REFER && abi < 1000 ? (int)abi : 0;
}

static struct ruleset landlock_handled(int abi)
{
    return (struct ruleset){
        .files = (uint64_t)FS_ABI_1 | FS_REFER | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0),
        .net = abi >= SANDBOX_LANDLOCK_TCP ? NET_BIND | NET_CONNECT : 0,
        .scoped = abi >= 6 ? SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL : 0,
    };
}

static int landlock_add_path(int ruleset, const struct sandbox_path *path, uint64_t handled)
{
    struct stat stat;
    int fd = -1;
    do // a link is followed: what is read is what it leads to
        fd = open(path->path, O_PATH | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ELOOP))
        return 0; // nothing that could be read
    if (fd < 0)
        return -errno;
    struct path_rule rule = {granted[path->access] & handled, fd};
    int error = fstat(fd, &stat) ? -errno : 0;
    if (!error && !S_ISDIR(stat.st_mode))
        rule.access &= FS_FOR_FILES;
    if (!error && syscall(LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0u))
        error = -errno;
    close(fd);
    return error;
}

static int landlock_add_ports(int ruleset, const uint16_t *ports, size_t n, uint64_t access)
{
    for (size_t i = 0; i < n; i++) {
        struct port_rule rule = {access, ports[i]};
        if (syscall(LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_NET_PORT, &rule, 0u))
            return -errno;
    }
    return 0;
}

int landlock_enter(const struct sandbox *sandbox, int abi)
{
    struct ruleset handled = landlock_handled(abi);
    size_t size = abi >= 6                      ? sizeof handled
                  : abi >= SANDBOX_LANDLOCK_TCP ? 2 * sizeof(uint64_t)
                                                : sizeof(uint64_t);
    int ruleset = (int)syscall(LANDLOCK_CREATE_RULESET, &handled, size, 0u), error = 0;
    if (ruleset < 0)
        return -errno;
    for (size_t i = 0; !error && i < sandbox->n_paths; i++)
        error = landlock_add_path(ruleset, &sandbox->paths[i], handled.files);
    if (!error && handled.net)
        error = landlock_add_ports(ruleset, sandbox->connect, sandbox->n_connect, NET_CONNECT);
    if (!error && handled.net)
        error = landlock_add_ports(ruleset, sandbox->bind, sandbox->n_bind, NET_BIND);
    if (!error && syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0u))
        error = -errno;
    close(ruleset);
    return error;
}
