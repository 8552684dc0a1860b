// `outtray status`: one screen, or one line for Nagios.
#include "agent/cli/status_verb.h"
#include "agent/base/clock.h"
#include "agent/cli/verbs.h"
#include "config/units.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WARNING_MS     (15 * 60 * 1000)
#define CRITICAL_MS    (60 * 60 * 1000)
#define FAILURES_SHOWN 5
#define WIDTH_MAX      24 // columns of a name, where others fit

// Colours of a terminal (ECMA-48): green, yellow, red; none for UNKNOWN.
static const char *colour(const struct status_verb *verb, enum status_level level)
{
    static const char *const codes[] = {"\033[32m", "\033[33m", "\033[31m", ""};
    return verb->colours ? codes[level] : "";
}

static const char *plain(const struct status_verb *verb)
{
    return verb->colours ? "\033[0m" : "";
}

static void print_agent(const struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    char text[STATUS_TIME_SIZE], age[QUEUE_AGE_SIZE];
    struct timespec time = clock_timespec(overview->started);
    status_time_format(&time, 0, text);
    printf("outtray %s, agent %s: ", OUTTRAY_VERSION, overview->queue.config->agent);
    if (!overview->running) {
        printf("%snot running%s\n", colour(verb, LEVEL_CRITICAL), plain(verb));
        return;
    }
    printf("%srunning%s", colour(verb, LEVEL_OK), plain(verb));
    if (overview->told && overview->started) {
        queue_age((overview->queue.now - overview->started) / CLOCK_SECOND, age);
        printf(" since %s (%s), pid %" PRId64, text, age, overview->pid);
    }
    printf("\n");
    queue_age((overview->queue.now - overview->time) / CLOCK_SECOND, age);
    if (overview->told && !overview->fresh)
        printf("%sit has not written status.json for %s%s%s\n", colour(verb, LEVEL_CRITICAL), age,
            overview->full ? ": the disk of the state directory is full" : "", plain(verb));
    enum status_level level = strcmp(overview->spool, "ok") != 0 ? LEVEL_CRITICAL
                              : overview->fresh                  ? LEVEL_OK
                                                                 : LEVEL_UNKNOWN;
    if (overview->told)
        printf("spool %s%s%s%s, sandbox: landlock %s, seccomp %s\n", colour(verb, level), overview->spool,
            plain(verb), overview->fresh ? "" : " when it last wrote", overview->landlock ? "on" : "off",
            overview->seccomp ? "on" : "off");
}

// The width of a column that has to hold this name, too, as far as there is room.
static size_t wider(size_t width, const char *name)
{
    size_t columns = queue_columns(name);
    columns = columns > WIDTH_MAX ? WIDTH_MAX : columns;
    return columns > width ? columns : width;
}

static void print_name(const char *name, size_t width)
{
    size_t columns = queue_columns(name);
    queue_print(name);
    printf("%*s", (int)(columns < width ? width - columns : 0), "");
}

static void print_count(const struct observe_count *count)
{
    char age[QUEUE_AGE_SIZE] = "-";
    if (count->count)
        queue_age(count->oldest_s, age);
    printf("  %6" PRIu64 " %6s", count->count, age);
}

static void print_tenants(const struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    const struct config *config = overview->queue.config;
    size_t width = strlen("TENANT");
    for (size_t i = 0; i < config->n_tenants; i++)
        width = wider(width, config->tenants[i].name);
    printf("\n%-*s  %6s %6s  %6s %6s  %6s %6s  %6s  %6s  %s\n", (int)width, "TENANT", "NEW", "OLDEST",
        "DEFER", "OLDEST", "FAILED", "OLDEST", "HELD", "SENT", "ACCOUNT");
    for (size_t i = 0; i < config->n_tenants; i++) {
        const struct overview_tenant *tenant = &overview->tenants[i];
        print_name(tenant->settings->name, width);
        bool old = tenant->states[OBSERVE_NEW].oldest_s * 1000 >= verb->warning_ms;
        printf("%s", old ? colour(verb, LEVEL_WARNING) : "");
        print_count(&tenant->states[OBSERVE_NEW]);
        printf("%s", old ? plain(verb) : "");
        print_count(&tenant->states[OBSERVE_DEFERRED]);
        print_count(&tenant->states[OBSERVE_FAILED]);
        printf("  %6" PRIu64 "  %6" PRIu64 "  ", tenant->held.count, tenant->sent_total);
        queue_print(tenant->settings->account->name);
        printf("\n");
    }
}

static void print_trouble(const struct status_verb *verb, const struct overview_account *account)
{
    char age[QUEUE_AGE_SIZE];
    int64_t now = verb->overview.queue.now;
    if (account->paused) {
        queue_age((now - account->pause.at) / CLOCK_SECOND, age);
        printf("    by ");
        queue_print(*account->pause.by ? account->pause.by : "somebody");
        printf(" %s ago%s", age, *account->pause.reason ? ": " : "");
        queue_print(account->pause.reason);
        printf("\n    next: outtray resume %s\n", account->settings->name);
    }
    if (*account->reason) {
        printf("    ");
        queue_print(account->reason);
        printf("\n");
    }
    if (*account->fix) {
        printf("    next: ");
        queue_print(account->fix);
        printf("\n");
    }
    if (account->probe_at > now) {
        queue_age((account->probe_at - now) / CLOCK_SECOND, age);
        printf("    tried again in %s\n", age);
    }
}

static void print_accounts(const struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    const struct config *config = overview->queue.config;
    size_t width = strlen("ACCOUNT");
    for (size_t i = 0; i < config->n_accounts; i++)
        width = wider(width, config->accounts[i].name);
    printf("\n%-*s  %-12s  %8s  %9s  %8s  %8s\n", (int)width, "ACCOUNT", "STATE", "SESSIONS", "IN FLIGHT",
        "SENT", "LOGINS");
    for (size_t i = 0; i < config->n_accounts; i++) {
        const struct overview_account *account = &overview->accounts[i];
        bool live = overview->fresh;
        print_name(account->settings->name, width);
        printf("  %s%-12s%s", colour(verb, status_account_level(account)), overview_account_state(account),
            plain(verb));
        printf("  %8u  %9u  %8" PRIu64 "  %8" PRIu64 "\n", live ? account->sessions : 0,
            live ? account->in_flight : 0, account->sent_total, account->logins_total);
        print_trouble(verb, account);
    }
}

static void print_failures(const struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    if (overview->n_failures)
        printf("\nLAST FAILURES (outtray show NAME; outtray retry NAME)\n");
    for (size_t i = 0; i < overview->n_failures && i < FAILURES_SHOWN; i++) {
        const struct overview_failure *failure = &overview->failures[i];
        char age[QUEUE_AGE_SIZE];
        queue_age((overview->queue.now - failure->at) / CLOCK_SECOND, age);
        printf("%6s ago  ", age);
        queue_print(failure->tenant->name);
        printf("/");
        queue_print(failure->name);
        printf("\n            %s: ",
            failure->reason != STATUS_REASON_NONE ? status_reason_name(failure->reason) : "unknown");
        queue_print(failure->detail);
        printf("\n");
    }
}

static int parse_age(const struct cli_verb *verb, const char *name, const char *text, int64_t *ret_ms)
{
    if (!text || units_parse_duration(text, ret_ms) == 0)
        return EX_OK;
    return cli_usage(verb, "--%s %s: a duration like 90s, 15m, 2h or 1d", name, text);
}

static int print(struct status_verb *verb)
{
    if (verb->nagios)
        return status_print_nagios(verb);
    if (verb->json)
        return status_print_json(verb);
    print_agent(verb);
    print_tenants(verb);
    print_accounts(verb);
    print_failures(verb);
    if (verb->overview.queue.code == EX_NOPERM)
        cli_note_left_out(verb->overview.queue.verb);
    return verb->overview.queue.code;
}

int cli_status(int argc, char **argv)
{
    struct status_verb verb = {.warning_ms = WARNING_MS, .critical_ms = CRITICAL_MS};
    const struct cli_verb *self = cli_find("status");
    const char *path, *warning = NULL, *critical = NULL, *terminal = getenv("TERM");
    const struct cli_option options[] = {
        {.name = "json", .flag = &verb.json},
        {.name = "nagios", .flag = &verb.nagios},
        {.name = "warning", .value = &warning},
        {.name = "critical", .value = &critical},
        {0},
    };
    int code;
    if (cli_parse(self, &argc, argv, options, &path, &code) < 0)
        return code == EX_OK || !verb.nagios ? code : LEVEL_UNKNOWN;
    if (argc > 1)
        code = cli_usage(self, "surplus argument `%s`", argv[1]);
    else if (verb.json && verb.nagios)
        code = cli_usage(self, "--json or --nagios, not both");
    else
        code = parse_age(self, "warning", warning, &verb.warning_ms);
    if (code == EX_OK)
        code = parse_age(self, "critical", critical, &verb.critical_ms);
    if (code == EX_OK && warning && critical && verb.warning_ms > verb.critical_ms)
        code = cli_usage(self, "--warning is above --critical; nothing would ever be a warning");
    if (!critical && verb.critical_ms < verb.warning_ms)
        verb.critical_ms = verb.warning_ms;
    if (!warning && verb.warning_ms > verb.critical_ms)
        verb.warning_ms = verb.critical_ms;
    if (code != EX_OK)
        return verb.nagios ? LEVEL_UNKNOWN : code;
    verb.colours =
        isatty(STDOUT_FILENO) && !cli_wants_no_colour() && terminal && strcmp(terminal, "dumb") != 0;
    code = overview_open(&verb.overview, self, path);
    int r = code == EX_OK ? overview_look(&verb.overview, true) : 0;
    if (r < 0)
        code = cli_fail(self, EX_OSERR, "%s", strerror(-r));
    if (code == EX_OK) {
        status_judge(&verb);
        code = print(&verb);
    } else if (verb.nagios) {
        printf("OUTTRAY UNKNOWN - the configuration, the spool or the state directory cannot be read\n");
        code = LEVEL_UNKNOWN;
    }
    overview_close(&verb.overview);
    return cli_end(self, code);
}
