// The delivery log: order of keys, what is left out, and that nothing hostile breaks a line.
#include "agent/observe/delivery_log.h"

// cmocka.h wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *const one[] = {"a@example.net"};

static const struct delivery_line sent = {
    .time = 1795446246120000000, // 2026-11-23T15:04:06.120Z
    .event = DELIVERY_SENT,
    .tenant = "acme",
    .name = "1764000000.M1P2.host",
    .message_id = "<1@pbx.example.com>",
    .account = "relay",
    .from = "voicemail@acme.example",
    .to = one,
    .n_to = 1,
    .size = 5321,
    .attempt = 1,
    .relay = "mail.example.com:587",
    .tls = "TLSv1.3",
    .conn_use = 12,
    .queue_ms = 3,
    .conn_ms = 0,
    .xfer_ms = 21,
    .reply = "250 2.0.0 Ok: queued as 4X",
};

// The line as text that the caller frees with buffer_release.
static struct buffer print_line(const struct delivery_line *line, bool json)
{
    struct log_lines lines = {.json = json, .first = true};
    buffer_init(&lines.text, LOG_LINES_MAX);
    delivery_log_line(&lines, line);
    assert_int_equal(buffer_error(&lines.text), 0);
    return lines.text;
}

static void sent_line_is_as_promised(void **state)
{
    (void)state;
    struct buffer text = print_line(&sent, false);
    assert_string_equal(text.data,
        "time=2026-11-23T15:04:06.120Z event=sent tenant=acme name=1764000000.M1P2.host "
        "message_id=<1@pbx.example.com> "
        "account=relay from=voicemail@acme.example to=a@example.net nrcpt=1 size=5321 attempt=1 "
        "relay=mail.example.com:587 tls=TLSv1.3 conn_use=12 queue_ms=3 conn_ms=0 xfer_ms=21 "
        "reply=\"250 2.0.0 Ok: queued as 4X\"\n");
    buffer_release(&text);
}

static void sent_line_always_has_its_keys(void **state)
{
    (void)state;
    struct delivery_line line = sent;
    line.tls = "";
    line.from = NULL;
    struct buffer text = print_line(&line, false);
    assert_non_null(strstr(text.data, " from=\"\" to="));
    assert_non_null(strstr(text.data, " tls=\"\" conn_use="));
    buffer_release(&text);
}

static void deferred_and_failed_lines_add_their_keys(void **state)
{
    (void)state;
    struct delivery_line line = sent;
    line.event = DELIVERY_DEFERRED;
    line.next = 1795446365000000000;
    line.class = "greylist";
    struct buffer text = print_line(&line, false);
    assert_non_null(strstr(text.data, " event=deferred tenant=acme "));
    assert_non_null(strstr(text.data, "4X\" next=2026-11-23T15:06:05Z class=greylist\n"));
    buffer_release(&text);
    line = sent;
    line.event = DELIVERY_FAILED;
    line.reason = "recipient";
    text = print_line(&line, false);
    assert_non_null(strstr(text.data, " event=failed "));
    assert_non_null(strstr(text.data, " reason=recipient\n"));
    buffer_release(&text);
}

static void what_is_unknown_is_left_out(void **state)
{
    (void)state;
    const struct delivery_line line = {
        .time = 1795446246120000000,
        .event = DELIVERY_IGNORED,
        .tenant = "acme",
        .name = "a link",
        .size = -1,
        .attempt = -1,
        .conn_use = -1,
        .queue_ms = -1,
        .conn_ms = -1,
        .xfer_ms = -1,
        .tls = "",
    };
    struct buffer text = print_line(&line, false);
    assert_string_equal(
        text.data, "time=2026-11-23T15:04:06.120Z event=ignored tenant=acme name=\"a link\"\n");
    buffer_release(&text);
}

static void recipients_are_listed_up_to_twenty(void **state)
{
    (void)state;
    const char *many[30];
    for (size_t i = 0; i < 30; i++)
        many[i] = i < 20 ? "a@b.example" : "never@b.example";
    struct delivery_line line = sent;
    line.to = many;
    line.n_to = 30;
    struct buffer text = print_line(&line, false);
    size_t commas = 0;
    for (const char *at = strstr(text.data, " to=") + 1; *at != ' '; at++)
        commas += *at == ',';
    assert_int_equal(commas, 19);
    assert_null(strstr(text.data, "never"));
    assert_non_null(strstr(text.data, " nrcpt=30 "));
    buffer_release(&text);
}

static void long_recipients_are_listed_whole_or_not_at_all(void **state)
{
    (void)state;
    char address[255];
    memset(address, 'a', sizeof address - 1);
    address[sizeof address - 1] = '\0';
    const char *many[20];
    for (size_t i = 0; i < 20; i++)
        many[i] = address;
    struct delivery_line line = sent;
    line.to = many;
    line.n_to = 20;
    struct buffer text = print_line(&line, false);
    const char *list = strstr(text.data, " to=") + 4;
    size_t length = strcspn(list, " ");
    assert_true(length <= LOG_VALUE_MAX);
    assert_int_equal((length + 1) % sizeof address, 0);
    buffer_release(&text);
}

static void hostile_text_stays_inside_its_value(void **state)
{
    (void)state;
    struct delivery_line line = sent;
    line.name = "x\nevent=sent y=\"";
    line.reply = "250 \x1b[31m\r\n\x80\xff\" event=failed \\";
    struct buffer text = print_line(&line, false);
    for (size_t i = 0; i + 1 < text.length; i++)
        assert_true((unsigned char)text.data[i] >= 0x20 && text.data[i] != 0x7f);
    assert_int_equal(text.data[text.length - 1], '\n');
    assert_non_null(strstr(text.data, " name=\"x\\nevent=sent y=\\\"\" "));
    assert_non_null(strstr(text.data, "\\\" event=failed \\\\\"\n"));
    buffer_release(&text);
}

static void json_line_has_the_same_keys(void **state)
{
    (void)state;
    static const char *const keys[] = {"time", "event", "tenant", "name", "message_id", "account", "from",
        "to", "nrcpt", "size", "attempt", "relay", "tls", "conn_use", "queue_ms", "conn_ms", "xfer_ms",
        "reply"};
    struct delivery_line line = sent;
    line.reply = "250 \x1b \x80 \"\\";
    struct buffer text = print_line(&line, true);
    json_t *object = json_loads(text.data, 0, NULL);
    assert_non_null(object);
    size_t i = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        assert_true(i < sizeof keys / sizeof *keys);
        assert_string_equal(key, keys[i++]);
    }
    assert_int_equal(i, sizeof keys / sizeof *keys);
    assert_int_equal(json_integer_value(json_object_get(object, "size")), 5321);
    json_decref(object);
    buffer_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sent_line_is_as_promised),
        cmocka_unit_test(sent_line_always_has_its_keys),
        cmocka_unit_test(deferred_and_failed_lines_add_their_keys),
        cmocka_unit_test(what_is_unknown_is_left_out),
        cmocka_unit_test(recipients_are_listed_up_to_twenty),
        cmocka_unit_test(long_recipients_are_listed_whole_or_not_at_all),
        cmocka_unit_test(hostile_text_stays_inside_its_value),
        cmocka_unit_test(json_line_has_the_same_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
