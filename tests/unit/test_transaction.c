// The mail transaction against a scripted server: the three modes, refusals anywhere, what goes wrong between
// MAIL and the final reply.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtp_client.h"

#include <sys/mman.h>

static void test_streamed(void **state)
{
    (void)state;
    // Three whole transactions before the first reply.
    char *bodies =
        play(&(struct scenario){.script = STREAMED BDAT BDAT BDAT
                                "Q:\n" ACCEPTED "S: 250 ok\nS: 250 ok\nS: 250 second\n" ACCEPTED QUIT,
                 .n_mails = 3},
            "open\n"
            "0 final: 250 queued [250]\n"
            "1 final: 250 second [250]\n"
            "2 final: 250 queued [250]\n"
            "closed idle\n");
    assert_string_equal(
        bodies, "Subject: 0\r\n\r\nHello\r\nSubject: 1\r\n\r\nHello\r\nSubject: 2\r\n\r\nHello\r\n");
    free(bodies);
}

static void test_streamed_window(void **state)
{
    (void)state;
    // Two in flight, the third goes as soon as the first is answered.
    expect_events(&(struct scenario){.script = STREAMED BDAT BDAT "Q:\n" ACCEPTED BDAT ACCEPTED ACCEPTED QUIT,
                      .n_mails = 3,
                      .window = 2},
        "open\n0 final: 250 queued [250]\n1 final: 250 queued [250]\n2 final: 250 queued [250]\nclosed "
        "idle\n");
}

static void test_grouped(void **state)
{
    (void)state;
    // The dot of one message and the envelope of the next come before the final reply of the first.
    char *bodies =
        play(&(struct scenario){.script = GROUPED DATA
                                "Q:\nS: 250 ok\nS: 250 ok\nS: 354 go\nD:\n" DATA
                                "Q:\nS: 250 one\nS: 250 ok\nS: 250 ok\nS: 354 go\nD:\n" DATA
                                "S: 250 two\nS: 250 ok\nS: 250 ok\nS: 354 go\nD:\nQ:\nS: 250 three\n" QUIT,
                 .n_mails = 3},
            "open\n0 final: 250 one [250]\n1 final: 250 two [250]\n2 final: 250 three [250]\nclosed idle\n");
    assert_string_equal(
        bodies, "Subject: 0\r\n\r\nHello\r\nSubject: 1\r\n\r\nHello\r\nSubject: 2\r\n\r\nHello\r\n");
    free(bodies);
}

#define STEP_BY_STEP                                                                                         \
    "C: MAIL FROM:<a@client.example>\nQ:\nS: 250 ok\nC: RCPT TO:<r0@mx.example>\nQ:\nS: 250 ok\n"            \
    "C: RCPT TO:<r1@mx.example>\nQ:\nS: 550 no\nC: DATA\nQ:\nS: 354 go\nD:\nQ:\nS: 250 queued\n"

static void test_lockstep(void **state)
{
    (void)state;
    expect_events(
        &(struct scenario){
            .script = LOCKSTEP STEP_BY_STEP STEP_BY_STEP QUIT, .n_mails = 2, .n_recipients = 2},
        "open\n0 final: 250 queued [250 550]\n1 final: 250 queued [250 550]\nclosed idle\n");
    // CHUNKING without PIPELINING: BDAT, but every command waits.
    expect_events(
        &(struct scenario){
            .script = GREETING
            "s: 250-mx\\r\\n250 CHUNKING\\r\\n\nC: MAIL FROM:<a@client.example>\nQ:\nS: 250 ok\n"
            "C: RCPT TO:<r0@mx.example>\nQ:\nS: 250 ok\nC: BDAT 21 LAST\nB: 21\nS: 250 queued\n" QUIT,
            .n_mails = 1},
        "open\n0 final: 250 queued [250]\nclosed idle\n");
}

static void test_refused_in_the_window(void **state)
{
    (void)state;
    // RCPT refused: 503 for its BDAT is what must come, the rest goes on.
    expect_events(&(struct scenario){.script = STREAMED BDAT BDAT BDAT ACCEPTED
                                     "S: 250 ok\nS: 550 5.1.1 no\nS: 503 5.5.1 no recipients\n" ACCEPTED QUIT,
                      .n_mails = 3},
        "open\n0 final: 250 queued [250]\n1 rcpt: [550]\n2 final: 250 queued [250]\nclosed idle\n");
    // MAIL refused: what RCPT says is not the recipient's fault.
    expect_events(&(struct scenario){.script = STREAMED BDAT BDAT
                                     "S: 550 5.7.60 not you\nS: 503 no MAIL\nS: 503 no MAIL\n" ACCEPTED QUIT,
                      .n_mails = 2},
        "open\n0 mail: 550 5.7.60 not you [-]\n1 final: 250 queued [250]\nclosed idle\n");
    // The last of the window refused: the next MAIL follows a RSET.
    expect_events(&(struct scenario){.script = STREAMED BDAT "S: 250 ok\nS: 550 no\nS: 554 no\n"
                                                             "C: RSET\n" BDAT "S: 250 reset\n" ACCEPTED QUIT,
                      .n_mails = 2,
                      .window = 1},
        "open\n0 rcpt: [550]\n1 final: 250 queued [250]\nclosed idle\n");
    // The message itself refused.
    expect_events(
        &(struct scenario){
            .script = STREAMED BDAT BDAT "S: 250 ok\nS: 250 ok\nS: 554 spam\n" ACCEPTED QUIT, .n_mails = 2},
        "open\n0 final: 554 spam [250]\n1 final: 250 queued [250]\nclosed idle\n");
}

static void test_mixed_recipients(void **state)
{
    (void)state;
    expect_events(
        &(struct scenario){
            .script = STREAMED
            "C: MAIL FROM:<a@client.example>\nC: RCPT TO:<r0@mx.example>\nC: RCPT TO:<r1@mx.example>\n"
            "C: RCPT TO:<r2@mx.example>\nC: BDAT 21 LAST\nB: 21\n"
            "S: 250 ok\nS: 550 5.1.1 no\nS: 250 ok\nS: 452 4.5.3 too many\nS: 250 queued\n" QUIT,
            .n_mails = 1,
            .n_recipients = 3},
        "open\n0 final: 250 queued [550 250 452]\nclosed idle\n");
}

static void test_refused_with_data(void **state)
{
    (void)state;
    // All refused, then DATA refused as it must be: RSET before the next.
    expect_events(&(struct scenario){.script = GROUPED DATA
                                     "S: 250 ok\nS: 550 no\nS: 503 no\nC: RSET\n" DATA
                                     "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nD:\nS: 250 queued\n" QUIT,
                      .n_mails = 2},
        "open\n0 rcpt: [550]\n1 final: 250 queued [250]\nclosed idle\n");
    // All refused but 354: a lone dot, and the 250 for it counts for nobody.
    char *bodies =
        play(&(struct scenario){.script = GROUPED DATA
                                "S: 250 ok\nS: 550 no\nS: 354 go\nC: .\n" DATA
                                "S: 250 queued\nS: 250 ok\nS: 250 ok\nS: 354 go\nD:\nS: 250 queued\n" QUIT,
                 .n_mails = 2},
            "open\n0 rcpt: [550]\n1 final: 250 queued [250]\nclosed idle\n");
    assert_string_equal(bodies, "Subject: 1\r\n\r\nHello\r\n");
    free(bodies);
    // DATA refused although a recipient was accepted.
    expect_events(&(struct scenario){.script = GROUPED DATA "S: 250 ok\nS: 250 ok\nS: 432 4.3.2 busy\n" QUIT,
                      .n_mails = 1},
        "open\n0 data: 432 4.3.2 busy [250]\nclosed idle\n");
    // In lockstep DATA is not even sent.
    expect_events(
        &(struct scenario){.script = LOCKSTEP "C: MAIL FROM:<a@client.example>\nS: 250 ok\n"
                                              "C: RCPT TO:<r0@mx.example>\nS: 550 no\nC: RSET\nS: 250 ok\n"
                                              "C: MAIL FROM:<a@client.example>\nS: 451 later\n" QUIT,
            .n_mails = 2},
        "open\n0 rcpt: [550]\n1 mail: 451 later [-]\nclosed idle\n");
}

static void test_421(void **state)
{
    (void)state;
    // It answers the oldest command; what came behind it was not looked at, what was not begun stays so.
    expect_events(
        &(struct scenario){.script = STREAMED BDAT BDAT "S: 250 ok\nS: 250 ok\nS: 421 4.7.0 go away\nX:\n",
            .n_mails = 3,
            .window = 2},
        "open\n0 final: 421 4.7.0 go away [250]\n"
        "1 mail cancelled: [-] begun (the server ended the session)\n"
        "closed final: 421 4.7.0 go away (the server ended the session)\n");
    expect_events(
        &(struct scenario){.script = STREAMED BDAT "S: 250 ok\nS: 421 too many\nX:\n", .n_mails = 1},
        "open\n0 rcpt: 421 too many [421]\nclosed rcpt: 421 too many (the server ended the session)\n");
    expect_events(&(struct scenario){.script = GROUPED DATA "S: 421 bye\nX:\n", .n_mails = 2},
        "open\n0 mail: 421 bye [-]\n"
        "1 mail cancelled: [-] (the server ended the session)\n"
        "closed mail: 421 bye (the server ended the session)\n");
    // A recipient that was refused before stays so.
    expect_events(
        &(struct scenario){.script = STREAMED BDAT "S: 250 ok\nS: 550 no\nS: 421 bye\nX:\n", .n_mails = 1},
        "open\n0 rcpt: [550]\nclosed final: 421 bye (the server ended the session)\n");
}

static void test_dropped(void **state)
{
    (void)state;
    // After the last octet: it may have been accepted.
    expect_events(&(struct scenario){.script = STREAMED BDAT "S: 250 ok\nS: 250 ok\nX:\n", .n_mails = 1},
        "open\n0 final connection: [250] begun maybe (the server closed the connection)\n"
        "closed final connection (the server closed the connection)\n");
    expect_events(
        &(struct scenario){.script = GROUPED DATA "S: 250 ok\nS: 250 ok\nS: 354 go\nD:\nR:\n", .n_mails = 1},
        "open\n0 final connection: [250] begun maybe (the connection was lost)\n"
        "closed final connection (the connection was lost)\n");
    // With several in flight their being so close may have been the reason.
    expect_events(&(struct scenario){.script = STREAMED BDAT BDAT ACCEPTED "X:\n", .n_mails = 2},
        "open\n0 final: 250 queued [250]\n"
        "1 mail connection: [-] begun maybe (the server closed the connection)\n"
        "closed mail connection (the server closed the connection)\n");
    expect_events(&(struct scenario){.script = STREAMED BDAT BDAT BDAT "S: 250 ok\nX:\n", .n_mails = 3},
        "open\n0 rcpt connection: [-] begun maybe (the server closed the connection)\n"
        "1 mail connection: [-] begun maybe (the server closed the connection)\n"
        "2 mail connection: [-] begun maybe (the server closed the connection)\n"
        "closed rcpt connection (the server closed the connection) anomaly\n");
    // Before the body: certainly not accepted.
    expect_events(&(struct scenario){.script = GROUPED DATA "S: 250 ok\nS: 250 ok\nX:\n", .n_mails = 2},
        "open\n0 data connection: [250] begun (the server closed the connection)\n"
        "1 mail cancelled: [-] (the server closed the connection)\n"
        "closed data connection (the server closed the connection)\n");
    // A refusal that is known stands, whatever happens to the connection.
    expect_events(&(struct scenario){.script = STREAMED BDAT "S: 250 ok\nS: 550 no\nX:\n", .n_mails = 1},
        "open\n0 rcpt: [550]\nclosed final connection (the server closed the connection)\n");
}

static void test_out_of_step(void **state)
{
    (void)state;
    // 503 although the recipients were accepted, in a window: try again, one at a time.
    expect_events(&(struct scenario){.script = STREAMED BDAT BDAT
                                     "s: 250 ok\\r\\n250 ok\\r\\n250 queued\\r\\n250 ok\\r\\n"
                                     "250 ok\\r\\n503 what\\r\\n\nC: RSET\n" BDAT "S: 250 ok\n" ACCEPTED QUIT,
                      .n_mails = 3,
                      .window = 2},
        "open\n0 final: 250 queued [250]\n"
        "1 final protocol: 503 what [250] begun (the server answered out of step (503 to a command in its "
        "right "
        "place))\n"
        "2 final: 250 queued [250]\nclosed idle anomaly\n");
    // The first MAIL of a session: 503 may mean that it wants a login.
    expect_events(&(struct scenario){.script = STREAMED BDAT "S: 503 log in\nS: 503 no\nS: 503 no\n" QUIT,
                      .n_mails = 1},
        "open\n0 mail: 503 log in [-]\nclosed idle\n");
    // A nested MAIL refused, but the message taken all the same: it is at the server.
    expect_events(
        &(struct scenario){.script = STREAMED BDAT BDAT "S: 250 ok\nS: 550 no\nS: 503 no\n"
                                                        "S: 503 nested\nS: 250 ok\nS: 250 queued\n" QUIT,
            .n_mails = 2},
        "open\n0 rcpt: [550]\n1 final: 250 queued [250]\nclosed idle anomaly\n");
    expect_events(
        &(struct scenario){
            .script = STREAMED BDAT ACCEPTED "S: 250 and one more\nZ:\n", .n_mails = 1, .keep = true},
        "open\n0 final: 250 queued [250]\n"
        "closed idle protocol (the server sent a reply to no command) anomaly\n");
    expect_events(
        &(struct scenario){.script = GROUPED DATA "S: 250 ok\nS: 250 ok\nS: 250 queued\nZ:\n", .n_mails = 1},
        "open\n0 data protocol: [250] begun (a reply to DATA that is neither 354 nor a refusal)\n"
        "closed data protocol (a reply to DATA that is neither 354 nor a refusal) anomaly\n");
    expect_events(&(struct scenario){.script = STREAMED BDAT "S: 354 go\nZ:\n", .n_mails = 1},
        "open\n0 mail protocol: [-] begun maybe (a reply of 3xx to MAIL)\n"
        "closed mail protocol (a reply of 3xx to MAIL) anomaly\n");
}

// A message that is larger than all buffers on the way.
static const size_t huge_size = 16 * 1024 * 1024;

static struct smtp_mail huge_mail(char **ret_text)
{
    char *text = malloc(huge_size);
    assert_non_null(text);
    memset(text, 'x', huge_size);
    memcpy(text, "\r\n\r\n", 4);
    memcpy(text + huge_size - 2, "\r\n", 2);
    *ret_text = text;
    return (struct smtp_mail){.body = {.head = text, .head_length = huge_size, .fd = -1, .size = huge_size}};
}

static void test_answers_before_the_end(void **state)
{
    (void)state;
    char *text;
    struct smtp_mail mail = huge_mail(&text);
    // 250 before the last octet counts as nothing.
    expect_events(&(struct scenario){.script = STREAMED ENVELOPE "C: BDAT 16777216 LAST\n" ACCEPTED "Z:\n",
                      .n_mails = 1,
                      .mail = mail},
        "open\n0 data protocol: [250] begun maybe (the server accepted the message before it had all of it)\n"
        "closed data protocol (the server accepted the message before it had all of it) anomaly\n");
    // A refusal of BDAT in the middle: its octets are owed, then things go on.
    expect_events(&(struct scenario){.script = STREAMED ENVELOPE
                                     "C: BDAT 16777216 LAST\n"
                                     "S: 250 ok\nS: 250 ok\nS: 452 disk full\nB: 16777216\n" QUIT,
                      .n_mails = 1,
                      .mail = mail},
        "open\n0 final: 452 disk full [250]\nclosed idle\n");
    // In the middle of a DATA body nobody knows whether the server reads on.
    expect_events(
        &(struct scenario){.script = GROUPED DATA "S: 250 ok\nS: 250 ok\nS: 354 go\nS: 552 too big\nZ:\n",
            .n_mails = 1,
            .mail = mail},
        "open\n0 final: 552 too big [250]\nclosed data: 552 too big (the server ended the session)\n");
    expect_events(
        &(struct scenario){.script = STREAMED ENVELOPE "C: BDAT 16777216 LAST\nS: 250 ok\nS: 250 ok\nR:\n",
            .n_mails = 1,
            .mail = mail},
        "open\n0 data connection: [250] begun (the connection was lost)\n"
        "closed data connection (the connection was lost)\n");
    free(text);
}

static void test_huge_messages(void **state)
{
    (void)state;
    char *text;
    struct smtp_mail mail = huge_mail(&text);
    char *bodies = play(&(struct scenario){.script = STREAMED ENVELOPE
                                           "C: BDAT 16777216 LAST\nB: 16777216\nQ:\n" ACCEPTED ENVELOPE
                                           "C: BDAT 16777216 LAST\nB: 16777216\n" ACCEPTED QUIT,
                            .n_mails = 2,
                            .mail = mail},
        "open\n0 final: 250 queued [250]\n1 final: 250 queued [250]\nclosed idle\n");
    assert_memory_equal(bodies, text, huge_size);
    assert_memory_equal(bodies + huge_size, text, huge_size);
    free(bodies);
    // Over TLS a write that was not taken has to be offered again as it was.
    struct scenario tls = {.encryption = CONFIG_ENCRYPTION_TLS, .trust = true, .n_mails = 2, .mail = mail};
    tls.script = "T:\n" STREAMED ENVELOPE "C: BDAT 16777216 LAST\nB: 16777216\n" ACCEPTED ENVELOPE
                 "C: BDAT 16777216 LAST\nB: 16777216\n" ACCEPTED QUIT;
    bodies = play(&tls, "open tls\n0 final: 250 queued [250]\n1 final: 250 queued [250]\nclosed idle\n");
    assert_memory_equal(bodies, text, huge_size);
    assert_memory_equal(bodies + huge_size, text, huge_size);
    free(bodies);
    free(text);
}

static void test_files(void **state)
{
    (void)state;
    int fd = memfd_create("body", MFD_CLOEXEC);
    assert_int_equal(write(fd, ".dot\nnext\n", 10), 10);
    struct smtp_mail mail = {
        .body = {.head = "H: x\r\n\r\n", .head_length = 8, .fd = fd, .file_length = 10, .size = 20}};
    char *bodies = play(
        &(struct scenario){
            .script = STREAMED ENVELOPE "C: BDAT 20 LAST\nB: 20\n" ACCEPTED QUIT, .n_mails = 1, .mail = mail},
        "open\n0 final: 250 queued [250]\nclosed idle\n");
    assert_string_equal(bodies, "H: x\r\n\r\n.dot\r\nnext\r\n");
    free(bodies);
    bodies = play(
        &(struct scenario){
            .script = LOCKSTEP
            "C: MAIL FROM:<a@client.example>\nS: 250 ok\n"
            "C: RCPT TO:<r0@mx.example>\nS: 250 ok\nC: DATA\nS: 354 go\nD:\nS: 250 queued\n" QUIT,
            .n_mails = 1,
            .mail = mail},
        "open\n0 final: 250 queued [250]\nclosed idle\n");
    assert_string_equal(bodies, "H: x\r\n\r\n..dot\r\nnext\r\n");
    free(bodies);
    // A file that is shorter than it was: the connection has to end, that message fails, the others do not.
    mail.body.file_length = mail.body.size = 40;
    expect_events(
        &(struct scenario){.script = STREAMED ENVELOPE "C: BDAT 40 LAST\nS: 250 ok\nS: 250 ok\nZ:\n",
            .n_mails = 2,
            .mail = mail},
        "open\n0 mail file: [-] begun (the message file became shorter while it was sent)\n"
        "1 mail cancelled: [-] (the session was ended because a message file changed or failed while it was "
        "sent)\n"
        "closed mail (the session was ended because a message file changed or failed while it was sent)\n");
    mail.body.file_length = 5;
    mail.body.size = 14;
    expect_events(
        &(struct scenario){.script = STREAMED ENVELOPE "C: BDAT 14 LAST\nZ:\n", .n_mails = 1, .mail = mail},
        "open\n0 mail file: [-] begun (the message file became longer while it was sent)\n"
        "closed mail (the session was ended because a message file changed or failed while it was sent)\n");
    close(fd);
    mail.body.fd = fd; // nothing can be read of it any more
    expect_events(
        &(struct scenario){.script = STREAMED ENVELOPE "C: BDAT 14 LAST\nZ:\n", .n_mails = 1, .mail = mail},
        "open\n0 mail disk: [-] begun (the message file could not be read)\n"
        "closed mail (the session was ended because a message file changed or failed while it was sent)\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streamed),
        cmocka_unit_test(test_streamed_window),
        cmocka_unit_test(test_grouped),
        cmocka_unit_test(test_lockstep),
        cmocka_unit_test(test_refused_in_the_window),
        cmocka_unit_test(test_mixed_recipients),
        cmocka_unit_test(test_refused_with_data),
        cmocka_unit_test(test_421),
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_out_of_step),
        cmocka_unit_test(test_answers_before_the_end),
        cmocka_unit_test(test_huge_messages),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, client_set_up, clock_remove);
}
