// A message on its way into a spool, as SPOOL.md tells producers: tmp/NAME, fsync, rename into new/, fsync
// new/.
#ifndef OUTTRAY_AGENT_CLI_SUBMIT_FILE_H
#define OUTTRAY_AGENT_CLI_SUBMIT_FILE_H

#include "spool-format/name.h"
#include <stdint.h>

struct submit_file {
    int tmp, new; // directories
    int fd;       // tmp/NAME, open for reading and writing
    char name[SPOOL_NAME_SIZE];
    uint64_t length; // octets written
    bool there;      // tmp/NAME exists
    const char
        *wanted; // borrowed: the name in new/; NULL: the one it has in tmp/, or another where that is taken
};

enum submit_step { SUBMIT_STEP_OPEN, SUBMIT_STEP_CREATE };

// Opens the tenant's tmp and new below the spool and makes an empty tmp/NAME with a name of its own. 0 or
// negative errno, with the step that failed.
int submit_file_create(
    struct submit_file *file, int spool_fd, const char *tenant, enum submit_step *ret_step);
// 0, or write(2)'s error.
int submit_file_write(struct submit_file *file, const void *data, size_t length);
// Makes the message durable in new/: after 0 it is accepted. Negative errno otherwise; -EEXIST where the name
// that was wanted is taken.
int submit_file_commit(struct submit_file *file);
// Closes what is open, and removes tmp/NAME where it was not committed.
void submit_file_release(struct submit_file *file);

#endif
