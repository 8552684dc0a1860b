// nullmailer's waiting mail: QUEUE/queue/NAME holds the envelope sender, a recipient a line, an empty line
// and the message (nullmailer-queue(8)). Each file becomes a message of the spool, with a key made of what it
// is, so that a second run queues nothing twice, and is removed once that is durable.
#include "agent/cli/import.h"
#include "agent/cli/submit_file.h"
#include "agent/cli/submit_key.h"

#include "agent/base/clock.h"
#include "spool-format/address.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MESSAGE_MAX ((size_t)512 * 1024 * 1024)

struct waiting {
    const struct cli_verb *verb;
    const struct config *config;
    const struct config_tenant *tenant;
    int spool_fd;
    struct spool_tenant *spool;
    size_t queued, known, bad;
};

static int read_all(int fd, struct buffer *out)
{
    for (;;) {
        char *to = buffer_reserve(out, 65536);
        ssize_t n = to ? TEMP_FAILURE_RETRY(read(fd, to, 65536)) : -1;
        if (n <= 0)
            return n == 0 ? 0 : to ? -errno : buffer_error(out);
        buffer_grew(out, (size_t)n);
    }
}

// The envelope as X-Sender and X-Receiver lines. NULL and *ret_body, or why the file is none.
static const char *convert_envelope(char *text, struct buffer *out, char **ret_body)
{
    char *at = text, *line = import_next_line(&at);
    size_t recipients = 0;
    if (!line || (*line && address_problem(line)))
        return "its first line is no sender";
    buffer_format(out, "X-Sender: <%s>\n", line);
    while ((line = import_next_line(&at)) && *line) {
        if (address_problem(line))
            return "a line of its envelope is no address";
        buffer_format(out, "X-Receiver: <%s>\n", line);
        recipients++;
    }
    *ret_body = at;
    return !recipients ? "it names no recipient" : !line ? "it has no message" : NULL;
}

// The key is the message's own, as for every submission, else made of what the file is.
static const char *choose_key(
    struct submit_key *key, const char *name, const struct stat *stat, const char *body, size_t length)
{
    char made[KEY_MAX + 1];
    struct header_block *block = NULL;
    int n = snprintf(made, sizeof made, "nullmailer %.100s %" PRIu64 " %" PRId64, name,
        (uint64_t)stat->st_ino, clock_ns(&stat->st_mtim));
    for (int i = 0; i < n; i++)
        if ((unsigned char)made[i] < ' ' || made[i] == 0x7F)
            made[i] = '?';
    int r = header_block_parse(body, length, true, MESSAGE_MAX, &block);
    if (r)
        return r == -ENOMEM ? "out of memory" : "its header is too long";
    const char *problem = submit_key_choose(key, NULL, block);
    if (!problem && !key->text)
        problem = submit_key_choose(key, made, block);
    header_block_free(block);
    return problem;
}

static int submit(struct waiting *w, const struct submit_key *key, const struct buffer *head,
    const char *body, size_t length)
{
    struct submit_file file;
    enum submit_step step;
    char found[SPOOL_NAME_SIZE];
    ino_t inode;
    int r = submit_key_find(key, w->config, w->spool, found, &inode);
    if (r == 1) {
        w->known++;
        return 0;
    }
    if (!r)
        r = submit_file_create(&file, w->spool_fd, w->tenant->name, &step);
    if (r)
        return r;
    file.wanted = key->name;
    r = submit_file_write(&file, head->data, head->length);
    if (!r)
        r = submit_file_write(&file, body, length);
    if (!r)
        r = submit_file_commit(&file);
    submit_file_release(&file);
    w->queued += !r;
    w->known += r == -EEXIST; // somebody was quicker with this key
    return r == -EEXIST ? 0 : r;
}

static int queue_text(
    struct waiting *w, int dir, const char *name, const struct stat *stat, struct buffer *text)
{
    struct submit_key key = {0};
    struct buffer head;
    char *body = NULL;
    buffer_init(&head, IMPORT_FILE_MAX);
    const char *problem =
        text->data && text->length ? convert_envelope(text->data, &head, &body) : "it is empty";
    size_t length = body ? text->length - (size_t)(body - text->data) : 0;
    if (!problem)
        problem = choose_key(&key, name, stat, body, length);
    if (!problem && key.given)
        buffer_format(&head, "X-Outtray-Key: %s\n", key.text);
    int r = problem ? 0 : buffer_error(&head);
    if (problem) {
        w->bad++;
        cli_fail(w->verb, 0, "%s stays where it is: %s", name, problem);
    } else if (!r) {
        r = submit(w, &key, &head, body, length);
        if (!r && unlinkat(dir, name, 0) < 0)
            r = -errno;
    }
    submit_key_release(&key);
    buffer_release(&head);
    return r;
}

// One file of the queue. 0, or the negative errno that ends the work.
static int queue_one(struct waiting *w, int dir, const char *name)
{
    struct stat stat;
    struct buffer text;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == ENXIO ? 0 : -errno;
    if (fstat(fd, &stat) || !S_ISREG(stat.st_mode)) {
        close(fd);
        return 0;
    }
    buffer_init(&text, MESSAGE_MAX);
    int r = read_all(fd, &text);
    close(fd);
    if (!r)
        r = queue_text(w, dir, name, &stat, &text);
    buffer_release(&text);
    return r;
}

static int queue_all(struct waiting *w, const char *directory)
{
    char *path = NULL;
    if (asprintf(&path, "%s/queue", directory) < 0)
        return cli_fail(w->verb, EX_TEMPFAIL, "out of memory");
    DIR *dir = opendir(path);
    int code = EX_OK;
    if (!dir)
        code = cli_fail(w->verb, errno == EACCES ? EX_NOPERM : EX_NOINPUT, "%s: %s", path, strerror(errno));
    for (const struct dirent *entry; dir && !code && (entry = readdir(dir));) {
        int r = entry->d_name[0] == '.' ? 0 : queue_one(w, dirfd(dir), entry->d_name);
        if (r)
            code = cli_fail(w->verb,
                r == -EACCES || r == -EPERM ? EX_NOPERM
                : r == -ENOSPC              ? EX_TEMPFAIL
                                            : EX_IOERR,
                "%s/%s: %s (it stays where it is)", path, entry->d_name, strerror(-r));
    }
    if (dir)
        closedir(dir);
    free(path);
    if (!code || w->queued)
        printf(
            "%zu messages were moved into the spool of %s, %zu were there already, %zu could not be read\n",
            w->queued, w->tenant->name, w->known, w->bad);
    return code ? code : w->bad ? CLI_FINDINGS : EX_OK;
}

int import_queue(const struct cli_verb *verb, const struct config *config, const struct config_tenant *tenant,
    const char *directory)
{
    struct waiting w = {.verb = verb, .config = config, .tenant = tenant};
    int code = EX_OK;
    if (!tenant->envelope_headers)
        return cli_fail(verb, EX_CONFIG,
            "the envelopes need X-Receiver lines, and tenant %s has envelope_headers: false", tenant->name);
    w.spool_fd = cli_open_spool(verb, config, &code);
    if (w.spool_fd < 0)
        return code;
    int r = spool_tenant_open(w.spool_fd, tenant->name, NULL, false, &w.spool, NULL);
    code = r ? cli_fail(verb, r == -EACCES ? EX_NOPERM : EX_CANTCREAT,
                   "the spool of %s: %s (make it with `outtray init`)", tenant->name, strerror(-r))
             : queue_all(&w, directory);
    spool_tenant_close(w.spool);
    close(w.spool_fd);
    return code;
}
