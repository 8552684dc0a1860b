// Header text beyond ASCII: encoded words, phrases, A-labels, extended parameters (RFC 2047, 2231, 5891), and
// what is left alone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/compose/encoded_word.h"
#include "agent/compose/header_text.h"
#include "agent/compose/idn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX (16 << 20)

static struct header_block *parse(const char *text)
{
    struct header_block *block = NULL;
    assert_int_equal(header_block_parse(text, strlen(text), true, MAX, &block), 0);
    assert_true(block->n_fields > 0);
    return block;
}

static void encoded(const char *field, const char *expected)
{
    struct header_block *block = parse(field);
    struct buffer out;
    buffer_init(&out, MAX);
    assert_int_equal(header_encoded_append(&out, &block->fields[0]), 0);
    assert_int_equal(buffer_error(&out), 0);
    assert_string_equal(out.data, expected);
    buffer_release(&out);
    header_block_free(block);
}

static void raw(const char *field, const char *expected)
{
    struct header_block *block = parse(field);
    struct buffer out;
    buffer_init(&out, MAX);
    header_raw_append(&out, &block->fields[0]);
    assert_string_equal(out.data, expected);
    buffer_release(&out);
    header_block_free(block);
}

static void test_ascii_stays_octet_for_octet(void **state)
{
    (void)state;
    raw("Subject:x\n", "Subject:x\r\n");
    raw("Subject :  x \t\n", "Subject :  x \t\r\n");
    raw("Subject: a\n b\r\n\tc\r\n", "Subject: a\r\n b\r\n\tc\r\n");
    raw("Subject: a\r b\n", "Subject: a\r\n b\r\n");
    raw("Subject: a\r\r\n b\n", "Subject: a\r\n b\r\n");
    raw("Subject: \xff\n", "Subject: \xff\r\n");
    raw("Subject:\n", "Subject:\r\n");
    raw("Subject:", "Subject:\r\n");
}

static void test_unstructured_text(void **state)
{
    (void)state;
    encoded("Subject: Größe\n", "Subject: =?utf-8?B?R3LDtsOfZQ==?=\r\n");
    encoded("Subject: plain ä words\n", "Subject: plain =?utf-8?B?w6Q=?= words\r\n");
    // The blank between two words that are both encoded is encoded with them.
    encoded("Subject: ä ö\n", "Subject: =?utf-8?B?w6Qgw7Y=?=\r\n");
    encoded("Subject: =?utf-8?q?x?= ä\n", "Subject: =?utf-8?q?x?= =?utf-8?B?IMOk?=\r\n");
    encoded("Subject: ä =?utf-8?q?x?=\n", "Subject: =?utf-8?B?w6Qg?= =?utf-8?q?x?=\r\n");
    encoded("Subject: ä\n  ö\n", "Subject: =?utf-8?B?w6QgIMO2?=\r\n");
    encoded("X-Anything: a\xffz\n", "X-Anything: =?unknown-8bit?B?Yf96?=\r\n");
    encoded("X-Anything: ?=ä=?\n", "X-Anything: =?utf-8?B?Pz3DpD0/?=\r\n");
}

static void test_addresses(void **state)
{
    (void)state;
    encoded("To: Jürgen <j@x.example>\n", "To: =?utf-8?Q?J=C3=BCrgen?= <j@x.example>\r\n");
    encoded("To: \"Groß, Jürgen\" <j@x.example>, b@x.example\n",
        "To: =?utf-8?B?R3Jvw58sIErDvHJnZW4=?= <j@x.example>, b@x.example\r\n");
    encoded("To: Jürgen<j@x.example>\n", "To: =?utf-8?Q?J=C3=BCrgen?= <j@x.example>\r\n");
    encoded(
        "To: Dr. Jürgen Groß <j@x.example>\n", "To: Dr. =?utf-8?B?SsO8cmdlbiBHcm/Dnw==?= <j@x.example>\r\n");
    encoded("To: j@bücher.example (Büro), k@x.example\n",
        "To: j@xn--bcher-kva.example (=?utf-8?B?QsO8cm8=?=), k@x.example\r\n");
    encoded("Cc: Ämter: a@x.example, \"Ö\" <b@ö.example>;\n",
        "Cc: =?utf-8?B?w4RtdGVy?=: a@x.example, =?utf-8?B?w5Y=?= <b@xn--nda.example>;\r\n");
    // A local part has no other form.
    encoded("To: jürgen@x.example\n", "To: jürgen@x.example\r\n");
    encoded("Reply-To: \"jürgen\"@bücher.example\n", "Reply-To: \"jürgen\"@xn--bcher-kva.example\r\n");
    encoded("To: a@x.example (a (ä) b)\n", "To: a@x.example (a (=?utf-8?B?w6Q=?=) b)\r\n");
    encoded("To: =?utf-8?q?x?= ä <a@x.example>\n", "To: =?utf-8?q?x?= =?utf-8?B?w6Q=?= <a@x.example>\r\n");
    encoded("Resent-To: ä <a@x.example>\n", "Resent-To: =?utf-8?B?w6Q=?= <a@x.example>\r\n");
}

static void test_broken_addresses_lose_nothing(void **state)
{
    (void)state;
    encoded("To: \"ä <a@x.example>\n", "To: =?utf-8?B?w6QgPGFAeC5leGFtcGxlPg==?=\r\n");
    encoded("To: a@x.example (ä\n", "To: a@x.example (=?utf-8?B?w6Q=?=)\r\n");
    encoded("To: <ä@x.example\n", "To: <ä@x.example\r\n");
    encoded("To: a@-ä-.example\n", "To: a@-ä-.example\r\n"); // no domain: stays
    encoded("To: a@\xff.example\n", "To: a@\xff.example\r\n");
}

static void test_parameters(void **state)
{
    (void)state;
    encoded("Content-Type: application/pdf; name=\"Prüfung 1.pdf\"; x=y\n",
        "Content-Type: application/pdf; name*=utf-8''Pr%C3%BCfung%201.pdf; x=y\r\n");
    encoded("Content-Disposition: attachment; filename=Prüfung.pdf\n",
        "Content-Disposition: attachment; filename*=utf-8''Pr%C3%BCfung.pdf\r\n");
    encoded("Content-Disposition: attachment; filename=\"a;\\\"\xff\"\n",
        "Content-Disposition: attachment; filename*=unknown-8bit''a%3B%22%FF\r\n");
}

static void test_identifiers_pass_through(void **state)
{
    (void)state;
    encoded(
        "References: <ä@x.example>\n\t<b@x.example>\n", "References: <ä@x.example>\r\n\t<b@x.example>\r\n");
    encoded("Received: from ä\n", "Received: from ä\r\n");
}

// The lines that come out for a long text: none beyond 76 octets, no word beyond 75, every word whole
// characters.
static void check_lines(const char *text)
{
    for (const char *line = text; *line;) {
        const char *end = strstr(line, "\r\n");
        assert_non_null(end);
        assert_true(end - line <= FOLD_LINE_MAX);
        for (const char *word = line; (word = strstr(word, "=?")) && word < end;) {
            const char *stop = strstr(word + 2, "?=");
            if (!stop || stop > end)
                break;
            assert_true(stop + 2 - word <= ENCODED_WORD_MAX);
            assert_true(text_is_encoded_word(word, (size_t)(stop + 2 - word)));
            word = stop + 2;
        }
        line = end + 2;
    }
}

static void test_long_text_is_split_between_characters(void **state)
{
    (void)state;
    static const char *const characters[] = {"ä", "€", "𝄞", "a€", "ä ", "word ä "};
    for (size_t i = 0; i < sizeof characters / sizeof *characters; i++)
        for (size_t name = 1; name < 60; name += 7) {
            char field[4096], prefix[64];
            memset(prefix, 'X', name);
            prefix[name] = '\0';
            size_t length = (size_t)snprintf(field, sizeof field, "%s: ", prefix);
            for (int k = 0; k < 200; k++)
                length += (size_t)snprintf(field + length, sizeof field - length, "%s", characters[i]);
            struct header_block *block = parse(field);
            struct buffer out;
            buffer_init(&out, MAX);
            assert_int_equal(header_encoded_append(&out, &block->fields[0]), 0);
            check_lines(out.data);
            buffer_release(&out);
            header_block_free(block);
        }
}

static void test_words_split_in_q(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, MAX);
    // 40 letters and one umlaut, again and again: Q is shorter, and no =XX pair of one character is torn
    // apart.
    char text[1000] = "";
    for (int i = 0; i < 20; i++)
        (void)snprintf(
            text + strlen(text), sizeof text - strlen(text), "abcdefghijklmnopqrstuvwxyzabcdefghijklmnü");
    encoded_words_append(&out, 9, text, strlen(text));
    for (const char *word = out.data; *word; word += strspn(word, " ")) {
        size_t length = strcspn(word, " ");
        assert_true(length <= ENCODED_WORD_MAX);
        assert_true(text_is_encoded_word(word, length));
        assert_memory_not_equal(word + length - 5, "=C3?=", 5);
        word += length;
    }
    buffer_release(&out);
}

static void test_hostile_address_text_takes_linear_time(void **state)
{
    (void)state;
    static const char openers[] = {'(', '"', '[', '<', '\\', ',', ':'};
    for (size_t i = 0; i < sizeof openers; i++) {
        enum { SIZE = 1 << 20 };
        char *field = malloc(SIZE);
        assert_non_null(field);
        memset(field, openers[i], SIZE);
        memcpy(field, "To: \xc3\xa4", 6);
        field[SIZE - 1] = '\0';
        struct header_block *block = parse(field);
        struct buffer out;
        buffer_init(&out, MAX);
        assert_int_equal(
            header_encoded_append(&out, &block->fields[0]), 0); // the test's own time limit watches
        buffer_release(&out);
        header_block_free(block);
        free(field);
    }
}

static void phrase(const char *display, const char *expected)
{
    struct buffer out;
    buffer_init(&out, MAX);
    phrase_append(&out, 6, display);
    assert_string_equal(out.data, expected);
    buffer_release(&out);
}

static void test_phrases(void **state)
{
    (void)state;
    phrase("Jane Doe", "Jane Doe");
    phrase("Jane Q. Doe", "\"Jane Q. Doe\"");
    phrase("Jane  Doe", "\"Jane  Doe\""); // two blanks would become one
    phrase(" Jane", "\" Jane\"");
    phrase("a\\b\"c", "\"a\\\\b\\\"c\"");
    phrase("a\r\nBcc: x", "\"a  Bcc: x\"");
    phrase("a\x1b[0m", "\"a [0m\"");
    phrase("=?utf-8?q?x?=", "=?utf-8?q?x?=");
    phrase("=?utf-8?q?x?= =?utf-8?q?y?=", "=?utf-8?q?x?= =?utf-8?q?y?=");
    phrase("=?utf-8?q?x?= Doe", "=?utf-8?q?x?= Doe");
    phrase("=?not one", "=?not one");
    phrase("ä\nö", "=?utf-8?B?w6Qgw7Y=?=");
}

static void test_folding(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, MAX);
    const char *value = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb cccccccc  ";
    field_append(&out, "Name", 4, value, strlen(value));
    assert_string_equal(out.data,
        "Name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n cccccccc\r\n");
    buffer_clear(&out);
    field_append(&out, "Name", 4, "", 0);
    assert_string_equal(out.data, "Name: \r\n");
    buffer_release(&out);
}

static void domain(const char *text, const char *expected)
{
    char *wire = NULL;
    const char *problem = idn_domain(text, strlen(text), &wire);
    if (expected) {
        assert_null(problem);
        assert_string_equal(wire, expected);
    } else {
        assert_non_null(problem);
        assert_null(wire);
    }
    free(wire);
}

static void test_domains(void **state)
{
    (void)state;
    domain("example.com", "example.com");
    domain("EXAMPLE.com", "EXAMPLE.com"); // ASCII is nobody's business
    domain("Bücher.example", "xn--bcher-kva.example");
    domain("bu\xcc\x88"
           "cher.example",
        "xn--bcher-kva.example");                      // not normalized
    domain("straße.example", "xn--strae-oqa.example"); // non-transitional
    domain("例え.テスト", "xn--r8jz45g.xn--zckzah");
    domain("\xff.example", NULL);
    domain("a\xe2\x80\x8e.example", NULL);
    char longer[2000];
    memset(longer, 'a', sizeof longer);
    memcpy(longer, "ä", 2);
    longer[sizeof longer - 1] = '\0';
    domain(longer, NULL);
}

static void test_utf8(void **state)
{
    (void)state;
    assert_true(text_is_utf8("aä€𝄞", strlen("aä€𝄞")));
    static const char *const bad[] = {
        "\xc0\x80", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\x80", "\xe0\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(text_is_utf8(bad[i], strlen(bad[i])));
    char text[40];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = '\x80';
        assert_true(text_has_8bit(text, sizeof text));
        assert_false(text_has_8bit(text, i));
        text[i] = 'a';
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascii_stays_octet_for_octet),
        cmocka_unit_test(test_unstructured_text),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_broken_addresses_lose_nothing),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_identifiers_pass_through),
        cmocka_unit_test(test_long_text_is_split_between_characters),
        cmocka_unit_test(test_words_split_in_q),
        cmocka_unit_test(test_hostile_address_text_takes_linear_time),
        cmocka_unit_test(test_phrases),
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
