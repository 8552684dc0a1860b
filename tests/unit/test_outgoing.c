// What goes over the wire: the header block with its removals and additions, and the body plan.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outgoing_support.h"
#include <fcntl.h>

// The whole wire form of a message whose header block begins with From, Date, Message-ID and To.
static void becomes(const char *rest, const char *expected)
{
    char text[4096], wire[4096];
    (void)snprintf(text, sizeof text, OWN "%s", rest);
    (void)snprintf(wire, sizeof wire, HEAD "%s", expected);
    struct composed composed = simple(text);
    wire_is(&composed, wire);
    composed_release(&composed);
}

static void test_a_plain_message(void **state)
{
    (void)state;
    struct composed composed = simple(
        "From: jane@inside.example\nTo: a@x.example\nSubject: Hello\nDate: Mon, 23 Nov 2026 10:00:00 +0100\n"
        "Message-ID: <own@inside.example>\nX-Mailer:  two  blanks \n\nOne.\nTwo.\n");
    wire_is(&composed,
        FROM "To: a@x.example\r\nSubject: Hello\r\nDate: Mon, 23 Nov 2026 10:00:00 +0100\r\n"
             "Message-ID: <own@inside.example>\r\nX-Mailer:  two  blanks \r\n\r\nOne.\r\nTwo.\r\n");
    const struct outgoing *outgoing = composed.outgoing;
    assert_string_equal(outgoing->from, "Acme Voicemail <voicemail@acme.example>");
    assert_string_equal(outgoing->message_id, "<own@inside.example>");
    assert_string_equal(outgoing->removed, "");
    assert_string_equal(outgoing->added, "");
    assert_int_equal(outgoing->source, OUTGOING_FROM_HEADERS);
    assert_int_equal(outgoing->body.fd, -1);
    assert_false(outgoing->eight_bit || outgoing->smtputf8 || outgoing->high_priority);
    composed_release(&composed);
}

static void test_line_ends(void **state)
{
    (void)state;
    becomes("\none\rtwo\nthree\r\nfour\r\r\nfive\n\rsix \t\n\n\n",
        "\r\none\r\ntwo\r\nthree\r\nfour\r\n\r\nfive\r\n\r\nsix \t\r\n\r\n\r\n");
    becomes("\nthe end", "\r\nthe end\r\n");
    becomes("\nthe end\r", "\r\nthe end\r\n");
    becomes("\n.\n..\n.leading\n.", "\r\n.\r\n..\r\n.leading\r\n.\r\n");
    becomes("Subject: folded\r\n  twice\n\tand thrice\n\ntext\n",
        "Subject: folded\r\n  twice\r\n\tand thrice\r\n\r\ntext\r\n");
    becomes("\n\n.\r\n", "\r\n\r\n.\r\n");
    becomes("\na\n.\r\nb\r\n.\nc\r.\rd", "\r\na\r\n.\r\nb\r\n.\r\nc\r\n.\r\nd\r\n");
}

static void test_odd_header_blocks(void **state)
{
    (void)state;
    becomes("Subject: only", "Subject: only\r\n\r\n"); // headers only
    becomes("Subject: only\n", "Subject: only\r\n\r\n");
    becomes("Subject: only\n\n", "Subject: only\r\n\r\n");
    becomes("Subject: none\nthis is no field\nnor this\n",
        "Subject: none\r\n\r\nthis is no field\r\nnor this\r\n");
    becomes("Subject : blank\n\n", "Subject : blank\r\n\r\n"); // what is not ours stays
    becomes("Resent-From: b@x.example\nResent-To: c@x.example\nResent-Bcc: d@x.example\n\n",
        "Resent-From: b@x.example\r\nResent-To: c@x.example\r\n\r\n");
    struct composed composed = simple("From jane Mon Nov 23 15:04:05 2026\n" OWN "\ntext\n");
    wire_is(&composed, HEAD "\r\ntext\r\n"); // an mbox line
    composed_release(&composed);
}

static void test_a_bare_cr_starts_no_field(void **state)
{
    (void)state;
    struct composed composed = simple(OWN "Subject: a\rBcc: evil@x.example\rFrom: evil@x.example\n\ntext\n");
    wire_lacks(&composed, "evil");
    assert_int_equal(count(composed.wire, "From:"), 1);
    composed_release(&composed);
}

static void test_what_never_leaves_the_house(void **state)
{
    (void)state;
    struct composed composed =
        simple("Return-Path: <jane@inside.example>\nX-Outtray-Priority: normal\nx-outtray-unknown: x\n" OWN
               "X-Sender: <late@x.example>\nX-Receiver: <late@x.example>\nBCC: b@x.example,\n c@x.example\n"
               "Bcc : d@x.example\nX-Mailer: kept\n\ntext\n");
    wire_is(&composed, HEAD "X-Mailer: kept\r\n\r\ntext\r\n");
    recipients_are(&composed, "a@x.example b@x.example c@x.example d@x.example");
    assert_string_equal(composed.outgoing->removed,
        "Return-Path, X-Outtray-Priority, X-Outtray-*, X-Sender, X-Receiver, Bcc");
    assert_string_equal(composed.outgoing->added, "From");
    composed_release(&composed);
}

static void test_what_is_missing_is_added(void **state)
{
    (void)state;
    struct composed composed = simple("Bcc: a@x.example\nSubject: x\n\ntext\n");
    wire_has(&composed, "Date: " SUBMITTED_DATE "\r\n");
    wire_has(&composed, "To: undisclosed-recipients:;\r\n");
    wire_has(&composed, composed.outgoing->message_id);
    assert_string_equal(composed.outgoing->added, "From, Date, Message-ID, To");
    assert_int_equal(count(composed.wire, "Message-ID:"), 1);
    composed_release(&composed);
    // Blank ones count as missing.
    composed = simple("Date: \nMessage-ID:\t\nTo:\nCc: \nBcc: a@x.example\n\ntext\n");
    assert_int_equal(count(composed.wire, "\r\nDate:") + count(composed.wire, "\r\nMessage-ID:"), 2);
    wire_has(&composed, "To: undisclosed-recipients:;\r\n");
    wire_lacks(&composed, "Cc");
    composed_release(&composed);
    // Cc alone is enough.
    composed = simple("Cc: a@x.example\n\ntext\n");
    wire_lacks(&composed, "undisclosed");
    composed_release(&composed);
}

// xtext may hold them (RFC 3461), a command line of ours never does: encoded they mean the same.
static void test_brackets_in_parameters(void **state)
{
    (void)state;
    struct composed composed = simple("X-Sender: <s@x.example> ENVID=<1>\nX-Receiver: <a@x.example> "
                                      "ORCPT=rfc822;<b@x.example>\nX-Receiver: <c@x.example> ORCPT=<d>\n\n");
    assert_int_equal(composed.result, 0);
    assert_string_equal(composed.outgoing->envid, "+3C1+3E");
    assert_string_equal(composed.outgoing->recipients[0].orcpt, "rfc822;+3Cb@x.example+3E");
    assert_string_equal(composed.outgoing->recipients[1].orcpt, "rfc822;+3Cd+3E");
    composed_release(&composed);
    composed = simple("X-Receiver: <a@x.example> ORCPT=<x>;b\n\n");
    fault_is(&composed, STATUS_REASON_MALFORMED, "ORCPT is TYPE;ADDRESS");
    composed_release(&composed);
    char text[512]; // what encoding makes too long
    (void)snprintf(text, sizeof text, "X-Sender: <s@x.example> ENVID=<%099d\nTo: a@x.example\n\n", 0);
    composed = simple(text);
    fault_is(&composed, STATUS_REASON_MALFORMED, "ENVID has 1 to 100 octets");
    composed_release(&composed);
}

static void test_message_id_of_the_message(void **state)
{
    (void)state;
    struct composed composed = simple("To: a@x.example\nMessage-ID: <one@x>\nMessage-ID: <two@x>\n\ntext\n");
    wire_has(&composed, "Message-ID: <one@x>\r\n");
    wire_lacks(&composed, "two@x");
    assert_string_equal(composed.outgoing->message_id, "<one@x>");
    composed_release(&composed);
    composed = simple("To: a@x.example\nMessage-ID:\n <folded@x> (why)\n\ntext\n");
    assert_string_equal(composed.outgoing->message_id, "<folded@x>");
    composed_release(&composed);
    composed = simple(
        "To: a@x.example\nMessage-ID: no brackets\n\ntext\n"); // present, and the message's own business
    assert_string_equal(composed.outgoing->message_id, "no brackets");
    assert_int_equal(count(composed.wire, "Message-ID:"), 1);
    composed_release(&composed);
    composed = simple("To: a@x.example\nMessage-ID: <a\x1b[0m\xff@x>\n\ntext\n");
    assert_string_equal(composed.outgoing->message_id, "<a?[0m?@x>"); // goes into logs and YAML
    composed_release(&composed);
}

static void made_id(struct bench *bench, const char *text, char ret_id[static 128])
{
    struct composed composed = compose(bench, text);
    assert_int_equal(composed.result, 0);
    (void)snprintf(ret_id, 128, "%s", composed.outgoing->message_id);
    composed_release(&composed);
}

static void test_made_message_id_is_that_of_the_submission(void **state)
{
    (void)state;
    struct bench bench;
    char first[128], again[128];
    bench_init(&bench);
    const char *text = "To: a@x.example\n\ntext\n";
    made_id(&bench, text, first);
    assert_non_null(strstr(first, "@pbx.example.com>"));
    made_id(&bench, text, again);
    assert_string_equal(first, again);
    bench.name = "1764000000.M1P2.host~7"; // a variant of the name is the same message
    made_id(&bench, text, again);
    assert_string_equal(first, again);
    bench.name = "1764000000.M1P3.host";
    made_id(&bench, text, again);
    assert_string_not_equal(first, again);
    bench_init(&bench);
    bench.submitted.tv_nsec += 1000; // a status file keeps microseconds of it
    made_id(&bench, text, again);
    assert_string_not_equal(first, again);
    bench_init(&bench);
    bench.tenants[0].name = "acme2";
    made_id(&bench, text, again);
    assert_string_not_equal(first, again);
    bench_init(&bench);
    made_id(&bench, "To: a@x.example\n\ntexT\n", again);
    assert_string_not_equal(first, again);
    bench.config.domain = "pbx>\r\nBcc: evil";
    made_id(&bench, text, again);
    assert_non_null(strstr(again, "@localhost>"));
    bench.config.domain = "bücher.example";
    made_id(&bench, text, again);
    assert_non_null(strstr(again, "@xn--bcher-kva.example>"));
}

static void test_priority_is_seen_without_composing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool high;
    } cases[] = {{"X-Outtray-Priority: high\nTo: a@x.example\n\n", true},
        {"To: a\r\nx-outtray-priority:HIGH\r\n\r\n", true}, {"X-Outtray-Priority: highest\n\n", false},
        {"X-Outtray-Priority: low\n\n", false}, {"To: a\n\nX-Outtray-Priority: high\n", false},
        {"To: a\r\n\r\nX-Outtray-Priority: high\r\n", false}, {"X-Outtray-Priority:", false},
        {"X-Outtray-Priority: high", false}, {"", false}};
    char path[] = "/tmp/outtray-test-priority.XXXXXX";
    assert_non_null(mkdtemp(path));
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = openat(dir, "m", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, cases[i].text, strlen(cases[i].text)), strlen(cases[i].text));
        close(fd);
        if (outgoing_peek_priority(dir, "m") != cases[i].high)
            fail_msg("%s", cases[i].text);
    }
    assert_false(outgoing_peek_priority(dir, "missing"));
    assert_int_equal(symlinkat("m", dir, "link"), 0);
    assert_false(outgoing_peek_priority(dir, "link"));
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    assert_false(outgoing_peek_priority(dir, "fifo")); // and does not wait for a writer
    static const char *const names[] = {"m", "link", "fifo"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(unlinkat(dir, names[i], 0), 0);
    close(dir);
    rmdir(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_message),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_odd_header_blocks),
        cmocka_unit_test(test_a_bare_cr_starts_no_field),
        cmocka_unit_test(test_what_never_leaves_the_house),
        cmocka_unit_test(test_what_is_missing_is_added),
        cmocka_unit_test(test_brackets_in_parameters),
        cmocka_unit_test(test_message_id_of_the_message),
        cmocka_unit_test(test_made_message_id_is_that_of_the_submission),
        cmocka_unit_test(test_priority_is_seen_without_composing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
