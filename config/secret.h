// A secret: bytes that must not outlive their use and must not be seen.
//
// Every password, token and key of the program is held in a struct secret. It has no printing function; its
// memory is wiped when it is released, replaced or grown (explicit_bzero(3)), left out of core dumps
// (MADV_DONTDUMP) and kept out of swap space (mlock(2)) as far as RLIMIT_MEMLOCK goes; secret_can_lock asks
// whether it does. The text is NUL-terminated for libraries that want a C string; length excludes the NUL.
//
// Calling sequence: secret_init; secret_set or secret_read_file any number of times; secret_release. A zeroed
// struct counts as initialized. secret_release takes a half-built one.
#ifndef OUTTRAY_CONFIG_SECRET_H
#define OUTTRAY_CONFIG_SECRET_H

#include "opener.h"
#include <stdbool.h>
#include <stddef.h>

// No secret we know of is longer: tokens reach 8 kB, service account files 4 kB. Unit: octets.
#define SECRET_SIZE_MAX 65536

struct secret {
    char *text;    // owned; NULL while empty
    size_t length; // octets, without the NUL
};

void secret_init(struct secret *secret);
void secret_release(struct secret *secret);

// Copies length octets. 0, -E2BIG above SECRET_SIZE_MAX, -ENOMEM; untouched on failure.
int secret_set(struct secret *secret, const char *text, size_t length);

// Whether the memory of n more secrets of usual length could be locked now.
bool secret_can_lock(size_t n);

// Reads a secret file: opened with O_NOFOLLOW, a regular file, owned by the caller or root, mode & 077 == 0;
// one final line end is dropped. A relative path is looked up in $CREDENTIALS_DIRECTORY (systemd's
// LoadCredential), and so is an absolute path that does not exist, by its last component; files there are
// exempt from the mode check. What this process may not open is left to opener, where there is one. 0 or
// negative errno: -ENOENT, -EACCES, -ELOOP (symlink), -EPERM (owner or mode), -EINVAL (not regular, empty,
// NUL inside), -E2BIG. secret_problem() says it in words with the way out.
int secret_read_file(struct secret *secret, const char *path, const struct opener *opener);

// Checks what secret_read_file would do without reading the content. Same results.
int secret_check_file(const char *path);

// The words for a result of the two above: a constant text such as "must be owned by you or root, with mode
// 0600".
const char *secret_problem(int error);

#endif
