// What more than one key decides: all findings of a file, exactly, for each rule that accounts, tenants and
// the file as a whole must keep.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_support.h"

struct rule_row {
    const char *text;     // what stands in the middle of a file that is right otherwise
    const char *findings; // all of them
};

static const struct rule_row account_rows[] = {
    {"auth: none, server: s.example", ""},
    {"auth: none", "F:3:12: accounts.a.server: is missing: auth: none has no preset\n"},
    {"auth: none, server: []", "F:3:36: accounts.a.server: is missing: auth: none has no preset\n"},
    {"server: s.example", "F:3:12: accounts.a.auth: is missing\n"},
    {"auth: basic",
        "F:3:12: accounts.a.email: is missing: the mailbox that logs in, also the envelope sender\n"
        "F:3:12: accounts.a.password_file: is missing: the file that holds the password of auth: basic\n"
        "F:3:12: accounts.a.server: is missing: auth: basic has no preset\n"},
    {"auth: basic, email: a@d.example, server: s.example, password_file: \"\"",
        "F:3:83: accounts.a.password_file: is missing: the file that holds the password of auth: basic\n"},
    {"auth: basic, email: a@d.example, server: s.example, password_file: /p, encryption: none",
        "F:3:99: warning: accounts.a.encryption: none sends the password readable by anyone on the way; use "
        "starttls "
        "or tls\n"},
    {"auth: basic, email: a@d.example, server: smtp.office365.com, password_file: /p",
        "F:3:22: warning: accounts.a.auth: basic at a Microsoft host (smtp.office365.com): Microsoft "
        "switches basic "
        "SMTP AUTH off by default from the end of December 2026; use auth: microsoft\n"},
    {"auth: none, server: s.example, password_file: /p", "F:3:62: warning: accounts.a.password_file: is not "
                                                         "used with auth: none; did you mean auth: basic?\n"},
    {"auth: none, server: s.example, oauth: {client_id: x}",
        "F:3:54: warning: accounts.a.oauth: is not used with auth: none\n"},
    {"auth: none, server: s.example, oauth: {}", ""},
    {"auth: none, server: s.example, port: 465",
        "F:3:53: warning: accounts.a.port: 465 is the port of encryption: tls, but encryption is starttls\n"},
    {"auth: none, server: s.example, port: 587, encryption: tls",
        "F:3:53: warning: accounts.a.port: 587 is the port of encryption: starttls, but encryption is tls\n"},
    {"auth: none, server: s.example, tls: {verify: false}",
        "F:3:61: warning: accounts.a.tls.verify: false lets anyone on the way read and change the mail; use "
        "ca_file or "
        "pinned_key\n"},
    {"auth: none, server: s.example, encryption: none, tls: {verify: false}", ""},
    {"auth: none, server: s.example, tls: {key_file: /k}",
        "F:3:52: accounts.a.tls.certificate_file: is missing: a certificate and its key go together\n"},
    {"auth: none, server: s.example, tls: {certificate_file: /c}",
        "F:3:52: accounts.a.tls.key_file: is missing: a certificate and its key go together\n"},
    {"auth: none, server: [s.example, \"\"]", "F:3:48: accounts.a.server: a server's name cannot be empty\n"},
    {"auth: none, server: [s.example, {a: b}]",
        "F:3:48: accounts.a.server: must be one text, not a mapping\n"},
    {"auth: none, server: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]",
        "F:3:36: accounts.a.server: has more than 16 elements\n"},
    {"auth: google",
        "F:3:12: accounts.a.email: is missing: the mailbox that logs in, also the envelope sender\n"
        "F:3:12: accounts.a.oauth.client_id: is missing: the application (client) ID that you registered "
        "with Google\n"
        "F:3:12: warning: accounts.a.oauth.client_secret_file: is missing; Google expects one for desktop "
        "clients "
        "too\n"},
    {"auth: google, email: a@d.example, oauth: {client_id: x, flow: device_code}",
        "F:3:78: accounts.a.oauth.flow: Google's device flow does not grant mail scopes; use "
        "authorization_code or "
        "service_account\n"},
    {"auth: google, email: a@d.example, oauth: {client_id: x, flow: client_credentials}",
        "F:3:78: accounts.a.oauth.flow: client_credentials is Microsoft's; Google's counterpart is "
        "service_account\n"},
    {"auth: google, email: a@d.example, oauth: {flow: service_account}",
        "F:3:57: accounts.a.oauth.key_file: is missing: the JSON key file of the service account\n"},
    {"auth: google, email: a@d.example, oauth: {flow: service_account, key_file: /k, tenant: x, "
     "certificate_file: /c}",
        "F:3:103: warning: accounts.a.oauth.tenant: is Microsoft's and means nothing to Google\n"
        "F:3:124: warning: accounts.a.oauth.certificate_file: is Microsoft's and means nothing to Google\n"},
    {"auth: google, email: a@d.example, encryption: none, oauth: {flow: service_account, key_file: /k}",
        "F:3:62: warning: accounts.a.encryption: none sends the access token readable by anyone on the "
        "way\n"},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x, flow: device_code}", ""},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x}, encryption: tls",
        "F:3:88: accounts.a.encryption: Microsoft's servers offer starttls at port 587 only, not tls\n"},
    {"auth: microsoft, email: a@d.example, oauth: {flow: service_account}",
        "F:3:60: accounts.a.oauth.client_id: is missing: the application (client) ID that you registered "
        "with "
        "Microsoft\n"
        "F:3:67: accounts.a.oauth.flow: service_account is Google's; Microsoft's counterpart is "
        "client_credentials\n"},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x, tenant: c, flow: client_credentials}",
        "F:3:60: accounts.a.oauth.client_secret_file: is missing: flow client_credentials needs it, or "
        "certificate_file "
        "and key_file\n"},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x, tenant: c, flow: client_credentials,\n"
     "certificate_file: /c, key_file: /k}",
        ""},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x, flow: client_credentials, "
     "client_secret_file: /s}",
        "F:3:60: warning: accounts.a.oauth.tenant: is missing; flow client_credentials needs the "
        "organization's own, not "
        "common\n"},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x, certificate_file: /c}",
        "F:3:60: accounts.a.oauth.key_file: is missing: the private key of certificate_file\n"},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x, key_file: /k}",
        "F:3:60: accounts.a.oauth.certificate_file: is missing: the certificate of key_file\n"},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x, certificate_file: /c, key_file: /k, "
     "client_secret_file: /s}",
        "F:3:131: accounts.a.oauth.client_secret_file: cannot stand beside certificate_file; give one of "
        "them\n"},
    {"auth: microsoft, email: a@d.example, oauth: {client_id: x}, password_file: /p",
        "F:3:91: warning: accounts.a.password_file: is not used with auth: microsoft\n"},
    // Typos and keys in the wrong place.
    {"auth: none, sever: s.example",
        "F:3:12: accounts.a.server: is missing: auth: none has no preset\n"
        "F:3:28: accounts.a.sever: unknown key `sever`; did you mean `server`?\n"},
    {"auth: none, server: s.example, prot: 25",
        "F:3:47: accounts.a.prot: unknown key `prot`; did you mean `port`?\n"},
    {"auth: none, server: s.example, window: 3",
        "F:3:47: accounts.a.window: unknown key `window` here; there is `accounts.*.limits.window`\n"},
    {"auth: none, server: s.example, xyzzy: 3", "F:3:47: accounts.a.xyzzy: unknown key `xyzzy`\n"},
    {"auth: none, server: s.example, limits: {windows: 3}",
        "F:3:56: accounts.a.limits.windows: unknown key `windows`; did you mean `window`?\n"},
    {"auth: none, server: s.example, limits: 3",
        "F:3:55: accounts.a.limits: must be a mapping of keys to values\n"},
    {"auth: none, server: s.example, limits: ", ""}, // all of its keys commented out
    {"auth: none, server: s.example, port: 1, port: 2",
        "F:3:56: accounts.a.port: given twice; it stands in line 3 already\n"},
};

static void accounts(void **state)
{
    (void)state;
    int differ = 0;
    for (size_t i = 0; i < sizeof(account_rows) / sizeof(account_rows[0]); i++) {
        char text[1024];
        snprintf(text, sizeof(text),
            "version: 1\ndomain: d.example\naccounts: {a: {%s}}\ntenants: {t: {account: a}}\n",
            account_rows[i].text);
        differ += findings_differ(text, account_rows[i].findings);
    }
    assert_int_equal(differ, 0);
}

static void microsoft_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool microsoft;
    } rows[] = {
        {"outlook.office365.com", true},
        {"smtp.office365.com", true},
        {"SMTP.Office365.com", true},
        {"smtp.office365.com.", true},
        {"smtp-mail.outlook.com", true},
        {"contoso-com.mail.protection.outlook.com", true},
        {"smtp.office365.us", true},
        {"[other.example, smtp.office365.com]", true},
        {"smtp.gmail.com", false},
        {"notoffice365.com", false},
        {"smtp.office365.com.example", false},
        {"outlook.example", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text),
            "version: 1\ndomain: d.example\n"
            "accounts: {a: {auth: basic, email: a@d.example, password_file: /p, server: %s}}\ntenants: {t: "
            "{account: a}}\n",
            rows[i].host);
        struct loaded loaded;
        load_text(&loaded, text);
        assert_int_equal(loaded.result, 0);
        if ((strstr(loaded.text, "basic at a Microsoft host") != NULL) != rows[i].microsoft)
            fail_msg("%s: %s", rows[i].host, loaded.text);
        loaded_release(&loaded);
    }
}

// Whole files.
#define HEAD   "version: 1\ndomain: d.example\naccounts: {a: {auth: none, server: s.example}}\n"
#define TENANT "tenants: {t: {account: a}}\n"

static const struct rule_row file_rows[] = {
    {HEAD TENANT, ""},
    {"domain: d.example\naccounts: {a: {auth: none, server: s.example}}\n" TENANT,
        "F:1:1: version: is missing\n"},
    {"version: 3\ndomain: d.example\naccounts: {a: {auth: none, server: s.example}}\n" TENANT,
        "F:1:10: version: is 3; this program reads version 1\n"},
    {"version: 1\n", "F:1:1: accounts: is missing\nF:1:1: domain: is missing\nF:1:1: tenants: is missing\n"},
    {"version: 1\ndomain: d.example\naccounts: {}\ntenants: {}\n",
        "F:3:11: accounts: must have at least one name\nF:4:10: tenants: must have at least one name\n"},
    {"version: 1\ndomain: d.example\naccounts:\ntenants:\n",
        "F:3:10: accounts: must have at least one name\nF:4:9: tenants: must have at least one name\n"},
    {"version: 1\ndomain: d.example\naccounts: [a]\ntenants: x\n",
        "F:3:11: accounts: must be a mapping of keys to values\nF:4:10: tenants: must be a mapping of keys "
        "to values\n"},
    {HEAD "tenants: {t: {}}\n",
        "F:4:11: tenants.t: `account` is missing, and there is no parent to inherit one from\n"},
    {HEAD "tenants: {t: , u: 5}\n",
        "F:4:11: tenants.t: `account` is missing, and there is no parent to inherit one from\n"
        "F:4:19: tenants.u: must be a mapping of keys to values\n"},
    {HEAD "tenants: {t: {parent: u}, u: {parent: v}, v: {}}\n",
        "F:4:11: tenants.t: `account` is missing, here and in every parent\n"
        "F:4:27: tenants.u: `account` is missing, here and in every parent\n"
        "F:4:43: tenants.v: `account` is missing, and there is no parent to inherit one from\n"},
    {HEAD "tenants: {t: {account: a, parent: t}}\n",
        "F:4:35: tenants.t.parent: the parents form a cycle: t -> t\n"},
    {HEAD "tenants:\n  t: {parent: u}\n  u: {parent: v}\n  v: {parent: u}\n",
        "F:6:15: tenants.u.parent: the parents form a cycle: u -> v -> u\n"},
    {HEAD "tenants:\n  t: {parent: u}\n  u: {parent: t}\n  v: {parent: w}\n  w: {parent: v, account: a}\n",
        "F:5:15: tenants.t.parent: the parents form a cycle: t -> u -> t\n"
        "F:7:15: tenants.v.parent: the parents form a cycle: v -> w -> v\n"},
    {HEAD "tenants: {master: {account: a}, slave: {parent: mastre}}\n",
        "F:4:49: tenants.slave.parent: there is no tenant `mastre`; did you mean `master`?\n"},
    {"version: 1\ndomain: d.example\naccounts: {relay: {auth: none, server: s.example}}\n"
     "tenants: {t: {account: rely}, u: {account: other}, v: {parent: t}}\n",
        "F:4:24: tenants.t.account: there is no account `rely`; did you mean `relay`?\n"
        "F:4:44: tenants.u.account: there is no account `other`\n"},
    {HEAD TENANT "default_tenant: tt\n",
        "F:5:17: default_tenant: there is no tenant `tt`; did you mean `t`?\n"},
    {"versoin: 1\nversion: 1\ndomain: d.example\naccounts: {a: {auth: none, server: s.example}}\n" TENANT,
        "F:1:1: versoin: unknown key `versoin`; did you mean `version`?\n"},
    {HEAD TENANT "port: 25\n", "F:5:1: port: unknown key `port` here; there is `accounts.*.port`\n"},
    {HEAD TENANT "retry: {first: 2h, max: 1h}\n",
        "F:5:16: retry.first: retry.first cannot be longer than retry.max\n"},
    {HEAD TENANT "spool: /s/\nstate: /s/state\n", "F:6:8: warning: state: the state directory lies in the "
                                                  "spool, where every directory is taken for a tenant\n"},
    {HEAD TENANT "spool: /s\nstate: /state\n", ""},
    {HEAD TENANT "domain: e.example\n", "F:5:1: domain: given twice; it stands in line 2 already\n"},
    {HEAD "tenants:\n  t: {account: a}\n  \"t\": {account: a}\n",
        "F:6:3: tenants.t: given twice; it stands in line 5 already\n"},
    {HEAD "tenants: {.agents: {account: a}}\n",
        "F:4:11: tenants..agents: `.agents` is the spool's own directory; choose another name\n"},
    {HEAD "tenants: {.t: {account: a}}\n",
        "F:4:11: tenants..t: a name cannot begin with a dot: it is a file name, and those are hidden\n"},
    {HEAD "tenants: {a/b: {account: a}}\n",
        "F:4:11: tenants.a/b: a name cannot hold a slash: it is a file name\n"},
    {HEAD "tenants: {\"\": {account: a}}\n", "F:4:11: tenants.: a name cannot be empty\n"},
    {HEAD "tenants: {\"a\\nb\": {account: a}}\n",
        "F:4:11: tenants.a\\x0ab: a name cannot hold control characters\n"},
    {HEAD "tenants: {\"a\\eb\\x9bc\": {account: a}}\n",
        "F:4:11: tenants.a\\x1bb\\xc2\\x9bc: a name cannot hold control characters\n"},
    {HEAD "tenants: {Größe 1: {account: a}}\n", ""},
    {HEAD "tenants: "
          "{xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
          "xxx: "
          "{account: a}}\n",
        ""},
    {HEAD "tenants: "
          "{xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
          "xxxx: "
          "{account: a}}\n",
        "F:4:11: "
        "tenants."
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "x: a "
        "name cannot be longer than 100 octets: it is a file name\n"},
    // Many faults, one run, in the order of the file.
    {"domain: a b\nspool: x\naccounts: {a: {auth: bsic, port: x}}\ntenants: {t: {account: b, weight: "
     "0}}\nlog: {fromat: x}\n",
        "F:1:1: version: is missing\n"
        "F:1:9: domain: must be a host name: letters, digits, hyphens and dots\n"
        "F:2:8: spool: must be an absolute path, beginning with /\n"
        "F:3:22: accounts.a.auth: `bsic` is not one of none, basic, google or microsoft; did you mean "
        "`basic`?\n"
        "F:3:34: accounts.a.port: must be a whole number, without quotes\n"
        "F:4:24: tenants.t.account: there is no account `b`; did you mean `a`?\n"
        "F:4:35: tenants.t.weight: must be from 1 to 1000\n"
        "F:5:7: log.fromat: unknown key `fromat`; did you mean `format`?\n"},
};

static void files(void **state)
{
    (void)state;
    int differ = 0;
    for (size_t i = 0; i < sizeof(file_rows) / sizeof(file_rows[0]); i++)
        differ += findings_differ(file_rows[i].text, file_rows[i].findings);
    assert_int_equal(differ, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts),
        cmocka_unit_test(microsoft_hosts),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
