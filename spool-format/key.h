// Keys: which message of a tenant was the first with its X-Outtray-Key.
//
// T/.keys/DIGEST is a small text file that says which message that was: its name, inode and birth time, and
// when it was claimed. The digest (of the key, chosen by the caller) is a file name. A record is made before
// its message goes on the wire and after its message is durable, so it never outlives a message that a power
// cut takes; who finds a record of another message is a repeat. Records older than a time of the caller's
// choice count as none, and are removed by spool_keys_expire. All calls return 0 or negative errno unless
// said otherwise.
#ifndef OUTTRAY_SPOOL_FORMAT_KEY_H
#define OUTTRAY_SPOOL_FORMAT_KEY_H

#include "spool.h"

#define SPOOL_KEYS       ".keys"
#define SPOOL_KEY_DIGEST 65 // octets of a digest as text, with its NUL: SHA-256 in hexadecimal

struct spool_key {
    struct timespec at; // when it was claimed (wall clock, full seconds)
    uint64_t inode;
    struct timespec born; // zero where the file system does not know
    char name[SPOOL_NAME_SIZE];
};

// Reads a record. -ENOENT where there is none; -EBADMSG where it is none.
int spool_key_read(const struct spool_tenant *tenant, const char *digest, struct spool_key *ret_key);

// Makes key the record of digest, durably, unless there is one of another message that is not older than
// `since`. 1 where key is the first or was it already; 0 and *ret_first where another message was.
int spool_key_claim(const struct spool_tenant *tenant, const char *digest, const struct spool_key *key,
    time_t since, struct spool_key *ret_first);

// Removes what is older than `since`, and temporaries that a crash left. What cannot be read stays.
int spool_keys_expire(const struct spool_tenant *tenant, time_t since);

#endif
