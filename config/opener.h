// Opening files that the configuration names in a process that may not open all of them itself.
//
// An agent in its sandbox reaches the files that it knew when it entered. For one that came with a later
// configuration it asks somebody outside; who that is, only the rooms above know. Each account carries the
// opener that its configuration was loaded with (config_checks).
#ifndef OUTTRAY_CONFIG_OPENER_H
#define OUTTRAY_CONFIG_OPENER_H

struct opener {
    // A descriptor of the file at path that is closed by exec, or negative errno: -EPIPE where nobody can be
    // asked.
    int (*open)(const char *path, void *arg);
    void *arg;
};

// open(2) with these flags, which open for reading. Where the kernel answers EACCES, opener is asked; NULL:
// nobody is. A descriptor, or negative errno.
int opener_open(const struct opener *opener, const char *path, int flags);

#endif
