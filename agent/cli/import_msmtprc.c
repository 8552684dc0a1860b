// msmtp's configuration, as msmtp(1) describes it (see import.h).
#include "agent/cli/import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct msmtp {
    bool tls, starttls;
    bool eval;        // its password comes from a command
    const char *auth; // constant: NULL: off
};

struct reader {
    struct import *import;
    struct msmtp settings[IMPORT_ACCOUNTS_MAX + 1]; // the last one are the defaults
    struct import_account defaults;
    struct import_account *account; // NULL: the defaults
    struct msmtp *current;
    char *default_name; // `account default : NAME`
};

// The value without its quotes.
static char *unquote(char *value)
{
    size_t length = strlen(value);
    if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
        value[length - 1] = '\0';
        value++;
    }
    return value;
}

static void copy_account(struct import_account *to, const struct import_account *from)
{
    import_set(&to->server, from->server);
    import_set(&to->email, from->email);
    import_set(&to->username, from->username);
    import_wipe(&to->password);
    to->password = from->password ? strdup(from->password) : NULL;
    import_set(&to->ca_file, from->ca_file);
    import_set(&to->certificate_file, from->certificate_file);
    import_set(&to->key_file, from->key_file);
    to->port = from->port;
    to->no_verify = from->no_verify;
}

// "account NAME", "account NAME : OTHER, …": a new one with the defaults, or with what another has.
static void begin_account(struct reader *reader, char *value)
{
    struct import *import = reader->import;
    char *colon = strchr(value, ':'), *base = NULL;
    if (colon) {
        *colon = '\0';
        base = colon + 1 + strspn(colon + 1, " \t");
        base[strcspn(base, " \t,")] = '\0';
    }
    value[strcspn(value, " \t")] = '\0';
    if (base && strcmp(value, "default") == 0) {
        import_set(&reader->default_name, base);
        reader->account = &reader->defaults; // nothing may follow, and nothing would be lost
        return;
    }
    struct import_account *account = *value ? import_add_account(import, value) : NULL;
    if (!account) {
        reader->account = &reader->defaults;
        return;
    }
    size_t index = import->n_accounts - 1;
    reader->account = account;
    reader->current = &reader->settings[index];
    *reader->current = reader->settings[IMPORT_ACCOUNTS_MAX];
    copy_account(account, &reader->defaults);
    for (size_t i = 0; base && i < index; i++)
        if (strcmp(import->accounts[i].name, base) == 0) {
            copy_account(account, &import->accounts[i]);
            *reader->current = reader->settings[i];
        }
}

static void set_auth(struct reader *reader, const char *value)
{
    bool token = strcmp(value, "oauthbearer") == 0 || strcmp(value, "xoauth2") == 0;
    reader->current->auth = strcmp(value, "off") == 0 ? NULL : token ? "oauth" : "basic";
    if (token)
        import_note(reader->import,
            "auth %s: use `auth: google` or `auth: microsoft` with `outtray oauth login`", value);
}

static void set_from(struct reader *reader, struct import_account *account, const char *value)
{
    if (strchr(value, '%'))
        import_note(reader->import,
            "from %.200s: patterns are not known here; give each program a tenant with its own from", value);
    else
        import_set(&account->email, value);
}

static bool set_text(struct import_account *account, const char *key, const char *value)
{
    const struct {
        const char *key;
        char **field;
    } fields[] = {{"host", &account->server}, {"user", &account->username},
        {"tls_cert_file", &account->certificate_file}, {"tls_key_file", &account->key_file}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(key, fields[i].key) == 0) {
            import_set(fields[i].field, value);
            return true;
        }
    return false;
}

// What has no meaning here, or happens by itself.
static bool is_needless(const char *key)
{
    static const char *const keys[] = {"syslog", "logfile", "logfile_time_format", "set_date_header",
        "set_msgid_header", "set_from_header", "allow_from_override", "undisclosed_recipients",
        "remove_bcc_headers", "timeout", "add_missing_from_header", "add_missing_date_header", "keepbcc",
        "tls_min_dh_prime_bits", "dsn_notify", "dsn_return", "auto_from", NULL};
    for (size_t i = 0; keys[i]; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static void set_tls(struct reader *reader, struct import_account *account, const char *key, const char *value)
{
    value = *value ? value : "on";
    if (strcmp(key, "tls") == 0)
        reader->current->tls = import_yes(value);
    else if (strcmp(key, "tls_starttls") == 0)
        reader->current->starttls = import_yes(value);
    else if (strcmp(key, "tls_certcheck") == 0)
        account->no_verify = !import_yes(value);
    else if (strcmp(key, "tls_trust_file") == 0)
        import_set(
            &account->ca_file, strcmp(value, "system") == 0 || strcmp(value, "off") == 0 ? NULL : value);
    else
        import_note(reader->import, "%.100s was not carried over", key);
}

static void read_line(struct reader *reader, char *line)
{
    size_t length = strcspn(line, " \t");
    char *key = line, *value = line + length + strspn(line + length, " \t");
    line[length] = '\0';
    value = unquote(value);
    if (strcmp(key, "account") == 0) {
        begin_account(reader, value);
        return;
    }
    if (strcmp(key, "defaults") == 0) {
        reader->account = &reader->defaults;
        reader->current = &reader->settings[IMPORT_ACCOUNTS_MAX];
        return;
    }
    struct import_account *account = reader->account;
    if (set_text(account, key, value) || is_needless(key))
        return;
    if (strcmp(key, "port") == 0)
        account->port = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(key, "from") == 0)
        set_from(reader, account, value);
    else if (strcmp(key, "auth") == 0)
        set_auth(reader, *value ? value : "on");
    else if (strcmp(key, "password") == 0)
        import_set(&account->password, value);
    else if (strcmp(key, "passwordeval") == 0)
        reader->current->eval = true;
    else if (strcmp(key, "domain") == 0)
        import_set(&reader->import->domain, strcmp(value, "localhost") == 0 ? NULL : value);
    else if (strncmp(key, "tls", 3) == 0)
        set_tls(reader, account, key, value);
    else
        import_note(reader->import, "%.100s was not carried over", key);
}

static void finish_accounts(struct reader *reader)
{
    struct import *import = reader->import;
    for (size_t i = 0; i < import->n_accounts; i++) {
        struct import_account *account = &import->accounts[i];
        const struct msmtp *settings = &reader->settings[i];
        account->encryption = !settings->tls ? "none" : settings->starttls ? "starttls" : "tls";
        if (!account->port)
            account->port = settings->tls && !settings->starttls ? 465 : 25;
        account->auth = settings->auth != NULL;
        if (settings->eval)
            import_note(import,
                "account %s: passwordeval is not run here; put what it prints into the password file",
                account->name);
        import_add_tenant(import, account->name, i, account->email);
        if (strcmp(account->name, reader->default_name ? reader->default_name : "default") == 0)
            import->default_tenant = i;
    }
}

int import_msmtprc(struct import *import, const char *path)
{
    struct buffer text;
    struct reader *reader = calloc(1, sizeof *reader);
    int r = import_read(path, &text);
    if (r || !reader) {
        buffer_release(&text);
        free(reader);
        return cli_fail(
            import->verb, r == -EACCES ? EX_NOPERM : EX_NOINPUT, "%s: %s", path, strerror(r ? -r : ENOMEM));
    }
    reader->import = import;
    reader->account = &reader->defaults;
    reader->current = &reader->settings[IMPORT_ACCOUNTS_MAX];
    reader->current->starttls = true;
    char *at = text.data;
    for (char *line; (line = import_next_line(&at));)
        if (*line && *line != '#')
            read_line(reader, line);
    finish_accounts(reader);
    char **fields[] = {&reader->defaults.server, &reader->defaults.email, &reader->defaults.username,
        &reader->defaults.ca_file, &reader->defaults.certificate_file, &reader->defaults.key_file,
        &reader->default_name};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        free(*fields[i]);
    import_wipe(&reader->defaults.password);
    free(reader);
    buffer_release(&text);
    return EX_OK;
}
