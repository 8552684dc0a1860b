// `outtray status --json`.
#include "agent/cli/status_verb.h"
#include "agent/observe/json.h"

#include <string.h>

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

int status_print_json(const struct status_verb *verb)
{
    const struct overview *overview = &verb->overview;
    json_t *root = json_pack("{s:i, s:{s:o, s:b, s:b, s:I, s:o, s:o}, s:o, s:{s:I, s:b}, s:o, s:o, s:o}",
        "version", 1, "agent", "name", observe_json_text(overview->queue.config->agent), "running",
        (int)overview->running, "fresh", (int)overview->fresh, "pid", (json_int_t)overview->pid, "started",
        observe_json_time(overview->started, 0), "time", observe_json_time(overview->time, 3), "spool",
        overview->told ? observe_json_text(overview->spool) : json_null(), "sandbox", "landlock",
        (json_int_t)overview->landlock, "seccomp", (int)overview->seccomp, "tenants", tenants_json(overview),
        "accounts", accounts_json(overview), "failures", failures_json(overview));
    int r = cli_print_json(root);
    json_decref(root);
    return r < 0 ? cli_fail(overview->queue.verb, EX_OSERR, "%s", strerror(-r)) : EX_OK;
}
