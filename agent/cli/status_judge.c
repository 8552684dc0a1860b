// What is wrong, and how wrong, in one line: the part of `outtray status` that monitoring asks.
#include "agent/base/clock.h"
#include "agent/cli/status_verb.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

static void raise_level(struct status_verb *verb, enum status_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void raise_level(struct status_verb *verb, enum status_level level, const char *format, ...)
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

enum status_level status_account_level(const struct overview_account *account)
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
        raise_level(verb, LEVEL_CRITICAL, "the agent has not written status.json for %s%s", age,
            overview->full ? ": the disk of the state directory is full" : "");
    }
    if (strcmp(overview->spool, "ok") != 0)
        raise_level(verb, LEVEL_CRITICAL, "the spool is %s", overview->spool);
}

void status_judge(struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    const struct config *config = overview->queue.config;
    judge_agent(verb);
    for (size_t i = 0; i < config->n_accounts; i++) {
        const struct overview_account *account = &overview->accounts[i];
        enum status_level level = status_account_level(account);
        if (level == LEVEL_OK || (!account->paused && !overview->running))
            continue;
        raise_level(verb, level, "account %s: %s%s%s", account->settings->name,
            overview_account_state(account), account->paused || !*account->reason ? "" : ", ",
            account->paused ? "" : account->reason);
    }
    for (size_t i = 0; i < config->n_tenants; i++) {
        const struct observe_count *new = &overview->tenants[i].states[OBSERVE_NEW];
        char age[QUEUE_AGE_SIZE];
        enum status_level level = new->oldest_s * 1000 >= verb->critical_ms  ? LEVEL_CRITICAL
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
int status_print_nagios(struct status_verb *verb)
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
