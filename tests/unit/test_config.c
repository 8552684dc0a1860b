// A configuration that is right: every value where config.h promises it, defaults, presets, inheritance,
// references.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_support.h"
#include <errno.h>
#include <math.h>
#include <sys/stat.h>

#define MINUTE ((int64_t)60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static void defaults(void **state)
{
    (void)state;
    struct loaded loaded;
    load_good(&loaded,
        "version: 1\n"
        "domain: pbx.example.com\n"
        "accounts: {relay: {auth: none, server: mail.example.com}}\n"
        "tenants: {only: {account: relay}}\n",
        "");
    const struct config *config = loaded.config;
    assert_string_equal(config->path, loaded.path);
    assert_string_equal(config->spool, "/var/spool/outtray");
    assert_string_equal(config->state, "/var/lib/outtray");
    assert_string_equal(config->agent, "main");
    assert_string_equal(config->domain, "pbx.example.com");
    assert_true(config->custom_from);
    assert_ptr_equal(config->default_tenant, &config->tenants[0]);
    assert_int_equal(config->retry.first_ms, MINUTE);
    assert_int_equal(config->retry.max_ms, 4 * HOUR);
    assert_int_equal(config->retry.give_up_after_ms, 5 * DAY);
    assert_true(fabs(config->retry.jitter - 0.2) < 1e-9);
    assert_int_equal(config->retention.sent_ms, 7 * DAY);
    assert_int_equal(config->retention.failed_ms, 30 * DAY);
    assert_int_equal(config->retention.tmp_ms, 36 * HOUR);
    assert_int_equal(config->limits.message_size, 50u << 20);
    assert_int_equal(config->limits.header_size, 256u << 10);
    assert_int_equal(config->limits.recipients, 10000);
    assert_int_equal(config->log.format, CONFIG_LOG_LOGFMT);
    assert_string_equal(config->log.file, "");
    assert_true(config->metrics.textfile);
    assert_string_equal(config->metrics.listen, "");
    assert_null(config->hooks.failed[0]);
    assert_null(config->hooks.account_paused[0]);
    assert_null(config->hooks.account_resumed[0]);
    assert_int_equal(config->n_tenants, 1);
    const struct config_tenant *tenant = &config->tenants[0];
    assert_string_equal(tenant->name, "only");
    assert_null(tenant->parent);
    assert_ptr_equal(tenant->account, &config->accounts[0]);
    assert_string_equal(tenant->from, "root@pbx.example.com");
    assert_string_equal(tenant->from_rule, "root@domain");
    assert_int_equal(tenant->reply_to, CONFIG_REPLY_TO_NONE);
    assert_false(tenant->tenant_header);
    assert_true(tenant->envelope_headers);
    assert_string_equal(tenant->group, "");
    assert_int_equal(tenant->weight, 1);
    loaded_release(&loaded);
}

static void account_defaults(void **state)
{
    (void)state;
    struct loaded loaded;
    load_good(&loaded,
        "version: 1\ndomain: d.example\n"
        "accounts: {relay: {auth: basic, email: a@d.example, server: mail.example.com, password_file: "
        "/etc/pw}}\n"
        "tenants: {t: {account: relay}}\n",
        "");
    const struct config_account *account = &loaded.config->accounts[0];
    assert_string_equal(account->name, "relay");
    assert_int_equal(account->auth, CONFIG_AUTH_BASIC);
    assert_string_equal(account->email, "a@d.example");
    assert_int_equal(account->envelope_from, CONFIG_ENVELOPE_ACCOUNT);
    assert_int_equal(account->n_servers, 1);
    assert_string_equal(account->servers[0], "mail.example.com");
    assert_int_equal(account->encryption, CONFIG_ENCRYPTION_STARTTLS);
    assert_int_equal(account->port, 587);
    assert_string_equal(account->username, "a@d.example");
    assert_string_equal(account->password_file, "/etc/pw");
    assert_string_equal(account->tls.ca_file, "");
    assert_true(account->tls.verify);
    assert_string_equal(account->tls.pinned_key, "");
    assert_string_equal(account->tls.certificate_file, "");
    assert_string_equal(account->tls.key_file, "");
    assert_int_equal(account->limits.connections, 4);
    assert_int_equal(account->limits.window, 8);
    assert_int_equal(account->limits.messages_per_connection, 1000);
    assert_int_equal(account->limits.messages_per_minute, 0);
    assert_int_equal(account->limits.messages_per_day, 0);
    assert_int_equal(account->limits.recipients_per_message, 100);
    assert_int_equal(account->limits.recipients_per_day, 0);
    assert_int_equal(account->timeouts.connect_ms, 30000);
    assert_int_equal(account->timeouts.command_ms, 5 * MINUTE);
    assert_int_equal(account->timeouts.data_ms, 10 * MINUTE);
    assert_int_equal(account->timeouts.idle_ms, MINUTE);
    assert_string_equal(account->oauth.client_id, "");
    assert_string_equal(account->oauth.token_url, "");
    loaded_release(&loaded);
}

// Every key with a value other than its default.
static const char full[] =
    "version: 1\nspool: /srv/spool/\nstate: /srv/state//\nagent: west\ndomain: d.example\n"
    "custom_from: true\ndefault_tenant: slave\n"
    "accounts:\n"
    "  relay:\n"
    "    auth: basic\n    email: a@d.example\n    envelope_from: message\n"
    "    server: [one.example, '[2001:db8::1]', 192.0.2.1]\n"
    "    encryption: tls\n    port: 2465\n    username: someone\n    password_file: credential\n"
    "    tls: {ca_file: /ca, verify: false, certificate_file: /cert, key_file: key,\n"
    "      pinned_key: sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}\n"
    "    limits: {connections: 1000, window: 256, messages_per_connection: 0, messages_per_minute: 5,\n"
    "      messages_per_day: 6, recipients_per_message: 7, recipients_per_day: 8}\n"
    "    timeouts: {connect: 1s, command: 2s, data: 3s, idle: 1h}\n"
    "tenants:\n"
    "  slave: {parent: main, reply_to: original, tenant_header: true, envelope_headers: false, group: mail,"
    " weight: 1000}\n"
    "  main: {account: relay, from: 'Main <m@d.example>'}\n"
    "retry: {first: 1s, max: 10m, give_up_after: 1d, jitter: 1}\n"
    "retention: {sent: never, failed: never, tmp: never}\n"
    "limits: {message_size: 1k, header_size: 1k, recipients: 1}\n"
    "log: {format: json, file: /var/log/outtray.log}\n"
    "metrics: {textfile: false, listen: '[::1]:9464'}\n"
    "hooks: {failed: [/bin/a, -b, ''], account_paused: [/bin/p], account_resumed: [/bin/r, \"x y\"]}\n";

static void every_key(void **state)
{
    (void)state;
    struct loaded loaded;
    load_good(&loaded, full, "");
    const struct config *config = loaded.config;
    assert_string_equal(config->spool, "/srv/spool");
    assert_string_equal(config->state, "/srv/state");
    assert_string_equal(config->agent, "west");
    assert_string_equal(config->default_tenant->name, "slave");
    const struct config_account *account = config_find_account(config, "relay");
    assert_int_equal(account->envelope_from, CONFIG_ENVELOPE_MESSAGE);
    assert_int_equal(account->n_servers, 3);
    assert_string_equal(account->servers[0], "one.example");
    assert_string_equal(account->servers[1], "2001:db8::1");
    assert_string_equal(account->servers[2], "192.0.2.1");
    assert_int_equal(account->encryption, CONFIG_ENCRYPTION_TLS);
    assert_int_equal(account->port, 2465);
    assert_string_equal(account->username, "someone");
    assert_string_equal(account->password_file, "credential");
    assert_false(account->tls.verify);
    assert_string_equal(account->tls.ca_file, "/ca");
    assert_string_equal(account->tls.certificate_file, "/cert");
    assert_string_equal(account->tls.key_file, "key");
    assert_string_equal(account->tls.pinned_key, "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_int_equal(account->limits.connections, 1000);
    assert_int_equal(account->limits.window, 256);
    assert_int_equal(account->limits.messages_per_connection, 0);
    assert_int_equal(account->limits.messages_per_minute, 5);
    assert_int_equal(account->limits.messages_per_day, 6);
    assert_int_equal(account->limits.recipients_per_message, 7);
    assert_int_equal(account->limits.recipients_per_day, 8);
    assert_int_equal(account->timeouts.connect_ms, 1000);
    assert_int_equal(account->timeouts.command_ms, 2000);
    assert_int_equal(account->timeouts.data_ms, 3000);
    assert_int_equal(account->timeouts.idle_ms, HOUR);
    const struct config_tenant *slave = config_find_tenant(config, "slave");
    assert_string_equal(slave->parent->name, "main");
    assert_ptr_equal(slave->parent, config_find_tenant(config, "main"));
    assert_ptr_equal(slave->account, account);
    assert_string_equal(slave->from, "Main <m@d.example>");
    assert_string_equal(slave->from_rule, "parent main");
    assert_int_equal(slave->reply_to, CONFIG_REPLY_TO_ORIGINAL);
    assert_true(slave->tenant_header);
    assert_false(slave->envelope_headers);
    assert_string_equal(slave->group, "mail");
    assert_int_equal(slave->weight, 1000);
    assert_int_equal(slave->parent->reply_to, CONFIG_REPLY_TO_NONE); // only account and from are inherited
    assert_int_equal(config->retry.first_ms, 1000);
    assert_int_equal(config->retry.max_ms, 10 * MINUTE);
    assert_int_equal(config->retry.give_up_after_ms, DAY);
    assert_true(fabs(config->retry.jitter - 1) < 1e-9);
    assert_int_equal(config->retention.sent_ms, CONFIG_NEVER);
    assert_int_equal(config->retention.failed_ms, CONFIG_NEVER);
    assert_int_equal(config->retention.tmp_ms, CONFIG_NEVER);
    assert_int_equal(config->limits.message_size, 1024);
    assert_int_equal(config->limits.header_size, 1024);
    assert_int_equal(config->limits.recipients, 1);
    assert_int_equal(config->log.format, CONFIG_LOG_JSON);
    assert_string_equal(config->log.file, "/var/log/outtray.log");
    assert_false(config->metrics.textfile);
    assert_string_equal(config->metrics.listen, "[::1]:9464");
    assert_string_equal(config->hooks.failed[0], "/bin/a");
    assert_string_equal(config->hooks.failed[1], "-b");
    assert_string_equal(config->hooks.failed[2], "");
    assert_null(config->hooks.failed[3]);
    assert_string_equal(config->hooks.account_paused[0], "/bin/p");
    assert_string_equal(config->hooks.account_resumed[1], "x y");
    loaded_release(&loaded);
}

static void references(void **state)
{
    (void)state;
    struct loaded loaded;
    load_good(&loaded, full, "");
    const struct config *config = config_ref(loaded.config);
    assert_ptr_equal(config, loaded.config);
    loaded_release(&loaded); // ours is still there
    assert_string_equal(config->agent, "west");
    config_unref(config);
    config_unref(NULL);
}

// Aliases repeat what stands elsewhere in the file.
static void aliases(void **state)
{
    (void)state;
    struct loaded loaded;
    load_good(&loaded,
        "\xef\xbb\xbf%YAML 1.1\n---\nversion: 1\ndomain: &d d.example\n"
        "accounts:\n"
        "  a: {auth: none, server: *d, limits: &l {window: 3}}\n"
        "  b: {auth: none, server: s.example, limits: *l}\n"
        "tenants: {t: {account: a}, u: {account: b}}\n...\n",
        "");
    assert_string_equal(loaded.config->accounts[0].servers[0], "d.example");
    assert_int_equal(loaded.config->accounts[1].limits.window, 3);
    loaded_release(&loaded);
}

static void many_tenants(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    fprintf(out, "version: 1\ndomain: d.example\naccounts: {a: {auth: none, server: s.example}}\ntenants:\n");
    fprintf(out, "  t0: {account: a, from: x@d.example}\n");
    for (int i = 1; i < 10000; i++)
        fprintf(out, "  t%d: {parent: t%d}\n", i, i - 1);
    fclose(out);
    struct loaded loaded;
    load_good(&loaded, text, "");
    assert_int_equal(loaded.config->n_tenants, 10000);
    const struct config_tenant *last = config_find_tenant(loaded.config, "t9999");
    assert_string_equal(last->from_rule, "parent t0");
    assert_string_equal(last->account->name, "a");
    loaded_release(&loaded);
    free(text);
}

static void names_of_values(void **state)
{
    (void)state;
    assert_string_equal(config_auth_name(CONFIG_AUTH_MICROSOFT), "microsoft");
    assert_string_equal(config_auth_name(CONFIG_AUTH_NONE), "none");
    assert_string_equal(config_encryption_name(CONFIG_ENCRYPTION_STARTTLS), "starttls");
    assert_string_equal(config_flow_name(CONFIG_FLOW_SERVICE_ACCOUNT), "service_account");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(account_defaults),
        cmocka_unit_test(every_key),
        cmocka_unit_test(references),
        cmocka_unit_test(aliases),
        cmocka_unit_test(many_tenants),
        cmocka_unit_test(names_of_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
