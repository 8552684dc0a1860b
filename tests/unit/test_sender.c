// From by tenant (outtray.yaml(5), `from`): whose address, whose name, and always exactly one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compose_support.h"

// Composes a message whose header begins with `fields`, for a tenant with this `from`, and returns it.
static struct composed with_from(struct bench *bench, const char *from, const char *fields)
{
    char text[8192];
    if (from)
        bench->tenants[0].from = from;
    (void)snprintf(text, sizeof text, "%sTo: a@example.net\nDate: x\nMessage-ID: <1@x>\n\ntext\n", fields);
    return compose(bench, text);
}

// The one From that goes out.
static void from_is(struct composed *composed, const char *expected)
{
    char field[2048];
    (void)snprintf(field, sizeof field, "From: %s\r\n", expected);
    char start[2048 + 4];
    (void)snprintf(start, sizeof start, "\r\n%s", field);
    if (composed->result)
        fail_msg("%d %s", composed->result, composed->fault.detail);
    if (strncmp(composed->wire, field, strlen(field)) && !strstr(composed->wire, start))
        fail_msg("no '%s' in:\n%s", field, composed->wire);
    char *end = strstr(composed->wire, "\r\n\r\n");
    assert_non_null(end);
    size_t n = !strncasecmp(composed->wire, "From:", 5);
    for (const char *at = composed->wire; (at = strstr(at, "\r\n")) && at < end; at += 2)
        n += !strncasecmp(at + 2, "From", 4) && strspn(at + 6, " \t:");
    assert_int_equal(n, 1);
    composed_release(composed);
}

static void one_from(const char *configured, const char *fields, const char *expected)
{
    struct bench bench;
    bench_init(&bench);
    struct composed composed = with_from(&bench, configured, fields);
    from_is(&composed, expected);
}

static void test_the_tenants_from_replaces_the_message_s(void **state)
{
    (void)state;
    const char *acme = "Acme Voicemail <voicemail@acme.example>";
    one_from(NULL, "From: Jane <jane@inside.example>\n", acme);
    one_from(NULL, "", acme);                                                   // none at all
    one_from(NULL, "From: a@x.example\nSubject: x\nFrom: b@x.example\n", acme); // two
    one_from(NULL, "From : jane@inside.example\n", acme); // obsolete blank before the colon
    one_from(NULL, "from:jane@inside.example\n", acme);
    one_from(NULL, "From: \"A very\n long\" \n\t<jane@inside.example>\n", acme);
    one_from(NULL, "From: Managers: jane@x.example, joe@x.example;\n", acme);
    one_from(NULL, "From: nobody, really <\n", acme); // no mailbox list at all
    one_from(NULL, "From:\n", acme);
    one_from(NULL, "From: a@x.example, b@x.example\n", acme);
}

static void test_the_message_s_display_name_is_kept_where_the_tenant_has_none(void **state)
{
    (void)state;
    const char *bare = "voicemail@acme.example";
    one_from(bare, "From: Jane <jane@inside.example>\n", "Jane <voicemail@acme.example>");
    one_from(bare, "From: \"Jane Q. Public\" <jane@inside.example>\n",
        "\"Jane Q. Public\" <voicemail@acme.example>");
    one_from(bare, "From: jane@inside.example (Jane Doe)\n", "Jane Doe <voicemail@acme.example>");
    one_from(bare, "From: jane@inside.example\n", "voicemail@acme.example");
    one_from(bare, "", "voicemail@acme.example");
    one_from(bare, "From: \"\" <jane@inside.example>\n", "voicemail@acme.example");
    one_from(
        bare, "From: root (Cron Daemon)\n", "Cron Daemon <voicemail@acme.example>"); // no domain: local mail
    one_from(bare, "From: =?iso-8859-1?q?J=FCrgen?= <j@x.example>\n",
        "=?iso-8859-1?q?J=FCrgen?= <voicemail@acme.example>");
    one_from(bare, "From: One <a@x.example>, Two <b@x.example>\n", "One <voicemail@acme.example>");
    one_from(bare, "From: One <a@x.example>\nFrom: Two <b@x.example>\n", "One <voicemail@acme.example>");
    one_from(bare, "From: Folded\n  Name <a@x.example>\n", "Folded Name <voicemail@acme.example>");
}

static void test_display_names_cannot_break_out(void **state)
{
    (void)state;
    const char *bare = "voicemail@acme.example";
    one_from(bare, "From: \"Jane > Joe <x@evil.example>\" <jane@inside.example>\n",
        "\"Jane > Joe <x@evil.example>\" <voicemail@acme.example>");
    one_from(
        bare, "From: \"a\\\"b\\\\c\" <jane@inside.example>\n", "\"a\\\"b\\\\c\" <voicemail@acme.example>");
    // An encoded word that hides CR LF stays one.
    one_from(bare, "From: =?utf-8?q?Jane=0D=0ABcc=3A_x=40evil.example?= <jane@inside.example>\n",
        "=?utf-8?q?Jane=0D=0ABcc=3A_x=40evil.example?= <voicemail@acme.example>");
    // Next to words that need quotes, encoded words stay outside of them.
    one_from(bare, "From: \"=?utf-8?q?J=C3=B6?= Ltd. (x)\" <j@x.example>\n",
        "=?utf-8?q?J=C3=B6?= \"Ltd. (x)\" <voicemail@acme.example>");
    one_from(bare, "From: \"Ltd. =?utf-8?q?J=C3=B6?=\" <j@x.example>\n",
        "\"Ltd.\" =?utf-8?q?J=C3=B6?= <voicemail@acme.example>");
}

static void test_raw_utf8_names_become_encoded_words(void **state)
{
    (void)state;
    one_from(
        "Büro Süd <voicemail@acme.example>", "", "=?utf-8?B?QsO8cm8gU8O8ZA==?= <voicemail@acme.example>");
    one_from("voicemail@acme.example", "From: Jürgen Groß <jg@x.example>\n",
        "=?utf-8?B?SsO8cmdlbiBHcm/Dnw==?= <voicemail@acme.example>");
    one_from("voicemail@acme.example", "From: \"J\xfcrgen\" <jg@x.example>\n",
        "=?unknown-8bit?Q?J=FCrgen?= <voicemail@acme.example>");
}

static void test_tenant_values_cannot_start_a_field(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    struct composed composed =
        with_from(&bench, "\"Acme\r\nBcc: evil@example.org\" <voicemail@acme.example>", "");
    if (composed.result)
        fault_is(&composed, STATUS_REASON_POLICY, "From of tenant acme");
    else
        wire_lacks(&composed, "\r\nBcc");
    composed_release(&composed);
    composed = with_from(&bench, "Acme <voicemail@acme.example\r\nBcc: evil@example.org>", "");
    fault_is(&composed, STATUS_REASON_POLICY, "From of tenant acme");
    composed_release(&composed);
    composed = with_from(&bench, "no address", "");
    fault_is(&composed, STATUS_REASON_POLICY, "tenant acme");
    composed_release(&composed);
}

static void test_a_u_label_in_the_configured_from(void **state)
{
    (void)state;
    one_from("Acme <info@bücher.example>", "", "Acme <info@xn--bcher-kva.example>");
}

static void test_sender_and_signature_go_with_a_from_that_is_replaced(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    struct composed composed = with_from(&bench, NULL,
        "DKIM-Signature: v=1; d=inside.example;\n bh=abc=\nSender: forged@bank.example\nFrom: "
        "jane@inside.example\n");
    wire_lacks(&composed, "Sender:");
    wire_lacks(&composed, "DKIM");
    wire_lacks(&composed, "bh=abc");
    assert_non_null(strstr(composed.outgoing->removed, "Sender"));
    assert_non_null(strstr(composed.outgoing->removed, "DKIM-Signature"));
    composed_release(&composed);
    composed =
        with_from(&bench, NULL, "Sender: forged@bank.example\n"); // without any From it vouches for ours
    wire_lacks(&composed, "Sender:");
    composed_release(&composed);
}

static void test_a_from_that_is_the_tenants_already_stays_with_its_signature(void **state)
{
    (void)state;
    static const char *const same[] = {"Acme Voicemail <voicemail@acme.example>",
        "\"Acme Voicemail\" <voicemail@acme.example>", "Acme Voicemail\n <voicemail@acme.example>",
        "Acme Voicemail <voicemail@ACME.example>"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct bench bench;
        char fields[512];
        bench_init(&bench);
        (void)snprintf(
            fields, sizeof fields, "DKIM-Signature: v=1\nSender: a@acme.example\nFrom: %s\n", same[i]);
        struct composed composed = with_from(&bench, NULL, fields);
        wire_has(&composed, "DKIM-Signature: v=1\r\nSender: a@acme.example\r\nFrom: ");
        char expected[512];
        (void)snprintf(expected, sizeof expected, "From: %s\r\n", same[i]);
        if (!strchr(same[i], '\n'))
            wire_has(&composed, expected);
        else
            wire_has(&composed, "From: Acme Voicemail\r\n <voicemail@acme.example>\r\n");
        composed_release(&composed);
    }
}

// Only the name is another: whoever sent it still vouches for the address, but the signature over From is
// void.
static void test_a_from_of_another_name_keeps_sender_alone(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    struct composed composed = with_from(&bench, NULL,
        "DKIM-Signature: v=1\nSender: a@acme.example\nFrom: Somebody <voicemail@acme.example>\n");
    wire_has(&composed, "Sender: a@acme.example\r\nFrom: Acme Voicemail <voicemail@acme.example>\r\n");
    wire_lacks(&composed, "DKIM");
    composed_release(&composed);
}

static void reply_to(const char *fields, const char *expected)
{
    struct bench bench;
    bench_init(&bench);
    bench.tenants[0].reply_to = CONFIG_REPLY_TO_ORIGINAL;
    struct composed composed = with_from(&bench, NULL, fields);
    if (expected) {
        wire_has(&composed, expected);
        assert_int_equal(count(composed.wire, "Reply-To:"), 1);
    } else {
        wire_lacks(&composed, "Reply-To");
    }
    composed_release(&composed);
}

static void test_reply_to_the_original_author(void **state)
{
    (void)state;
    reply_to("From: Jane <jane@inside.example>\n", "Reply-To: Jane <jane@inside.example>\r\n");
    reply_to("From: jane@inside.example, Joe <joe@x.example>\n",
        "Reply-To: jane@inside.example, Joe <joe@x.example>\r\n");
    reply_to("From: Jürgen <j@bücher.example>\n",
        "Reply-To: =?utf-8?Q?J=C3=BCrgen?= <j@xn--bcher-kva.example>\r\n");
    reply_to("From: Jane <jane@inside.example>\nReply-To: Desk <desk@inside.example>\n",
        "Reply-To: Desk <desk@inside.example>\r\n");
    reply_to("From: Jane <jane@inside.example>\nReply-To: \n", "Reply-To: Jane <jane@inside.example>\r\n");
    reply_to("", NULL);
    reply_to("From: Acme Voicemail <voicemail@acme.example>\n", NULL); // it is the author already
    reply_to("From: nobody, really <\n", NULL);
}

static void test_no_reply_to_unless_asked_for(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    struct composed composed = with_from(&bench, NULL, "From: Jane <jane@inside.example>\n");
    wire_lacks(&composed, "Reply-To");
    wire_lacks(&composed, "jane");
    composed_release(&composed);
}

static void test_long_names_are_folded(void **state)
{
    (void)state;
    struct bench bench;
    char from[4096] = "";
    for (int i = 0; i < 60; i++)
        (void)snprintf(from + strlen(from), sizeof from - strlen(from), "größer ");
    (void)snprintf(from + strlen(from), sizeof from - strlen(from), "<voicemail@acme.example>");
    bench_init(&bench);
    struct composed composed = with_from(&bench, from, "");
    assert_int_equal(composed.result, 0);
    for (const char *line = composed.wire; *line; line = strstr(line, "\r\n") + 2)
        assert_true(strstr(line, "\r\n") - line <= 76);
    assert_null(strstr(composed.outgoing->from, "\r")); // the log's form has no line ends
    composed_release(&composed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_tenants_from_replaces_the_message_s),
        cmocka_unit_test(test_the_message_s_display_name_is_kept_where_the_tenant_has_none),
        cmocka_unit_test(test_display_names_cannot_break_out),
        cmocka_unit_test(test_raw_utf8_names_become_encoded_words),
        cmocka_unit_test(test_tenant_values_cannot_start_a_field),
        cmocka_unit_test(test_a_u_label_in_the_configured_from),
        cmocka_unit_test(test_sender_and_signature_go_with_a_from_that_is_replaced),
        cmocka_unit_test(test_a_from_that_is_the_tenants_already_stays_with_its_signature),
        cmocka_unit_test(test_a_from_of_another_name_keeps_sender_alone),
        cmocka_unit_test(test_reply_to_the_original_author),
        cmocka_unit_test(test_no_reply_to_unless_asked_for),
        cmocka_unit_test(test_long_names_are_folded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
