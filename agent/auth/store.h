// The files of STATE/tokens: small, secret, replaced atomically, owned by whoever owns the state directory.
//
// Names are made of an account and a suffix (".json"). All calls block on the disk.
#ifndef OUTTRAY_AGENT_AUTH_STORE_H
#define OUTTRAY_AGENT_AUTH_STORE_H

#include "agent/base/buffer.h"

#define STORE_DIRECTORY "tokens"
#define STORE_NAME_MAX  200 // octets of a file name

// Opens STATE/tokens, never through a symbolic link; with `make` it is made (0700) where it is missing. 0 and
// *ret_fd, or negative errno.
int store_open(int state_fd, bool make, int *ret_fd);

// Reads a whole file into out (which becomes a secret buffer; its maximum bounds the file). 0; -ENOENT;
// -EPERM (owned by somebody else, or open to others); -EINVAL (no regular file); -E2BIG; other errors of
// open(2) and read(2).
int store_read(int state_fd, const char *account, const char *suffix, struct buffer *out);
// Replaces it durably: temporary, fsync, rename, fsync of the directory. Writers of one file hold the
// account's lock.
int store_write(int state_fd, const char *account, const char *suffix, const void *data, size_t length);
// Removes it durably. -ENOENT where there was none.
int store_remove(int state_fd, const char *account, const char *suffix);
// Takes an OFD lock on it without waiting, making it where it is missing. 0 and *ret_fd, -EAGAIN where
// another process has it.
int store_lock(int state_fd, const char *account, const char *suffix, int *ret_fd);

#endif
