// The loop of `outtray top`: look, draw, wait for a key.
#include "agent/cli/top.h"
#include "agent/base/clock.h"
#include "agent/cli/verbs.h"
#include "config/units.h"

#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <ncurses.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

#define INTERVAL_DEFAULT_S 2
#define INTERVAL_MAX_S     60
#define RATE_WEIGHT        0.3 // of the latest look

static void rate(struct top_rate *rate, uint64_t sent, int64_t at)
{
    if (at == rate->at)
        return;
    double minutes = (double)(at - rate->at) / (60.0 * (double)CLOCK_SECOND);
    if (rate->at == 0 || sent < rate->sent || minutes <= 0) { // the first look, or the agent is a new one
        rate->per_minute = 0;
    } else {
        double now = (double)(sent - rate->sent) / minutes;
        rate->per_minute += (now - rate->per_minute) * (rate->per_minute > 0 ? RATE_WEIGHT : 1);
    }
    rate->sent = sent;
    rate->at = at;
}

static int look(struct top *top)
{
    struct overview *overview = &top->overview;
    const struct config *config = overview->queue.config;
    uint64_t sent = 0;
    int r = overview_look(overview, false);
    for (size_t i = 0; i < config->n_tenants; i++) {
        rate(&top->tenant_rates[i], overview->tenants[i].sent_total, overview->time);
        sent += overview->tenants[i].sent_total;
    }
    for (size_t i = 0; i < config->n_accounts; i++)
        rate(&top->account_rates[i], overview->accounts[i].sent_total, overview->time);
    rate(&top->total, sent, overview->time);
    for (enum top_section section = 0; section < TOP_SECTIONS; section++) {
        size_t rows = top_rows(top, section);
        if (top->selected[section] >= rows)
            top->selected[section] = rows ? rows - 1 : 0;
    }
    return r;
}

static int run(struct top *top, int64_t interval_s)
{
    int64_t due = 0;
    int r = 0;
    while (r == 0 && !top->quit) {
        int64_t now = clock_work();
        if (now >= due) {
            r = look(top);
            due = now + interval_s * CLOCK_SECOND;
        }
        top_draw(top);
        int64_t wait_ms = (due - clock_work()) / CLOCK_MS;
        timeout(wait_ms > 0 ? (int)wait_ms : 0);
        int key = getch();
        if (key != ERR && key != KEY_RESIZE) {
            top_key(top, key);
            due = 0; // what it did shows at once
        }
    }
    return r;
}

// A screen of names in UTF-8 needs a locale that knows it.
static void set_locale(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

// newterm(3) keeps memory where it fails; this does not.
static bool terminal_is_known(void)
{
    int error = 0;
    if (setupterm(NULL, STDOUT_FILENO, &error) != OK)
        return false;
    (void)del_curterm(cur_term);
    return true;
}

static int on_screen(struct top *top, int64_t interval_s)
{
    const struct cli_verb *verb = top->overview.queue.verb;
    set_locale();
    SCREEN *screen = terminal_is_known() ? newterm(NULL, stdout, stdin) : NULL;
    if (!screen)
        return cli_fail(
            verb, EX_USAGE, "the terminal %s is not known (set TERM)", getenv("TERM") ? getenv("TERM") : "");
    int silent = open("/dev/null", O_WRONLY | O_CLOEXEC), said = dup(STDERR_FILENO);
    if (silent >= 0) {
        (void)dup2(silent, STDERR_FILENO); // words of the walk would tear the screen
        close(silent);
    }
    (void)cbreak();
    (void)noecho();
    (void)curs_set(0);
    (void)keypad(stdscr, TRUE);
    (void)set_escdelay(50);
    top_colours(top);
    int r = run(top, interval_s);
    (void)endwin();
    delscreen(screen);
    if (said >= 0) {
        (void)dup2(said, STDERR_FILENO);
        close(said);
    }
    return r < 0 ? cli_fail(verb, EX_OSERR, "%s", strerror(-r)) : EX_OK;
}

int cli_top(int argc, char **argv)
{
    struct top top = {0};
    const struct cli_verb *verb = cli_find("top");
    const char *interval = NULL;
    const struct cli_option options[] = {{.name = "interval", .value = &interval}, {0}};
    int64_t seconds = INTERVAL_DEFAULT_S;
    int code;
    if (cli_parse(verb, &argc, argv, options, &top.config_path, &code) < 0)
        return code;
    if (argc > 1)
        return cli_usage(verb, "surplus argument `%s`", argv[1]);
    if (interval && (units_parse_count(interval, &seconds) < 0 || seconds < 1 || seconds > INTERVAL_MAX_S))
        return cli_usage(verb, "--interval %s: seconds from 1 to %d", interval, INTERVAL_MAX_S);
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return cli_usage(verb, "this needs a terminal; `outtray status` prints the same once");
    code = overview_open(&top.overview, verb, top.config_path);
    const struct config *config = top.overview.queue.config;
    if (code == EX_OK) {
        top.tenant_rates = calloc(config->n_tenants + 1, sizeof *top.tenant_rates);
        top.account_rates = calloc(config->n_accounts + 1, sizeof *top.account_rates);
        code = top.tenant_rates && top.account_rates ? on_screen(&top, seconds)
                                                     : cli_fail(verb, EX_OSERR, "out of memory");
    }
    free(top.tenant_rates);
    free(top.account_rates);
    overview_close(&top.overview);
    return code;
}
