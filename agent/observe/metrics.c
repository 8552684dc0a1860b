// The snapshot as Prometheus text (exposition format 0.0.4): every series stands there from the start, with
// 0.
#include "agent/observe/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const breakers[] = {"closed", "open_unreachable", "open_credentials", "open_quota"};

static void head(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

// name="value" with the format's escapes; control characters other programs might take for line ends are
// replaced.
static void label(struct buffer *out, const char *name, const char *value)
{
    char *clean = observe_clean(value, true);
    if (!clean) {
        out->error = out->error ? out->error : -ENOMEM;
        return;
    }
    buffer_format(out, "%s=\"", name);
    for (const char *at = clean; *at; at++) {
        if (*at == '\\' || *at == '"')
            buffer_text(out, "\\");
        buffer_append(out, at, 1);
    }
    buffer_text(out, "\"");
    free(clean);
}

// One series with one or two labels; name2 NULL for one.
static void series(struct buffer *out, const char *metric, const char *name1, const char *value1,
    const char *name2, const char *value2, int64_t number)
{
    buffer_format(out, "%s{", metric);
    label(out, name1, value1);
    if (name2) {
        buffer_text(out, ",");
        label(out, name2, value2);
    }
    buffer_format(out, "} %" PRId64 "\n", number);
}

static int64_t as_number(uint64_t count)
{
    return count > INT64_MAX ? INT64_MAX : (int64_t)count;
}

static void print_states(const struct snapshot *snapshot, struct buffer *out)
{
    head(out, "outtray_messages", "gauge", "Messages in the spool.");
    for (size_t t = 0; t < snapshot->n_tenants; t++)
        for (size_t s = 0; s < OBSERVE_STATES; s++)
            series(out, "outtray_messages", "tenant", snapshot->tenants[t].name, "state",
                observe_state_names[s], as_number(snapshot->tenants[t].states[s].count));
    head(out, "outtray_oldest_message_age_seconds", "gauge",
        "Age of the oldest message, since its submission.");
    for (size_t t = 0; t < snapshot->n_tenants; t++)
        for (size_t s = 0; s < OBSERVE_STATES; s++)
            series(out, "outtray_oldest_message_age_seconds", "tenant", snapshot->tenants[t].name, "state",
                observe_state_names[s], snapshot->tenants[t].states[s].oldest_s);
}

static bool was_delivered(const struct snapshot *snapshot, const struct observe_tenant *tenant)
{
    for (size_t i = 0; i < snapshot->n_delivered; i++)
        if (strcmp(snapshot->delivered[i].tenant, tenant->name) == 0 &&
            strcmp(snapshot->delivered[i].account, tenant->account) == 0)
            return true;
    return false;
}

static void print_tenant_totals(const struct snapshot *snapshot, struct buffer *out)
{
    head(out, "outtray_delivered_total", "counter", "Messages delivered to all their recipients.");
    for (size_t i = 0; i < snapshot->n_delivered; i++)
        series(out, "outtray_delivered_total", "tenant", snapshot->delivered[i].tenant, "account",
            snapshot->delivered[i].account, as_number(snapshot->delivered[i].total));
    for (size_t t = 0; t < snapshot->n_tenants; t++)
        if (!was_delivered(snapshot, &snapshot->tenants[t]))
            series(out, "outtray_delivered_total", "tenant", snapshot->tenants[t].name, "account",
                snapshot->tenants[t].account, 0);
    head(out, "outtray_failed_total", "counter", "Messages given up, by the reason in their status file.");
    for (size_t t = 0; t < snapshot->n_tenants; t++)
        for (size_t i = 0; i < OBSERVE_REASONS; i++)
            series(out, "outtray_failed_total", "tenant", snapshot->tenants[t].name, "reason",
                observe_reasons[i], as_number(snapshot->tenants[t].failed[i]));
    head(out, "outtray_deferred_total", "counter", "Attempts after which a message was put off, by class.");
    for (size_t t = 0; t < snapshot->n_tenants; t++)
        for (size_t i = 0; i < OBSERVE_CLASSES; i++)
            series(out, "outtray_deferred_total", "tenant", snapshot->tenants[t].name, "class",
                observe_classes[i], as_number(snapshot->tenants[t].deferred[i]));
}

static int64_t account_paused(const struct observe_account *account)
{
    return account->paused;
}

static int64_t account_sessions(const struct observe_account *account)
{
    return account->sessions;
}

static int64_t account_logins(const struct observe_account *account)
{
    return as_number(account->logins_total);
}

static int64_t account_in_flight(const struct observe_account *account)
{
    return account->in_flight;
}

static int64_t account_expiry(const struct observe_account *account)
{
    return account->token_expires_s == INT64_MIN ? 0 : account->token_expires_s;
}

static void print_accounts(const struct snapshot *snapshot, struct buffer *out)
{
    static const struct {
        const char *metric, *type, *help;
        int64_t (*number)(const struct observe_account *account);
    } metrics[] = {
        {"outtray_account_paused", "gauge", "1 while the operator has paused the account.", account_paused},
        {"outtray_sessions", "gauge", "Open SMTP sessions.", account_sessions},
        {"outtray_logins_total", "counter", "Logins that succeeded.", account_logins},
        {"outtray_in_flight", "gauge", "Messages on the wire without a final reply.", account_in_flight},
        {"outtray_token_expiry_seconds", "gauge",
            "Seconds until the access token expires; 0 where there is none.", account_expiry},
    };
    head(out, "outtray_account_breaker", "gauge", "1 for the state that the breaker of the account is in.");
    for (size_t a = 0; a < snapshot->n_accounts; a++)
        for (size_t i = 0; i < sizeof breakers / sizeof *breakers; i++)
            series(out, "outtray_account_breaker", "account", snapshot->accounts[a].name, "state",
                breakers[i], strcmp(snapshot->accounts[a].breaker, breakers[i]) == 0);
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        head(out, metrics[i].metric, metrics[i].type, metrics[i].help);
        for (size_t a = 0; a < snapshot->n_accounts; a++)
            series(out, metrics[i].metric, "account", snapshot->accounts[a].name, NULL, NULL,
                metrics[i].number(&snapshot->accounts[a]));
    }
}

static void print_histogram(const struct observe_account *account, struct buffer *out)
{
    uint64_t below = 0;
    for (size_t i = 0; i <= OBSERVE_BUCKETS; i++) {
        char bound[32] = "+Inf";
        if (i < OBSERVE_BUCKETS)
            (void)snprintf(bound, sizeof bound, "%g", observe_bucket_bounds[i]);
        below += account->delivery[i];
        series(
            out, "outtray_delivery_seconds_bucket", "account", account->name, "le", bound, as_number(below));
    }
    buffer_text(out, "outtray_delivery_seconds_sum{");
    label(out, "account", account->name);
    buffer_format(out, "} %.6f\n", account->delivery_sum_s);
    series(out, "outtray_delivery_seconds_count", "account", account->name, NULL, NULL, as_number(below));
}

int observe_metrics(const struct snapshot *snapshot, struct buffer *out)
{
    print_states(snapshot, out);
    print_tenant_totals(snapshot, out);
    print_accounts(snapshot, out);
    head(
        out, "outtray_delivery_seconds", "histogram", "Time from submission until the delivery was durable.");
    for (size_t a = 0; a < snapshot->n_accounts; a++)
        print_histogram(&snapshot->accounts[a], out);
    head(out, "outtray_spool_ok", "gauge", "1 while the spool can be written.");
    buffer_format(out, "outtray_spool_ok %d\n", strcmp(snapshot->spool, "ok") == 0);
    head(out, "outtray_healthy", "gauge", "1 while deliveries progress, as /healthz has it.");
    buffer_format(out, "outtray_healthy %d\n", snapshot->healthy);
    head(out, "outtray_log_lost_total", "counter", "Log lines that could not be written.");
    buffer_format(out, "outtray_log_lost_total %" PRId64 "\n", as_number(snapshot->log_lost));
    head(out, "outtray_start_time_seconds", "gauge", "When the agent was started, as Unix time.");
    buffer_format(out, "outtray_start_time_seconds %.3f\n", (double)snapshot->started / 1e9);
    head(out, "outtray_up", "gauge", "1 while the agent runs and writes this.");
    buffer_text(out, "outtray_up 1\n");
    head(out, "outtray_build_info", "gauge", "The version, as a label.");
    series(out, "outtray_build_info", "version", snapshot->version, NULL, NULL, 1);
    return buffer_error(out);
}
