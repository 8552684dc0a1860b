// The life of a session against a scripted server: set-up in all its ways to fail, what is required,
// timeouts, the end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtp_client.h"

#define SURPLUS "(the server sent more than the reply that was due)\n"

static void test_greetings(void **state)
{
    (void)state;
    expect_events(&(struct scenario){.script = "S: 554 5.7.1 no\nZ:\n"},
        "closed connect connection: 554 5.7.1 no (the server refused the connection)\n");
    expect_events(&(struct scenario){.script = "S: 421 4.7.0 busy\nX:\n"},
        "closed connect connection: 421 4.7.0 busy (the server refused the connection)\n");
    expect_events(&(struct scenario){.script = "X:\n"},
        "closed connect connection (the server closed the connection)\n");
    expect_events(&(struct scenario){.script = "S: SSH-2.0-OpenSSH_9.2\nZ:\n"},
        "closed connect protocol (a reply line does not start with a code of three digits)\n");
    expect_events(&(struct scenario){.script = "S: 999 hello\nZ:\n"},
        "closed connect protocol (a reply has a code outside 200 to 599)\n");
    expect_events(&(struct scenario){.script = "S: 220-mx\nS: 221 mx\nZ:\n"},
        "closed connect protocol (the lines of one reply have different codes)\n");
    expect_events(&(struct scenario){.script = GREETING
                                     "S: 502 no\nC: HELO client.example\nS: 250 mx\nQ:\nO:\n+: 61\n" QUIT},
        "open\nclosed idle\n");
}

static void test_surplus(void **state)
{
    (void)state;
    // In the packet of the last reply of the set-up, or before it.
    expect_events(&(struct scenario){.script = GREETING "s: 250 mx\\r\\n250 early\\r\\n\nZ:\n"},
        "closed ehlo protocol " SURPLUS);
    expect_events(
        &(struct scenario){.script = GREETING "s: 250 mx\\r\\n2\nZ:\n"}, "closed ehlo protocol " SURPLUS);
    expect_events(
        &(struct scenario){.script = GREETING
                           "s: 250-mx\\r\\n250 AUTH PLAIN\\r\\n\n"
                           "C: AUTH PLAIN\nS: 334 \nC: AHUAcA==\ns: 235 in\\r\\n250 early\\r\\n\nZ:\n",
            .username = "u",
            .password = "p"},
        "closed auth protocol " SURPLUS);
    // In the clear behind the 220 for STARTTLS.
    expect_events(&(struct scenario){.script = GREETING
                                     "s: 250-mx\\r\\n250 STARTTLS\\r\\n\n"
                                     "C: STARTTLS\ns: 220 go\\r\\n250-x\\r\\n250 AUTH PLAIN\\r\\n\nZ:\n",
                      .encryption = CONFIG_ENCRYPTION_STARTTLS},
        "closed tls protocol " SURPLUS);
}

static void test_login(void **state)
{
    (void)state;
    struct scenario scenario = {.username = "u", .password = "p", .n_mails = 1};
    scenario.script = GREETING
        "s: 250-mx\\r\\n250-CHUNKING\\r\\n250-PIPELINING\\r\\n250 AUTH GSSAPI NTLM PLAIN LOGIN\\r\\n\n"
        "C: AUTH PLAIN\nS: 334 \nC: AHUAcA==\nS: 235 in\n" BDAT ACCEPTED QUIT;
    expect_events(&scenario, "open\n0 final: 250 queued [250]\nclosed idle\n");
    scenario.script =
        GREETING "s: 250-mx\\r\\n250 AUTH LOGIN\\r\\n\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\n"
                 "S: 334 UGFzc3dvcmQ6\nC: cA==\nS: 535 5.7.8 no\nZ:\n";
    expect_events(&scenario, "closed auth login: 535 5.7.8 no (the server refused the login)\n");
    scenario.script = GREETING
        "s: 250-mx\\r\\n250 AUTH PLAIN\\r\\n\nC: AUTH PLAIN\nS: 454 4.7.0 Too many login attempts\nZ:\n";
    expect_events(
        &scenario, "closed auth login: 454 4.7.0 Too many login attempts (the server refused the login)\n");
    scenario.script = GREETING "s: 250-mx\\r\\n250 AUTH PLAIN\\r\\n\nC: AUTH PLAIN\nS: 421 4.3.2 bye\nX:\n";
    expect_events(&scenario, "closed auth login: 421 4.3.2 bye (the server refused the login)\n");
    scenario.script = GREETING "s: 250-mx\\r\\n250 AUTH PLAIN\\r\\n\nC: AUTH PLAIN\nX:\n";
    expect_events(&scenario, "closed auth connection (the server closed the connection)\n");
    // Without a login there is no mail, whatever libcurl thinks of it.
    static const char none[] =
        "closed auth login (the server offers no AUTH that a password can be used with (PLAIN, "
        "LOGIN, CRAM-MD5))\n";
    scenario.script = GREETING "S: 250 mx\nZ:\n";
    expect_events(&scenario, none);
    scenario.script = GREETING "s: 250-mx\\r\\n250 AUTH GSSAPI XOAUTH2\\r\\n\nZ:\n";
    expect_events(&scenario, none);
    scenario.script = GREETING "S: 500 what\nC: HELO client.example\nS: 250 mx\nZ:\n";
    expect_events(&scenario, none);
}

static void test_oauth(void **state)
{
    (void)state;
    struct scenario scenario = {.username = "u@x", .password = "token", .oauth = true};
    scenario.script =
        GREETING "s: 250-mx\\r\\n250 AUTH LOGIN OAUTHBEARER XOAUTH2\\r\\n\n"
                 "C: AUTH XOAUTH2 dXNlcj11QHgBYXV0aD1CZWFyZXIgdG9rZW4BAQ==\nS: 235 in\nO:\n+: 61\n" QUIT;
    expect_events(&scenario, "open\nclosed idle\n");
    scenario.script = GREETING "s: 250-mx\\r\\n250 AUTH LOGIN OAUTHBEARER XOAUTH2\\r\\n\n"
                               "C: AUTH XOAUTH2 dXNlcj11QHgBYXV0aD1CZWFyZXIgdG9rZW4BAQ==\n"
                               "S: 334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIn0=\nZ:\n";
    expect_events(&scenario,
        "closed auth login: 334 {\"status\":\"401\",\"schemes\":\"bearer\"} (the server did not "
        "accept the access token)\n");
    scenario.script =
        GREETING "s: 250-mx\\r\\n250 AUTH XOAUTH2\\r\\n\n"
                 "C: AUTH XOAUTH2 dXNlcj11QHgBYXV0aD1CZWFyZXIgdG9rZW4BAQ==\nS: 535 5.7.3 no\nZ:\n";
    expect_events(&scenario, "closed auth login: 535 5.7.3 no (the server refused the login)\n");
    scenario.script = GREETING "s: 250-mx\\r\\n250 AUTH PLAIN\\r\\n\nZ:\n";
    expect_events(&scenario, "closed auth login (the server does not offer AUTH XOAUTH2)\n");
}

#define UPGRADE GREETING "s: 250-mx\\r\\n250-SMTPUTF8\\r\\n250 STARTTLS\\r\\n\nC: STARTTLS\nS: 220 go\n"

static void test_starttls(void **state)
{
    (void)state;
    struct scenario scenario = {.encryption = CONFIG_ENCRYPTION_STARTTLS, .trust = true, .n_mails = 2};
    scenario.script = UPGRADE
        "T:\nC: EHLO client.example\ns: 250-mx\\r\\n250-PIPELINING\\r\\n250 CHUNKING\\r\\n\n" BDAT BDAT
            ACCEPTED ACCEPTED QUIT;
    expect_events(&scenario, "open tls\n0 final: 250 queued [250]\n1 final: 250 queued [250]\nclosed idle\n");
    // What was offered before TLS does not count.
    scenario.n_mails = 1;
    scenario.mail.smtputf8 = true;
    scenario.script = UPGRADE "T:\nC: EHLO client.example\nS: 250 mx\n" QUIT;
    expect_events(&scenario,
        "open tls\n0 mail required: 550 5.6.7 the envelope needs SMTPUTF8, which the server does "
        "not offer [-] (550 5.6.7 the envelope needs SMTPUTF8, which the server does not offer)\n"
        "closed idle\n");
    scenario.script = GREETING "S: 250 mx\nZ:\n";
    expect_events(&scenario, "closed tls tls (the server does not offer STARTTLS)\n");
    scenario.script = GREETING "s: 250-mx\\r\\n250 STARTTLS\\r\\n\nC: STARTTLS\nS: 454 4.7.0 not now\nZ:\n";
    expect_events(&scenario, "closed tls tls: 454 4.7.0 not now (the server refused STARTTLS)\n");
    scenario.script = GREETING "S: 550 no\nZ:\n";
    expect_events(&scenario, "closed ehlo connection: 550 no (the server refused the connection)\n");
    // AUTH before TLS only: no password in the clear, and none after.
    scenario.username = "u";
    scenario.password = "p";
    scenario.script =
        GREETING "s: 250-mx\\r\\n250-AUTH PLAIN\\r\\n250 STARTTLS\\r\\n\nC: STARTTLS\nS: 220 go\nT:\n"
                 "C: EHLO client.example\nS: 250 mx\nZ:\n";
    expect_events(&scenario,
        "closed auth login (the server offers no AUTH that a password can be used with (PLAIN, "
        "LOGIN, CRAM-MD5))\n");
}

static void test_tls(void **state)
{
    (void)state;
    struct scenario scenario = {.encryption = CONFIG_ENCRYPTION_TLS, .trust = true, .n_mails = 1};
    scenario.script = "T:\n" LOCKSTEP "C: MAIL FROM:<a@client.example>\nS: 451 later\n" QUIT;
    expect_events(&scenario, "open tls\n0 mail: 451 later [-]\nclosed idle\n");
    scenario.trust = false;
    scenario.script = "t:\n";
    expect_events(&scenario, "closed tls tls (SSL certificate problem: self-signed certificate)\n");
    scenario.trust = true;
    scenario.server = "localhost";
    scenario.script = "T:\nZ:\n"; // TLS 1.3: the client looks at the name when the server is done already
    expect_events(&scenario, "closed tls tls (SSL: no alternative certificate subject name matches target "
                             "host name 'localhost')\n");
}

static void test_required(void **state)
{
    (void)state;
    struct scenario scenario = {.n_mails = 1};
    scenario.script = GREETING "s: 250-mx\\r\\n250 SIZE 20\\r\\n\n" QUIT;
    expect_events(&scenario, "open\n0 mail required: 552 5.3.4 the message is larger than the server's SIZE "
                             "limit [-] (552 5.3.4 the "
                             "message is larger than the server's SIZE limit)\nclosed idle\n");
    scenario.script = GREETING
        "s: 250-mx\\r\\n250 SIZE 21\\r\\n\nC: MAIL FROM:<a@client.example> SIZE=21\nS: 451 no\n" QUIT;
    expect_events(&scenario, "open\n0 mail: 451 no [-]\nclosed idle\n");
    scenario.script =
        GREETING "s: 250-mx\\r\\n250 SIZE\\r\\n\nC: MAIL FROM:<a@client.example> SIZE=21\nS: 451 no\n" QUIT;
    expect_events(&scenario, "open\n0 mail: 451 no [-]\nclosed idle\n");
    scenario.mail.eight_bit = true;
    scenario.script = LOCKSTEP QUIT;
    expect_events(&scenario,
        "open\n0 mail required: 554 5.6.3 the message needs 8BITMIME, which the server does not "
        "offer [-] (554 5.6.3 the message needs 8BITMIME, which the server does not offer)\n"
        "closed idle\n");
    scenario.script = GREETING
        "s: 250-mx\\r\\n250 8BITMIME\\r\\n\nC: MAIL FROM:<a@client.example> BODY=8BITMIME\nS: 451 no\n" QUIT;
    expect_events(&scenario, "open\n0 mail: 451 no [-]\nclosed idle\n");
}

static void test_parameters(void **state)
{
    (void)state;
    struct smtp_recipient recipient = {
        .address = "b@mx.example", .notify = "NEVER", .orcpt = "rfc822;b@mx.example"};
    struct scenario scenario = {.n_mails = 1,
        .mail = {
            .reverse_path = "", .ret = "HDRS", .envid = "E1", .recipients = &recipient, .n_recipients = 1}};
    scenario.script =
        GREETING "s: 250-mx\\r\\n250 DSN\\r\\n\nC: MAIL FROM:<> RET=HDRS ENVID=E1\nS: 250 ok\n"
                 "C: RCPT TO:<b@mx.example> NOTIFY=NEVER ORCPT=rfc822;b@mx.example\nS: 450 no\n" QUIT;
    expect_events(&scenario, "open\n0 rcpt: [450]\nclosed idle\n");
    scenario.script = LOCKSTEP "C: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<b@mx.example>\nS: 450 no\n" QUIT;
    expect_events(&scenario, "open\n0 rcpt: [450]\nclosed idle\n");
    scenario.mail.smtputf8 = true;
    recipient.address = "b\xc3\xa4@mx.example";
    scenario.script = GREETING "s: 250-mx\\r\\n250 SMTPUTF8\\r\\n\nC: MAIL FROM:<> SMTPUTF8\nS: 250 ok\n"
                               "C: RCPT TO:<b\xc3\xa4@mx.example>\nS: 450 no\n" QUIT;
    expect_events(&scenario, "open\n0 rcpt: [450]\nclosed idle\n");
}

// Whatever the rooms above let through: nothing that could be taken for a second command goes out.
static void test_hostile_envelopes(void **state)
{
    (void)state;
    static const char *const bad[] = {"a@x>\r\nRCPT TO:<b@y", "a@x\n", "a@x\r", "a b@x", "a@x>", "<a@x",
        "a\x7f@x", "a\x1b@x", "\xc3\xa4@x", ""};
    static const char events[] =
        "open\n0 mail required: 501 5.1.3 an address or parameter of the envelope cannot be put "
        "into a command [-] (501 5.1.3 an address or parameter of the envelope cannot be put "
        "into a command)\nclosed idle\n";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct smtp_recipient recipient = {.address = bad[i]};
        struct scenario scenario = {
            .script = LOCKSTEP QUIT, .n_mails = 1, .mail = {.recipients = &recipient, .n_recipients = 1}};
        expect_events(&scenario, events);
        recipient = (struct smtp_recipient){.address = "a@x", .orcpt = bad[i]};
        expect_events(&scenario, events);
        if (!*bad[i])
            continue; // the null reverse-path is one
        recipient = (struct smtp_recipient){.address = "a@x"};
        scenario.mail.reverse_path = bad[i];
        expect_events(&scenario, events);
    }
}

static void test_hostile_replies(void **state)
{
    (void)state;
    struct scenario scenario = {.n_mails = 1};
    scenario.script = STREAMED BDAT "s: 250 ok\\r\\n250 ok\\r\\n250 a\\0b\\e[2J\\r\\n\n" QUIT;
    expect_events(&scenario, "open\n0 final: 250 ab\x1b[2J [250]\nclosed idle\n");
    static const struct {
        const char *reply, *problem;
    } rows[] = {
        {"S: hello\n", "a reply line does not start with a code of three digits"},
        {"S: 999 x\n", "a reply has a code outside 200 to 599"},
        {"S: 250-a\nS: 550 b\n", "the lines of one reply have different codes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char script[1024], events[512];
        snprintf(script, sizeof script, STREAMED BDAT "S: 250 ok\nS: 250 ok\n%sZ:\n", rows[i].reply);
        snprintf(events, sizeof events,
            "open\n0 final protocol: [250] begun maybe (%s)\nclosed final protocol (%s)\n", rows[i].problem,
            rows[i].problem);
        scenario.script = script;
        expect_events(&scenario, events);
    }
    // Without end: lines, and a line.
    char *script = malloc(65536);
    size_t n = (size_t)snprintf(script, 65536, "%s", STREAMED BDAT);
    for (unsigned i = 0; i < 150; i++)
        n += (size_t)snprintf(script + n, 65536 - n, "S: 250-more\n");
    snprintf(script + n, 65536 - n, "Z:\n");
    scenario.script = script;
    expect_events(&scenario, "open\n0 mail protocol: [-] begun maybe (a reply has too many lines)\n"
                             "closed mail protocol (a reply has too many lines)\n");
    n = (size_t)snprintf(script, 65536, "%ss: 250 ", STREAMED BDAT);
    memset(script + n, 'x', 4000);
    snprintf(script + n + 4000, 65536 - n - 4000, "\nZ:\n");
    expect_events(&scenario, "open\n0 mail protocol: [-] begun maybe (a reply line is too long)\n"
                             "closed mail protocol (a reply line is too long)\n");
    free(script);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greetings),
        cmocka_unit_test(test_surplus),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_oauth),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_hostile_envelopes),
        cmocka_unit_test(test_hostile_replies),
    };
    return cmocka_run_group_tests(tests, client_set_up, clock_remove);
}
