// Every key of the contract with values that are right and values that are wrong: a row each, and the exact
// place, path and words of the error.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/schema.h"
#include "config_support.h"

struct key_row {
    const char *path;  // as the schema has it
    const char *value; // as it stands in the file
    const char *error; // NULL: it is right
    unsigned inside;   // where the error is, in columns behind the value's start
};

#define WHOLE      "must be a whole number, without quotes"
#define LIMIT      "must be from 0 to 1000000000"
#define YES_NO     "must be true or false, without quotes"
#define ABSOLUTE   "must be an absolute path, beginning with /"
#define NO_VALUE   "has no value; leave the key out, or write \"\" where it may be empty"
#define SECRET     "must be an absolute path, or the name of a systemd credential without slashes"
#define HOST       "must be a host name: letters, digits, hyphens and dots"
#define URL        "must be a URL that begins with https:// (http:// only to this machine)"
#define DURATION   "must be a duration: a whole number with s, m, h or d, such as 30s or 4h"
#define SIZE       "must be a size: a whole number with k, m or g, such as 64k or 25m"
#define ARGV       "must be a list: the program and its arguments, such as [/usr/bin/logger, -t, outtray]"
#define ARGV_FIRST "must begin with the absolute path of a program; there is no shell that would look for it"
#define PIN        "must be sha256// and the base64 of the public key's SHA-256 (44 characters); several with `;`"
#define LISTEN     "must be ADDRESS:PORT, such as 127.0.0.1:9464 or \"[::1]:9464\""
#define A43        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static const struct key_row rows[] = {
    {"version", "1", NULL, 0},
    {"version", "2", "is 2; this program reads version 1", 0},
    {"version", "0", "is 0; this program reads version 1", 0},
    {"version", "'1'", "must be the number 1", 0},
    {"version", "one", "must be the number 1", 0},
    {"version", "1.0", "must be the number 1", 0},
    {"version", "[1]", "must be one value, not a list", 0},
    {"spool", "/x", NULL, 0},
    {"spool", "x", ABSOLUTE, 0},
    {"spool", "~", NO_VALUE, 0},
    {"spool", "{a: b}", "must be one value, not a mapping", 0},
    {"spool", "\"/a\\tb\"", "a path cannot hold control characters", 0},
    {"state", "'/x y'", NULL, 0},
    {"state", "./x", ABSOLUTE, 0},
    {"agent", "b2", NULL, 0},
    {"agent", "12", NULL, 0},
    {"agent", ".x", "a name cannot begin with a dot: it is a file name, and those are hidden", 0},
    {"agent", "a/b", "a name cannot hold a slash: it is a file name", 0},
    {"domain", "a-b.example", NULL, 0},
    {"domain", "localhost", NULL, 0},
    {"domain", "\"\"", "cannot be empty", 0},
    {"domain", "a_b.example", HOST, 0},
    {"domain", "a..example", "must be a host name; an empty part between dots is none", 0},
    {"domain", "-a.example", "must be a host name; its parts cannot begin or end with a hyphen", 0},
    {"domain", "a-.example", "must be a host name; its parts cannot begin or end with a hyphen", 0},
    {"domain", "a.example.", "must not end in a dot", 0},
    {"domain", "x@a.example", "must be the part behind the @ only", 0},
    {"domain", "b\xc3\xbc.example", "must be written in ASCII; international names as their A-label (xn--…)",
        0},
    {"sandbox", "false", NULL, 0},
    {"sandbox", "on", YES_NO, 0},
    {"custom_from", "false", NULL, 0},
    {"custom_from", "yes", YES_NO, 0},
    {"custom_from", "'true'", YES_NO, 0},
    {"custom_from", "True", YES_NO, 0},
    {"custom_from", "[]", "must be one value, not a list", 0},
    {"default_tenant", "t", NULL, 0},
    {"default_tenant", "\"\"", NULL, 0},
    {"default_tenant", "tt", "there is no tenant `tt`; did you mean `t`?", 0},
    {"default_tenant", "nobody", "there is no tenant `nobody`", 0},

    {"accounts.*.auth", "none", NULL, 0},
    {"accounts.*.auth", "'basic'", NULL, 0},
    {"accounts.*.auth", "mircosoft",
        "`mircosoft` is not one of none, basic, google or microsoft; did you mean `microsoft`?", 0},
    {"accounts.*.auth", "oauth2", "`oauth2` is not one of none, basic, google or microsoft", 0},
    {"accounts.*.auth", "null", NO_VALUE, 0},
    {"accounts.*.email", "b@d.example", NULL, 0},
    {"accounts.*.email", "b", "is no address", 0},
    {"accounts.*.email", "[b@d.example]", "must be one value, not a list", 0},
    {"accounts.*.envelope_from", "message", NULL, 0},
    {"accounts.*.envelope_from", "header", "`header` is not one of account or message", 0},
    {"accounts.*.oauth.client_id", "abc", NULL, 0},
    {"accounts.*.oauth.client_id", "\"a\\nb\"", "cannot hold control characters", 0},
    {"accounts.*.oauth.client_secret_file", "/x", NULL, 0},
    {"accounts.*.oauth.client_secret_file", "a/b", SECRET, 0},
    {"accounts.*.oauth.tenant", "contoso.example", NULL, 0},
    {"accounts.*.oauth.tenant", "a/b", "must be common, organizations, consumers, a domain or a GUID", 0},
    {"accounts.*.oauth.flow", "client_credentials", NULL, 0},
    {"accounts.*.oauth.flow", "device",
        "`device` is not one of authorization_code, device_code, client_credentials or service_account; did "
        "you mean "
        "`device_code`?",
        0},
    {"accounts.*.oauth.certificate_file", "/x", NULL, 0},
    {"accounts.*.oauth.certificate_file", "x", ABSOLUTE, 0},
    {"accounts.*.oauth.key_file", "credential.key", NULL, 0},
    {"accounts.*.oauth.key_file", "../x", SECRET, 0},
    {"accounts.*.oauth.login", "b@d.example", NULL, 0},
    {"accounts.*.oauth.login", "b", "is no address", 0},
    {"accounts.*.oauth.authorize_url", "https://a.example/{tenant}/b", NULL, 0},
    {"accounts.*.oauth.authorize_url", "http://127.0.0.1:80/b", NULL, 0},
    {"accounts.*.oauth.authorize_url", "http://127.0.0.1.example/b", URL, 0},
    {"accounts.*.oauth.token_url", "'http://[::1]:80/b'", NULL, 0},
    {"accounts.*.oauth.token_url", "http://a.example/", URL, 0},
    {"accounts.*.oauth.token_url", "https://", URL, 0},
    {"accounts.*.oauth.device_url", "http://localhost/x", NULL, 0},
    {"accounts.*.oauth.device_url", "https://a b", "must be a URL, without blanks and in ASCII", 0},
    {"accounts.*.oauth.revoke_url", "http://localhost/x", NULL, 0},
    {"accounts.*.oauth.revoke_url", "https://a b", "must be a URL, without blanks and in ASCII", 0},
    {"accounts.*.oauth.scope", "openid email", NULL, 0},
    {"accounts.*.oauth.scope", "'a\"b'", "must be scopes with blanks between them (RFC 6749 section 3.3)", 0},
    {"accounts.*.server", "s.example", NULL, 0},
    {"accounts.*.server", "mail_1", NULL, 0},
    {"accounts.*.server", "192.0.2.1", NULL, 0},
    {"accounts.*.server", "'2001:db8::1'", NULL, 0},
    {"accounts.*.server", "[a.example, b.example]", NULL, 0},
    {"accounts.*.server", "a.example:25",
        "must be a host name or an address; the port has its own key, `port`", 0},
    {"accounts.*.server", "smtp://a.example", "must be a host name, not a URL", 0},
    {"accounts.*.server", "1.2.3.400", "is no IPv4 address", 0},
    {"accounts.*.server", "'[a.example]'", "must be an IPv6 address inside of the brackets", 0},
    {"accounts.*.server", "a b", HOST, 0},
    {"accounts.*.server", "{a: b}", "must be one value, not a mapping", 0},
    {"accounts.*.encryption", "tls", NULL, 0},
    {"accounts.*.encryption", "ssl", "`ssl` is not one of none, starttls or tls", 0},
    {"accounts.*.encryption", "start_tls",
        "`start_tls` is not one of none, starttls or tls; did you mean `starttls`?", 0},
    {"accounts.*.port", "65535", NULL, 0},
    {"accounts.*.port", "0", "must be from 1 to 65535", 0},
    {"accounts.*.port", "65536", "must be from 1 to 65535", 0},
    {"accounts.*.port", "99999999999999999999", "must be from 1 to 65535", 0},
    {"accounts.*.port", "'25'", WHOLE, 0},
    {"accounts.*.port", "smtp", WHOLE, 0},
    {"accounts.*.username", "someone", NULL, 0},
    {"accounts.*.username", "\"a\\0b\"", "a NUL character cannot be used", 0},
    {"accounts.*.password_file", "/x", NULL, 0},
    {"accounts.*.password_file", "x/y", SECRET, 0},
    {"accounts.*.tls.ca_file", "/x", NULL, 0},
    {"accounts.*.tls.ca_file", "x", ABSOLUTE, 0},
    {"accounts.*.tls.verify", "true", NULL, 0},
    {"accounts.*.tls.verify", "1", YES_NO, 0},
    {"accounts.*.tls.pinned_key", "sha256//" A43 "=", NULL, 0},
    {"accounts.*.tls.pinned_key", "sha256//" A43 "=;sha256//" A43 "=", NULL, 0},
    {"accounts.*.tls.pinned_key", A43 "=", PIN, 0},
    {"accounts.*.tls.pinned_key", "sha256//" A43, PIN, 0},
    {"accounts.*.tls.pinned_key", "sha256//" A43 "=;", PIN, 0},
    {"accounts.*.tls.certificate_file", "/x", NULL, 0},
    {"accounts.*.tls.certificate_file", "x", ABSOLUTE, 0},
    {"accounts.*.tls.key_file", "/x", NULL, 0},
    {"accounts.*.tls.key_file", "./x", SECRET, 0},
    {"accounts.*.limits.connections", "1", NULL, 0},
    {"accounts.*.limits.connections", "0", "must be from 1 to 1000", 0},
    {"accounts.*.limits.connections", "1001", "must be from 1 to 1000", 0},
    {"accounts.*.limits.window", "256", NULL, 0},
    {"accounts.*.limits.window", "257", "must be from 1 to 256", 0},
    {"accounts.*.limits.messages_per_connection", "0", NULL, 0},
    {"accounts.*.limits.messages_per_connection", "-1", WHOLE, 0},
    {"accounts.*.limits.messages_per_minute", "0", NULL, 0},
    {"accounts.*.limits.messages_per_minute", "9999999999", LIMIT, 0},
    {"accounts.*.limits.messages_per_day", "10", NULL, 0},
    {"accounts.*.limits.messages_per_day", "1.5", WHOLE, 0},
    {"accounts.*.limits.recipients_per_message", "1", NULL, 0},
    {"accounts.*.limits.recipients_per_message", "0", "must be from 1 to 100000", 0},
    {"accounts.*.limits.recipients_per_day", "10000", NULL, 0},
    {"accounts.*.limits.recipients_per_day", "10k", WHOLE, 0},
    {"accounts.*.timeouts.connect", "1h", NULL, 0},
    {"accounts.*.timeouts.connect", "30", DURATION, 0},
    {"accounts.*.timeouts.command", "1s", NULL, 0},
    {"accounts.*.timeouts.command", "0s", "must be from 1s to 1h", 0},
    {"accounts.*.timeouts.data", "'10m'", NULL, 0},
    {"accounts.*.timeouts.data", "61m", "must be from 1s to 1h", 0},
    {"accounts.*.timeouts.idle", "60s", NULL, 0},
    {"accounts.*.timeouts.idle", "never", DURATION, 0},

    {"tenants.*.parent", "\"\"", NULL, 0},
    {"tenants.*.parent", "tu", "there is no tenant `tu`; did you mean `t`?", 0},
    {"tenants.*.account", "a", NULL, 0},
    {"tenants.*.account", "b", "there is no account `b`; did you mean `a`?", 0},
    {"tenants.*.account", "[a]", "must be one value, not a list", 0},
    {"tenants.*.from", "X <x@d.example>", NULL, 0},
    {"tenants.*.from", "\"X\"", "is no address", 0},
    {"tenants.*.from", "\"a@d.example\\r\\nBcc: b@d.example\"", "must be one line without control characters",
        0},
    {"tenants.*.reply_to", "original", NULL, 0},
    {"tenants.*.reply_to", "author", "`author` is not one of none or original", 0},
    {"tenants.*.tenant_header", "true", NULL, 0},
    {"tenants.*.tenant_header", "on", YES_NO, 0},
    {"tenants.*.envelope_headers", "false", NULL, 0},
    {"tenants.*.envelope_headers", "no", YES_NO, 0},
    {"tenants.*.on_failure.notify", "none", NULL, 0},
    {"tenants.*.on_failure.notify", "sender", NULL, 0},
    {"tenants.*.on_failure.notify", "b@d.example", NULL, 0},
    {"tenants.*.on_failure.notify", "senders", "must be none, sender or an address", 0},
    {"tenants.*.on_failure.digest", "15m", NULL, 0},
    {"tenants.*.on_failure.digest", "never", NULL, 0},
    {"tenants.*.on_failure.digest", "0", DURATION ", or never", 0},
    {"tenants.*.on_failure.digest", "30s", "must be from 1m to 30d, or never", 0},
    {"tenants.*.on_failure.delay_warning", "4h", NULL, 0},
    {"tenants.*.on_failure.delay_warning", "never", NULL, 0},
    {"tenants.*.on_failure.delay_warning", "soon", DURATION ", or never", 0},
    {"tenants.*.group", "mail", NULL, 0},
    {"tenants.*.group", "a b", "must be the name of a Unix group", 0},
    {"tenants.*.weight", "1000", NULL, 0},
    {"tenants.*.weight", "0", "must be from 1 to 1000", 0},

    {"dedupe", "1h", NULL, 0},
    {"dedupe", "366d", "must be from 1s to 365d", 0},
    {"dedupe", "never", DURATION, 0},
    {"retry.first", "30s", NULL, 0},
    {"retry.first", "1 m", DURATION, 0},
    {"retry.first", "5h", "retry.first cannot be longer than retry.max", 0},
    {"retry.max", "365d", NULL, 0},
    {"retry.max", "366d", "must be from 1s to 365d", 0},
    {"retry.max", "30s", "retry.first cannot be longer than retry.max", 0},
    {"retry.give_up_after", "1d", NULL, 0},
    {"retry.give_up_after", "never", DURATION, 0},
    {"retry.jitter", "0", NULL, 0},
    {"retry.jitter", "1.0", NULL, 0},
    {"retry.jitter", "1.1", "must be from 0 to 1", 0},
    {"retry.jitter", "20%", "must be a number such as 0.2, without quotes", 0},
    {"retention.sent", "never", NULL, 0},
    {"retention.sent", "forever", DURATION ", or never", 0},
    {"retention.failed", "1d", NULL, 0},
    {"retention.failed", "0s", "must be from 1s to 3650d, or never", 0},
    {"retention.tmp", "36h", NULL, 0},
    {"retention.tmp", "36", DURATION ", or never", 0},
    {"limits.message_size", "1g", NULL, 0},
    {"limits.message_size", "1000", "must be from 1k to 1024g", 0},
    {"limits.message_size", "50mb", SIZE, 0},
    {"limits.header_size", "64m", NULL, 0},
    {"limits.header_size", "65m", "must be from 1k to 64m", 0},
    {"limits.recipients", "100000", NULL, 0},
    {"limits.recipients", "0", "must be from 1 to 100000", 0},
    {"log.format", "json", NULL, 0},
    {"log.format", "text", "`text` is not one of logfmt or json", 0},
    {"log.file", "/x", NULL, 0},
    {"log.file", "x", ABSOLUTE, 0},
    {"log.syslog", "mail", NULL, 0},
    {"log.syslog", "local8",
        "`local8` is not one of none, mail, daemon, user, local0, local1, local2, local3, local4, local5, "
        "local6 or local7; did you mean `local0`?",
        0},
    {"metrics.textfile", "false", NULL, 0},
    {"metrics.textfile", "off", YES_NO, 0},
    {"metrics.listen", "127.0.0.1:9464", NULL, 0},
    {"metrics.listen", "'[::1]:1'", NULL, 0},
    {"metrics.listen", "localhost:65535", NULL, 0},
    {"metrics.listen", "9464", LISTEN, 0},
    {"metrics.listen", "a:0", LISTEN, 0},
    {"metrics.listen", "a:70000", LISTEN, 0},
    {"metrics.listen", "':80'", NULL, 0},
    {"metrics.listen", "'[::1:80'", "must be an IPv6 address inside of the brackets", 0},
    {"metrics.listen", "'[x]:80'", "must be an IPv6 address inside of the brackets", 0},
    {"metrics.listen", "mail.example.com:80",
        "must be an address of this machine, or localhost; 0.0.0.0 stands for every one", 0},
    {"metrics.listen", "'::1:80'", "an IPv6 address stands in brackets: \"[::1]:9464\"", 0},
    {"metrics.listen", "a b:80", HOST, 0},
    {"hooks.sent", "[/bin/true]", NULL, 0},
    {"hooks.sent", "[[/bin/true]]", "must be one text, not a list", 1},
    {"hooks.deferred", "[/bin/true]", NULL, 0},
    {"hooks.deferred", "yes", ARGV, 0},
    {"hooks.failed", "[/bin/true, x]", NULL, 0},
    {"hooks.failed", "/bin/true", ARGV, 0},
    {"hooks.failed", "[true]", ARGV_FIRST, 1},
    {"hooks.backlog", "[/bin/true]", NULL, 0},
    {"hooks.backlog", "[bin/true]", ARGV_FIRST, 1},
    {"hooks.account_paused", "[]", NULL, 0},
    {"hooks.account_paused", "{a: b}", ARGV, 0},
    {"hooks.account_resumed", "[/bin/true]", NULL, 0},
    {"hooks.account_resumed", "[/bin/true, [x]]", "must be one text, not a list", 12},
    {"hooks.spool_broken", "[/bin/true, '']", NULL, 0},
    {"hooks.spool_broken", "['']", ARGV_FIRST, 1},
    {"hooks.timeout", "2m", NULL, 0},
    {"hooks.timeout", "never", DURATION, 0},
    {"hooks.backlog_age", "1h", NULL, 0},
    {"hooks.backlog_age", "15", DURATION, 0},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct base_line {
    const char *path, *value;
};

static const struct base_line base[] = {
    {"version", "1"},
    {"domain", "d.example"},
    {"accounts.*.auth", "basic"},
    {"accounts.*.email", "a@d.example"},
    {"accounts.*.server", "s.example"},
    {"accounts.*.password_file", "/p"},
    {"tenants.*.account", "a"},
};

// Writes one key of the section at indent, unless the row under test replaces it; the row itself comes first.
// Counts lines; *place gets the row's line and column.
struct writer {
    FILE *out;
    unsigned line, place_line, place_column;
};

static void write_row(struct writer *writer, const char *indent, const char *key, const char *value)
{
    const char *dot = strchr(key, '.');
    int column;
    if (dot)
        column = fprintf(writer->out, "%s%.*s: {%s: ", indent, (int)(dot - key), key, dot + 1);
    else
        column = fprintf(writer->out, "%s%s: ", indent, key);
    fprintf(writer->out, "%s%s\n", value, dot ? "}" : "");
    writer->place_line = writer->line++;
    writer->place_column = (unsigned)column + 1;
}

static void write_section(
    struct writer *writer, const char *prefix, const char *indent, const struct key_row *row)
{
    size_t length = strlen(prefix);
    bool ours = strncmp(row->path, prefix, length) == 0 && (length > 0 || !strstr(row->path, "*"));
    if (ours)
        write_row(writer, indent, row->path + length, row->value);
    for (size_t i = 0; i < sizeof(base) / sizeof(base[0]); i++) {
        bool here = strncmp(base[i].path, prefix, length) == 0 && (length > 0 || !strstr(base[i].path, "*"));
        if (here && strcmp(base[i].path, row->path) != 0) {
            fprintf(writer->out, "%s%s: %s\n", indent, base[i].path + length, base[i].value);
            writer->line++;
        }
    }
}

static void check_row(const struct key_row *row)
{
    char *text = NULL, expected[1024], path[128];
    size_t size;
    struct writer writer = {.out = open_memstream(&text, &size), .line = 1};
    write_section(&writer, "", "", row);
    fprintf(writer.out, "accounts:\n  a:\n");
    writer.line += 2;
    write_section(&writer, "accounts.*.", "    ", row);
    fprintf(writer.out, "tenants:\n  t:\n");
    writer.line += 2;
    write_section(&writer, "tenants.*.", "    ", row);
    fclose(writer.out);

    struct loaded loaded;
    load_text(&loaded, text);
    const char *star = strchr(row->path, '*');
    snprintf(path, sizeof(path), "%.*s%s%s", star ? (int)(star - row->path) : 0, row->path,
        !star                             ? ""
        : strncmp(row->path, "a", 1) == 0 ? "a"
                                          : "t",
        star ? star + 1 : row->path);
    snprintf(expected, sizeof(expected), ":%u:%u: %s: %s\n", writer.place_line,
        writer.place_column + row->inside, path, row->error ? row->error : "");
    const char *found = row->error ? strstr(loaded.text, expected) : NULL;
    bool misplaced = row->error && (!found || loaded.findings.n_errors < 1);
    // Keys that need others beside them complain about those; a right value is not complained about itself.
    bool refused = !row->error && strstr(loaded.text, expected) != NULL;
    for (size_t i = 0; !row->error && i < loaded.findings.n; i++)
        if (!loaded.findings.items[i].warning && strstr(loaded.findings.items[i].text, path) &&
            !strstr(loaded.findings.items[i].text, "is missing"))
            refused = true;
    if (misplaced || refused)
        fail_msg("%s: %s\nexpected: %sgot:\n%sof:\n%s", row->path, row->value, expected, loaded.text, text);
    loaded_release(&loaded);
    free(text);
}

static void rows_hold(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++)
        check_row(&rows[i]);
}

static void every_key_has_a_right_and_a_wrong_row(void **state)
{
    (void)state;
    size_t n;
    const struct schema_key *keys = schema_keys(&n);
    for (size_t i = 0; i < n; i++) {
        bool right = false, wrong = false;
        for (size_t j = 0; j < ROWS; j++)
            if (strcmp(rows[j].path, keys[i].path) == 0)
                *(rows[j].error ? &wrong : &right) = true;
        bool section = keys[i].type == SCHEMA_MAP || keys[i].type == SCHEMA_NAMED;
        if (!section && !(right && wrong))
            fail_msg("%s has no %s row", keys[i].path, right ? "wrong" : "right");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_hold),
        cmocka_unit_test(every_key_has_a_right_and_a_wrong_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
