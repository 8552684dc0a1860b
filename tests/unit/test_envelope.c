// The envelope (outtray-spool(5)): X-Sender and X-Receiver lines with their parameters, To, Cc and Bcc.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "envelope_support.h"

static void recipients(const char *text, const char *expected)
{
    struct bench bench = ready(CONFIG_ENVELOPE_ACCOUNT);
    struct composed composed = composed_from(&bench, text);
    recipients_are(&composed, expected);
    composed_release(&composed);
}

static void test_recipients_from_to_cc_and_bcc(void **state)
{
    (void)state;
    recipients("To: A <a@x.example>, b@x.example\nCc: c@x.example\nBcc: d@x.example,\n e@x.example\n\n",
        "a@x.example b@x.example c@x.example d@x.example e@x.example");
    recipients("Bcc: a@x.example\n\n", "a@x.example");
    recipients("To: undisclosed-recipients:;\nBcc: a@x.example\n\n", "a@x.example");
    recipients(
        "To: Friends: a@x.example, b@x.example;, c@x.example\n\n", "a@x.example b@x.example c@x.example");
    recipients("To: a@x.example\nTo: b@x.example\n\n", "a@x.example b@x.example");
    recipients("To:\nCc: a@x.example\n\n", "a@x.example");
    recipients("to : a@x.example\n\n", "a@x.example");
    recipients("To: root\n\n", "root@pbx.example.com"); // mail of local programs
    recipients("To: a@x.example\nResent-To: b@x.example\nResent-Bcc: c@x.example\n\n", "a@x.example");
}

static void test_a_mailbox_is_named_once(void **state)
{
    (void)state;
    recipients("To: a@x.example, a@X.EXAMPLE, A@x.example\nCc: a@x.example\n\n", "a@x.example A@x.example");
    recipients("To: a@bücher.example, a@xn--bcher-kva.example\n\n", "a@bücher.example");
    recipients("X-Receiver: <a@x.example>\nX-Receiver: a@x.example\n\n", "a@x.example");
}

static void test_many_recipients_are_listed_once_each(void **state)
{
    (void)state;
    enum { N = 3000, SIZE = 2 * N * 40 };
    struct bench bench = ready(CONFIG_ENVELOPE_ACCOUNT);
    char *text = malloc(SIZE);
    size_t length = 0;
    assert_non_null(text);
    for (int i = 0; i < 2 * N; i++)
        length += (size_t)snprintf(
            text + length, SIZE - length, "X-Receiver: <r%d@%s>\n", i % N, i < N ? "x.example" : "X.Example");
    (void)snprintf(text + length, SIZE - length, "\ntext\n");
    struct composed composed = composed_from(&bench, text);
    assert_int_equal(composed.result, 0);
    assert_int_equal(composed.outgoing->n_recipients, N);
    for (int i = 0; i < N; i++) {
        char expected[40];
        (void)snprintf(expected, sizeof expected, "r%d@x.example", i);
        assert_string_equal(composed.outgoing->recipients[i].address, expected);
    }
    composed_release(&composed);
    bench.config.limits.recipients = N - 1;
    composed = composed_from(&bench, text);
    fault_is(&composed, STATUS_REASON_MALFORMED, "limits.recipients");
    composed_release(&composed);
    free(text);
}

static void test_a_message_to_nobody(void **state)
{
    (void)state;
    malformed("Subject: to whom?\n\ntext\n", "no recipients");
    malformed("To: undisclosed-recipients:;\n\ntext\n", "no recipients");
    malformed("just a line\n", "no recipients");
    malformed("To:\n\ntext\n", "no recipients");
    malformed("To: Jane Doe, nobody in particular\n\ntext\n", "To is no list of addresses");
    malformed("To: a b\nCc: <<>>\n\ntext\n", "To is no list of addresses");
    malformed("To: undisclosed-recipients:;\nBcc: x y z\n\ntext\n", "Bcc is no list of addresses");
}

// A bad recipient costs one recipient. expected: every recipient, those refused with "!" in front.
static void salvaged(const char *text, const char *const *expected)
{
    struct bench bench = ready(CONFIG_ENVELOPE_ACCOUNT);
    struct composed composed = composed_from(&bench, text);
    assert_int_equal(composed.result, 0);
    size_t n = 0;
    for (; expected[n]; n++) {
        bool refused = expected[n][0] == '!';
        assert_in_range(n, 0, composed.outgoing->n_recipients - 1);
        assert_string_equal(composed.outgoing->recipients[n].address, expected[n] + refused);
        assert_int_equal(composed.outgoing->recipients[n].problem != NULL, refused);
    }
    assert_int_equal(composed.outgoing->n_recipients, n);
    composed_release(&composed);
}

static void test_a_bad_entry_costs_itself(void **state)
{
    (void)state;
    salvaged("To: a@x.example, b@\n\n", (const char *const[]){"a@x.example", "!b@", NULL});
    salvaged("To: a@x.example, foo bar  baz, c@x.example\n\n",
        (const char *const[]){"a@x.example", "!foo bar baz", "c@x.example", NULL});
    salvaged("To: foo\n bar, c@x.example\n\n", (const char *const[]){"!foo bar", "c@x.example", NULL});
    salvaged("To: a@x.example\nCc: <<>>\nBcc: d@x.example\n\n",
        (const char *const[]){"a@x.example", "!<<>>", "d@x.example", NULL});
    salvaged("To: G: a@x.example, x y;, b@x.example\n\n",
        (const char *const[]){"a@x.example", "!x y", "b@x.example", NULL});
    salvaged("To: A <a@>, \"B, C\" <b@x.example>\n\n", (const char *const[]){"!A <a@>", "b@x.example", NULL});
    salvaged("To: x y, x y, a@x.example, x\ty\n\n", (const char *const[]){"!x y", "a@x.example", NULL});
    salvaged("To: a@x.example, x\001y z\n\n", (const char *const[]){"a@x.example", "!x?y z", NULL});
}

// What stands in brackets, quotes or comments is never taken for an address, even where these are broken.
static void test_nothing_is_guessed_from_a_bad_entry(void **state)
{
    (void)state;
    salvaged("To: A <x, b@x.example, y>, c@x.example\n\n",
        (const char *const[]){"!A <x, b@x.example, y>", "c@x.example", NULL});
    salvaged("To: a@x.example, \"B <b@x.example>, c@x.example\n\n",
        (const char *const[]){"a@x.example", "!\"B <b@x.example>, c@x.example", NULL});
    salvaged("To: a@x.example, (b@x.example, c@x.example\n\n",
        (const char *const[]){"a@x.example", "!(b@x.example, c@x.example", NULL});
    salvaged(
        "To: A <a@x.example, b@x.example\n\n", (const char *const[]){"!A <a@x.example", "b@x.example", NULL});
}

static void test_a_bad_entry_is_bounded(void **state)
{
    (void)state;
    char text[2000], piece[1001];
    memset(piece, 'c', sizeof piece - 1);
    piece[sizeof piece - 1] = '\0';
    (void)snprintf(text, sizeof text, "To: a@x.example, b %s\n\n", piece);
    struct bench bench = ready(CONFIG_ENVELOPE_ACCOUNT);
    struct composed composed = composed_from(&bench, text);
    assert_int_equal(composed.result, 0);
    assert_int_equal(composed.outgoing->n_recipients, 2);
    assert_int_equal(strlen(composed.outgoing->recipients[1].address), 320);
    assert_non_null(composed.outgoing->recipients[1].problem);
    composed_release(&composed);
}

static void test_leading_lines_are_the_envelope(void **state)
{
    (void)state;
    struct bench bench = ready(CONFIG_ENVELOPE_MESSAGE);
    struct composed composed =
        composed_from(&bench, "X-Sender: <bob@inside.example> BODY=7bit RET=hdrs ENVID=123\n"
                              "x-receiver: <mary@example.net> NOTIFY=NEVER ORCPT=rfc822;mary@example.net\n"
                              "X-Receiver: paul@example.net notify=success,Delay\n"
                              "To: other@example.org\n\ntext\n");
    recipients_are(&composed, "mary@example.net paul@example.net");
    const struct outgoing *outgoing = composed.outgoing;
    assert_int_equal(outgoing->source, OUTGOING_FROM_X_RECEIVER);
    assert_string_equal(outgoing->envelope_from, "bob@inside.example");
    assert_string_equal(outgoing->envelope_rule, "X-Sender");
    assert_string_equal(outgoing->ret, "HDRS");
    assert_string_equal(outgoing->envid, "123");
    assert_string_equal(outgoing->recipients[0].notify, "NEVER");
    assert_string_equal(outgoing->recipients[0].orcpt, "rfc822;mary@example.net");
    assert_string_equal(outgoing->recipients[1].notify, "SUCCESS,DELAY");
    assert_null(outgoing->recipients[1].orcpt);
    wire_has(&composed, "To: other@example.org\r\n");
    wire_lacks(&composed, "X-Sender");
    wire_lacks(&composed, "mary");
    composed_release(&composed);
}

static void test_only_leading_lines_count(void **state)
{
    (void)state;
    recipients("To: a@x.example\nX-Receiver: <late@x.example>\n\n", "a@x.example");
    recipients("X-Receiver: <b@x.example>\nTo: a@x.example\nX-Receiver: <late@x.example>\n\n", "b@x.example");
    // Controls and an mbox line may stand among them.
    recipients("X-Outtray-Priority: high\nX-Receiver: <b@x.example>\nTo: a@x.example\n\n", "b@x.example");
    recipients(
        "From bob Mon Nov 23 15:04:05 2026\nX-Receiver: <b@x.example>\nTo: a@x.example\n\n", "b@x.example");
}

static void test_where_envelope_headers_do_not_count_they_are_stripped(void **state)
{
    (void)state;
    struct bench bench = ready(CONFIG_ENVELOPE_MESSAGE);
    bench.tenants[0].envelope_headers = false;
    struct composed composed =
        composed_from(&bench, "X-Sender: <bob@inside.example> GARBAGE\nX-Receiver: <mary@x.example>\nFrom: "
                              "jim@inside.example\nTo: a@x.example\n\ntext\n");
    recipients_are(&composed, "a@x.example");
    assert_string_equal(composed.outgoing->envelope_from, "jim@inside.example");
    wire_lacks(&composed, "X-Sender");
    wire_lacks(&composed, "X-Receiver");
    composed_release(&composed);
}

static void test_a_bad_recipient_costs_itself(void **state)
{
    (void)state;
    static const char *const bad[] = {"<a b@x.example>", "<a<b@x.example>", "<a@x.example", "a b@x.example",
        "<>", "<nodomain>", "<@x.example>", "<a@>", "<a@x..example>", "<a@b@x.example>",
        "<a@x.example>b@x.example", "<\xff@x.example>", "<a@\xff.example>",
        "<lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll@x.example>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bench bench = ready(CONFIG_ENVELOPE_ACCOUNT);
        char text[512];
        (void)snprintf(text, sizeof text,
            "X-Receiver: %s\nX-Receiver: <good@x.example>\nTo: x@x.example\n\ntext\n", bad[i]);
        struct composed composed = composed_from(&bench, text);
        if (composed.result)
            fail_msg("%s: %s", bad[i], composed.fault.detail);
        assert_int_equal(composed.outgoing->n_recipients, 2);
        if (!composed.outgoing->recipients[0].problem)
            fail_msg("%s has no problem", bad[i]);
        assert_null(composed.outgoing->recipients[1].problem);
        for (const char *c = composed.outgoing->recipients[0].address; *c; c++)
            assert_true(*c >= ' ' && (unsigned char)*c < 0x7F); // goes into YAML, logs and terminals
        composed_release(&composed);
    }
}

static void test_long_domains(void **state)
{
    (void)state;
    struct bench bench = ready(CONFIG_ENVELOPE_ACCOUNT);
    char text[1024], domain[300];
    memset(domain, 'd', sizeof domain);
    for (size_t i = 63; i < 256; i += 64)
        domain[i] = '.';
    memcpy(domain + 256, ".e", 3);
    (void)snprintf(text, sizeof text, "To: a@%s, b@x.example\n\n", domain);
    struct composed composed = composed_from(&bench, text);
    assert_int_equal(composed.result, 0);
    assert_non_null(composed.outgoing->recipients[0].problem);
    assert_null(composed.outgoing->recipients[1].problem);
    composed_release(&composed);
}

static void test_domains_become_a_labels_local_parts_need_smtputf8(void **state)
{
    (void)state;
    struct bench bench = ready(CONFIG_ENVELOPE_ACCOUNT);
    struct composed composed = composed_from(
        &bench, "To: jane@Bücher.example, jürgen@x.example, j@[192.0.2.1], \"a b\"@x.example\n\ntext\n");
    assert_int_equal(composed.result, 0);
    const struct outgoing_recipient *recipient = composed.outgoing->recipients;
    assert_string_equal(recipient[0].address, "jane@Bücher.example");
    assert_string_equal(recipient[0].wire, "jane@xn--bcher-kva.example");
    assert_false(recipient[0].smtputf8);
    assert_null(recipient[0].problem);
    assert_string_equal(recipient[1].wire, "jürgen@x.example");
    assert_true(recipient[1].smtputf8);
    assert_string_equal(recipient[2].wire, "j@[192.0.2.1]");
    assert_null(recipient[2].problem);
    assert_false(composed.outgoing->smtputf8);
    wire_has(&composed, "jane@xn--bcher-kva.example");
    composed_release(&composed);
}

static void test_dsn_values_that_nobody_may_send(void **state)
{
    (void)state;
    char text[1200], long_value[601];
    memset(long_value, 'x', sizeof long_value - 1);
    long_value[sizeof long_value - 1] = '\0';
    static const char *const sender[] = {"RET=SOME", "RET", "ENVID=", "ENVID=a=b", "ENVID=a+b", "ENVID=a+2",
        "RET=FULL RET=HDRS", "FOO=1", "NOTIFY=NEVER", "garbage"};
    for (size_t i = 0; i < sizeof sender / sizeof *sender; i++) {
        (void)snprintf(text, sizeof text, "X-Sender: <b@x.example> %s\nTo: a@x.example\n\n", sender[i]);
        malformed(text, "X-Sender: parameter");
    }
    static const char *const receiver[] = {"NOTIFY=", "NOTIFY=NEVER,DELAY", "NOTIFY=SUCCESS,SUCCESS",
        "NOTIFY=,", "ORCPT=;x", "ORCPT=rfc822;", "ORCPT=rfc822;a=b", "RET=HDRS", "X=1"};
    for (size_t i = 0; i < sizeof receiver / sizeof *receiver; i++) {
        (void)snprintf(text, sizeof text, "X-Receiver: <b@x.example> %s\n\n", receiver[i]);
        malformed(text, "X-Receiver: parameter");
    }
    (void)snprintf(
        text, sizeof text, "X-Sender: <b@x.example> ENVID=%.101s\nTo: a@x.example\n\n", long_value);
    malformed(text, "ENVID");
    (void)snprintf(text, sizeof text, "X-Receiver: <b@x.example> ORCPT=rfc822;%.494s\n\n", long_value);
    malformed(text, "ORCPT");
}

static void test_dsn_values_at_their_limits(void **state)
{
    (void)state;
    struct bench bench = ready(CONFIG_ENVELOPE_MESSAGE);
    char text[1200], long_value[601];
    memset(long_value, 'x', sizeof long_value - 1);
    long_value[sizeof long_value - 1] = '\0';
    (void)snprintf(text, sizeof text,
        "X-Sender: b@x.example ENVID=%.100s AUTH=<> SIZE=12\nX-Receiver: <c@x.example> "
        "ORCPT=rfc822;%.493s\n\n",
        long_value, long_value);
    struct composed composed = composed_from(&bench, text);
    assert_int_equal(composed.result, 0);
    assert_int_equal(strlen(composed.outgoing->envid), 100);
    assert_int_equal(strlen(composed.outgoing->recipients[0].orcpt), 500);
    composed_release(&composed);
    // Exchange writes a bare address, which has to be encoded.
    composed = composed_from(&bench, "X-Receiver: <c@x.example> ORcpt=mary+tag@x.example\n\n");
    assert_int_equal(composed.result, 0);
    assert_string_equal(composed.outgoing->recipients[0].orcpt, "rfc822;mary+2Btag@x.example");
    composed_release(&composed);
}

static void test_no_line_end_reaches_a_command(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "X-Receiver: <a@x.example\rRCPT TO:<evil@x.example>>\nX-Receiver: <b@x.example>\n\n",
        "X-Receiver: <a@x.example\n\tRCPT TO:<evil@x.example>>\nX-Receiver: <b@x.example>\n\n",
        "X-Receiver: <b@x.example> ORCPT=rfc822;a\n\tb\n\n",
        "X-Sender: <b@x.example> ENVID=a\r\n\tb\nTo: a@x.example\n\n",
        "To: a@x.example\r\n RSET, b@x.example\n\n", "To: \"a\r\n b\"@x.example\n\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct bench bench = ready(CONFIG_ENVELOPE_MESSAGE);
        struct composed composed = composed_from(&bench, texts[i]);
        for (size_t k = 0; composed.outgoing && k < composed.outgoing->n_recipients; k++) {
            const struct outgoing_recipient *recipient = &composed.outgoing->recipients[k];
            assert_true(recipient->problem || !strpbrk(recipient->wire, "\r\n\t "));
            assert_true(!recipient->orcpt || !strpbrk(recipient->orcpt, "\r\n\t "));
        }
        composed_release(&composed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipients_from_to_cc_and_bcc),
        cmocka_unit_test(test_a_mailbox_is_named_once),
        cmocka_unit_test(test_many_recipients_are_listed_once_each),
        cmocka_unit_test(test_a_message_to_nobody),
        cmocka_unit_test(test_a_bad_entry_costs_itself),
        cmocka_unit_test(test_nothing_is_guessed_from_a_bad_entry),
        cmocka_unit_test(test_a_bad_entry_is_bounded),
        cmocka_unit_test(test_leading_lines_are_the_envelope),
        cmocka_unit_test(test_only_leading_lines_count),
        cmocka_unit_test(test_where_envelope_headers_do_not_count_they_are_stripped),
        cmocka_unit_test(test_a_bad_recipient_costs_itself),
        cmocka_unit_test(test_long_domains),
        cmocka_unit_test(test_domains_become_a_labels_local_parts_need_smtputf8),
        cmocka_unit_test(test_dsn_values_that_nobody_may_send),
        cmocka_unit_test(test_dsn_values_at_their_limits),
        cmocka_unit_test(test_no_line_end_reaches_a_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
