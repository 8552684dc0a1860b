// Dates: see mail_date.h. Nothing here depends on the locale or the time zone of the machine.
#include "mail_date.h"

#include "agent/base/clock.h"
#include "spool-format/status.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define YEAR_SECONDS_MAX INT64_C(253402300799) // the end of 9999
#define YEAR_SECONDS_MIN INT64_C(-2208988800)  // the start of 1900
#define TEXT_MAX         200                   // octets of a date with its comments

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char months[12][4] = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void mail_date_format(int64_t wall, char ret_text[static MAIL_DATE_SIZE])
{
    int64_t seconds = wall / CLOCK_SECOND - (wall % CLOCK_SECOND < 0);
    seconds = seconds > YEAR_SECONDS_MAX   ? YEAR_SECONDS_MAX
              : seconds < YEAR_SECONDS_MIN ? YEAR_SECONDS_MIN
                                           : seconds;
    struct tm tm;
    (void)gmtime_r(&seconds, &tm);
    (void)snprintf(ret_text, MAIL_DATE_SIZE, "%s, %d %s %04d %02d:%02d:%02d +0000", days[tm.tm_wday],
        tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

// A number of min to max digits at *text, which is advanced past it and following blanks; -1 where there is
// none.
static int take_number(const char **text, int min, int max)
{
    int value = 0, n = 0;
    for (; n < max && isdigit((unsigned char)**text); n++)
        value = value * 10 + *(*text)++ - '0';
    if (n < min || isdigit((unsigned char)**text))
        return -1;
    *text += strspn(*text, " ");
    return value;
}

// The index of a three-letter name at *text, advanced past it and blanks; -1 where it is none of them.
static int take_name(const char **text, const char (*names)[4], int n)
{
    for (int i = 0; i < n; i++)
        if (!strncasecmp(*text, names[i], 3) && !isalpha((unsigned char)(*text)[3])) {
            *text += 3;
            *text += strspn(*text, " ");
            return i;
        }
    return -1;
}

static int take_char(const char **text, char c)
{
    if (**text != c)
        return 0;
    ++*text;
    *text += strspn(*text, " ");
    return 1;
}

// Copies text with comments (nested, RFC 5322 section 3.2.2) and tabs made blanks. False where it is too long
// or a comment is open.
static int without_comments(const char *text, char ret_text[static TEXT_MAX])
{
    size_t n = 0;
    unsigned depth = 0;
    for (; *text; text++) {
        if (*text == '(')
            depth++;
        else if (*text == ')' && depth)
            depth--;
        else if (depth && *text == '\\' && text[1])
            text++;
        if (n == TEXT_MAX - 1)
            return 0;
        if (!depth)
            ret_text[n++] = *text == ')' || *text == '\t' ? ' ' : *text;
    }
    while (n && ret_text[n - 1] == ' ')
        n--;
    ret_text[n] = '\0';
    return !depth;
}

// Section 4.3: the zone as seconds east of Greenwich. 0 for a zone that says nothing ("-0000", military
// letters).
static int take_zone(const char **text, int *ret_seconds)
{
    static const struct {
        const char *name;
        int hours;
    } zones[] = {{"UT", 0}, {"UTC", 0}, {"GMT", 0}, {"Z", 0}, {"EST", -5}, {"EDT", -4}, {"CST", -6},
        {"CDT", -5}, {"MST", -7}, {"MDT", -6}, {"PST", -8}, {"PDT", -7}};
    if (**text == '+' || **text == '-') {
        int sign = *(*text)++ == '-' ? -1 : 1;
        int value = take_number(text, 4, 4);
        if (value < 0 || value % 100 > 59)
            return 0;
        *ret_seconds = sign * (value / 100 * 3600 + value % 100 * 60);
        return 1;
    }
    size_t length = strspn(*text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
        if (strlen(zones[i].name) == length && !strncasecmp(*text, zones[i].name, length)) {
            *text += length;
            *ret_seconds = zones[i].hours * 3600;
            return 1;
        }
    return 0;
}

static int full_year(int year, int digits)
{
    if (digits >= 4)
        return year;
    return digits == 2 && year < 50 ? 2000 + year : 1900 + year; // section 4.3
}

static int parse_5322(const char *text, int64_t *ret_seconds)
{
    struct tm tm = {0};
    int zone = 0;
    if (take_name(&text, days, 7) >= 0 && !take_char(&text, ','))
        return -EINVAL;
    tm.tm_mday = take_number(&text, 1, 2);
    tm.tm_mon = take_name(&text, months, 12);
    int digits = (int)strspn(text, "0123456789");
    tm.tm_year = full_year(take_number(&text, 2, 4), digits) - 1900;
    tm.tm_hour = take_number(&text, 2, 2);
    if (!take_char(&text, ':'))
        return -EINVAL;
    tm.tm_min = take_number(&text, 2, 2);
    tm.tm_sec = take_char(&text, ':') ? take_number(&text, 2, 2) : 0;
    if (tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_mon < 0 || digits < 2 || digits > 4 || tm.tm_hour < 0 ||
        tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60 ||
        !take_zone(&text, &zone) || *text)
        return -EINVAL;
    int day = tm.tm_mday, leap = tm.tm_sec == 60;
    tm.tm_sec -= leap;
    int64_t seconds = timegm(&tm); // normalizes: 31 Feb becomes March
    if (tm.tm_mday != day)
        return -EINVAL;
    *ret_seconds = seconds + leap - zone;
    return 0;
}

static int parse_relative(const char *text, int64_t from, int64_t *ret_wall)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
    int64_t value = 0, seconds;
    size_t n = strspn(++text, "0123456789");
    if (!n || n > 10 || strlen(text) != n + 1)
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        value = value * 10 + text[i] - '0';
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (units[i].letter == text[n]) {
            if (__builtin_mul_overflow(value, units[i].seconds, &seconds) ||
                __builtin_mul_overflow(seconds, CLOCK_SECOND, &seconds) ||
                __builtin_add_overflow(seconds, from, ret_wall))
                return -ERANGE;
            return 0;
        }
    return -EINVAL;
}

int mail_date_parse(const char *text, int64_t from, int64_t *ret_wall)
{
    char plain[TEXT_MAX];
    struct timespec time;
    int64_t seconds = 0, wall;
    if (!without_comments(text, plain))
        return -EINVAL;
    const char *start = plain + strspn(plain, " ");
    if (*start == '+')
        return parse_relative(start, from, ret_wall);
    if (!status_time_parse(start, &time)) {
        *ret_wall = clock_ns(&time);
        return 0;
    }
    int r = parse_5322(start, &seconds);
    if (r)
        return r;
    if (__builtin_mul_overflow(seconds, CLOCK_SECOND, &wall))
        return -ERANGE;
    *ret_wall = wall;
    return 0;
}
