// What `outtray check` says of configurations that load: the resolved view, and the errors and warnings
// around it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/cli/check.h"
#include "config_support.h"
#include <fcntl.h>
#include <sys/stat.h>

static char directory[] = "/tmp/outtray-test-check.XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    unsetenv("CREDENTIALS_DIRECTORY");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "%s/pw", directory);
    unlink(path);
    return rmdir(directory);
}

// A copy of text with the test's directory for every '%'.
static char *fill(const char *text)
{
    char *filled = NULL;
    size_t size;
    FILE *out = open_memstream(&filled, &size);
    for (const char *at = text; *at; at++)
        if (*at == '%')
            fputs(directory, out);
        else
            fputc(*at, out);
    fclose(out);
    return filled;
}

// Loads text, filled, and hands out what the view and the report say.
static size_t look(const char *text, char **ret_view, char **ret_report)
{
    char *filled = fill(text);
    size_t size;
    struct loaded loaded;
    load_text(&loaded, filled);
    if (loaded.result != 0)
        fail_msg("%s", loaded.text);
    FILE *out = open_memstream(ret_view, &size);
    assert_int_equal(check_print(loaded.config, out), 0);
    fclose(out);
    out = open_memstream(ret_report, &size);
    size_t errors = check_report(loaded.config, out);
    fclose(out);
    for (char *at = *ret_report; (at = strstr(at, loaded.path));) // as in config_support.h
        memmove(
            (char *)memcpy(at, "F", 1) + 1, at + strlen(loaded.path), strlen(at + strlen(loaded.path)) + 1);
    loaded_release(&loaded);
    free(filled);
    return errors;
}

static void expect(const char *text, size_t errors, const char *view, const char *report)
{
    char *got_view, *got_report, *filled = fill(report);
    size_t got = look(text, &got_view, &got_report);
    if (view)
        assert_string_equal(got_view, view);
    assert_string_equal(got_report, filled);
    assert_int_equal(got, errors);
    free(got_view);
    free(got_report);
    free(filled);
}

#define HEAD "version: 1\ndomain: d.example\nspool: %\nstate: %/.\n"

static void the_resolved_view(void **state)
{
    (void)state;
    expect(HEAD
        "accounts:\n"
        "  office: {auth: microsoft, email: pbx@c.example, oauth: {client_id: x, login: me@c.example}}\n"
        "  relay: {auth: none, server: [mail.example.com, '2001:db8::1'], encryption: none, envelope_from: "
        "message,\n"
        "    limits: {messages_per_connection: 0}}\n"
        "tenants:\n"
        "  master: {account: office, from: 'Contoso <pbx@c.example>'}\n"
        "  acme: {parent: master}\n"
        "  plain: {account: relay}\n"
        "default_tenant: acme\n",
        0,
        "tenant: master\n"
        "  account: office\n"
        "  server: smtp.office365.com:587\n"
        "  encryption: starttls\n"
        "  auth: microsoft\n"
        "  from: Contoso <pbx@c.example> (tenant master)\n"
        "  envelope from: pbx@c.example\n"
        "  sign-in: authorization_code as me@c.example\n"
        "  limits: connections 3, window 8, messages_per_connection 1000, messages_per_minute 30, "
        "recipients_per_message 1000, recipients_per_day 10000\n"
        "tenant: acme\n"
        "  parent: master\n"
        "  account: office\n"
        "  server: smtp.office365.com:587\n"
        "  encryption: starttls\n"
        "  auth: microsoft\n"
        "  from: Contoso <pbx@c.example> (parent master)\n"
        "  envelope from: pbx@c.example\n"
        "  sign-in: authorization_code as me@c.example\n"
        "  limits: connections 3, window 8, messages_per_connection 1000, messages_per_minute 30, "
        "recipients_per_message 1000, recipients_per_day 10000\n"
        "tenant: plain\n"
        "  account: relay\n"
        "  server: mail.example.com:25, [2001:db8::1]:25\n"
        "  encryption: none\n"
        "  auth: none\n"
        "  from: root@d.example (root@domain)\n"
        "  envelope from: as the message says\n"
        "  limits: connections 4, window 8, recipients_per_message 100\n"
        "default tenant: acme\n",
        "");
}

#define RELAY                                                                                                \
    HEAD "accounts: {relay: {auth: basic, email: a@d.example, server: s.example, password_file: %/pw}}\n"    \
         "tenants: {t: {account: relay}}\n"

static void secrets(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "%s/pw", directory);
    expect(RELAY, 1, NULL,
        "F: accounts.relay.password_file: %/pw does not exist (a name without a leading / is looked up in "
        "$CREDENTIALS_DIRECTORY)\n");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "hunter2\n", 8), 8);
    char *view, *report;
    assert_int_equal(look(RELAY, &view, &report), 0);
    assert_non_null(strstr(view, "/pw is readable\n"));
    assert_null(strstr(view, "hunter2"));
    assert_string_equal(report, "");
    free(view);
    free(report);
    assert_int_equal(fchmod(fd, 0640), 0);
    close(fd);
    assert_int_equal(look(RELAY, &view, &report), 1);
    assert_non_null(strstr(view, "0600"));
    assert_non_null(strstr(report, "F: accounts.relay.password_file: "));
    free(view);
    free(report);
}

static void what_is_around_the_file(void **state)
{
    (void)state;
    expect("version: 1\ndomain: d.example\nspool: %/none\nstate: %/no-state\n"
           "accounts:\n"
           "  a: {auth: none, server: s.example, tls: {ca_file: %/ca, certificate_file: %/c, key_file: "
           "%/k}}\n"
           "  idle: {auth: none, server: s.example}\n"
           "tenants: {t: {account: a, group: no-such-group-here}}\n"
           "hooks: {failed: [/bin/true], sent: [%/hook], deferred: [%]}\nsandbox: false\nmetrics: {listen: "
           "'127.0.0.1:9464'}\n",
        3, NULL,
        "F: warning: spool: %/none: No such file or directory (make it with `outtray init`)\n"
        "F: warning: state: %/no-state: No such file or directory (make it with `outtray init`)\n"
        "F: accounts.a.tls.key_file: %/k does not exist (a name without a leading / is looked up in "
        "$CREDENTIALS_DIRECTORY)\n"
        "F: accounts.a.tls.certificate_file: %/c cannot be read: No such file or directory\n"
        "F: accounts.a.tls.ca_file: %/ca cannot be read: No such file or directory\n"
        "F: warning: accounts.idle: no tenant uses this account\n"
        "F: warning: tenants.t.group: there is no group no-such-group-here on this machine (make it with "
        "groupadd)\n"
        "F: warning: hooks.sent: %/hook cannot be run: No such file or directory\n"
        "F: warning: hooks.deferred: % is no program\n"
        "F: warning: sandbox: nothing keeps the agent from what its user may do\n");
    expect("version: 1\ndomain: d.example\nspool: /dev/null\nstate: %\n"
           "accounts: {a: {auth: none, server: s.example}}\ntenants: {t: {account: a}}\n",
        1, NULL, "F: spool: /dev/null is not a directory (name another one)\n");
}

static void output_that_takes_no_more(void **state)
{
    (void)state;
    struct loaded loaded;
    load_text(&loaded, "version: 1\ndomain: d.example\naccounts: {a: {auth: none, server: s.example}}\n"
                       "tenants: {t: {account: a}}\n");
    FILE *full = fopen("/dev/full", "we");
    assert_non_null(full);
    assert_true(check_print(loaded.config, full) < 0);
    fclose(full);
    loaded_release(&loaded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_resolved_view),
        cmocka_unit_test(secrets),
        cmocka_unit_test(what_is_around_the_file),
        cmocka_unit_test(output_that_takes_no_more),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
