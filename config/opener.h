// Opening files that the configuration names in a process that may not open all of them itself.
//
// An agent in its sandbox reaches the files that it knew when it entered. For one that came with a later
// configuration it asks somebody outside; who that is, only the rooms above know. Each account carries the
// opener that its configuration was loaded with (config_checks).
#ifndef OUTTRAY_CONFIG_OPENER_H
#define OUTTRAY_CONFIG_OPENER_H

#include <stdbool.h>
#include <sys/types.h>

struct opener {
    // A descriptor of the file at path that is closed by exec, or negative errno: -EPIPE where nobody can be
    // asked.
    int (*open)(const char *path, void *arg);
    void *arg;
};

// open(2) with these flags, and with this mode for a file that they make. Where the kernel answers EACCES,
// opener is asked; NULL: nobody is. A descriptor, or negative errno. *ret_asked (where not NULL) says whether
// it was asked: then nobody else gets at the file by its path.
int opener_open(const struct opener *opener, const char *path, int flags, mode_t mode, bool *ret_asked);

#endif
