// `outtray status`: one screen, or one line for Nagios.
#include "agent/base/clock.h"
#include "agent/cli/overview.h"
#include "agent/cli/verbs.h"
#include "agent/observe/json.h"
#include "config/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JSON_MAX       ((size_t)256 * 1024 * 1024)
#define WARNING_MS     (15 * 60 * 1000)
#define CRITICAL_MS    (60 * 60 * 1000)
#define FAILURES_SHOWN 5
#define NAGIOS_WORDS   1024
#define WIDTH_MAX      24 // columns of a name, where others fit

enum level { LEVEL_OK, LEVEL_WARNING, LEVEL_CRITICAL, LEVEL_UNKNOWN };

struct status_verb {
    struct overview overview;
    bool json, nagios, colours;
    int64_t warning_ms, critical_ms;
    enum level level;
    char words[NAGIOS_WORDS]; // of the Nagios line
};

// Colours of a terminal (ECMA-48): green, yellow, red; none for UNKNOWN.
static const char *colour(const struct status_verb *verb, enum level level)
{
    static const char *const codes[] = {"\033[32m", "\033[33m", "\033[31m", ""};
    return verb->colours ? codes[level] : "";
}

static const char *plain(const struct status_verb *verb)
{
    return verb->colours ? "\033[0m" : "";
}

static void raise_level(struct status_verb *verb, enum level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void raise_level(struct status_verb *verb, enum level level, const char *format, ...)
{
    size_t used = strlen(verb->words);
    va_list arguments;
    if (level > verb->level)
        verb->level = level;
    if (used && used + 3 < sizeof verb->words)
        used += (size_t)snprintf(verb->words + used, sizeof verb->words - used, "; ");
    va_start(arguments, format);
    (void)vsnprintf(verb->words + used, sizeof verb->words - used, format, arguments);
    va_end(arguments);
}

static enum level account_level(const struct overview_account *account)
{
    if (account->paused)
        return LEVEL_WARNING;
    if (strcmp(account->breaker, "open_credentials") == 0)
        return LEVEL_CRITICAL;
    return account->known && strcmp(account->breaker, "closed") != 0 ? LEVEL_WARNING : LEVEL_OK;
}

static void judge_agent(struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    char age[QUEUE_AGE_SIZE];
    if (!overview->running) {
        raise_level(verb, LEVEL_CRITICAL, "agent %s is not running", overview->queue.config->agent);
        return;
    }
    if (!overview->told) {
        raise_level(verb, LEVEL_UNKNOWN, "status.json cannot be read");
        return;
    }
    if (!overview->fresh) {
        queue_age((overview->queue.now - overview->time) / CLOCK_SECOND, age);
        raise_level(verb, LEVEL_CRITICAL, "the agent has not written status.json for %s", age);
    }
    if (strcmp(overview->spool, "ok") != 0)
        raise_level(verb, LEVEL_CRITICAL, "the spool is %s", overview->spool);
}

static void judge(struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    const struct config *config = overview->queue.config;
    judge_agent(verb);
    for (size_t i = 0; i < config->n_accounts; i++) {
        const struct overview_account *account = &overview->accounts[i];
        enum level level = account_level(account);
        if (level == LEVEL_OK || (!account->paused && !overview->running))
            continue;
        raise_level(verb, level, "account %s: %s%s%s", account->settings->name,
            overview_account_state(account), account->paused || !*account->reason ? "" : ", ",
            account->paused ? "" : account->reason);
    }
    for (size_t i = 0; i < config->n_tenants; i++) {
        const struct observe_count *new = &overview->tenants[i].states[OBSERVE_NEW];
        char age[QUEUE_AGE_SIZE];
        enum level level = new->oldest_s * 1000 >= verb->critical_ms  ? LEVEL_CRITICAL
                           : new->oldest_s * 1000 >= verb->warning_ms ? LEVEL_WARNING
                                                                      : LEVEL_OK;
        queue_age(new->oldest_s, age);
        if (new->count && level != LEVEL_OK)
            raise_level(verb, level, "tenant %s: mail in new/ is %s old", config->tenants[i].name, age);
    }
    if (overview->queue.code)
        raise_level(verb, LEVEL_UNKNOWN, "not everything could be read");
}

static struct observe_count total(const struct overview *overview, enum observe_state state)
{
    struct observe_count sum = {0};
    for (size_t i = 0; i < overview->queue.config->n_tenants; i++) {
        const struct observe_count *one = &overview->tenants[i].states[state];
        sum.count += one->count;
        sum.bytes += one->bytes;
        sum.oldest_s = one->oldest_s > sum.oldest_s ? one->oldest_s : sum.oldest_s;
    }
    return sum;
}

// "OUTTRAY OK - words | performance data", as the Monitoring Plugins' guidelines have it.
static int print_nagios(struct status_verb *verb)
{
    static const char *const names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
    const struct overview *overview = &verb->overview;
    uint64_t held = 0, sent = 0;
    unsigned sessions = 0;
    for (size_t i = 0; i < overview->queue.config->n_tenants; i++) {
        held += overview->tenants[i].held.count;
        sent += overview->tenants[i].sent_total;
    }
    for (size_t i = 0; i < overview->queue.config->n_accounts; i++)
        sessions += overview->fresh ? overview->accounts[i].sessions : 0;
    struct observe_count new = total(overview, OBSERVE_NEW), cur = total(overview, OBSERVE_CUR),
                         deferred = total(overview, OBSERVE_DEFERRED),
                         failed = total(overview, OBSERVE_FAILED);
    if (!*verb->words)
        (void)snprintf(verb->words, sizeof verb->words,
            "agent %s runs, %" PRIu64 " new, %" PRIu64 " deferred, %" PRIu64 " failed",
            overview->queue.config->agent, new.count, deferred.count, failed.count);
    for (char *at = verb->words; *at; at++)
        if (*at == '|' || *at == '\n')
            *at = '/'; // what follows a bar is performance data
    printf("OUTTRAY %s - ", names[verb->level]);
    queue_print(verb->words);
    printf(" | new=%" PRIu64 ";;;0 cur=%" PRIu64 ";;;0 deferred=%" PRIu64 ";;;0 failed=%" PRIu64
           ";;;0 held=%" PRIu64 ";;;0 oldest_new=%" PRId64 "s;%" PRId64 ";%" PRId64
           ";0 oldest_deferred=%" PRId64 "s;;;0 sessions=%u;;;0 sent=%" PRIu64 "c;;;0\n",
        new.count, cur.count, deferred.count, failed.count, held, new.oldest_s, verb->warning_ms / 1000,
        verb->critical_ms / 1000, deferred.oldest_s, sessions, sent);
    return (int)verb->level;
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
        printf("%sit has not written status.json for %s%s\n", colour(verb, LEVEL_CRITICAL), age, plain(verb));
    bool good = strcmp(overview->spool, "ok") == 0;
    if (overview->told)
        printf("spool %s%s%s, sandbox: landlock %s, seccomp %s\n",
            colour(verb, good ? LEVEL_OK : LEVEL_CRITICAL), overview->spool, plain(verb),
            overview->landlock ? "on" : "off", overview->seccomp ? "on" : "off");
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
    for (size_t i = 0; i < config->n_tenants; i++) {
        size_t columns = queue_columns(config->tenants[i].name);
        width = columns > width ? columns : width;
    }
    width = width > WIDTH_MAX ? WIDTH_MAX : width;
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
    for (size_t i = 0; i < config->n_accounts; i++) {
        size_t columns = queue_columns(config->accounts[i].name);
        width = columns > width ? columns : width;
    }
    width = width > WIDTH_MAX ? WIDTH_MAX : width;
    printf("\n%-*s  %-12s  %8s  %9s  %8s  %8s\n", (int)width, "ACCOUNT", "STATE", "SESSIONS", "IN FLIGHT",
        "SENT", "LOGINS");
    for (size_t i = 0; i < config->n_accounts; i++) {
        const struct overview_account *account = &overview->accounts[i];
        bool live = overview->fresh;
        print_name(account->settings->name, width);
        printf("  %s%-12s%s", colour(verb, account_level(account)), overview_account_state(account),
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

static json_t *pause_json(const struct overview_account *account)
{
    return account->paused ? json_pack("{s:o, s:o, s:o}", "by", observe_json_text(account->pause.by), "at",
                                 observe_json_time(account->pause.at, 0), "reason",
                                 observe_json_text(account->pause.reason))
                           : json_null();
}

static json_t *accounts_json(const struct overview *overview)
{
    json_t *object = json_object();
    for (size_t i = 0; i < overview->queue.config->n_accounts; i++) {
        const struct overview_account *account = &overview->accounts[i];
        json_t *one = json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "state",
            overview_account_state(account), "paused", pause_json(account), "breaker", account->breaker,
            "reason", observe_json_text(account->reason), "fix", observe_json_text(account->fix), "probe_at",
            observe_json_time(account->probe_at, 0), "sessions", (json_int_t)account->sessions, "in_flight",
            (json_int_t)account->in_flight, "sent_total", (json_int_t)account->sent_total, "logins_total",
            (json_int_t)account->logins_total);
        (void)observe_json_set(object, account->settings->name, one);
    }
    return object;
}

static json_t *tenants_json(const struct overview *overview)
{
    json_t *object = json_object();
    for (size_t i = 0; i < overview->queue.config->n_tenants; i++) {
        const struct overview_tenant *tenant = &overview->tenants[i];
        json_t *one = json_pack("{s:o, s:I, s:I}", "account",
            observe_json_text(tenant->settings->account->name), "sent_total", (json_int_t)tenant->sent_total,
            "failed_total", (json_int_t)tenant->failed_total);
        for (size_t s = 0; s <= OBSERVE_STATES; s++) {
            const struct observe_count *count = s < OBSERVE_STATES ? &tenant->states[s] : &tenant->held;
            (void)observe_json_set(one, s < OBSERVE_STATES ? observe_state_names[s] : "hold",
                json_pack("{s:I, s:I, s:I}", "count", (json_int_t)count->count, "bytes",
                    (json_int_t)count->bytes, "oldest_s", (json_int_t)count->oldest_s));
        }
        (void)observe_json_set(object, tenant->settings->name, one);
    }
    return object;
}

static json_t *failures_json(const struct overview *overview)
{
    json_t *list = json_array();
    for (size_t i = 0; i < overview->n_failures; i++) {
        const struct overview_failure *failure = &overview->failures[i];
        (void)json_array_append_new(list,
            json_pack("{s:o, s:o, s:o, s:s, s:o}", "at", observe_json_time(failure->at, 0), "tenant",
                observe_json_text(failure->tenant->name), "name", observe_json_text(failure->name), "reason",
                failure->reason != STATUS_REASON_NONE ? status_reason_name(failure->reason) : "", "detail",
                observe_json_text(failure->detail)));
    }
    return list;
}

static int print_json(const struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    struct buffer text;
    buffer_init(&text, JSON_MAX);
    json_t *root = json_pack("{s:i, s:{s:o, s:b, s:b, s:I, s:o, s:o}, s:o, s:{s:I, s:b}, s:o, s:o, s:o}",
        "version", 1, "agent", "name", observe_json_text(overview->queue.config->agent), "running",
        (int)overview->running, "fresh", (int)overview->fresh, "pid", (json_int_t)overview->pid, "started",
        observe_json_time(overview->started, 0), "time", observe_json_time(overview->time, 3), "spool",
        overview->told ? observe_json_text(overview->spool) : json_null(), "sandbox", "landlock",
        (json_int_t)overview->landlock, "seccomp", (int)overview->seccomp, "tenants", tenants_json(overview),
        "accounts", accounts_json(overview), "failures", failures_json(overview));
    int r = observe_json_print(root, &text);
    json_decref(root);
    if (r == 0)
        (void)fwrite(text.data, 1, text.length, stdout);
    buffer_release(&text);
    return r < 0 ? cli_fail(overview->queue.verb, EX_OSERR, "%s", strerror(-r)) : EX_OK;
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
        return print_nagios(verb);
    if (verb->json)
        return print_json(verb);
    print_agent(verb);
    print_tenants(verb);
    print_accounts(verb);
    print_failures(verb);
    if (verb->overview.queue.code == EX_NOPERM)
        cli_fail(verb->overview.queue.verb, 0,
            "what may not be read is left out (run as root or as the user outtray)");
    return verb->overview.queue.code;
}

int cli_status(int argc, char **argv)
{
    struct status_verb verb = {.warning_ms = WARNING_MS, .critical_ms = CRITICAL_MS};
    const struct cli_verb *self = cli_find("status");
    const char *path, *warning = NULL, *critical = NULL, *no_colour = getenv("NO_COLOR"),
                      *terminal = getenv("TERM");
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
    if (code != EX_OK)
        return verb.nagios ? LEVEL_UNKNOWN : code;
    verb.colours =
        isatty(STDOUT_FILENO) && (!no_colour || !*no_colour) && terminal && strcmp(terminal, "dumb") != 0;
    code = overview_open(&verb.overview, self, path);
    int r = code == EX_OK ? overview_look(&verb.overview, true) : 0;
    if (r < 0)
        code = cli_fail(self, EX_OSERR, "%s", strerror(-r));
    if (code == EX_OK) {
        judge(&verb);
        code = print(&verb);
    } else if (verb.nagios) {
        printf("OUTTRAY UNKNOWN - the configuration, the spool or the state directory cannot be read\n");
        code = LEVEL_UNKNOWN;
    }
    overview_close(&verb.overview);
    return fflush(stdout) != 0 && code == EX_OK ? EX_IOERR : code;
}
