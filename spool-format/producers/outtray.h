/*
 * Puts mail into an outtray spool (SPOOL.md) from C (C99, POSIX 2008). Copy this file. License: Apache-2.0.
 *
 * outtray_submit(directory, name, message, length) writes a message into the spool of the tenant whose
 * directory that is, such as /var/spool/outtray/acme. name is OUTTRAY_NAME_SIZE octets: "" asks for one to be
 * made there. 0 once the message is on the disk: it will not be lost. -1 and errno: nothing was accepted and
 * nothing is left behind; only where new/ cannot be synced may the message go out all the same. A longer
 * message goes in pieces:
 *
 *   struct outtray_message m;
 *   if (outtray_begin(&m, directory, name) == 0) {
 *       while (outtray_write(&m, piece, length) == 0 && ...) { ... }
 *       outtray_commit(&m);      // or outtray_abort(&m); one of them always
 *   }
 *
 * outtray_write remembers an error, which outtray_commit then returns: it need not be looked at each time.
 *
 * Usage:
 *   #define _POSIX_C_SOURCE 200809L
 *   #include "outtray.h"
 *   int main(int argc, char **argv)
 *   {
 *       char name[OUTTRAY_NAME_SIZE], buffer[65536];
 *       struct outtray_message m;
 *       size_t n;
 *       snprintf(name, sizeof name, "%s", argc > 2 ? argv[2] : "");
 *       if (argc != 3 || !outtray_name_is_valid(argv[2]) || outtray_begin(&m, argv[1], name) < 0)
 *           return perror("not accepted"), 1;
 *       while ((n = fread(buffer, 1, sizeof buffer, stdin)) > 0)
 *           outtray_write(&m, buffer, n);
 *       if (ferror(stdin))
 *           return outtray_abort(&m), perror("standard input"), 1;
 *       if (outtray_commit(&m) < 0)
 *           return perror("not accepted"), 1;
 *       return 0;
 *   }
 */
#ifndef OUTTRAY_H
#define OUTTRAY_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OUTTRAY_NAME_SIZE 201 /* octets of a name, with its NUL */

struct outtray_message {
    char name[OUTTRAY_NAME_SIZE];
    int dir_tmp, dir_new, fd;
    int error; /* the first errno of a write, or 0 */
};

/* Which names a message may have. */
static inline int outtray_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length >= OUTTRAY_NAME_SIZE || name[0] == '.' ||
        (length >= 7 && strcmp(name + length - 7, ".status") == 0))
        return 0;
    for (; *name; name++)
        if ((unsigned char)*name < 32 || *name == 127 || *name == '/')
            return 0;
    return 1;
}

/* A name as maildir has them: time, microseconds, process, random number, host. */
static inline int outtray_make_name(char name[OUTTRAY_NAME_SIZE])
{
    char host[65] = "";
    struct timespec now;
    uint32_t number;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, &number, sizeof number);
    if (fd >= 0)
        close(fd);
    if (n != (ssize_t)sizeof number || clock_gettime(CLOCK_REALTIME, &now) < 0)
        return -1;
    if (gethostname(host, sizeof host - 1) < 0 || !host[0])
        memcpy(host, "localhost", sizeof "localhost");
    for (char *at = host; *at; at++)
        if ((unsigned char)*at <= 32 || *at == 127 || *at == '/' || *at == ':' || *at == '~')
            *at = '_';
    snprintf(name, OUTTRAY_NAME_SIZE, "%lld.M%06ldP%ldR%08lx.%s", (long long)now.tv_sec, now.tv_nsec / 1000,
        (long)getpid(), (unsigned long)number, host);
    return 0;
}

static inline void outtray_close(struct outtray_message *m)
{
    int error = errno, fds[] = {m->fd, m->dir_tmp, m->dir_new};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    m->fd = m->dir_tmp = m->dir_new = -1;
    errno = error;
}

/* Gives the message up. Keeps errno. */
static inline void outtray_abort(struct outtray_message *m)
{
    int error = errno;
    unlinkat(m->dir_tmp, m->name, 0);
    outtray_close(m);
    errno = error;
}

static inline int outtray_begin(
    struct outtray_message *m, const char *directory, char name[OUTTRAY_NAME_SIZE])
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    int root;
    m->dir_tmp = m->dir_new = m->fd = -1;
    m->error = 0;
    if (!name[0] && outtray_make_name(name) < 0)
        return -1;
    if (!outtray_name_is_valid(name)) {
        errno = EINVAL;
        return -1;
    }
    memcpy(m->name, name, strlen(name) + 1);
    root = open(directory, flags);
    if (root < 0)
        return -1;
    m->dir_tmp = openat(root, "tmp", flags);
    m->dir_new = m->dir_tmp < 0 ? -1 : openat(root, "new", flags);
    if (m->dir_new >= 0)
        m->fd = openat(m->dir_tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (m->fd < 0)
        outtray_close(m);
    int error = errno;
    close(root);
    errno = error;
    return m->fd < 0 ? -1 : 0;
}

static inline int outtray_write(struct outtray_message *m, const void *data, size_t length)
{
    const char *at = (const char *)data;
    while (!m->error && length > 0) {
        ssize_t n = write(m->fd, at, length);
        if (n < 0 && errno != EINTR)
            m->error = errno;
        at += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
    errno = m->error;
    return m->error ? -1 : 0;
}

/* 0 once the message is accepted. Whatever the result, m is done with. */
static inline int outtray_commit(struct outtray_message *m)
{
    int result = m->error ? -1 : fsync(m->fd), fd = m->fd;
    if (m->error)
        errno = m->error;
    m->fd = -1;
    if (result < 0) {
        int error = errno;
        close(fd);
        errno = error;
    } else {
        result = close(fd);
    }
    if (result == 0)
        result = linkat(m->dir_tmp, m->name, m->dir_new, m->name, 0); /* fails where the name is taken */
    int error = errno;
    unlinkat(m->dir_tmp, m->name, 0);
    errno = error;
    if (result == 0)
        result = fsync(m->dir_new); /* accepted */
    outtray_close(m);
    return result;
}

static inline int outtray_submit(
    const char *directory, char name[OUTTRAY_NAME_SIZE], const void *message, size_t length)
{
    struct outtray_message m;
    if (outtray_begin(&m, directory, name) < 0)
        return -1;
    outtray_write(&m, message, length);
    return outtray_commit(&m);
}

#endif
