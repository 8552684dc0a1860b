// Timeouts of every phase, and every way a session can end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtp_client.h"

#ifdef OUTTRAY_TEST_CLOCK // else time cannot be moved

static void test_setup_timeouts(void **state)
{
    (void)state;
    static const char words[] = "(the connection was not ready for mail within 30000 ms)\n";
    char events[128];
    snprintf(events, sizeof events, "closed connect timeout %s", words);
    expect_events(&(struct scenario){.script = "P: 31\n"}, events);
    snprintf(events, sizeof events, "closed ehlo timeout %s", words);
    expect_events(&(struct scenario){.script = GREETING "P: 31\n"}, events);
    // Lines that keep coming do not keep it alive.
    expect_events(&(struct scenario){.script = GREETING "S: 250-mx\n+: 20\nS: 250-X\nP: 20\n"}, events);
    snprintf(events, sizeof events, "closed auth timeout %s", words);
    expect_events(
        &(struct scenario){.script = GREETING "s: 250-mx\\r\\n250 AUTH PLAIN\\r\\n\nC: AUTH PLAIN\nP: 31\n",
            .username = "u",
            .password = "p"},
        events);
    snprintf(events, sizeof events, "closed tls timeout %s", words);
    expect_events(&(struct scenario){.script = "B: 5\nP: 31\n", .encryption = CONFIG_ENCRYPTION_TLS}, events);
    expect_events(
        &(struct scenario){
            .script = GREETING "s: 250-mx\\r\\n250 STARTTLS\\r\\n\nC: STARTTLS\nS: 220 go\nB: 5\nP: 31\n",
            .encryption = CONFIG_ENCRYPTION_STARTTLS},
        events);
}

static void test_command_timeouts(void **state)
{
    (void)state;
    expect_events(
        &(struct scenario){.script = LOCKSTEP "C: MAIL FROM:<a@client.example>\nP: 301\n", .n_mails = 1},
        "open\n0 mail timeout: [-] begun (no reply to MAIL within 300000 ms)\n"
        "closed mail timeout (no reply to MAIL within 300000 ms)\n");
    expect_events(&(struct scenario){.script = LOCKSTEP
                                     "C: MAIL FROM:<a@client.example>\n+: 299\nS: 250 ok\n"
                                     "C: RCPT TO:<r0@mx.example>\n+: 299\nS: 250 ok\nC: DATA\nP: 301\n",
                      .n_mails = 1},
        "open\n0 data timeout: [250] begun (no reply to DATA within 300000 ms)\n"
        "closed data timeout (no reply to DATA within 300000 ms)\n");
    // An octet now and then is no reply; nor is a line that announces another.
    expect_events(
        &(struct scenario){.script = LOCKSTEP "C: MAIL FROM:<a@client.example>\ns: 2\n+: 100\ns: 5\n+: 100\n"
                                              "s: 0-ok\\r\\n\n+: 50\ns: 2\nP: 51\n",
            .n_mails = 1},
        "open\n0 mail timeout: [-] begun (no reply to MAIL within 300000 ms)\n"
        "closed mail timeout (no reply to MAIL within 300000 ms)\n");
    // In a window everything behind the oldest is lost with it.
    expect_events(&(struct scenario){.script = STREAMED BDAT BDAT "P: 301\n", .n_mails = 3, .window = 2},
        "open\n0 mail timeout: [-] begun maybe (no reply to MAIL within 300000 ms)\n"
        "1 mail timeout: [-] begun maybe (no reply to MAIL within 300000 ms)\n"
        "closed mail timeout (no reply to MAIL within 300000 ms) anomaly\n");
}

#define TO_THE_DOT                                                                                           \
    LOCKSTEP "C: MAIL FROM:<a@client.example>\nS: 250 ok\nC: RCPT TO:<r0@mx.example>\nS: 250 ok\n"           \
             "C: DATA\nS: 354 go\nD:\n"

static void test_final_timeouts(void **state)
{
    (void)state;
    expect_events(&(struct scenario){.script = TO_THE_DOT "+: 599\nS: 250 queued\n" QUIT, .n_mails = 1},
        "open\n0 final: 250 queued [250]\nclosed idle\n");
    expect_events(&(struct scenario){.script = TO_THE_DOT "+: 599\nP: 2\n", .n_mails = 1},
        "open\n0 final timeout: [250] begun maybe (no reply to the message within 600000 ms)\n"
        "closed final timeout (no reply to the message within 600000 ms)\n");
}

static void test_stalled_body(void **state)
{
    (void)state;
    size_t size = 16 * 1024 * 1024;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, 'x', size);
    memcpy(text + size - 2, "\r\n", 2);
    struct smtp_mail mail = {.body = {.head = text, .head_length = size, .fd = -1, .size = size}};
    expect_events(&(struct scenario){.script = LOCKSTEP
                                     "C: MAIL FROM:<a@client.example>\nS: 250 ok\n"
                                     "C: RCPT TO:<r0@mx.example>\nS: 250 ok\nC: DATA\nS: 354 go\nP: 601\n",
                      .n_mails = 1,
                      .mail = mail},
        "open\n0 data timeout: [250] begun (the server took nothing of the message for 600000 ms)\n"
        "closed data timeout (the server took nothing of the message for 600000 ms)\n");
    free(text);
}

static void test_idle(void **state)
{
    (void)state;
    expect_events(
        &(struct scenario){
            .script = STREAMED BDAT ACCEPTED "d: 1\n+: 59\nQ:\n+: 2\n" QUIT, .n_mails = 1, .keep = true},
        "open\n0 final: 250 queued [250]\nclosed idle\n");
    // Nothing depends on the reply to QUIT.
    expect_events(&(struct scenario){.script = STREAMED BDAT ACCEPTED "C: QUIT\nP: 3\n", .n_mails = 1},
        "open\n0 final: 250 queued [250]\nclosed idle\n");
}

#endif

static void test_ends_between_mails(void **state)
{
    (void)state;
    struct scenario scenario = {.n_mails = 1, .keep = true};
    scenario.script = STREAMED BDAT ACCEPTED "X:\n";
    expect_events(
        &scenario, "open\n0 final: 250 queued [250]\nclosed idle (the server closed the idle connection)\n");
    scenario.script = STREAMED BDAT ACCEPTED "R:\n";
    expect_events(
        &scenario, "open\n0 final: 250 queued [250]\nclosed idle (the server closed the idle connection)\n");
    scenario.script = STREAMED BDAT ACCEPTED "S: 421 4.4.2 idle for too long\nX:\n";
    expect_events(&scenario,
        "open\n0 final: 250 queued [250]\nclosed idle: 421 4.4.2 idle for too long (the server "
        "ended the session)\n");
    scenario.keep = false;
    scenario.script = STREAMED BDAT ACCEPTED "C: QUIT\nX:\n";
    expect_events(&scenario, "open\n0 final: 250 queued [250]\nclosed idle\n");
}

static void test_messages_per_connection(void **state)
{
    (void)state;
    expect_events(&(struct scenario){.script = STREAMED BDAT BDAT "Q:\n" ACCEPTED ACCEPTED QUIT,
                      .n_mails = 3,
                      .messages_per_connection = 2},
        "open\n0 final: 250 queued [250]\n1 final: 250 queued [250]\nclosed idle\n");
}

static void test_quit_finishes_what_is_in_flight(void **state)
{
    (void)state;
    expect_events(
        &(struct scenario){
            .script = STREAMED BDAT BDAT ACCEPTED "Q:\n" ACCEPTED QUIT, .n_mails = 3, .quit_after = 2},
        "open\n0 final: 250 queued [250]\n1 final: 250 queued [250]\nclosed idle\n");
    expect_events(
        &(struct scenario){.script = GROUPED DATA
                           "S: 250 ok\nS: 250 ok\nS: 354 go\nD:\n" DATA
                           "S: 250 queued\nS: 250 ok\nS: 250 ok\nS: 354 go\nD:\nS: 250 queued\n" QUIT,
            .n_mails = 3,
            .quit_after = 2},
        "open\n0 final: 250 queued [250]\n1 final: 250 queued [250]\nclosed idle\n");
}

static void test_abort_from_a_callback(void **state)
{
    (void)state;
    // What is begun may be at the server; the session is freed from inside its own callback.
    expect_events(
        &(struct scenario){
            .script = STREAMED BDAT BDAT ACCEPTED "Z:\n", .n_mails = 3, .window = 2, .abort_after = 1},
        "open\n0 final: 250 queued [250]\n"
        "1 mail cancelled: [-] begun maybe (the session was closed)\n"
        "closed mail\n");
}

static void test_many_messages(void **state)
{
    (void)state;
    // More than the ring of the window holds, so that every place in it is used again.
    char *bodies = play(
        &(struct scenario){.script =
                               STREAMED BDAT BDAT BDAT ACCEPTED BDAT ACCEPTED BDAT ACCEPTED BDAT ACCEPTED BDAT
                                   ACCEPTED BDAT ACCEPTED BDAT ACCEPTED BDAT ACCEPTED ACCEPTED ACCEPTED QUIT,
            .n_mails = 10,
            .window = 3},
        "open\n0 final: 250 queued [250]\n1 final: 250 queued [250]\n2 final: 250 queued [250]\n"
        "3 final: 250 queued [250]\n4 final: 250 queued [250]\n5 final: 250 queued [250]\n6 final: 250 "
        "queued [250]\n"
        "7 final: 250 queued [250]\n8 final: 250 queued [250]\n9 final: 250 queued [250]\nclosed idle\n");
    assert_int_equal(strlen(bodies), 210);
    free(bodies);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#ifdef OUTTRAY_TEST_CLOCK
        cmocka_unit_test(test_setup_timeouts),
        cmocka_unit_test(test_command_timeouts),
        cmocka_unit_test(test_final_timeouts),
        cmocka_unit_test(test_stalled_body),
        cmocka_unit_test(test_idle),
#endif
        cmocka_unit_test(test_ends_between_mails),
        cmocka_unit_test(test_messages_per_connection),
        cmocka_unit_test(test_quit_finishes_what_is_in_flight),
        cmocka_unit_test(test_abort_from_a_callback),
        cmocka_unit_test(test_many_messages),
    };
    return cmocka_run_group_tests(tests, client_set_up, clock_remove);
}
