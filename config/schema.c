// The table of schema.h. A line per key; the order is the order of example.yaml.
#include "schema.h"
#include "texts.h"
#include <string.h>

#define SECOND ((int64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define KILO   ((int64_t)1024)

static const char *const auths[] = {"none", "basic", "google", "microsoft", NULL};
static const char *const encryptions[] = {"none", "starttls", "tls", NULL};
static const char *const flows[] = {
    "authorization_code", "device_code", "client_credentials", "service_account", NULL};
static const char *const envelopes[] = {"account", "message", NULL};
static const char *const reply_tos[] = {"none", "original", NULL};
static const char *const log_formats[] = {"logfmt", "json", NULL};
static const char *const facilities[] = {"none", "mail", "daemon", "user", "local0", "local1", "local2",
    "local3", "local4", "local5", "local6", "local7", NULL};

// Where a row's value goes, by the scope of the row.
#define F(field) .offset = offsetof(struct global_draft, config.field)
#define A(field) .offset = offsetof(struct account_draft, account.field)
#define T(field) .offset = offsetof(struct tenant_draft, tenant.field)

#define REQUIRED .flags = SCHEMA_REQUIRED
#define NEVER    .flags = SCHEMA_NEVER

// clang-format off
static const struct schema_key keys[] = {
    {.path = "version", .type = SCHEMA_VERSION, REQUIRED},
    {.path = "spool", .type = SCHEMA_TEXT, .fallback = "/var/spool/outtray", .problem = text_absolute, F(spool)},
    {.path = "state", .type = SCHEMA_TEXT, .fallback = "/var/lib/outtray", .problem = text_absolute, F(state)},
    {.path = "agent", .type = SCHEMA_TEXT, .fallback = "main", .problem = text_name, F(agent)},
    {.path = "sandbox", .type = SCHEMA_BOOL, .fallback = "true", F(sandbox)},
    {.path = "domain", .type = SCHEMA_TEXT, REQUIRED, .problem = text_domain, F(domain)},
    {.path = "custom_from", .type = SCHEMA_BOOL, .fallback = "true", F(custom_from)},
    {.path = "default_tenant", .type = SCHEMA_TEXT, .offset = offsetof(struct global_draft, default_tenant)},

    {.path = "accounts", .type = SCHEMA_NAMED, REQUIRED, .max = SCHEMA_ACCOUNTS_MAX, .problem = text_name},
    {.path = "accounts.*.auth", .type = SCHEMA_CHOICE, REQUIRED, .choices = auths, A(auth)},
    {.path = "accounts.*.email", .type = SCHEMA_TEXT, .problem = text_address, A(email)},
    {.path = "accounts.*.envelope_from", .type = SCHEMA_CHOICE, .fallback = "account", .choices = envelopes, A(envelope_from)},
    {.path = "accounts.*.oauth", .type = SCHEMA_MAP},
    {.path = "accounts.*.oauth.client_id", .type = SCHEMA_TEXT, .problem = text_login, A(oauth.client_id)},
    {.path = "accounts.*.oauth.client_secret_file", .type = SCHEMA_TEXT, .problem = text_secret_file, A(oauth.client_secret_file)},
    {.path = "accounts.*.oauth.tenant", .type = SCHEMA_TEXT, .fallback = "common", .problem = text_directory, A(oauth.tenant)},
    {.path = "accounts.*.oauth.flow", .type = SCHEMA_CHOICE, .fallback = "authorization_code", .choices = flows, A(oauth.flow)},
    {.path = "accounts.*.oauth.certificate_file", .type = SCHEMA_TEXT, .problem = text_absolute, A(oauth.certificate_file)},
    {.path = "accounts.*.oauth.key_file", .type = SCHEMA_TEXT, .problem = text_secret_file, A(oauth.key_file)},
    {.path = "accounts.*.oauth.login", .type = SCHEMA_TEXT, .problem = text_address, A(oauth.login)},
    {.path = "accounts.*.oauth.authorize_url", .type = SCHEMA_TEXT, .problem = text_url, A(oauth.authorize_url)},
    {.path = "accounts.*.oauth.token_url", .type = SCHEMA_TEXT, .problem = text_url, A(oauth.token_url)},
    {.path = "accounts.*.oauth.device_url", .type = SCHEMA_TEXT, .problem = text_url, A(oauth.device_url)},
    {.path = "accounts.*.oauth.revoke_url", .type = SCHEMA_TEXT, .problem = text_url, A(oauth.revoke_url)},
    {.path = "accounts.*.oauth.scope", .type = SCHEMA_TEXT, .problem = text_scope, A(oauth.scope)},
    {.path = "accounts.*.server", .type = SCHEMA_SERVERS, .problem = text_server, .max = SCHEMA_SERVERS_MAX,
        .offset = offsetof(struct account_draft, servers)},
    {.path = "accounts.*.encryption", .type = SCHEMA_CHOICE, .fallback = "starttls", .choices = encryptions, A(encryption)},
    {.path = "accounts.*.port", .type = SCHEMA_PORT, .min = 1, .max = 65535, A(port)},
    {.path = "accounts.*.username", .type = SCHEMA_TEXT, .problem = text_login, A(username)},
    {.path = "accounts.*.password_file", .type = SCHEMA_TEXT, .problem = text_secret_file, A(password_file)},
    {.path = "accounts.*.tls", .type = SCHEMA_MAP},
    {.path = "accounts.*.tls.ca_file", .type = SCHEMA_TEXT, .problem = text_absolute, A(tls.ca_file)},
    {.path = "accounts.*.tls.verify", .type = SCHEMA_BOOL, .fallback = "true", A(tls.verify)},
    {.path = "accounts.*.tls.pinned_key", .type = SCHEMA_TEXT, .problem = text_pinned_key, A(tls.pinned_key)},
    {.path = "accounts.*.tls.certificate_file", .type = SCHEMA_TEXT, .problem = text_absolute, A(tls.certificate_file)},
    {.path = "accounts.*.tls.key_file", .type = SCHEMA_TEXT, .problem = text_secret_file, A(tls.key_file)},
    {.path = "accounts.*.limits", .type = SCHEMA_MAP},
    {.path = "accounts.*.limits.connections", .type = SCHEMA_COUNT, .fallback = "4", .min = 1, .max = 1000, A(limits.connections)},
    {.path = "accounts.*.limits.window", .type = SCHEMA_COUNT, .fallback = "8", .min = 1, .max = 256, A(limits.window)},
    {.path = "accounts.*.limits.messages_per_connection", .type = SCHEMA_COUNT, .fallback = "1000", .max = 1000000000, A(limits.messages_per_connection)},
    {.path = "accounts.*.limits.messages_per_minute", .type = SCHEMA_COUNT, .fallback = "0", .max = 1000000000, A(limits.messages_per_minute)},
    {.path = "accounts.*.limits.messages_per_day", .type = SCHEMA_COUNT, .fallback = "0", .max = 1000000000, A(limits.messages_per_day)},
    {.path = "accounts.*.limits.recipients_per_message", .type = SCHEMA_COUNT, .fallback = "100", .min = 1, .max = 100000, A(limits.recipients_per_message)},
    {.path = "accounts.*.limits.recipients_per_day", .type = SCHEMA_COUNT, .fallback = "0", .max = 1000000000, A(limits.recipients_per_day)},
    {.path = "accounts.*.timeouts", .type = SCHEMA_MAP},
    {.path = "accounts.*.timeouts.connect", .type = SCHEMA_DURATION, .fallback = "30s", .min = SECOND, .max = HOUR, A(timeouts.connect_ms)},
    {.path = "accounts.*.timeouts.command", .type = SCHEMA_DURATION, .fallback = "5m", .min = SECOND, .max = HOUR, A(timeouts.command_ms)},
    {.path = "accounts.*.timeouts.data", .type = SCHEMA_DURATION, .fallback = "10m", .min = SECOND, .max = HOUR, A(timeouts.data_ms)},
    {.path = "accounts.*.timeouts.idle", .type = SCHEMA_DURATION, .fallback = "60s", .min = SECOND, .max = HOUR, A(timeouts.idle_ms)},

    {.path = "tenants", .type = SCHEMA_NAMED, REQUIRED, .max = SCHEMA_TENANTS_MAX, .problem = text_tenant_name},
    {.path = "tenants.*.parent", .type = SCHEMA_TEXT, .offset = offsetof(struct tenant_draft, parent)},
    {.path = "tenants.*.account", .type = SCHEMA_TEXT, .offset = offsetof(struct tenant_draft, account)},
    {.path = "tenants.*.from", .type = SCHEMA_TEXT, .problem = text_mailbox, .offset = offsetof(struct tenant_draft, from)},
    {.path = "tenants.*.reply_to", .type = SCHEMA_CHOICE, .fallback = "none", .choices = reply_tos, T(reply_to)},
    {.path = "tenants.*.tenant_header", .type = SCHEMA_BOOL, .fallback = "false", T(tenant_header)},
    {.path = "tenants.*.envelope_headers", .type = SCHEMA_BOOL, .fallback = "true", T(envelope_headers)},
    {.path = "tenants.*.on_failure", .type = SCHEMA_MAP},
    {.path = "tenants.*.on_failure.notify", .type = SCHEMA_TEXT, .problem = text_notify, .offset = offsetof(struct tenant_draft, notify)},
    {.path = "tenants.*.on_failure.digest", .type = SCHEMA_DURATION, NEVER, .min = MINUTE, .max = 30 * DAY, T(on_failure.digest_ms)},
    {.path = "tenants.*.on_failure.delay_warning", .type = SCHEMA_DURATION, NEVER, .min = MINUTE, .max = 365 * DAY, T(on_failure.delay_warning_ms)},
    {.path = "tenants.*.group", .type = SCHEMA_TEXT, .problem = text_group, T(group)},
    {.path = "tenants.*.weight", .type = SCHEMA_COUNT, .fallback = "1", .min = 1, .max = 1000, T(weight)},

    {.path = "retry", .type = SCHEMA_MAP},
    {.path = "retry.first", .type = SCHEMA_DURATION, .fallback = "1m", .min = SECOND, .max = 365 * DAY, F(retry.first_ms)},
    {.path = "retry.max", .type = SCHEMA_DURATION, .fallback = "4h", .min = SECOND, .max = 365 * DAY, F(retry.max_ms)},
    {.path = "retry.give_up_after", .type = SCHEMA_DURATION, .fallback = "5d", .min = SECOND, .max = 3650 * DAY, F(retry.give_up_after_ms)},
    {.path = "retry.jitter", .type = SCHEMA_FRACTION, .fallback = "0.2", .min = 0, .max = 1, F(retry.jitter)},
    {.path = "retention", .type = SCHEMA_MAP},
    {.path = "retention.sent", .type = SCHEMA_DURATION, NEVER, .fallback = "7d", .min = SECOND, .max = 3650 * DAY, F(retention.sent_ms)},
    {.path = "retention.failed", .type = SCHEMA_DURATION, NEVER, .fallback = "30d", .min = SECOND, .max = 3650 * DAY, F(retention.failed_ms)},
    {.path = "retention.tmp", .type = SCHEMA_DURATION, NEVER, .fallback = "36h", .min = SECOND, .max = 3650 * DAY, F(retention.tmp_ms)},
    {.path = "dedupe", .type = SCHEMA_DURATION, .fallback = "24h", .min = SECOND, .max = 365 * DAY, F(dedupe_ms)},
    {.path = "limits", .type = SCHEMA_MAP},
    {.path = "limits.message_size", .type = SCHEMA_SIZE, .fallback = "50m", .min = KILO, .max = KILO * KILO * KILO * KILO, F(limits.message_size)},
    {.path = "limits.header_size", .type = SCHEMA_SIZE, .fallback = "256k", .min = KILO, .max = 64 * KILO * KILO, F(limits.header_size)},
    {.path = "limits.recipients", .type = SCHEMA_COUNT, .fallback = "10000", .min = 1, .max = 100000, F(limits.recipients)},

    {.path = "log", .type = SCHEMA_MAP},
    {.path = "log.format", .type = SCHEMA_CHOICE, .fallback = "logfmt", .choices = log_formats, F(log.format)},
    {.path = "log.file", .type = SCHEMA_TEXT, .problem = text_absolute, F(log.file)},
    {.path = "log.syslog", .type = SCHEMA_CHOICE, .fallback = "none", .choices = facilities, F(log.syslog)},
    {.path = "metrics", .type = SCHEMA_MAP},
    {.path = "metrics.textfile", .type = SCHEMA_BOOL, .fallback = "true", F(metrics.textfile)},
    {.path = "metrics.listen", .type = SCHEMA_TEXT, .problem = text_listen, F(metrics.listen)},
    {.path = "hooks", .type = SCHEMA_MAP},
    {.path = "hooks.sent", .type = SCHEMA_ARGV, .max = SCHEMA_ARGV_MAX, F(hooks.sent)},
    {.path = "hooks.deferred", .type = SCHEMA_ARGV, .max = SCHEMA_ARGV_MAX, F(hooks.deferred)},
    {.path = "hooks.failed", .type = SCHEMA_ARGV, .max = SCHEMA_ARGV_MAX, F(hooks.failed)},
    {.path = "hooks.backlog", .type = SCHEMA_ARGV, .max = SCHEMA_ARGV_MAX, F(hooks.backlog)},
    {.path = "hooks.account_paused", .type = SCHEMA_ARGV, .max = SCHEMA_ARGV_MAX, F(hooks.account_paused)},
    {.path = "hooks.account_resumed", .type = SCHEMA_ARGV, .max = SCHEMA_ARGV_MAX, F(hooks.account_resumed)},
    {.path = "hooks.spool_broken", .type = SCHEMA_ARGV, .max = SCHEMA_ARGV_MAX, F(hooks.spool_broken)},
    {.path = "hooks.timeout", .type = SCHEMA_DURATION, .fallback = "30s", .min = SECOND, .max = HOUR, F(hooks.timeout_ms)},
    {.path = "hooks.backlog_age", .type = SCHEMA_DURATION, .fallback = "15m", .min = SECOND, .max = 365 * DAY, F(hooks.backlog_age_ms)},
};
// clang-format on

#define KEYS (sizeof(keys) / sizeof(keys[0]))

const struct schema_key *schema_keys(size_t *ret_n)
{
    *ret_n = KEYS;
    return keys;
}

const char *schema_name(const struct schema_key *key)
{
    const char *dot = strrchr(key->path, '.');
    return dot ? dot + 1 : key->path;
}

// Whether key stands directly below parent.
static bool is_child(const struct schema_key *parent, const struct schema_key *key)
{
    const char *rest = key->path;
    if (parent) {
        size_t length = strlen(parent->path);
        if (strncmp(rest, parent->path, length) != 0 || rest[length] != '.')
            return false;
        rest += length + 1;
        if (parent->type == SCHEMA_NAMED && strncmp(rest, "*.", 2) == 0)
            rest += 2;
    }
    return !strchr(rest, '.');
}

const struct schema_key *schema_next(const struct schema_key *parent, const struct schema_key *previous)
{
    size_t first = previous ? (size_t)(previous - keys) + 1 : 0;
    for (size_t i = first; i < KEYS; i++)
        if (is_child(parent, &keys[i]))
            return &keys[i];
    return NULL;
}

const struct schema_key *schema_child(const struct schema_key *parent, const char *name)
{
    const struct schema_key *key = NULL;
    while ((key = schema_next(parent, key)))
        if (strcmp(schema_name(key), name) == 0)
            return key;
    return NULL;
}

const struct schema_key *schema_elsewhere(const char *name)
{
    for (size_t i = 0; i < KEYS; i++)
        if (strcmp(schema_name(&keys[i]), name) == 0)
            return &keys[i];
    return NULL;
}
