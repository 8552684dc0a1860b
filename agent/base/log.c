// Building and writing log lines.
#include "log.h"
#include "clock.h"
#include "syslog_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

// Octets of "<N>".
#define LEVEL_MARK 3

struct log {
    pthread_mutex_t lock; // guards all down to torn
    int fd;               // -1: syslog only
    bool journal;         // fd leads to the journal: it wants the levels
    struct syslog_socket syslog;
    bool torn; // the last write ended within a line
    _Atomic bool json, levels;
    _Atomic uint64_t lost;
};

static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

// The priorities of syslog(3) for our levels; the marks of sd-daemon(3) are the same numbers.
static const char priorities[] = {
    [LOG_ERROR_LEVEL] = LOG_ERR,
    [LOG_WARNING_LEVEL] = LOG_WARNING,
    [LOG_NOTICE_LEVEL] = LOG_NOTICE,
    [LOG_INFO_LEVEL] = LOG_INFO,
    [LOG_DEBUG_LEVEL] = LOG_DEBUG,
};

// systemd names the journal's stream by device and inode; standard error may have been redirected since.
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat stat;
    unsigned long long device, inode;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &stat) == 0 &&
           stat.st_dev == device && stat.st_ino == inode;
}

// *ret_fd is -1 where the target has no file.
static int log_open_file(const struct log_target *target, int *ret_fd)
{
    *ret_fd = -1;
    if (!*target->file && target->facility != LOG_NO_SYSLOG)
        return 0;
    int fd;
    if (*target->file)
        fd = opener_open(target->opener, target->file, LOG_OPEN_FLAGS, LOG_OPEN_MODE, NULL);
    else if ((fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) < 0)
        fd = -errno;
    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return 0;
}

static void log_aim(struct log *log, const struct log_target *target, int fd)
{
    log->fd = fd;
    log->journal = !*target->file && fd >= 0 && stderr_is_journal();
    log->torn = false;
    syslog_socket_set(&log->syslog, target->facility);
    atomic_store(&log->json, target->json);
    atomic_store(&log->levels, log->journal || target->facility != LOG_NO_SYSLOG);
}

int log_open(const struct log_target *target, struct log **ret_log)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log)
        return -ENOMEM;
    int fd, error = log_open_file(target, &fd);
    if (error) {
        free(log);
        return error;
    }
    syslog_socket_init(&log->syslog);
    log_aim(log, target, fd);
    pthread_mutex_init(&log->lock, NULL);
    *ret_log = log;
    return 0;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    if (log->fd >= 0)
        close(log->fd);
    syslog_socket_set(&log->syslog, LOG_NO_SYSLOG);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

int log_reopen(struct log *log, const struct log_target *target)
{
    int fd, error = log_open_file(target, &fd);
    if (error)
        return error;
    pthread_mutex_lock(&log->lock);
    int old = log->fd;
    log_aim(log, target, fd);
    pthread_mutex_unlock(&log->lock);
    if (old >= 0)
        close(old);
    return 0;
}

void log_lines_init(struct log_lines *lines, const struct log *log)
{
    buffer_init(&lines->text, LOG_LINES_MAX);
    lines->json = atomic_load(&log->json);
    lines->levels = atomic_load(&log->levels);
    lines->first = true;
    lines->start = 0;
    lines->lost = 0;
}

void log_lines_release(struct log_lines *lines)
{
    buffer_release(&lines->text);
}

// Put together piece by piece: a line is written for every message, and formats cost ten times as much.
static void line_key(struct log_lines *lines, const char *key)
{
    size_t length = strlen(key);
    char *start = buffer_reserve(&lines->text, length + 4), *to = start;
    if (!start)
        return;
    if (!lines->first || lines->json)
        *to++ = !lines->json ? ' ' : lines->first ? '{' : ',';
    if (lines->json)
        *to++ = '"';
    to = mempcpy(to, key, length);
    if (lines->json)
        *to++ = '"';
    *to++ = lines->json ? ':' : '=';
    buffer_grew(&lines->text, (size_t)(to - start));
    lines->first = false;
}

// Length of the valid UTF-8 sequence at text, 0 where there is none. Control characters of C1 count as
// invalid.
static size_t utf8_length(const unsigned char *text, size_t left)
{
    size_t n = text[0] >= 0xf0 && text[0] <= 0xf4 ? 4 : text[0] >= 0xe0 ? 3 : text[0] >= 0xc2 ? 2 : 0;
    if (n == 0 || text[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xc2 && text[1] < 0xa0) || (text[0] == 0xe0 && text[1] < 0xa0) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f) ||
        (text[0] == 0xed && text[1] > 0x9f))
        return 0;
    return n;
}

// Marks that change the direction of what follows, and separators that end a line for some readers: valid
// UTF-8, but not what a terminal should get from a stranger.
static bool utf8_misleads(const unsigned char *text)
{
    return text[0] == 0xe2 && ((text[1] == 0x80 && ((text[2] >= 0xa8 && text[2] <= 0xae) || text[2] == 0x8e ||
                                                       text[2] == 0x8f)) ||
                                  (text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9));
}

// How many octets from text on go into a quoted value as they are.
static size_t plain_run(const unsigned char *text, size_t length)
{
    size_t i = 0;
    while (i < length && text[i] >= ' ' && text[i] < 0x7f && text[i] != '"' && text[i] != '\\')
        i++;
    return i;
}

static void line_escaped(struct log_lines *lines, const char *value, size_t length)
{
    const unsigned char *text = (const unsigned char *)value;
    buffer_append(&lines->text, "\"", 1);
    for (size_t i = 0; i < length;) {
        size_t run = plain_run(text + i, length - i);
        if (run) {
            buffer_append(&lines->text, value + i, run);
            i += run;
            continue;
        }
        unsigned char c = text[i];
        size_t n = c < 0x80 ? 1 : utf8_length(text + i, length - i);
        if (c == '"' || c == '\\')
            buffer_format(&lines->text, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            buffer_format(&lines->text, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (c < 0x20 || c == 0x7f || n == 0)
            buffer_format(&lines->text, "\\u%04x", c);
        else if (n == 3 && utf8_misleads(text + i))
            buffer_format(&lines->text, "\\u20%02x", (text[i + 1] & 1) << 6 | (text[i + 2] & 0x3f));
        else
            buffer_append(&lines->text, value + i, n);
        i += n ? n : 1;
    }
    buffer_append(&lines->text, "\"", 1);
}

static bool value_is_plain(const char *value, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f)
            return false;
    }
    return length > 0;
}

void log_line_data(struct log_lines *lines, const char *key, const char *value, size_t length)
{
    if (length > LOG_VALUE_MAX)
        length = LOG_VALUE_MAX;
    line_key(lines, key);
    if (!lines->json && value_is_plain(value, length))
        buffer_append(&lines->text, value, length);
    else
        line_escaped(lines, value, length);
}

void log_line_text(struct log_lines *lines, const char *key, const char *value)
{
    if (value)
        log_line_data(lines, key, value, strlen(value));
}

void log_line_number(struct log_lines *lines, const char *key, int64_t value)
{
    char digits[20]; // of 2^63, and its sign
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        digits[--at] = '-';
    line_key(lines, key);
    buffer_append(&lines->text, digits + at, sizeof digits - at);
}

// Writes value over the last `digits` octets before end.
static void put_digits(char *end, int digits, int value)
{
    for (; digits > 0; digits--, value /= 10)
        *--end = (char)('0' + value % 10);
}

void log_line_begin(struct log_lines *lines, int64_t time, enum log_level level, const char *event)
{
    const char mark[LEVEL_MARK] = {'<', (char)('0' + priorities[level]), '>'};
    struct timespec when = clock_timespec(time);
    struct tm utc;
    char text[] = "YYYY-MM-DDTHH:MM:SS.mmmZ";
    gmtime_r(&when.tv_sec, &utc);
    put_digits(text + 4, 4, utc.tm_year + 1900); // 64 bits of ns end in 2262
    put_digits(text + 7, 2, utc.tm_mon + 1);
    put_digits(text + 10, 2, utc.tm_mday);
    put_digits(text + 13, 2, utc.tm_hour);
    put_digits(text + 16, 2, utc.tm_min);
    put_digits(text + 19, 2, utc.tm_sec);
    put_digits(text + 23, 3, (int)(when.tv_nsec / CLOCK_MS));
    lines->first = true;
    lines->start = lines->text.length;
    if (lines->levels)
        buffer_append(&lines->text, mark, sizeof mark);
    log_line_data(lines, "time", text, sizeof text - 1);
    log_line_text(lines, "event", event);
}

void log_line_end(struct log_lines *lines)
{
    buffer_text(&lines->text, lines->json ? "}\n" : "\n");
    if (buffer_error(&lines->text)) {
        buffer_truncate(&lines->text, lines->start);
        lines->lost++;
    }
    lines->first = true;
    lines->start = lines->text.length;
}

// One write where the kernel allows it. Returns how many octets got through.
static size_t log_put(int fd, const char *text, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t n = write(fd, text + done, length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

// Each line with its level to syslog; how many were lost.
static uint64_t log_send(struct log *log, const struct log_lines *lines)
{
    const char *at = lines->text.data, *end = at + lines->text.length;
    uint64_t lost = 0;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at), mark = lines->levels ? LEVEL_MARK : 0;
        int priority = lines->levels ? at[1] - '0' : LOG_INFO;
        lost += syslog_socket_send(&log->syslog, priority, at + mark, length - mark) < 0;
        at += length + 1;
    }
    return lost;
}

// Takes the marks out of the lines, which a file does not want.
static void lines_unmark(struct log_lines *lines)
{
    char *to = lines->text.data;
    const char *at = to, *end = at + lines->text.length;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop + 1 : end) - at);
        memmove(to, at + LEVEL_MARK, length - LEVEL_MARK);
        to += length - LEVEL_MARK;
        at += length;
    }
    buffer_truncate(&lines->text, (size_t)(to - lines->text.data));
    lines->levels = false;
}

// What was collected to the file or standard error; how many times something was lost.
static uint64_t log_append(struct log *log, const char *text, size_t length)
{
    if (log->torn)
        log->torn = log_put(log->fd, "\n", 1) != 1;
    if (log->torn)
        return 1;
    size_t done = log_put(log->fd, text, length);
    log->torn = done < length && done > 0 && text[done - 1] != '\n';
    return done < length;
}

void log_write(struct log *log, struct log_lines *lines)
{
    uint64_t lost = lines->lost;
    pthread_mutex_lock(&log->lock);
    if (lines->text.length && log->syslog.facility != LOG_NO_SYSLOG)
        lost += log_send(log, lines);
    if (lines->text.length && log->fd >= 0) {
        if (lines->levels && !log->journal)
            lines_unmark(lines);
        lost += log_append(log, lines->text.data, lines->text.length);
    }
    pthread_mutex_unlock(&log->lock);
    atomic_fetch_add(&log->lost, lost);
    buffer_clear(&lines->text);
    lines->json = atomic_load(&log->json);
    lines->levels = atomic_load(&log->levels);
    lines->first = true;
    lines->start = 0;
    lines->lost = 0;
}

uint64_t log_lost(const struct log *log)
{
    return atomic_load(&log->lost);
}

void log_event(struct log *log, enum log_level level, const char *event, const char *msg, ...)
{
    struct log_lines lines;
    log_lines_init(&lines, log);
    log_line_begin(&lines, clock_wall(), level, event);
    log_line_text(&lines, "level", log_level_name(level));
    log_line_text(&lines, "msg", msg);
    va_list pairs;
    va_start(pairs, msg);
    for (const char *key; (key = va_arg(pairs, const char *));)
        log_line_text(&lines, key, va_arg(pairs, const char *));
    va_end(pairs);
    log_line_end(&lines);
    log_write(log, &lines);
    log_lines_release(&lines);
}
