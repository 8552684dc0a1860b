// The spool: one directory per tenant, one directory per state, and the moves between them.
//
// A message's state is the directory it lies in (see SPOOL.md for the table and for what each crash point
// leaves). A struct spool_tenant holds open directories of one tenant as one agent sees it; all calls work
// relative to these, never on paths, and are safe to use from several threads at once, since nothing in it
// changes after opening. The message file itself is never changed. Moves use renameat2(2) with
// RENAME_NOREPLACE: a name that is taken in the target, by a message or by a status file of another message,
// gets the next ~N.
//
// Durability is the caller's: a move is durable after spool_sync of the destination, then of the source
// (fsync(2) on the directory). All calls return 0 or negative errno.
#ifndef OUTTRAY_SPOOL_FORMAT_SPOOL_H
#define OUTTRAY_SPOOL_FORMAT_SPOOL_H

#include "name.h"
#include "status.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum spool_state {
    SPOOL_TMP,
    SPOOL_NEW,
    SPOOL_CUR, // cur/AGENT of the agent that opened the tenant
    SPOOL_DEFERRED,
    SPOOL_SENT,
    SPOOL_FAILED,
    SPOOL_HOLD,
    SPOOL_STATES
};
const char *spool_state_name(enum spool_state state); // "tmp", "new", …

struct spool_tenant {
    char *name;
    char *agent;
    int root;              // fd of the tenant's directory
    int dir[SPOOL_STATES]; // fds (O_DIRECTORY, readable); all on one device
    dev_t dev;             // their st_dev
    ino_t ino[SPOOL_STATES];
    unsigned made; // bits 1u << state of directories that were missing when it was opened; SPOOL_STATES: root
};

// Opens tenant below the spool root (an O_DIRECTORY fd) for agent; makes what is missing where `create`
// (modes of the caller's umask-free choice: tmp and new 2770, the rest 2750). agent NULL: a reader; then
// dir[SPOOL_CUR] is cur itself. Opens with O_NOFOLLOW. -ENOENT, -ENOTDIR, -ELOOP, -EXDEV (a state directory
// on another file system), …; where ret_state is not NULL it names the directory that was at fault
// (SPOOL_STATES for the tenant's own).
int spool_tenant_open(int spool_fd, const char *tenant, const char *agent, bool create,
    struct spool_tenant **ret_tenant, enum spool_state *ret_state);
void spool_tenant_close(struct spool_tenant *tenant); // takes NULL

// 0 while every directory of tenant is still what its path names; 1 where one was replaced (st_dev, st_ino
// differ) or is gone; negative errno where that cannot be found out.
int spool_tenant_stale(int spool_fd, const struct spool_tenant *tenant);

// Locks the open file of a message of new/. Who has the lock has the message: it is not claimed, nor moved by
// outtray's verbs, until the file is closed (flock(2), exclusive). 0, -EWOULDBLOCK where somebody has the
// lock, or another negative errno: this file system may know no locks.
int spool_lock(int fd);

// Moves `from`/name to `to`, under name or its next free variant, which is written to ret_name (may be the
// same array as name). owner identifies the message by inode: a status file in `to` that records this inode
// does not count as taken, and where one is found the message goes next to it. If `to` already has this very
// inode under name or a later variant (a repeated move after a crash), the source name is removed and that
// variant is returned. -ENOENT: somebody else took it. What `name` is, is not looked at: callers see to it
// that it is a regular file.
int spool_move(const struct spool_tenant *tenant, enum spool_state from, const char *name, ino_t owner,
    enum spool_state to, char ret_name[static SPOOL_NAME_SIZE]);

// The same for a message that was looked at since it came to lie in `from` (*known): one link says that `to`
// cannot have it too, and nothing is searched there.
int spool_move_known(const struct spool_tenant *tenant, enum spool_state from, const char *name,
    const struct stat *known, enum spool_state to, char ret_name[static SPOOL_NAME_SIZE]);

// Chooses the name under which spool_move would file the message, for the status that is written before the
// move:
//
//     again: spool_choose(tenant, SPOOL_DEFERRED, name, inode, chosen);
//     r = status_write(tenant->dir[SPOOL_DEFERRED], chosen, status);   // -EEXIST: another agent was faster,
//     goto again spool_move(tenant, SPOOL_CUR, name, inode, SPOOL_DEFERRED, moved);
//
// moved is chosen then, since spool_move follows the status. -EEXIST where every variant is taken.
int spool_choose(const struct spool_tenant *tenant, enum spool_state to, const char *name, ino_t owner,
    char ret_name[static SPOOL_NAME_SIZE]);

// fsync of one state directory.
int spool_sync(const struct spool_tenant *tenant, enum spool_state state);

// Looks for a message with this inode and base name in a state of higher rank than `state` (sent > failed >
// deferred > cur > new): 1 and *ret_state, ret_name where there is one, 0 where not. What the recovery rule
// and a claim of a file with more than one link ask. Moves only ever count variants up, so it looks at name
// and the variants after it, until SPOOL_PROBE_GAP in a row are free, at most SPOOL_PROBE_MAX. cur is looked
// at for this agent only.
#define SPOOL_PROBE_GAP 16
#define SPOOL_PROBE_MAX 4096
int spool_find_higher(const struct spool_tenant *tenant, enum spool_state state, const char *name,
    ino_t inode, enum spool_state *ret_state, char ret_name[static SPOOL_NAME_SIZE]);

// For a message with more than one name: where a state of higher rank has it too, removes `state`/name and
// its status there, durably. 1 where it did, 0 where there was nothing to do. A power cut can leave a message
// that was moved out of failed/ by hand, and then sent, in both.
int spool_settle(const struct spool_tenant *tenant, enum spool_state state, const char *name, ino_t inode);

// Removes `state`/name.status where no message has that name there and the one that it belongs to lies in a
// state of higher rank: what a crash leaves that came after the message's move and before the removal of its
// old status. 1 where it did, 0 where there was nothing to do.
int spool_settle_status(const struct spool_tenant *tenant, enum spool_state state, const char *name);

// Looks in `state` (SPOOL_DEFERRED or SPOOL_FAILED) for the status file of the message that is open as fd,
// under name or a variant next to it: 1, *ret_status and ret_name where there is one, 0 where not. It is the
// message's where inode, size and (where the file system knows it) birth time agree, so that a reused inode
// inherits nothing. What a claim asks: a message that comes back through new/ adopts its orphaned status.
int spool_find_status(const struct spool_tenant *tenant, enum spool_state state, const char *name, int fd,
    struct status **ret_status, char ret_name[static SPOOL_NAME_SIZE]);

// Removes `state`/name.status if it records this inode. 0 also where there is none or it is another
// message's.
int spool_status_remove(
    const struct spool_tenant *tenant, enum spool_state state, const char *name, ino_t inode);

// Recovery of one tenant (call it for one's own agent name before claiming, with the agent's lock held): for
// each message in cur/AGENT: removed where a higher state has the inode, else back to deferred/ where a
// status file with its inode and size lies there, else to new/. Leftover temporaries of its status
// (".INODE.status.tmp") are removed. Directories are synced where something was moved. *ret_returned counts
// messages put back. Entries that are no messages are left alone.
int spool_recover(const struct spool_tenant *tenant, unsigned *ret_returned);

// Where a claimed message (in cur/AGENT) belongs if it is not delivered: SPOOL_DEFERRED where deferred/ holds
// its status (inode and size agree, and birth time where known), else SPOOL_NEW.
enum spool_state spool_origin(const struct spool_tenant *tenant, const char *name, ino_t inode, off_t size);

// The liveness lock SPOOL/.agents/AGENT.lock: an OFD lock (fcntl(2), F_OFD_SETLK) held as long as *ret_fd is
// open. -EAGAIN: an agent of that name runs. .agents and the file are made where missing.
int spool_agent_lock(int spool_fd, const char *agent, int *ret_fd);

// Calls visit for the name of each lock file in .agents, until it returns non-zero, which is then returned.
int spool_agents_visit(int spool_fd, int (*visit)(const char *agent, void *arg), void *arg);

// Whether an agent of that name (NULL: any) holds its lock: 1, 0, or negative errno where that cannot be
// found out. Works without permission to open the lock file (then by /proc/locks), so that a producer may
// ask.
int spool_agent_running(int spool_fd, const char *agent);

#endif
