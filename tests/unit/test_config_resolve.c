// What the file leaves to be worked out: presets of providers, ports, who inherits account and From from
// whom.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_support.h"

static void microsoft_preset(void **state)
{
    (void)state;
    struct loaded loaded;
    load_good(&loaded,
        "version: 1\ndomain: d.example\n"
        "accounts:\n"
        "  plain: {auth: microsoft, email: a@c.example, oauth: {client_id: x, tenant: c.example}}\n"
        "  app: {auth: microsoft, email: a@c.example, limits: {connections: 1, messages_per_minute: 0},\n"
        "    server: relay.example, port: 2587, oauth: {client_id: x, flow: client_credentials,\n"
        "    client_secret_file: /s, token_url: 'https://t.example/{tenant}/t', tenant: abc}}\n"
        "tenants: {t: {account: plain}, u: {account: app}}\n",
        "");
    const struct config_account *plain = config_find_account(loaded.config, "plain");
    assert_string_equal(plain->servers[0], "smtp.office365.com");
    assert_int_equal(plain->port, 587);
    assert_int_equal(plain->encryption, CONFIG_ENCRYPTION_STARTTLS);
    assert_int_equal(plain->limits.connections, 3);
    assert_int_equal(plain->limits.messages_per_minute, 30);
    assert_int_equal(plain->limits.recipients_per_message, 1000);
    assert_int_equal(plain->limits.recipients_per_day, 10000);
    assert_int_equal(plain->limits.messages_per_day, 0);
    assert_int_equal(plain->limits.window, 8);
    assert_int_equal(plain->oauth.flow, CONFIG_FLOW_AUTHORIZATION_CODE);
    assert_string_equal(
        plain->oauth.authorize_url, "https://login.microsoftonline.com/c.example/oauth2/v2.0/authorize");
    assert_string_equal(
        plain->oauth.token_url, "https://login.microsoftonline.com/c.example/oauth2/v2.0/token");
    assert_string_equal(
        plain->oauth.device_url, "https://login.microsoftonline.com/c.example/oauth2/v2.0/devicecode");
    assert_string_equal(plain->oauth.revoke_url, "");
    assert_string_equal(
        plain->oauth.scope, "https://outlook.office.com/SMTP.Send offline_access openid email");
    const struct config_account *app = config_find_account(loaded.config, "app");
    assert_string_equal(app->servers[0], "relay.example"); // what the file says wins
    assert_int_equal(app->n_servers, 1);
    assert_int_equal(app->port, 2587);
    assert_int_equal(app->limits.connections, 1);
    assert_int_equal(app->limits.messages_per_minute, 0);
    assert_int_equal(app->limits.recipients_per_message, 1000);
    assert_string_equal(app->oauth.token_url, "https://t.example/abc/t");
    assert_string_equal(app->oauth.scope, "https://outlook.office365.com/.default");
    loaded_release(&loaded);
}

static void notices_are_inherited_key_by_key(void **state)
{
    (void)state;
    struct loaded loaded;
    load_good(&loaded,
        "version: 1\ndomain: d.example\n"
        "accounts: {a: {auth: none, server: s.example, encryption: none}}\n"
        "tenants:\n"
        "  top: {account: a, on_failure: {notify: ops@d.example, digest: 15m}}\n"
        "  middle: {parent: top, on_failure: {delay_warning: never}}\n"
        "  low: {parent: middle, on_failure: {notify: sender, digest: never}}\n"
        "  quiet: {parent: top, on_failure: {notify: none}}\n"
        "  other: {account: a}\n",
        "");
    const struct config_notices *top = &config_find_tenant(loaded.config, "top")->on_failure;
    assert_int_equal(top->notify, CONFIG_NOTIFY_ADDRESS);
    assert_string_equal(top->address, "ops@d.example");
    assert_int_equal(top->digest_ms, 15 * 60 * 1000);
    assert_int_equal(top->delay_warning_ms, 4 * 3600 * 1000);
    const struct config_notices *middle = &config_find_tenant(loaded.config, "middle")->on_failure;
    assert_int_equal(middle->notify, CONFIG_NOTIFY_ADDRESS);
    assert_string_equal(middle->address, "ops@d.example");
    assert_int_equal(middle->digest_ms, 15 * 60 * 1000);
    assert_int_equal(middle->delay_warning_ms, CONFIG_NEVER);
    const struct config_notices *low = &config_find_tenant(loaded.config, "low")->on_failure;
    assert_int_equal(low->notify, CONFIG_NOTIFY_SENDER);
    assert_string_equal(low->address, "");
    assert_int_equal(low->digest_ms, CONFIG_NEVER);
    assert_int_equal(low->delay_warning_ms, CONFIG_NEVER);
    assert_int_equal(config_find_tenant(loaded.config, "quiet")->on_failure.notify, CONFIG_NOTIFY_NONE);
    const struct config_notices *other = &config_find_tenant(loaded.config, "other")->on_failure;
    assert_int_equal(other->notify, CONFIG_NOTIFY_NONE);
    assert_int_equal(other->digest_ms, CONFIG_NEVER);
    assert_int_equal(loaded.config->dedupe_ms, 24 * 3600 * 1000);
    loaded_release(&loaded);
}

static void google_preset(void **state)
{
    (void)state;
    struct loaded loaded;
    load_good(&loaded,
        "version: 1\ndomain: d.example\n"
        "accounts:\n"
        "  person: {auth: google, email: a@g.example, oauth: {client_id: x, client_secret_file: /s, login: "
        "b@g.example}}\n"
        "  robot: {auth: google, email: a@g.example, encryption: tls, oauth: {flow: service_account, "
        "key_file: /k}}\n"
        "  empty: {auth: google, email: a@g.example, server: \"\", oauth: {client_id: x, client_secret_file: "
        "/s,\n"
        "    tenant: \"\", scope: \"\", token_url: \"\", login: \"\"}}\n"
        "tenants: {t: {account: person}, u: {account: robot}, v: {account: empty}}\n",
        "");
    const struct config_account *person = config_find_account(loaded.config, "person");
    assert_string_equal(person->servers[0], "smtp.gmail.com");
    assert_int_equal(person->port, 587);
    assert_int_equal(person->limits.connections, 4);
    assert_int_equal(person->limits.messages_per_day, 2000);
    assert_int_equal(person->limits.recipients_per_message, 100);
    assert_int_equal(person->limits.recipients_per_day, 10000);
    assert_string_equal(person->oauth.authorize_url, "https://accounts.google.com/o/oauth2/v2/auth");
    assert_string_equal(person->oauth.token_url, "https://oauth2.googleapis.com/token");
    assert_string_equal(person->oauth.revoke_url, "https://oauth2.googleapis.com/revoke");
    assert_string_equal(person->oauth.scope, "https://mail.google.com/ openid email");
    assert_string_equal(person->oauth.login, "b@g.example");
    const struct config_account *robot = config_find_account(loaded.config, "robot");
    assert_int_equal(robot->encryption, CONFIG_ENCRYPTION_TLS);
    assert_int_equal(robot->port, 465); // follows the encryption that the file gives
    assert_string_equal(robot->oauth.scope, "https://mail.google.com/");
    const struct config_account *empty = config_find_account(loaded.config, "empty");
    assert_string_equal(empty->servers[0], "smtp.gmail.com"); // "" is what leaving the key out is
    assert_string_equal(empty->oauth.token_url, "https://oauth2.googleapis.com/token");
    assert_string_equal(empty->oauth.tenant, "common");
    loaded_release(&loaded);
}

static void ports_follow_encryption(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        unsigned port;
    } rows[] = {
        {"encryption: none", 25},
        {"encryption: starttls", 587},
        {"encryption: tls", 465},
        {"encryption: none, port: 2525", 2525},
        {"encryption: tls, port: 1", 1},
        {"port: 65535", 65535},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text),
            "version: 1\ndomain: d.example\naccounts: {a: {auth: none, server: '::1', %s}}\ntenants: {t: "
            "{account: a}}\n",
            rows[i].keys);
        struct loaded loaded;
        load_good(&loaded, text, "");
        assert_int_equal(loaded.config->accounts[0].port, rows[i].port);
        loaded_release(&loaded);
    }
}

static void who_gives_from(void **state)
{
    (void)state;
    static const char text[] =
        "version: 1\ndomain: d.example\n%s"
        "accounts: {a: {auth: none, server: s.example}, b: {auth: none, server: s.example}}\n"
        "tenants:\n"
        "  grandchild: {parent: child}\n"
        "  child: {parent: top, account: b}\n"
        "  top: {account: a, from: top@d.example}\n"
        "  own: {parent: top, from: 'Own <own@d.example>', account: \"\"}\n"
        "  bare: {account: a, from: \"\"}\n";
    static const struct {
        const char *tenant, *from, *rule, *account;
    } rows[] = {
        {"grandchild", "top@d.example", "parent top", "b"},
        {"child", "top@d.example", "parent top", "b"},
        {"top", "top@d.example", "tenant top", "a"},
        {"own", "Own <own@d.example>", "tenant own", "a"},
        {"bare", "root@d.example", "root@domain", "a"},
    };
    for (int custom = 0; custom < 2; custom++) {
        char buffer[1024];
        snprintf(buffer, sizeof(buffer), text, custom ? "" : "custom_from: false\n");
        struct loaded loaded;
        load_good(&loaded, buffer, "");
        assert_null(loaded.config->default_tenant); // there are several, none is named
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            const struct config_tenant *tenant = config_find_tenant(loaded.config, rows[i].tenant);
            assert_non_null(tenant);
            assert_ptr_equal(tenant, &loaded.config->tenants[i]); // in the order of the file
            assert_string_equal(tenant->from, custom ? rows[i].from : "root@d.example");
            assert_string_equal(tenant->from_rule, custom ? rows[i].rule : "custom_from: false");
            assert_string_equal(tenant->account->name, rows[i].account);
        }
        assert_null(config_find_tenant(loaded.config, "nobody"));
        assert_null(config_find_account(loaded.config, ""));
        loaded_release(&loaded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(microsoft_preset),
        cmocka_unit_test(notices_are_inherited_key_by_key),
        cmocka_unit_test(notices_are_inherited_key_by_key),
        cmocka_unit_test(google_preset),
        cmocka_unit_test(ports_follow_encryption),
        cmocka_unit_test(who_gives_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
