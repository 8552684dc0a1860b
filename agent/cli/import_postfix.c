// Postfix' main.cf as a null client has it: postconf(5) (see import.h).
#include "agent/cli/import.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEYS_MAX   512
#define DEPTH_MAX  10 // of $name in values
#define VALUE_SIZE 2048

struct parameters {
    char *keys[KEYS_MAX], *values[KEYS_MAX]; // into the text
    size_t n;
};

// Logical lines: one that begins with a blank continues the one before.
static void read_parameters(char *text, struct parameters *parameters)
{
    char *last = NULL;
    for (char *raw = text; raw && *raw;) {
        bool continues = *raw == ' ' || *raw == '\t';
        char *line = import_next_line(&raw);
        if (!*line || *line == '#')
            continue;
        if (continues && last) { // the text is one piece: moved up behind what it continues
            size_t length = strlen(last);
            last[length] = ' ';
            memmove(last + length + 1, line, strlen(line) + 1);
            continue;
        }
        char *equals = strchr(line, '=');
        if (!equals || parameters->n == KEYS_MAX)
            continue;
        char *end = equals;
        while (end > line && strchr(" \t", end[-1]))
            end--;
        *end = '\0';
        last = equals + 1 + strspn(equals + 1, " \t");
        parameters->keys[parameters->n] = line;
        parameters->values[parameters->n++] = last;
    }
}

static const char *raw_value(const struct parameters *parameters, const char *key)
{
    for (size_t i = parameters->n; i-- > 0;) // the last one counts
        if (strcmp(parameters->keys[i], key) == 0)
            return parameters->values[i];
    return NULL;
}

static void expand(const struct parameters *parameters, const char *value, int depth, struct buffer *out)
{
    while (value && *value && depth < DEPTH_MAX) {
        if (*value != '$') {
            size_t length = strcspn(value, "$");
            buffer_append(out, value, length);
            value += length;
            continue;
        }
        value++;
        bool braces = *value == '{' || *value == '(';
        value += braces;
        size_t length = 0;
        while (isalnum((unsigned char)value[length]) || value[length] == '_')
            length++;
        char name[128];
        (void)snprintf(name, sizeof name, "%.*s", (int)length, value);
        value += length + (braces && value[length]);
        expand(parameters, raw_value(parameters, name), depth + 1, out);
    }
}

// The value with its $names expanded, "" where there is none.
static const char *value_of(
    const struct parameters *parameters, const char *key, char text[static VALUE_SIZE])
{
    struct buffer out;
    buffer_init(&out, VALUE_SIZE - 1);
    expand(parameters, raw_value(parameters, key), 0, &out);
    (void)snprintf(text, VALUE_SIZE, "%s", out.data ? out.data : "");
    buffer_release(&out);
    return text;
}

// Seconds of "5d", "300s", "4h"; the default unit is seconds or what the parameter has.
static long seconds(const char *text, long unit)
{
    char *end;
    long number = strtol(text, &end, 10);
    switch (*end) {
    case 's':
        unit = 1;
        break;
    case 'm':
        unit = 60;
        break;
    case 'h':
        unit = 3600;
        break;
    case 'd':
        unit = 86400;
        break;
    case 'w':
        unit = 7 * 86400;
        break;
    default:
        break;
    }
    return number > 0 && number < 1000000 ? number * unit : 0;
}

static void read_domain(struct import *import, const struct parameters *parameters)
{
    static const char *const keys[] = {"myorigin", "myhostname", "mydomain"};
    char value[VALUE_SIZE];
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !import->domain; i++) {
        value_of(parameters, keys[i], value);
        if (value[0] == '/') {
            char *line = import_read_line("", value + 1);
            (void)snprintf(value, sizeof value, "%s", line ? line : "");
            free(line);
        }
        import_set(&import->domain, value);
    }
}

static void read_tls(
    struct import *import, const struct parameters *parameters, struct import_account *account)
{
    char value[VALUE_SIZE];
    value_of(parameters, "smtp_tls_security_level", value);
    bool use = import_yes(value_of(parameters, "smtp_use_tls", (char[VALUE_SIZE]){""}));
    bool enforce = import_yes(value_of(parameters, "smtp_enforce_tls", (char[VALUE_SIZE]){""}));
    bool off = !*value ? !use && !enforce : strcmp(value, "none") == 0;
    account->encryption = off ? "none" : "starttls";
    if (strcmp(value, "may") == 0 || strcmp(value, "dane") == 0 || (!*value && use))
        import_note(import,
            "smtp_tls_security_level %s: here STARTTLS is required and the certificate checked; write "
            "encryption: none where the server has none",
            *value ? value : "may");
    if (strcmp(value, "encrypt") == 0)
        import_note(import, "smtp_tls_security_level encrypt does not check the certificate; here it is "
                            "checked (tls.verify)");
    if (import_yes(value_of(parameters, "smtp_tls_wrappermode", value)))
        account->encryption = "tls";
    import_set(&account->ca_file, value_of(parameters, "smtp_tls_CAfile", value));
    import_set(&account->certificate_file, value_of(parameters, "smtp_tls_cert_file", value));
    import_set(&account->key_file, value_of(parameters, "smtp_tls_key_file", value));
}

// The password file of postmap(1): "KEY USER:PASSWORD", where KEY is the relayhost as written, or its host.
static int read_password(
    struct import *import, struct import_account *account, const char *relayhost, const char *path)
{
    struct buffer text;
    int r = import_read(path, &text);
    char *at = r ? NULL : text.data;
    for (char *line; !account->username && (line = import_next_line(&at));) {
        size_t length = strcspn(line, " \t");
        char *value = line + length + strspn(line + length, " \t"), *colon = strchr(value, ':');
        line[length] = '\0';
        if (*line == '#' || !colon || (strcmp(line, relayhost) != 0 && strcmp(line, account->server) != 0))
            continue;
        *colon = '\0';
        import_set(&account->username, value);
        import_set(&account->password, colon + 1);
    }
    buffer_release(&text);
    if (r == -EACCES)
        return cli_fail(import->verb, EX_NOPERM, "%s: %s (run as root)", path, strerror(-r));
    if (r)
        import_note(import, "smtp_sasl_password_maps: %.200s cannot be read: %s", path, strerror(-r));
    return EX_OK;
}

static void note_rest(struct import *import, const struct parameters *parameters)
{
    static const struct {
        const char *key, *words;
    } rows[] = {
        {"sender_dependent_relayhost_maps", "make an account and a tenant for each sender"},
        {"smtp_generic_maps", "a tenant's from rewrites the address instead"},
        {"sender_canonical_maps", "a tenant's from rewrites the address instead"},
        {"canonical_maps", "a tenant's from rewrites the address instead"},
        {"masquerade_domains", "a tenant's from rewrites the address instead"},
        {"transport_maps", "every tenant has one account"},
        {"virtual_alias_maps", "mail to local users is not redirected; let programs name the address"},
        {"smtp_header_checks", "not offered"},
        {"content_filter", "not offered"},
        {"header_checks", "not offered"},
    };
    char value[VALUE_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (*value_of(parameters, rows[i].key, value))
            import_note(import, "%s: %s", rows[i].key, rows[i].words);
}

static int read_account(struct import *import, const struct parameters *parameters)
{
    char relayhost[VALUE_SIZE], host[VALUE_SIZE], maps[VALUE_SIZE], value[VALUE_SIZE], *name;
    unsigned port;
    if (!*value_of(parameters, "relayhost", relayhost))
        return cli_fail(import->verb, EX_DATAERR,
            "main.cf has no relayhost: Postfix delivers by itself there, and outtray needs a mail account");
    struct import_account *account = import_add_account(import, "relayhost");
    memcpy(host, relayhost, sizeof host);
    if (host[0] != '[')
        import_note(
            import, "relayhost %.200s: its MX is not looked up here; name the server itself", relayhost);
    import_split_host(host, &name, &port);
    import_set(&account->server, name);
    account->port = port ? port : 25;
    read_tls(import, parameters, account);
    account->auth = import_yes(value_of(parameters, "smtp_sasl_auth_enable", value));
    value_of(parameters, "smtp_sasl_password_maps", maps);
    const char *path = strchr(maps, ':') ? strchr(maps, ':') + 1 : maps;
    return account->auth && *path ? read_password(import, account, relayhost, path) : EX_OK;
}

int import_postfix(struct import *import, const char *path)
{
    struct buffer text;
    struct parameters *parameters = calloc(1, sizeof *parameters);
    char value[VALUE_SIZE];
    int r = import_read(path, &text);
    if (r || !parameters) {
        buffer_release(&text);
        free(parameters);
        return cli_fail(
            import->verb, r == -EACCES ? EX_NOPERM : EX_NOINPUT, "%s: %s", path, strerror(r ? -r : ENOMEM));
    }
    read_parameters(text.data, parameters);
    int code = read_account(import, parameters);
    if (!code) {
        read_domain(import, parameters);
        import->first_s = seconds(value_of(parameters, "minimal_backoff_time", value), 1);
        import->max_s = seconds(value_of(parameters, "maximal_backoff_time", value), 1);
        import->give_up_s = seconds(value_of(parameters, "maximal_queue_lifetime", value), 86400);
        import->delay_s = seconds(value_of(parameters, "delay_warning_time", value), 3600);
        import->message_size = strtoull(value_of(parameters, "message_size_limit", value), NULL, 10);
        note_rest(import, parameters);
        import_add_tenant(import, "main", 0, NULL);
    }
    free(parameters);
    buffer_release(&text);
    return code;
}
