// The configuration: one YAML file read into one immutable tree of structs.
//
// config_load reads, checks and resolves the whole file: presets, ports from encryption, tenants'
// inheritance. Either everything is right and a struct config comes back, or nothing does and every error of
// the file is in the list, each as "file:line:col: accounts.relay.port: …". Warnings never keep a file from
// loading.
//
// A struct config is never changed after loading and may be read from any thread. It is reference counted:
// whoever keeps a pointer into it holds a reference. All strings are NUL-terminated UTF-8, never NULL unless
// said so: an absent key is "" (or its default). Durations are milliseconds, sizes octets.
#ifndef OUTTRAY_CONFIG_CONFIG_H
#define OUTTRAY_CONFIG_CONFIG_H

#include "opener.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A duration of `never`.
#define CONFIG_NEVER ((int64_t)-1)

enum config_auth { CONFIG_AUTH_NONE, CONFIG_AUTH_BASIC, CONFIG_AUTH_GOOGLE, CONFIG_AUTH_MICROSOFT };
enum config_encryption { CONFIG_ENCRYPTION_NONE, CONFIG_ENCRYPTION_STARTTLS, CONFIG_ENCRYPTION_TLS };
enum config_flow {
    CONFIG_FLOW_AUTHORIZATION_CODE,
    CONFIG_FLOW_DEVICE_CODE,
    CONFIG_FLOW_CLIENT_CREDENTIALS,
    CONFIG_FLOW_SERVICE_ACCOUNT,
};
enum config_envelope_from { CONFIG_ENVELOPE_ACCOUNT, CONFIG_ENVELOPE_MESSAGE };
enum config_notify { CONFIG_NOTIFY_NONE, CONFIG_NOTIFY_SENDER, CONFIG_NOTIFY_ADDRESS };
enum config_reply_to { CONFIG_REPLY_TO_NONE, CONFIG_REPLY_TO_ORIGINAL };
enum config_log_format { CONFIG_LOG_LOGFMT, CONFIG_LOG_JSON };
enum config_syslog { // facilities
    CONFIG_SYSLOG_NONE,
    CONFIG_SYSLOG_MAIL,
    CONFIG_SYSLOG_DAEMON,
    CONFIG_SYSLOG_USER,
    CONFIG_SYSLOG_LOCAL0, // the seven others follow
    CONFIG_SYSLOG_LOCAL7 = CONFIG_SYSLOG_LOCAL0 + 7,
};

// Names as they stand in the file: "microsoft", "starttls", … Constant strings.
const char *config_auth_name(enum config_auth auth);
const char *config_encryption_name(enum config_encryption encryption);
const char *config_flow_name(enum config_flow flow);

struct config_oauth {
    const char *client_id;
    const char *client_secret_file;
    const char *tenant; // Microsoft: default "common"
    enum config_flow flow;
    const char *certificate_file;
    const char *key_file;
    const char *login;         // who signs in; "" means the account's email
    const char *authorize_url; // the preset's where the file has none, {tenant} filled in
    const char *token_url;
    const char *device_url;
    const char *revoke_url; // "" where the provider has none, or only token_url was given
    const char *scope;
};

struct config_tls {
    const char *ca_file;
    bool verify;
    const char *pinned_key;
    const char *certificate_file;
    const char *key_file;
};

struct config_limits { // 0: no limit; connections, window and recipients_per_message are at least 1
    unsigned connections;
    unsigned window;
    unsigned messages_per_connection;
    unsigned messages_per_minute;
    unsigned messages_per_day;
    unsigned recipients_per_message;
    unsigned recipients_per_day;
};

struct config_timeouts {
    int64_t connect_ms, command_ms, data_ms, idle_ms;
};

struct config_account {
    const char *name;
    enum config_auth auth;
    const char
        *email; // the mailbox that logs in; the envelope sender; never "" (auth none: default root@DOMAIN)
    enum config_envelope_from envelope_from;
    const char *const
        *servers; // tried in order; at least one; host names or addresses, IPv6 without brackets
    size_t n_servers;
    enum config_encryption encryption;
    uint16_t port;
    const char *username; // default: email
    const char *password_file;
    const struct opener *opener; // of the files that are named here; NULL: this process itself
    struct config_oauth oauth;   // filled in for google and microsoft only
    struct config_tls tls;
    struct config_limits limits;
    struct config_timeouts timeouts;
};

// Who is told of mail that fails or is late. Each key is inherited by itself through the parents.
struct config_notices {
    enum config_notify notify;
    const char *address;      // with CONFIG_NOTIFY_ADDRESS, else ""
    int64_t digest_ms;        // one summary per address in so long; CONFIG_NEVER: each by itself
    int64_t delay_warning_ms; // told once that a message has waited so long; CONFIG_NEVER: not
};

struct config_tenant {
    const char *name;
    const struct config_tenant *parent;   // NULL for a master
    const struct config_account *account; // resolved through the parents; never NULL
    const char *
        from; // what custom_from and the parents resolve to: "Acme <voicemail@acme.example>" or "root@DOMAIN"
    const char
        *from_rule; // which rule gave it: "tenant acme", "parent master", "root@domain", "custom_from: false"
    enum config_reply_to reply_to;
    bool tenant_header;
    bool envelope_headers;
    struct config_notices on_failure;
    const char *group; // "" where none
    unsigned weight;
};

struct config_hooks { // each a NULL-terminated argv, possibly empty
    const char *const *sent;
    const char *const *deferred;
    const char *const *failed;
    const char *const *backlog;
    const char *const *account_paused;
    const char *const *account_resumed;
    const char *const *spool_broken;
    int64_t timeout_ms;     // how long one may run
    int64_t backlog_age_ms; // of the oldest message in new/: above it, backlog is run
};

struct config {
    const char *path;
    const char *spool; // absolute
    const char *state; // absolute
    const char *agent;
    const char *domain;
    bool sandbox;
    bool custom_from;
    const struct config_tenant *default_tenant; // resolved: the key, else the only tenant, else NULL
    const struct config_account *accounts;      // in the order of the file
    size_t n_accounts;
    const struct config_tenant *tenants; // in the order of the file
    size_t n_tenants;
    struct {
        int64_t first_ms, max_ms, give_up_after_ms;
        double jitter; // 0 … 1
    } retry;
    struct {
        int64_t sent_ms, failed_ms, tmp_ms; // CONFIG_NEVER: keep
    } retention;
    int64_t dedupe_ms; // how long an X-Outtray-Key is remembered
    struct {
        uint64_t message_size, header_size;
        unsigned recipients;
    } limits;
    struct {
        enum config_log_format format;
        const char *file; // "" is standard error, or with syslog nowhere
        enum config_syslog syslog;
    } log;
    struct {
        bool textfile;
        const char *listen; // "" is off
    } metrics;
    struct config_hooks hooks;
};

// One finding: "FILE:LINE:COL: PATH: TEXT", or "FILE:LINE:COL: warning: PATH: TEXT", ready to print. Owned by
// the list.
struct config_finding {
    bool warning;
    unsigned line, column; // 1-based; 0 where the finding is not about a place
    char *text;
};
struct config_findings {
    struct config_finding *items; // in the order of the file
    size_t n;
    size_t n_errors;
};
void config_findings_release(struct config_findings *findings);

// What only the rooms above know: whether a text is an address or a mailbox ("Name <a@b>" or "a@b"). Each
// answers NULL for yes, else a constant text with the reason. NULL functions accept everything. And who opens
// the files that are named.
struct config_checks {
    const char *(*address)(const char *text);
    const char *(*mailbox)(const char *text);
    const struct opener *opener; // what the accounts get; must outlive the configuration
};

// Loads path. 0 and *ret_config with one reference (drop it with config_unref), or negative errno: -EINVAL
// where the findings hold the errors, -ENOENT, -EACCES, -ENOMEM, … where the file could not be read (one
// finding says so too). findings is filled in both cases (initialize with {0}); *ret_config is untouched on
// failure.
int config_load(const char *path, const struct config_checks *checks, const struct config **ret_config,
    struct config_findings *findings);

const struct config *config_ref(const struct config *config);
void config_unref(const struct config *config); // takes NULL

// Borrowed; NULL where there is none.
const struct config_tenant *config_find_tenant(const struct config *config, const char *name);
const struct config_account *config_find_account(const struct config *config, const char *name);

#endif
