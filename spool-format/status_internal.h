// What the files of the status module share with each other and with the spool module; nobody else includes
// it.
#ifndef OUTTRAY_SPOOL_FORMAT_STATUS_INTERNAL_H
#define OUTTRAY_SPOOL_FORMAT_STATUS_INTERNAL_H

#include "status.h"

// What makes a file on disk the message that a status speaks of.
struct status_identity {
    uint64_t inode;
    uint64_t size;
    struct timespec born; // zero where the file system does not tell
};

// Opens dir/NAME.status for reading: the fd and its facts, or negative errno.
struct stat;
int status_open(int dir, const char *name, struct stat *ret_st);

// Parses the file from its start; -EBADMSG where it is no status.
int status_parse(int fd, struct status **ret_status);

// A decimal number and nothing else; -EBADMSG.
int status_number_parse(const char *value, uint64_t *ret_number);

// status_peek with all of the identity.
int status_peek_identity(int dir, const char *name, struct status_identity *ret_identity);

// The identity of a file: of dir/name, or of dir itself where name is "".
int status_file_identity(int dir, const char *name, struct status_identity *ret_identity);

// The temporary of status_write: ".INODE.status.tmp". Named by inode, since two agents can hold messages of
// one name but not of one inode, and recovery finds it without reading the directory.
#define STATUS_TEMPORARY_SIZE 40
void status_temporary(uint64_t inode, char ret_name[static STATUS_TEMPORARY_SIZE]);

const char *status_state_name(enum status_state state);

#endif
