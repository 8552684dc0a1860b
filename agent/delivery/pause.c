// The files by which an operator pauses accounts (see pause.h).
#include "pause.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"

#include "spool-format/status.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTE_SUFFIX    ".resumed"
#define NAME_SIZE      (PAUSE_ACCOUNT_MAX + 16)
#define DIRECTORY      (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define MODE           0640
#define MODE_DIRECTORY 0750

int pause_open(int state_fd, bool create, int *ret_dir)
{
    bool made = create && mkdirat(state_fd, PAUSE_DIRECTORY, MODE_DIRECTORY) == 0;
    int dir = openat(state_fd, PAUSE_DIRECTORY, DIRECTORY);
    if (dir < 0)
        return -errno;
    if (made && fsync(state_fd)) {
        int error = -errno;
        close(dir);
        return error;
    }
    *ret_dir = dir;
    return 0;
}

// ACCOUNT, or the note's name. Accounts come from the configuration, which knows what a file name is; a
// caller may ask for any.
static int name_of(const char *account, bool note, char ret_name[static NAME_SIZE])
{
    if (!*account || account[0] == '.' || strchr(account, '/') || strlen(account) > PAUSE_ACCOUNT_MAX)
        return -EINVAL;
    (void)snprintf(ret_name, NAME_SIZE, note ? ".%s" NOTE_SUFFIX : "%s", account);
    return 0;
}

// A copy of what fits, on one line; also without blanks where it is one word. A UTF-8 sequence that would be
// cut is left out.
static void clean(char *to, size_t size, const char *from, bool word)
{
    size_t n = 0;
    for (; *from && n + 1 < size; from++) {
        unsigned char c = (unsigned char)*from;
        to[n++] = c < ' ' || c == 127 || (word && c == ' ') ? '_' : *from;
    }
    if (*from)
        while (n > 0 && ((unsigned char)*from & 0xc0) == 0x80)
            from--, n--;
    to[n] = '\0';
}

static int write_line(int dir, const char *name, const struct pause *pause)
{
    char text[PAUSE_LINE_MAX], at[STATUS_TIME_SIZE], by[PAUSE_BY_MAX + 1], reason[PAUSE_REASON_MAX + 1];
    struct timespec time = clock_timespec(pause->at);
    status_time_format(&time, 0, at);
    clean(by, sizeof by, pause->by, true);
    clean(reason, sizeof reason, pause->reason, false);
    int length = snprintf(text, sizeof text, "at=%s by=%s reason=%s\n", at, by, reason);
    return file_replace(dir, name, text, (size_t)length, MODE, FILE_DURABLE);
}

static bool is_full(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

// The file without its line, which is all that fits on a full disk: its existence counts.
static int write_nothing(int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, MODE);
    if (fd < 0)
        return -errno;
    close(fd);
    return fsync(dir) ? -errno : 0;
}

// 1 where it was there. A directory by that name, made by hand, pauses too.
static int remove_file(int dir, const char *name)
{
    int r = unlinkat(dir, name, 0);
    if (r && errno == EISDIR)
        r = unlinkat(dir, name, AT_REMOVEDIR);
    return r == 0 ? 1 : errno == ENOENT ? 0 : -errno;
}

// What people write by hand is taken as the reason, the file's owner as who it was.
static void fill_by_hand(const struct stat *stat, const char *text, struct pause *pause)
{
    const struct passwd *entry = getpwuid(stat->st_uid);
    char number[16];
    (void)snprintf(number, sizeof number, "%u", (unsigned)stat->st_uid);
    clean(pause->by, sizeof pause->by, entry ? entry->pw_name : number, true);
    clean(pause->reason, sizeof pause->reason, text, false);
    pause->at = clock_ns(&stat->st_mtim) / CLOCK_SECOND * CLOCK_SECOND;
}

static bool parse_line(char *text, struct pause *pause)
{
    struct timespec time;
    char *by = strstr(text, " by="), *reason = by ? strstr(by, " reason=") : NULL;
    if (strncmp(text, "at=", 3) != 0 || !reason)
        return false;
    *by = *reason = '\0';
    if (status_time_parse(text + 3, &time) < 0) {
        *by = *reason = ' ';
        return false;
    }
    pause->at = clock_ns(&time);
    clean(pause->by, sizeof pause->by, by + strlen(" by="), true);
    clean(pause->reason, sizeof pause->reason, reason + strlen(" reason="), false);
    return true;
}

static int read_line(int dir, const char *name, struct pause *ret_pause)
{
    char text[PAUSE_LINE_MAX];
    struct stat stat;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = fstat(fd, &stat) ? -1 : S_ISREG(stat.st_mode) ? read(fd, text, sizeof text - 1) : 0;
    int error = n < 0 ? -errno : 0;
    close(fd);
    if (error)
        return error;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (!parse_line(text, ret_pause))
        fill_by_hand(&stat, text, ret_pause);
    return 0;
}

int pause_set(int state_fd, const char *account, const struct pause *pause)
{
    char name[NAME_SIZE], note[NAME_SIZE];
    int dir = -1, error = name_of(account, false, name);
    if (!error)
        error = name_of(account, true, note);
    if (!error)
        error = pause_open(state_fd, true, &dir);
    if (error)
        return error;
    (void)unlinkat(dir, note, 0); // of an earlier resume that no agent has read
    error = write_line(dir, name, pause);
    if (is_full(error) && write_nothing(dir, name) == 0)
        error = 1;
    close(dir);
    return error;
}

int pause_clear(int state_fd, const char *account, const struct pause *note, bool *ret_was)
{
    char name[NAME_SIZE], note_name[NAME_SIZE];
    int dir = -1, error = name_of(account, false, name);
    if (!error)
        error = name_of(account, true, note_name);
    if (!error)
        error = pause_open(state_fd, note != NULL, &dir);
    if (error)
        return error;
    if (note)
        error = write_line(dir, note_name, note);
    bool full = is_full(error); // then the file goes all the same, and the note may have its room
    int was = full || !error ? remove_file(dir, name) : 0;
    if (full)
        error = write_line(dir, note_name, note);
    if (is_full(error) && was > 0)
        error = 0; // nobody will know who it was
    if (was < 0)
        error = was;
    if (!error && fsync(dir))
        error = -errno;
    close(dir);
    if (!error)
        *ret_was = was;
    return error;
}

int pause_get(int state_fd, const char *account, struct pause *ret_pause)
{
    char name[NAME_SIZE];
    int dir = -1, error = name_of(account, false, name);
    if (!error)
        error = pause_open(state_fd, false, &dir);
    if (error)
        return error;
    struct pause pause;
    error = read_line(dir, name, &pause);
    close(dir);
    if (!error)
        *ret_pause = pause;
    return error;
}

int pause_take_note(int state_fd, const char *account, struct pause *ret_note)
{
    char name[NAME_SIZE];
    int dir = -1, error = name_of(account, true, name);
    if (!error)
        error = pause_open(state_fd, false, &dir);
    if (error)
        return error == -ENOENT ? 0 : error;
    struct pause note;
    error = read_line(dir, name, &note);
    if (!error && unlinkat(dir, name, 0))
        error = -errno;
    close(dir);
    if (!error)
        *ret_note = note;
    return error == -ENOENT ? 0 : error ? error : 1;
}

int pause_flush(int state_fd)
{
    int fd = openat(state_fd, PAUSE_FLUSH, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, MODE);
    if (fd < 0)
        return -errno;
    int error = futimens(fd, NULL) ? -errno : 0;
    if (close(fd) && !error)
        error = -errno;
    return error;
}

int64_t pause_flushed(int state_fd)
{
    struct stat stat;
    return fstatat(state_fd, PAUSE_FLUSH, &stat, AT_SYMLINK_NOFOLLOW) ? 0 : clock_ns(&stat.st_mtim);
}
