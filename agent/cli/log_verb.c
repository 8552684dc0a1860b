// `outtray log`: the log, filtered, and followed across rotations.
#include "agent/base/clock.h"
#include "agent/cli/cli.h"
#include "agent/cli/log_filter.h"
#include "agent/cli/verbs.h"
#include "config/units.h"
#include "spool-format/status.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_OCTETS (4 * 1024 * 1024) // what is longer is cut into pieces
#define READ_OCTETS     65536
#define FOLLOW_LINES    10   // shown before following
#define FOLLOW_POLL_MS  1000 // looks for what no event told
#define LINES_MAX       1000000

struct log_verb {
    const struct cli_verb *verb;
    struct log_filter filter;
    bool json, follow;
    size_t last;    // show only so many lines; SIZE_MAX: all
    char **ring;    // of the last lines that fit
    size_t n, next; // lines in the ring, and its next place
    bool fitted;    // a line was chosen
    bool live;      // the ring was shown: lines are printed at once
};

struct tail {
    const char *path; // NULL: standard input
    int fd;
    ino_t inode;
    struct buffer line; // begun and not ended yet
};

static int print_line(const struct log_verb *log, const char *line, const json_t *parsed)
{
    if (log->json && parsed) {
        (void)json_dumpf(parsed, stdout, JSON_COMPACT);
        (void)fputc('\n', stdout);
    } else if (!log->json) {
        (void)fputs(line, stdout);
        (void)fputc('\n', stdout);
    }
    return ferror(stdout) ? -EIO : 0;
}

static int keep_line(struct log_verb *log, const char *line)
{
    char *copy = strdup(line);
    if (!copy)
        return -ENOMEM;
    free(log->ring[log->next]);
    log->ring[log->next] = copy;
    log->next = (log->next + 1) % log->last;
    log->n += log->n < log->last;
    return 0;
}

static int one_line(struct log_verb *log, const char *line)
{
    json_t *parsed = log->json || !log_filter_is_empty(&log->filter) ? log_filter_parse(line) : NULL;
    bool fits = log_filter_is_empty(&log->filter) || (parsed && log_filter_fits(&log->filter, parsed));
    int r = 0;
    log->fitted = log->fitted || fits;
    if (fits && (log->live || log->last == SIZE_MAX))
        r = print_line(log, line, parsed);
    else if (fits && log->last > 0)
        r = keep_line(log, line);
    json_decref(parsed);
    return r;
}

// What is in the file up to its present end. 0 or negative errno.
static int read_all(struct log_verb *log, struct tail *tail)
{
    char data[READ_OCTETS];
    for (;;) {
        ssize_t n = TEMP_FAILURE_RETRY(read(tail->fd, data, sizeof data));
        if (n <= 0)
            return n < 0 ? -errno : 0;
        for (const char *at = data, *end = data + n; at < end;) {
            const char *newline = memchr(at, '\n', (size_t)(end - at));
            size_t length = (size_t)((newline ? newline : end) - at);
            bool full = buffer_append(&tail->line, at, length) < 0;
            int r = newline || full ? one_line(log, tail->line.data ? tail->line.data : "") : 0;
            if (r < 0)
                return r;
            if (newline || full)
                buffer_clear(&tail->line);
            at += length + (newline != NULL);
        }
    }
}

static int tail_open(struct tail *tail)
{
    struct stat stat;
    int fd = open(tail->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &stat) < 0) {
        int error = -errno;
        if (fd >= 0)
            close(fd);
        return error;
    }
    if (tail->fd >= 0)
        close(tail->fd);
    tail->fd = fd;
    tail->inode = stat.st_ino;
    return 0;
}

// Another file has the name, and something is in it: the agent has gone over to it. Or ours was cut off.
static int look_for_rotation(struct log_verb *log, struct tail *tail)
{
    struct stat there, ours;
    if (fstat(tail->fd, &ours) == 0 && ours.st_size < lseek(tail->fd, 0, SEEK_CUR)) {
        buffer_clear(&tail->line);
        return lseek(tail->fd, 0, SEEK_SET) < 0 ? -errno : 1;
    }
    if (stat(tail->path, &there) < 0 || there.st_ino == tail->inode || there.st_size == 0)
        return 0;
    int r = read_all(log, tail); // the last lines of the old one
    if (r == 0)
        r = tail_open(tail);
    if (r == 0)
        buffer_clear(&tail->line);
    return r < 0 && r != -ENOENT ? r : r == 0;
}

static int follow(struct log_verb *log, struct tail *tail)
{
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    char *copy = strdup(tail->path);
    int notify = copy ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
    if (notify >= 0)
        (void)inotify_add_watch(notify, dirname(copy), IN_MODIFY | IN_CREATE | IN_MOVED_TO);
    free(copy);
    int r = 0;
    while (r >= 0) {
        struct pollfd waiting = {.fd = notify, .events = POLLIN};
        (void)fflush(stdout);
        if (ferror(stdout))
            break;
        (void)poll(&waiting, notify >= 0, FOLLOW_POLL_MS);
        while (notify >= 0 && read(notify, events, sizeof events) > 0) {
        }
        r = read_all(log, tail);
        if (r >= 0)
            r = look_for_rotation(log, tail);
        if (r > 0)
            r = read_all(log, tail);
    }
    if (notify >= 0)
        close(notify);
    return r;
}

// The lines that were kept, oldest first.
static void show_ring(struct log_verb *log)
{
    for (size_t i = 0; i < log->n; i++) {
        char *line = log->ring[(log->next + log->last - log->n + i) % log->last];
        json_t *parsed = log->json ? log_filter_parse(line) : NULL;
        (void)print_line(log, line, parsed);
        json_decref(parsed);
    }
    log->live = true;
}

static int run(struct log_verb *log, struct tail *tail)
{
    const struct cli_verb *verb = log->verb;
    int r = 0;
    buffer_init(&tail->line, LINE_MAX_OCTETS);
    if (tail->path)
        r = tail_open(tail);
    if (r < 0)
        return cli_fail(verb,
            r == -ENOENT   ? EX_NOINPUT
            : r == -EACCES ? EX_NOPERM
                           : EX_IOERR,
            "the log %s: %s%s", tail->path, strerror(-r),
            r == -ENOENT ? " (no agent has written it yet, or it was moved)" : cli_denied_hint(r));
    r = read_all(log, tail);
    if (r == 0 && tail->line.length && !(log->follow && tail->path))
        r = one_line(log, tail->line.data); // the last one has no line end
    if (r == 0)
        show_ring(log);
    if (r == 0 && !log->fitted && !log_filter_is_empty(&log->filter) && !log->follow)
        (void)fprintf(stderr, "outtray log: no line fits\n");
    if (r == 0 && log->follow && tail->path)
        r = follow(log, tail);
    if (tail->path)
        close(tail->fd);
    buffer_release(&tail->line);
    if (fflush(stdout) != 0 || r == -EIO)
        return EX_IOERR;
    return r < 0
               ? cli_fail(verb, EX_IOERR, "%s: %s", tail->path ? tail->path : "standard input", strerror(-r))
               : EX_OK;
}

// A duration before now, or a time, or a day.
static int parse_since(struct log_verb *log, const char *text)
{
    int64_t ms;
    struct timespec time;
    char day[STATUS_TIME_SIZE];
    if (!text)
        return EX_OK;
    clock_poll();
    if (units_parse_duration(text, &ms) == 0) {
        log->filter.since = clock_wall() - ms * CLOCK_MS;
        return EX_OK;
    }
    (void)snprintf(day, sizeof day, "%sT00:00:00Z", text);
    if (status_time_parse(text, &time) < 0 && status_time_parse(day, &time) < 0)
        return cli_usage(
            log->verb, "--since %s: a duration like 15m or 2d, or a time like 2026-11-23T15:04:05Z", text);
    log->filter.since = clock_ns(&time);
    return EX_OK;
}

static int parse_lines(struct log_verb *log, const char *text)
{
    int64_t count;
    log->last = log->follow ? FOLLOW_LINES : SIZE_MAX;
    if (!text)
        return EX_OK;
    if (units_parse_count(text, &count) < 0 || count > LINES_MAX)
        return cli_usage(log->verb, "-n %s: a number of lines up to %d", text, LINES_MAX);
    log->last = (size_t)count;
    return EX_OK;
}

int cli_log(int argc, char **argv)
{
    struct log_verb log = {.verb = cli_find("log")};
    struct tail tail = {.fd = -1};
    const char *path, *file = NULL, *since = NULL, *lines = NULL;
    const struct cli_option options[] = {
        {.name = "follow", .letter = 'f', .flag = &log.follow},
        {.name = "lines", .letter = 'n', .value = &lines},
        {.name = "since", .value = &since},
        {.name = "tenant", .value = &log.filter.tenant},
        {.name = "account", .value = &log.filter.account},
        {.name = "event", .value = &log.filter.events},
        {.name = "name", .value = &log.filter.name},
        {.name = "recipient", .value = &log.filter.recipient},
        {.name = "json", .flag = &log.json},
        {.name = "file", .value = &file},
        {0},
    };
    const struct config *config = NULL;
    int code;
    if (cli_parse(log.verb, &argc, argv, options, &path, &code) < 0)
        return code;
    if (argc > 1)
        return cli_usage(log.verb, "surplus argument `%s` (--name, --tenant, --recipient choose)", argv[1]);
    code = parse_since(&log, since);
    if (code == EX_OK)
        code = parse_lines(&log, lines);
    if (code != EX_OK)
        return code;
    if (!file) {
        config = cli_load(log.verb, path, false, &code);
        if (!config)
            return code;
        file = config->log.file;
    }
    if (log.last != SIZE_MAX && log.last > 0)
        log.ring = calloc(log.last, sizeof *log.ring);
    tail.path = strcmp(file, "-") == 0 ? NULL : file;
    tail.fd = tail.path ? -1 : STDIN_FILENO;
    if (log.last != SIZE_MAX && log.last > 0 && !log.ring)
        code = cli_fail(log.verb, EX_OSERR, "%s", strerror(ENOMEM));
    else if (!*file)
        code = cli_fail(log.verb, EX_NOINPUT,
            "the configuration names no log.file: the log goes to standard error (with systemd: journalctl "
            "-u "
            "outtray -o cat | outtray log --file -)");
    else
        code = run(&log, &tail);
    for (size_t i = 0; log.ring && i < log.n; i++)
        free(log.ring[i]);
    free(log.ring);
    config_unref(config);
    return code;
}
