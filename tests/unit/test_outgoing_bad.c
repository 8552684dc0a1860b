// What can be no message, what is large, and what was damaged: each ends in a message or a reason.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outgoing_support.h"
#include <fcntl.h>

static void test_what_can_be_no_message(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    struct composed composed = simple("");
    fault_is(&composed, STATUS_REASON_MALFORMED, "empty");
    composed_release(&composed);
    static const char header_nul[] = OWN "Subject: a\0b\n\ntext\n", body_nul[] = OWN "\nbe\0fore\n";
    composed = compose_data(&bench, header_nul, sizeof header_nul - 1);
    fault_is(&composed, STATUS_REASON_MALFORMED, "NUL");
    composed_release(&composed);
    composed = compose_data(&bench, body_nul, sizeof body_nul - 1);
    fault_is(&composed, STATUS_REASON_MALFORMED, "NUL");
    composed_release(&composed);
    composed = simple(" continued\nTo: a@x.example\n\ntext\n"); // a fold on the first line
    fault_is(&composed, STATUS_REASON_MALFORMED, "no recipients");
    composed_release(&composed);
    bench.config.limits.message_size = 40;
    composed = compose(&bench, "To: a@x.example\n\n01234567890123456789\n");
    assert_int_equal(composed.result, 0); // 39 octets
    composed_release(&composed);
    composed = compose(&bench, "To: a@x.example\n\n0123456789012345678901234\n");
    fault_is(&composed, STATUS_REASON_MALFORMED, "limits.message_size");
    composed_release(&composed);
}

static char *big(const char *head, const char *line, size_t lines, size_t *ret_length)
{
    size_t size = strlen(head) + strlen(line) * lines;
    char *text = malloc(size + 1);
    assert_non_null(text);
    memcpy(text, head, strlen(head));
    for (size_t i = 0; i < lines; i++)
        memcpy(text + strlen(head) + i * strlen(line), line, strlen(line));
    text[size] = '\0';
    *ret_length = size;
    return text;
}

static void test_header_limits(void **state)
{
    (void)state;
    struct bench bench;
    size_t length;
    bench_init(&bench);
    char *text = big("To: a@x.example\n", "X-Trace: a long way round by many hops\n", 10000, &length);
    struct composed composed = compose_data(&bench, text, length);
    fault_is(&composed, STATUS_REASON_MALFORMED, "limits.header_size");
    composed_release(&composed);
    bench.config.limits.header_size = 1 << 20;
    composed = compose_data(&bench, text, length);
    assert_int_equal(composed.result, 0);
    assert_int_equal(count(composed.wire, "X-Trace: a long way round by many hops\r\n"), 10000);
    composed_release(&composed);
    free(text);
    text = big("To: a@x.example\n", "X: y\n", 100000, &length); // 100k header lines
    composed = compose_data(&bench, text, length);
    assert_int_equal(composed.result, 0);
    composed_release(&composed);
    free(text);
}

static void test_large_messages_are_streamed(void **state)
{
    (void)state;
    struct bench bench;
    size_t length;
    bench_init(&bench);
    char *text = big(OWN "\n", ".a line of text\r", 60000, &length);
    struct composed composed = compose_data(&bench, text, length);
    assert_int_equal(composed.result, 0);
    assert_int_equal(composed.outgoing->body.fd, composed.fd);
    assert_int_equal(composed.outgoing->body.head_length, strlen(HEAD "\r\n"));
    assert_int_equal(composed.length, strlen(HEAD "\r\n") + 60000 * strlen(".a line of text\r\n"));
    assert_int_equal(count(composed.wire, "\r\n.a line of text"), 60000);
    composed_release(&composed);
    memset(text + length - 100, 0, 1);
    composed = compose_data(&bench, text, length);
    fault_is(&composed, STATUS_REASON_MALFORMED, "NUL");
    composed_release(&composed);
    free(text);
    // The made Message-ID of a large file is one of its content too.
    text = big("To: a@x.example\n\n", "line\n", 10000, &length);
    composed = compose_data(&bench, text, length);
    text[length - 2] = 'E';
    struct composed other = compose_data(&bench, text, length);
    assert_string_not_equal(composed.outgoing->message_id, other.outgoing->message_id);
    composed_release(&composed);
    composed_release(&other);
    free(text);
}

static void test_around_the_inline_limit(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    for (size_t size = OUTGOING_INLINE_MAX - 2; size <= OUTGOING_INLINE_MAX + 2; size++) {
        char *text = malloc(size);
        assert_non_null(text);
        memset(text, '\n', size);
        memcpy(text, OWN, strlen(OWN));
        struct composed composed = compose_data(&bench, text, size);
        assert_int_equal(composed.result, 0);
        assert_int_equal(composed.length, strlen(HEAD) + 2 * (size - strlen(OWN)));
        assert_int_equal(composed.outgoing->body.fd == -1, size <= OUTGOING_INLINE_MAX);
        composed_release(&composed);
        free(text);
    }
}

static void test_octets_above_127(void **state)
{
    (void)state;
    struct composed composed = simple(OWN "\nGr\xfc\xdf\x65\n");
    assert_true(composed.outgoing->eight_bit && composed.outgoing->body.has_8bit);
    wire_has(&composed, "\r\n\r\nGr\xfc\xdf\x65\r\n");
    composed_release(&composed);
    composed = simple(OWN "Subject: Grüße\n\ntext\n");
    assert_false(composed.outgoing->eight_bit || composed.outgoing->smtputf8);
    wire_has(&composed, "Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n");
    composed_release(&composed);
    composed = simple("To: jürgen@x.example\n\ntext\n");
    assert_true(composed.outgoing->eight_bit);
    wire_has(&composed, "To: jürgen@x.example\r\n");
    composed_release(&composed);
}

static void test_long_lines_pass_through(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    for (size_t n = 997; n < 3000000; n = n < 1000 ? n + 1 : n * 50) {
        size_t length = strlen(OWN) + n + 2;
        char *text = malloc(length);
        assert_non_null(text);
        memset(text, 'x', length);
        memcpy(text, OWN "\n", strlen(OWN "\n"));
        text[length - 1] = '\n';
        struct composed composed = compose_data(&bench, text, length);
        assert_int_equal(composed.result, 0);
        assert_int_equal(composed.length, strlen(HEAD) + 2 + n + 2);
        composed_release(&composed);
        free(text);
    }
}

// A file that is written while it is looked at is not composed: its submission is not finished.
static void test_a_file_that_changed(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    static const size_t sizes[] = {100, 100000};
    for (size_t i = 0; i < 2; i++)
        for (int change = -1; change <= 1; change += 2) {
            struct stat stat;
            struct outgoing *outgoing = NULL;
            struct outgoing_fault fault;
            char *text = malloc(sizes[i]);
            assert_non_null(text);
            memset(text, 'x', sizes[i]);
            memcpy(text, OWN "\n", strlen(OWN "\n"));
            int fd = make_file(&bench, text, sizes[i], &stat);
            stat.st_size += change;
            assert_int_equal(
                outgoing_compose(&bench.config, &bench.tenants[0], "x", fd, &stat, &outgoing, &fault),
                -EAGAIN);
            assert_null(outgoing);
            close(fd);
            free(text);
        }
}

static void test_not_a_file(void **state)
{
    (void)state;
    struct bench bench;
    struct stat stat;
    struct outgoing *outgoing = NULL;
    struct outgoing_fault fault;
    bench_init(&bench);
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &stat), 0);
    assert_int_equal(
        outgoing_compose(&bench.config, &bench.tenants[0], "x", fd, &stat, &outgoing, &fault), -EBADMSG);
    assert_int_equal(fault.reason, STATUS_REASON_MALFORMED);
    close(fd);
    // A sparse file of 1 TiB is refused by its size, unread.
    stat.st_mode = S_IFREG | 0644;
    stat.st_size = (off_t)1 << 40;
    assert_int_equal(
        outgoing_compose(&bench.config, &bench.tenants[0], "x", -1, &stat, &outgoing, &fault), -EBADMSG);
}

// Every prefix of a message with everything in it, and every octet of it replaced: never a crash, never two
// Froms, never a bare CR or LF on the wire.
static void holds(struct composed *composed)
{
    if (composed->result) {
        assert_int_equal(composed->result, -EBADMSG);
        assert_true(composed->fault.detail[0]);
        return;
    }
    for (size_t i = 0; i < composed->length; i++) {
        if (composed->wire[i] == '\n')
            assert_true(i && composed->wire[i - 1] == '\r');
        if (composed->wire[i] == '\r')
            assert_true(composed->wire[i + 1] == '\n');
        assert_true(composed->wire[i]);
    }
    char *end = strstr(composed->wire, "\r\n\r\n");
    assert_non_null(end);
    *end = '\0';
    size_t n = !strncasecmp(composed->wire, "From:", 5);
    for (const char *at = composed->wire; (at = strstr(at, "\r\n")); at += 2) {
        n += !strncasecmp(at + 2, "From:", 5) || !strncasecmp(at + 2, "From :", 6);
        assert_false(!strncasecmp(at + 2, "Bcc", 3) && strchr(" \t:", at[5]));
    }
    assert_int_equal(n, 1);
}

static void test_damaged_messages(void **state)
{
    (void)state;
    static const char whole[] =
        "X-Sender: <bob@x.example> RET=HDRS ENVID=1\r\nX-Receiver: <\xc3\xa4@b\xc3\xbc.example> NOTIFY=NEVER "
        "ORCPT=rfc822;x\n"
        "X-Outtray-Expires: +2h\nFrom: \"J\xc3\xb6rg \\\"x\\\"\" <j@x.example> (c(d)),\n e@x.example\nTo: G: "
        "\"\xc3\xa4\" <a@b\xc3\xbc.example> (\xc3\xa4(\xc3\xb6));\n"
        "Bcc: z@x.example\nSubject: \xc3\xa4 =?utf-8?q?x?= \xff\n\tb\nContent-Type: text/plain; "
        "name=\"\xc3\xa4;\"; x=y\n\nbody\r.\n";
    static const char octets[] = {
        '\n', '\r', ' ', '"', '(', ')', '<', '>', ':', ';', ',', '\\', '\xff', 'x', '=', '?', '@', '['};
    struct bench bench;
    bench_init(&bench);
    char text[sizeof whole];
    for (size_t length = 1; length < sizeof whole; length++) {
        struct composed composed = compose_data(&bench, whole, length);
        holds(&composed);
        composed_release(&composed);
    }
    for (size_t i = 0; i < sizeof whole - 1; i++)
        for (size_t k = 0; k < sizeof octets; k++) {
            memcpy(text, whole, sizeof text);
            text[i] = octets[k];
            struct composed composed = compose_data(&bench, text, sizeof whole - 1);
            holds(&composed);
            composed_release(&composed);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_can_be_no_message),
        cmocka_unit_test(test_header_limits),
        cmocka_unit_test(test_large_messages_are_streamed),
        cmocka_unit_test(test_around_the_inline_limit),
        cmocka_unit_test(test_octets_above_127),
        cmocka_unit_test(test_long_lines_pass_through),
        cmocka_unit_test(test_a_file_that_changed),
        cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_damaged_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
