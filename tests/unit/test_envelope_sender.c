// Who the mail is from (outtray-spool(5)): the account, or what X-Sender, Return-Path, Sender or From says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "envelope_support.h"

static void from_is(
    enum config_envelope_from envelope_from, const char *fields, const char *expected, const char *rule)
{
    struct bench bench = ready(envelope_from);
    char text[1024];
    (void)snprintf(text, sizeof text, "%sTo: a@x.example\n\ntext\n", fields);
    struct composed composed = composed_from(&bench, text);
    if (composed.result)
        fail_msg("%s: %s", fields, composed.fault.detail);
    assert_string_equal(composed.outgoing->envelope_from, expected);
    assert_string_equal(composed.outgoing->envelope_rule, rule);
    composed_release(&composed);
}

static void test_the_account_is_the_envelope_sender(void **state)
{
    (void)state;
    from_is(CONFIG_ENVELOPE_ACCOUNT,
        "X-Sender: <bob@inside.example>\nReturn-Path: <jane@inside.example>\nSender: "
        "joe@inside.example\nFrom: jim@inside.example\n",
        "noreply@example.com", "account");
    from_is(CONFIG_ENVELOPE_ACCOUNT, "X-Sender: <>\nReturn-Path: <>\n", "noreply@example.com", "account");
}

static void test_the_message_is_asked_in_order(void **state)
{
    (void)state;
    const enum config_envelope_from message = CONFIG_ENVELOPE_MESSAGE;
    from_is(message,
        "X-Sender: <bob@i.example>\nReturn-Path: <jane@i.example>\nSender: joe@i.example\nFrom: "
        "jim@i.example\n",
        "bob@i.example", "X-Sender");
    from_is(message, "X-Sender: bob@i.example\nX-Sender: two@i.example\n", "bob@i.example", "X-Sender");
    from_is(message, "X-Sender: <>\nFrom: jim@i.example\n", "", "X-Sender");
    from_is(message, "Return-Path: <jane@i.example>\nSender: joe@i.example\nFrom: jim@i.example\n",
        "jane@i.example", "Return-Path");
    from_is(message, "Return-Path: <>\nSender: joe@i.example\n", "", "Return-Path");
    from_is(message, "Return-Path: < >\n", "", "Return-Path");
    from_is(message, "Return-Path: what?\nSender: joe@i.example\nFrom: jim@i.example\n", "joe@i.example",
        "Sender");
    from_is(message, "Sender: Joe <joe@i.example>\nFrom: jim@i.example\n", "joe@i.example", "Sender");
    from_is(message, "From: \"Jim, the one\" <jim@i.example>\n", "jim@i.example", "From");
    from_is(message, "From: jim@i.example, joe@i.example\n", "jim@i.example", "From");
    from_is(message, "", "voicemail@acme.example", "From"); // what goes out as From
    from_is(message, "From: garbage <\n", "voicemail@acme.example", "From");
    from_is(message, "From: jim@bücher.example\n", "jim@xn--bcher-kva.example", "From");
}

static void test_an_x_sender_of_parameters_alone(void **state)
{
    (void)state;
    const enum config_envelope_from message = CONFIG_ENVELOPE_MESSAGE;
    from_is(message, "X-Sender: RET=HDRS ENVID=1\nReturn-Path: <jane@i.example>\n", "jane@i.example",
        "Return-Path");
    from_is(message, "X-Sender: RET=HDRS\nX-Sender: <bob@i.example> RET=FULL\n", "bob@i.example", "X-Sender");
    from_is(message, "X-Sender: <bob@i.example>\nX-Sender: RET=FULL\n", "bob@i.example", "X-Sender");
    malformed("X-Sender: COLOUR=RED\nTo: a@x.example\n\n", "X-Sender: parameter COLOUR");
    struct bench bench = ready(message);
    struct composed composed =
        composed_from(&bench, "X-Sender: RET=HDRS\nX-Sender: <bob@i.example> RET=FULL ENVID=2\n"
                              "X-Sender: <two@i.example> ENVID=3\nTo: a@x.example\n\n");
    assert_string_equal(composed.outgoing->ret, "HDRS");
    assert_string_equal(composed.outgoing->envid, "2");
    composed_release(&composed);
}

static void test_an_x_sender_that_is_none(void **state)
{
    (void)state;
    malformed("X-Sender: <a b@x.example>\nTo: a@x.example\n\n", "X-Sender is no address");
    malformed("X-Sender:\nTo: a@x.example\n\n", "X-Sender is empty");
    malformed("X-Receiver:\nTo: a@x.example\n\n", "X-Receiver is empty");
    malformed("X-Sender: <nodomain>\nTo: a@x.example\n\n", "X-Sender is no address");
}

static void test_a_reverse_path_beyond_ascii(void **state)
{
    (void)state;
    struct bench bench = ready(CONFIG_ENVELOPE_MESSAGE);
    struct composed composed = composed_from(&bench, "From: jürgen@x.example\nTo: a@x.example\n\ntext\n");
    assert_int_equal(composed.result, 0);
    assert_true(composed.outgoing->smtputf8);
    composed_release(&composed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_account_is_the_envelope_sender),
        cmocka_unit_test(test_the_message_is_asked_in_order),
        cmocka_unit_test(test_an_x_sender_of_parameters_alone),
        cmocka_unit_test(test_an_x_sender_that_is_none),
        cmocka_unit_test(test_a_reverse_path_beyond_ascii),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
