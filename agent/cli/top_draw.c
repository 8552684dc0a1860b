// The screen of `outtray top`.
#include "agent/base/clock.h"
#include "agent/cli/top.h"
#include "agent/observe/json.h"

#include <inttypes.h>
#include <ncurses.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#define FAILURES_MAX 6  // rows where there are tenants and accounts to be shown, too
#define NAME_COLUMNS 14 // of a tenant or an account
#define LINE_OCTETS  1024

enum colour { COLOUR_GOOD = 1, COLOUR_WARNING, COLOUR_BAD };

void top_colours(struct top *top)
{
    top->colours = has_colors() && !cli_wants_no_colour();
    if (!top->colours)
        return;
    (void)start_color();
    (void)use_default_colors();
    (void)init_pair(COLOUR_GOOD, COLOR_GREEN, -1);
    (void)init_pair(COLOUR_WARNING, COLOR_YELLOW, -1);
    (void)init_pair(COLOUR_BAD, COLOR_RED, -1);
}

static void colour(const struct top *top, enum colour which, bool on)
{
    if (top->colours && on)
        (void)attron(COLOR_PAIR(which));
    else if (top->colours)
        (void)attroff(COLOR_PAIR(which));
}

// Writes text into `width` columns from (y, x) on, filled up with blanks; what is no text is replaced.
static void put(int y, int x, int width, const char *text)
{
    char *clean = observe_clean(text, true);
    wchar_t wide[LINE_OCTETS];
    size_t n = clean ? mbstowcs(wide, clean, LINE_OCTETS - 1) : 0;
    int used = 0;
    if (n == (size_t)-1)
        n = 0;
    if (move(y, x) == OK)
        for (size_t i = 0; i < n; i++) {
            int columns = wcwidth(wide[i]);
            if (columns < 0 || used + columns > width)
                break;
            (void)addnwstr(&wide[i], 1);
            used += columns;
        }
    while (used++ < width && x + used <= COLS)
        (void)addch(' ');
    free(clean);
}

static void put_line(int y, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put_line(int y, const char *format, ...)
{
    char line[LINE_OCTETS];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    put(y, 0, COLS, line);
}

static const char *age_of(const struct observe_count *count, char text[static QUEUE_AGE_SIZE])
{
    (void)snprintf(text, QUEUE_AGE_SIZE, "-");
    if (count->count)
        queue_age(count->oldest_s, text);
    return text;
}

static struct observe_count total(const struct top *top, enum observe_state state)
{
    struct observe_count sum = {0};
    for (size_t i = 0; i < top->overview.queue.config->n_tenants; i++) {
        const struct observe_count *one = &top->overview.tenants[i].states[state];
        sum.count += one->count;
        sum.oldest_s = one->oldest_s > sum.oldest_s ? one->oldest_s : sum.oldest_s;
    }
    return sum;
}

static void draw_head(const struct top *top)
{
    const struct overview *overview = &top->overview;
    char age[QUEUE_AGE_SIZE], left[LINE_OCTETS], clock[16] = "";
    struct tm local;
    time_t now = (time_t)(overview->queue.now / CLOCK_SECOND);
    if (localtime_r(&now, &local))
        (void)strftime(clock, sizeof clock, "%H:%M:%S", &local);
    queue_age((overview->queue.now - overview->started) / CLOCK_SECOND, age);
    if (!overview->running)
        (void)snprintf(left, sizeof left, "outtray - agent %s is not running", overview->queue.config->agent);
    else if (!overview->fresh)
        (void)snprintf(left, sizeof left, "outtray - agent %s runs, but writes no status.json%s",
            overview->queue.config->agent, overview->full ? ": its disk is full" : "");
    else
        (void)snprintf(left, sizeof left, "outtray - agent %s up %s, pid %" PRId64 ", spool %s",
            overview->queue.config->agent, age, overview->pid, overview->spool);
    bool bad = !overview->fresh || strcmp(overview->spool, "ok") != 0;
    (void)attron(A_REVERSE);
    colour(top, COLOUR_BAD, bad);
    put(0, 0, COLS, left);
    put(0, COLS - (int)strlen(clock), (int)strlen(clock), clock);
    colour(top, COLOUR_BAD, false);
    (void)attroff(A_REVERSE);
    struct observe_count new = total(top, OBSERVE_NEW), cur = total(top, OBSERVE_CUR),
                         deferred = total(top, OBSERVE_DEFERRED), failed = total(top, OBSERVE_FAILED);
    char new_age[QUEUE_AGE_SIZE], deferred_age[QUEUE_AGE_SIZE];
    put_line(1,
        "new %" PRIu64 " (%s)  on the wire %" PRIu64 "  deferred %" PRIu64 " (%s)  failed %" PRIu64
        "  sent %" PRIu64 ", %.1f/min",
        new.count, age_of(&new, new_age), cur.count, deferred.count, age_of(&deferred, deferred_age),
        failed.count, top->total.sent, top->total.per_minute);
}

size_t top_rows(const struct top *top, enum top_section section)
{
    const struct config *config = top->overview.queue.config;
    return section == TOP_ACCOUNTS  ? config->n_accounts
           : section == TOP_TENANTS ? config->n_tenants
                                    : top->overview.n_failures;
}

static void draw_account(const struct top *top, size_t i, int y)
{
    const struct overview_account *account = &top->overview.accounts[i];
    const char *state = overview_account_state(account);
    char line[LINE_OCTETS], words[OVERVIEW_TEXT_MAX + PAUSE_BY_MAX + PAUSE_REASON_MAX];
    bool live = top->overview.fresh, good = strcmp(state, "ok") == 0;
    if (account->paused)
        (void)snprintf(words, sizeof words, "by %s%s%s", account->pause.by,
            *account->pause.reason ? ": " : "", account->pause.reason);
    else
        (void)snprintf(words, sizeof words, "%s", account->reason);
    put(y, 0, NAME_COLUMNS, account->settings->name);
    enum colour which = good ? COLOUR_GOOD : strcmp(state, "credentials") == 0 ? COLOUR_BAD : COLOUR_WARNING;
    colour(top, which, true);
    put(y, NAME_COLUMNS + 1, 11, state);
    colour(top, which, false);
    (void)snprintf(line, sizeof line, " %4u %6u %7" PRIu64 " %6.1f  %s", live ? account->sessions : 0,
        live ? account->in_flight : 0, account->sent_total, live ? top->account_rates[i].per_minute : 0.0,
        words);
    put(y, NAME_COLUMNS + 12, COLS - NAME_COLUMNS - 12, line);
}

static void draw_tenant(const struct top *top, size_t i, int y)
{
    const struct overview_tenant *tenant = &top->overview.tenants[i];
    char line[LINE_OCTETS], new_age[QUEUE_AGE_SIZE], deferred_age[QUEUE_AGE_SIZE];
    put(y, 0, NAME_COLUMNS, tenant->settings->name);
    (void)snprintf(line, sizeof line,
        " %5" PRIu64 " %6s %5" PRIu64 " %6s %5" PRIu64 " %4" PRIu64 " %7" PRIu64 " %6.1f  %s",
        tenant->states[OBSERVE_NEW].count, age_of(&tenant->states[OBSERVE_NEW], new_age),
        tenant->states[OBSERVE_DEFERRED].count, age_of(&tenant->states[OBSERVE_DEFERRED], deferred_age),
        tenant->states[OBSERVE_FAILED].count, tenant->held.count, tenant->sent_total,
        top->overview.fresh ? top->tenant_rates[i].per_minute : 0.0, tenant->settings->account->name);
    put(y, NAME_COLUMNS, COLS - NAME_COLUMNS, line);
}

static void draw_failure(const struct top *top, size_t i, int y)
{
    const struct overview_failure *failure = &top->overview.failures[i];
    char age[QUEUE_AGE_SIZE];
    queue_age((top->overview.queue.now - failure->at) / CLOCK_SECOND, age);
    put_line(y, "%6s ago  %s/%s  %s: %s", age, failure->tenant->name, failure->name,
        failure->reason != STATUS_REASON_NONE ? status_reason_name(failure->reason) : "?", failure->detail);
}

static void draw_section(struct top *top, enum top_section section, int y, size_t height)
{
    static void (*const draw[])(const struct top *top, size_t i, int y) = {
        [TOP_ACCOUNTS] = draw_account, [TOP_TENANTS] = draw_tenant, [TOP_FAILURES] = draw_failure};
    size_t *first = &top->first[section], selected = top->selected[section], rows = top_rows(top, section);
    if (selected < *first)
        *first = selected;
    if (height && selected >= *first + height)
        *first = selected - height + 1;
    if (*first + height > rows)
        *first = rows > height ? rows - height : 0;
    for (size_t i = 0; i < height && *first + i < rows; i++) {
        bool here = section == top->section && *first + i == selected;
        if (here)
            (void)attron(A_STANDOUT);
        draw[section](top, *first + i, y + (int)i);
        if (here)
            (void)attroff(A_STANDOUT);
    }
}

static void draw_title(int y, enum top_section section)
{
    (void)attron(A_BOLD);
    if (section == TOP_ACCOUNTS)
        put_line(y, "%-*s %-11s %4s %6s %7s %6s  %s", NAME_COLUMNS, "ACCOUNT", "STATE", "SESS", "FLIGHT",
            "SENT", "/MIN", "REASON");
    else if (section == TOP_TENANTS)
        put_line(y, "%-*s %5s %6s %5s %6s %5s %4s %7s %6s  %s", NAME_COLUMNS, "TENANT", "NEW", "OLDEST",
            "DEFER", "OLDEST", "FAIL", "HELD", "SENT", "/MIN", "ACCOUNT");
    else
        put_line(y, "LAST FAILURES");
    (void)attroff(A_BOLD);
}

// How many rows each section gets: failures a few, the rest shared, what one does not need is the others'.
static void share(const struct top *top, size_t rows, size_t height[static TOP_SECTIONS])
{
    size_t wanted[TOP_SECTIONS], least[TOP_SECTIONS] = {0};
    for (enum top_section section = 0; section < TOP_SECTIONS; section++) {
        wanted[section] = top_rows(top, section);
        height[section] = 0;
    }
    least[TOP_FAILURES] = rows / 3 < FAILURES_MAX ? rows / 3 : FAILURES_MAX;
    for (enum top_section section = 0; section < TOP_SECTIONS; section++)
        least[section] = section == TOP_FAILURES ? least[section] : rows / 3;
    for (int pass = 0; pass < 2; pass++) // first everybody's share, then what is left
        for (enum top_section section = 0; section < TOP_SECTIONS; section++) {
            size_t more = pass == 0 ? least[section] : rows;
            if (more > wanted[section] - height[section])
                more = wanted[section] - height[section];
            if (more > rows)
                more = rows;
            height[section] += more;
            rows -= more;
        }
}

void top_draw(struct top *top)
{
    size_t height[TOP_SECTIONS];
    int y = 2;
    (void)erase();
    if (COLS < TOP_COLUMNS_MIN || LINES < TOP_LINES_MIN) {
        put_line(0, "too small: %d x %d at least", TOP_COLUMNS_MIN, TOP_LINES_MIN);
        (void)refresh();
        return;
    }
    draw_head(top);
    bool roomy = LINES >= 18; // an empty line before each title
    int fixed = 3 + TOP_SECTIONS + (roomy ? TOP_SECTIONS : 0);
    share(top, LINES > fixed ? (size_t)(LINES - fixed) : 1, height);
    for (enum top_section section = 0; section < TOP_SECTIONS; section++) {
        y += roomy;
        draw_title(y++, section);
        draw_section(top, section, y, height[section]);
        y += (int)height[section];
    }
    put_line(LINES - 1, "%s",
        *top->message ? top->message
                      : "? help  TAB section  p pause  r resume  t retry  s show  f flush  q quit");
    (void)refresh();
}

void top_draw_lines(const char *title, const char *const *lines, size_t n, size_t first)
{
    (void)erase();
    (void)attron(A_REVERSE);
    put_line(0, "%s", title);
    (void)attroff(A_REVERSE);
    for (int y = 1; y < LINES - 1 && first + (size_t)y - 1 < n; y++)
        put_line(y, "%s", lines[first + (size_t)y - 1]);
    put_line(LINES - 1, "q back  up, down, page keys scroll");
    (void)refresh();
}
