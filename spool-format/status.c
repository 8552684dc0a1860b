// The status of a message in memory, its names and its times (see status.h).
#include "status_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS_PER_S 1000000000L

static const char *const reason_names[] = {
    [STATUS_REASON_NONE] = "none",
    [STATUS_REASON_RECIPIENT] = "recipient",
    [STATUS_REASON_POLICY] = "policy",
    [STATUS_REASON_SIZE] = "size",
    [STATUS_REASON_MALFORMED] = "malformed",
    [STATUS_REASON_EXPIRED] = "expired",
};
static const char *const recipient_state_names[] = {
    [STATUS_PENDING] = "pending",
    [STATUS_SENT] = "sent",
    [STATUS_REFUSED] = "refused",
};

const char *status_reason_name(enum status_reason reason)
{
    return (unsigned)reason <= STATUS_REASON_EXPIRED ? reason_names[reason] : "unknown";
}

const char *status_recipient_state_name(enum status_recipient_state state)
{
    return (unsigned)state <= STATUS_REFUSED ? recipient_state_names[state] : "unknown";
}

const char *status_state_name(enum status_state state)
{
    return state == STATUS_FAILED ? "failed" : "deferred";
}

struct status *status_new(void)
{
    return calloc(1, sizeof(struct status));
}

static void attempt_release(struct status_attempt *attempt)
{
    free(attempt->account);
    free(attempt->relay);
    free(attempt->tls);
    free(attempt->stage);
    free(attempt->reply);
}

void status_free(struct status *status)
{
    if (status == NULL)
        return;
    for (size_t i = 0; i < status->n_recipients; i++) {
        free(status->recipients[i].address);
        free(status->recipients[i].reply);
    }
    for (size_t i = 0; i < status->n_attempts; i++)
        attempt_release(&status->attempts[i]);
    free(status->recipients);
    free(status->attempts);
    free(status->tenant);
    free(status->name);
    free(status->message_id);
    free(status->detail);
    free(status->fix);
    free(status);
}

int status_set_text(char **field, const char *text)
{
    char *copy = NULL;
    if (text != NULL && (copy = strdup(text)) == NULL)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

// A copy of at most STATUS_TEXT_MAX octets that does not end within a UTF-8 character. NULL stays NULL.
static int copy_cut(char **field, const char *text)
{
    char *copy = NULL;
    if (text != NULL) {
        size_t length = strnlen(text, STATUS_TEXT_MAX + 1);
        if (length > STATUS_TEXT_MAX) {
            length = STATUS_TEXT_MAX;
            for (int back = 0; back < 3 && length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80; back++)
                length--;
        }
        copy = strndup(text, length);
        if (copy == NULL)
            return -ENOMEM;
    }
    free(*field);
    *field = copy;
    return 0;
}

// Room for one more item: the array doubles at each power of two, so no capacity needs to be kept.
static void *grow(void *items, size_t n, size_t size)
{
    if ((n & (n - 1)) != 0)
        return items;
    return reallocarray(items, n == 0 ? 1 : 2 * n, size);
}

int status_add_recipient(struct status *status, const char *address)
{
    struct status_recipient *items = grow(status->recipients, status->n_recipients, sizeof *items);
    if (items == NULL)
        return -ENOMEM;
    status->recipients = items;
    struct status_recipient *recipient = &items[status->n_recipients];
    *recipient = (struct status_recipient){.address = strdup(address), .state = STATUS_PENDING};
    if (recipient->address == NULL)
        return -ENOMEM;
    status->n_recipients++;
    return 0;
}

int status_set_recipient(struct status *status, size_t index, enum status_recipient_state state,
    const char *reply, const struct timespec *at)
{
    if (index >= status->n_recipients)
        return -EINVAL;
    struct status_recipient *recipient = &status->recipients[index];
    int r = copy_cut(&recipient->reply, reply);
    if (r < 0)
        return r;
    recipient->state = state;
    recipient->at = at != NULL ? *at : (struct timespec){0};
    return 0;
}

int status_add_attempt(struct status *status, const struct timespec *at, const char *account,
    const char *relay, const char *tls, const char *stage, const char *reply)
{
    struct status_attempt *items = status->attempts,
                          attempt = {.at = at != NULL ? *at : (struct timespec){0}};
    int r = -ENOMEM;
    if (status->n_attempts < STATUS_ATTEMPTS_MAX) {
        items = grow(items, status->n_attempts, sizeof *items);
        if (items == NULL)
            return -ENOMEM;
        status->attempts = items;
    }
    if (copy_cut(&attempt.account, account) < 0 || copy_cut(&attempt.relay, relay) < 0 ||
        copy_cut(&attempt.tls, tls) < 0 || copy_cut(&attempt.stage, stage) < 0 ||
        copy_cut(&attempt.reply, reply) < 0) {
        attempt_release(&attempt);
        return r;
    }
    if (status->n_attempts == STATUS_ATTEMPTS_MAX) { // the first one stays: give_up_after runs from it
        attempt_release(&items[1]);
        memmove(&items[1], &items[2], (STATUS_ATTEMPTS_MAX - 2) * sizeof *items);
        status->n_attempts--;
    }
    items[status->n_attempts++] = attempt;
    status->attempts_total++;
    return 0;
}

int status_file_identity(int dir, const char *name, struct status_identity *ret_identity)
{
    struct statx st;
    int flags = *name == 0 ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW;
    if (TEMP_FAILURE_RETRY(statx(dir, name, flags, STATX_INO | STATX_SIZE | STATX_BTIME, &st)) < 0)
        return -errno;
    *ret_identity = (struct status_identity){.inode = st.stx_ino, .size = st.stx_size};
    if (st.stx_mask & STATX_BTIME)
        ret_identity->born =
            (struct timespec){.tv_sec = st.stx_btime.tv_sec, .tv_nsec = (long)st.stx_btime.tv_nsec};
    return 0;
}

int status_identify(struct status *status, int fd)
{
    struct status_identity identity = {0};
    struct stat st;
    int r = status_file_identity(fd, "", &identity);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return -errno;
    status->inode = identity.inode;
    status->size = identity.size;
    status->born = identity.born;
    if (status->submitted.tv_sec == 0)
        status->submitted = st.st_mtim;
    return 0;
}

void status_temporary(uint64_t inode, char ret_name[static STATUS_TEMPORARY_SIZE])
{
    snprintf(ret_name, STATUS_TEMPORARY_SIZE, ".%" PRIu64 ".status.tmp", inode);
}

void status_time_format(
    const struct timespec *time, int fraction_digits, char ret_text[static STATUS_TIME_SIZE])
{
    struct tm tm;
    time_t seconds = time->tv_sec;
    if (gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900)
        tm = (struct tm){.tm_year = 70, .tm_mday = 1};
    int n = snprintf(ret_text, STATUS_TIME_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
        tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (fraction_digits > 0) {
        fraction_digits = fraction_digits > 9 ? 9 : fraction_digits;
        snprintf(ret_text + n, STATUS_TIME_SIZE - (size_t)n, ".%09ld", time->tv_nsec);
        n += 1 + fraction_digits;
    }
    snprintf(ret_text + n, STATUS_TIME_SIZE - (size_t)n, "Z");
}

// Reads exactly `digits` decimal digits with a value between low and high, and moves *text on.
static bool number(const char **text, int digits, int low, int high, int *ret)
{
    int value = 0;
    for (int i = 0; i < digits; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        value = value * 10 + (**text - '0');
    }
    *ret = value;
    return value >= low && value <= high;
}

static bool literal(const char **text, char c)
{
    return *(*text)++ == c;
}

// RFC 3339 section 5.6. A leap second is the first second of the next minute, as timegm(3) has it.
int status_time_parse(const char *text, struct timespec *ret_time)
{
    static const int days_of_month[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct tm tm = {0};
    const char *p = text;
    long nanoseconds = 0;
    int hours = 0, minutes = 0, sign = 0;
    if (!number(&p, 4, 1, 9999, &tm.tm_year) || !literal(&p, '-') || !number(&p, 2, 1, 12, &tm.tm_mon) ||
        !literal(&p, '-') || !number(&p, 2, 1, 31, &tm.tm_mday) || (*p != 'T' && *p != 't' && *p != ' '))
        return -EINVAL;
    p++;
    if (!number(&p, 2, 0, 23, &tm.tm_hour) || !literal(&p, ':') || !number(&p, 2, 0, 59, &tm.tm_min) ||
        !literal(&p, ':') || !number(&p, 2, 0, 60, &tm.tm_sec))
        return -EINVAL;
    if (*p == '.') {
        long weight = NS_PER_S / 10;
        if (*++p < '0' || *p > '9')
            return -EINVAL;
        for (; *p >= '0' && *p <= '9'; p++, weight /= 10)
            nanoseconds += (*p - '0') * weight;
    }
    if (*p == '+' || *p == '-') {
        sign = *p++ == '+' ? 1 : -1;
        if (!number(&p, 2, 0, 23, &hours) || !literal(&p, ':') || !number(&p, 2, 0, 59, &minutes))
            return -EINVAL;
    } else if (*p++ != 'Z' && p[-1] != 'z') {
        return -EINVAL;
    }
    bool leap = (tm.tm_year % 4 == 0 && tm.tm_year % 100 != 0) || tm.tm_year % 400 == 0;
    if (*p != 0 || tm.tm_mday > days_of_month[tm.tm_mon - 1] || (tm.tm_mon == 2 && tm.tm_mday == 29 && !leap))
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    ret_time->tv_sec = timegm(&tm) - sign * (hours * 3600 + minutes * 60);
    ret_time->tv_nsec = nanoseconds;
    return 0;
}
