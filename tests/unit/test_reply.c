// SMTP replies from whatever octets a server sends: RFC 5321 section 4.2, RFC 2034, and docs/BAD-INPUT.md's
// list of bad servers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/smtp/reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What a stream of octets is read as, each reply as "code e.e.e|text", the end as "…" or "! problem".
static char *read_all(const char *data, size_t length, size_t step)
{
    struct reply_reader reader;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    reply_reader_init(&reader);
    int result = 0;
    for (size_t at = 0; at < length && result >= 0;) {
        size_t n = length - at < step ? length - at : step, used = 0;
        const char *problem = NULL;
        result = reply_read(&reader, data + at, n, &used, &problem);
        assert_true(used <= n);
        assert_true(result != 0 || used == n);
        at += used;
        const struct smtp_reply *reply = &reader.reply;
        if (result == 1)
            fprintf(out, "%d %d.%d.%d|%s\n", reply->code, reply->enhanced[0], reply->enhanced[1],
                reply->enhanced[2], reply->text);
        if (result < 0) {
            assert_int_equal(result, -EPROTO);
            fprintf(out, "! %s\n", problem);
        }
    }
    fclose(out);
    return text;
}

// The same whether it comes at once or in pieces of any size.
static void expect_octets(const char *data, size_t length, const char *replies)
{
    static const size_t steps[] = {SIZE_MAX, 1, 2, 3, 7, 64};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        char *text = read_all(data, length, steps[i]);
        assert_string_equal(text, replies);
        free(text);
    }
}

static void expect(const char *data, const char *replies)
{
    expect_octets(data, strlen(data), replies);
}

static void test_single_lines(void **state)
{
    (void)state;
    expect("250 2.0.0 Ok: queued as 4X\r\n", "250 2.0.0|250 2.0.0 Ok: queued as 4X\n");
    expect("354 go ahead\r\n", "354 0.0.0|354 go ahead\n");
    expect("250\r\n", "250 0.0.0|250\n");
    expect("250 \r\n", "250 0.0.0|250\n");
    expect("250 ok\n", "250 0.0.0|250 ok\n");
    expect("220 a\r\n250 b\r\n", "220 0.0.0|220 a\n250 0.0.0|250 b\n");
    expect("", "");
    expect("250 no line end", "");
}

static void test_enhanced_codes(void **state)
{
    (void)state;
    expect("535 5.7.139 disabled\r\n", "535 5.7.139|535 5.7.139 disabled\n");
    expect("554 5.2.252\r\n", "554 5.2.252|554 5.2.252\n");
    expect("550 5.2.3.4 is blocked\r\n", "550 0.0.0|550 5.2.3.4 is blocked\n");
    expect("550 5.1 short\r\n", "550 0.0.0|550 5.1 short\n");
    expect("550 3.1.1 no such class\r\n", "550 0.0.0|550 3.1.1 no such class\n");
    expect("550 5.1.1234 too long\r\n", "550 0.0.0|550 5.1.1234 too long\n");
    expect("550 .1.1 x\r\n", "550 0.0.0|550 .1.1 x\n");
}

static void test_several_lines(void **state)
{
    (void)state;
    expect(
        "550-5.4.5 Daily user sending limit exceeded. For more\r\n550-5.4.5 information go to\r\n550 5.4.5 "
        " https://support.example\r\n",
        "550 5.4.5|550 5.4.5 Daily user sending limit exceeded. For more information go to "
        "https://support.example\n");
    expect("250-first\r\n250-\r\n250 last\r\n", "250 0.0.0|250 first last\n");
    expect("451-4.3.0 one\r\n451 4.7.1 two\r\n", "451 4.3.0|451 4.3.0 one 4.7.1 two\n");
    expect("250-a\r\n250\r\n", "250 0.0.0|250 a\n");
}

static void test_control_octets_are_data(void **state)
{
    (void)state;
    static const char data[] = "250 a\0b\x1b[2J\x7f\xff\r\n";
    expect_octets(data, sizeof data - 1, "250 0.0.0|250 ab\x1b[2J\x7f\xff\n");
    expect("250 bare\rcr\r\n", "250 0.0.0|250 bare\rcr\n");
}

static void test_not_smtp(void **state)
{
    (void)state;
    static const char digits[] = "! a reply line does not start with a code of three digits\n";
    expect("HTTP/1.1 400 Bad Request\r\n", digits);
    expect("\r\n", digits);
    expect("25\r\n", digits);
    expect("2500 x\r\n", digits);
    expect("25a x\r\n", digits);
    expect("250_x\r\n", digits);
    expect("-50 x\r\n", digits);
    expect("250-a\r\nnonsense\r\n", digits);
    static const char range[] = "! a reply has a code outside 200 to 599\n";
    expect("999 x\r\n", range);
    expect("000 x\r\n", range);
    expect("199 x\r\n", range);
    expect("600 x\r\n", range);
    static const char mixed[] = "! the lines of one reply have different codes\n";
    expect("250-a\r\n550 b\r\n", mixed);
    expect("550-a\r\n250 b\r\n", mixed);
}

static void test_bounds(void **state)
{
    (void)state;
    static char line[2 * REPLY_LINE_MAX];
    memset(line, 'x', sizeof line);
    memcpy(line, "250 ", 4);
    expect_octets(line, sizeof line, "! a reply line is too long\n"); // never ends
    memcpy(line + REPLY_LINE_MAX - 2, "\r\n", 2);                     // exactly the longest
    char *text = read_all(line, REPLY_LINE_MAX, 100);
    assert_int_equal(strlen(text), strlen("250 0.0.0|\n") + REPLY_TEXT_MAX); // text is cut, not refused
    free(text);
    memmove(line + 10, line + 9, REPLY_LINE_MAX - 9); // one more
    expect_octets(line, REPLY_LINE_MAX + 1, "! a reply line is too long\n");

    char *lines = malloc(REPLY_LINES_MAX * 8 + 1);
    for (unsigned i = 0; i < REPLY_LINES_MAX; i++)
        memcpy(lines + 8 * i, "250-ab\r\n", 9);
    expect(lines, "! a reply has too many lines\n");
    lines[8 * (REPLY_LINES_MAX - 1) + 3] = ' '; // the hundredth is the last
    text = read_all(lines, strlen(lines), SIZE_MAX);
    assert_int_equal(strncmp(text, "250 0.0.0|250 ab ab", 19), 0);
    free(text);
    free(lines);
}

static void test_parse(void **state)
{
    (void)state;
    struct smtp_reply reply;
    assert_true(reply_parse("535 5.7.139 disabled", &reply));
    assert_int_equal(reply.code, 535);
    assert_string_equal(reply.text, "535 5.7.139 disabled");
    assert_memory_equal(reply.enhanced, ((int[]){5, 7, 139}), sizeof reply.enhanced);
    assert_true(reply_parse("250-a\r\n250 b\r\n", &reply));
    assert_string_equal(reply.text, "250 a b");
    assert_int_equal(reply.enhanced[0], 0); // there is none
    assert_true(reply_parse("421", &reply));
    assert_false(reply_parse("", &reply));
    assert_false(reply_parse("250-unfinished", &reply));
    assert_false(reply_parse("250 a\r\n250 b\r\n", &reply));
    assert_false(reply_parse("hello", &reply));
}

static void test_copy_and_same(void **state)
{
    (void)state;
    struct smtp_reply a, b;
    assert_true(reply_parse("550 5.1.1 no such user", &a));
    memset(&b, 'x', sizeof b);
    reply_copy(&b, &a);
    assert_true(reply_same(&a, &b));
    assert_memory_equal(b.enhanced, a.enhanced, sizeof a.enhanced);
    b.text[4] = '4';
    assert_false(reply_same(&a, &b));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_lines),
        cmocka_unit_test(test_enhanced_codes),
        cmocka_unit_test(test_several_lines),
        cmocka_unit_test(test_control_octets_are_data),
        cmocka_unit_test(test_not_smtp),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_copy_and_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
