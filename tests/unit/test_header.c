// The header block of a message: its fields and where it ends, as spool-format/header.h promises.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "header_support.h"

#include <stdio.h>
#include <stdlib.h>

static void has(const struct header_block *block, size_t index, const char *name, const char *value)
{
    assert_true(index < block->n_fields);
    const struct header_field *field = &block->fields[index];
    if (!header_field_is(field, name) || field->value_length != strlen(value) ||
        memcmp(field->value, value, field->value_length) != 0)
        fail_msg("field %zu is %.*s with '%.*s'", index, (int)field->name_length, field->name,
            (int)field->value_length, field->value);
}

static void test_plain(void **state)
{
    (void)state;
    const char *text = "From: a@b\nTo:c@d\nSubject: \t x \n\nbody\n";
    struct header_block *block = parse(text);
    assert_int_equal(block->n_fields, 3);
    has(block, 0, "from", "a@b");
    has(block, 1, "TO", "c@d");
    has(block, 2, "Subject", "x ");
    assert_true(block->has_separator);
    assert_false(block->has_nul);
    assert_false(block->has_8bit);
    assert_string_equal(text + block->body_offset, "body\n");
    assert_int_equal(block->length, block->body_offset);
    assert_int_equal(strlen(block->data), block->length);
    assert_memory_equal(block->fields[2].raw, "Subject: \t x ", 13);
    assert_int_equal(block->fields[2].raw_length, 13);
    assert_true(block->fields[0].raw == block->data);
    header_block_free(block);
    header_block_free(NULL);
}

// All line ends give the same fields, and the body starts behind the empty line.
static void test_line_ends(void **state)
{
    (void)state;
    static const char *const ends[] = {"\n", "\r\n", "\r\r\n", "\r\r\r\n", "\r"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char text[200];
        const char *e = ends[i];
        snprintf(text, sizeof text, "A: 1%sB: 2%s 3%sC: 4%s%sbody%s%s", e, e, e, e, e, e, e);
        struct header_block *block = parse(text);
        assert_int_equal(block->n_fields, 3);
        has(block, 0, "A", "1");
        has(block, 2, "C", "4");
        char *value = header_unfold(&block->fields[1]);
        assert_string_equal(value, "2 3");
        free(value);
        assert_true(block->has_separator);
        assert_memory_equal(text + block->body_offset, "body", 4);
        header_block_free(block);
    }
}

static void test_mixed_line_ends(void **state)
{
    (void)state;
    const char *text = "A: 1\r\nB: 2\nC: 3\r\r\nD: 4\rE: 5\n\r\nbody";
    struct header_block *block = parse(text);
    assert_int_equal(block->n_fields, 5);
    has(block, 2, "C", "3");
    has(block, 3, "D", "4");
    has(block, 4, "E", "5");
    assert_string_equal(text + block->body_offset, "body");
    header_block_free(block);
}

// What a bare CR starts is seen as a field, and so can be stripped, since it would be one on the wire.
static void test_bare_cr_hides_nothing(void **state)
{
    (void)state;
    struct header_block *block = parse("Subject: x\rBcc: hidden@example.net\nTo: a@b\n\n");
    size_t position = 0;
    assert_non_null(header_find(block, "Bcc", &position));
    assert_non_null(header_find(block, "To", &position));
    header_block_free(block);
    const char *text = "Subject: x\r\rFrom: a@b\n\nbody";
    block = parse(text);
    assert_int_equal(block->n_fields, 1);
    assert_string_equal(text + block->body_offset, "From: a@b\n\nbody");
    header_block_free(block);
}

static void test_no_separator(void **state)
{
    (void)state;
    static const char *const texts[] = {"A: 1\nno field here\nB: 2\n\n", "A: 1\n: x\n\n", "A: 1\n\x80: x\n\n",
        "A: 1\nText with a colon: in it\n", "A: 1\nthe end"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct header_block *block = parse(texts[i]);
        assert_int_equal(block->n_fields, 1);
        assert_false(block->has_separator);
        assert_int_equal(block->body_offset, 5);
        header_block_free(block);
    }
}

static void test_headers_only(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "A: 1\nB: 2", "A: 1\nB: 2\r\r\r\n", "A: 1\nB: 2\n", "A: 1\nB: 2\r", "A: 1\nB: 2\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct header_block *block = parse(texts[i]);
        assert_int_equal(block->n_fields, 2);
        has(block, 1, "B", "2");
        assert_false(block->has_separator);
        assert_int_equal(block->body_offset, strlen(texts[i]));
        header_block_free(block);
    }
    struct header_block *block = parse("A: 1\n\n");
    assert_true(block->has_separator);
    assert_int_equal(block->body_offset, 6);
    header_block_free(block);
}

static void test_body_only(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t body;
        bool separator;
    } cases[] = {{"", 0, false}, {"just text\n", 0, false}, {"\nA: 1\n", 1, true}, {"\r\nA: 1\n", 2, true},
        {"\r", 1, true}, {" continued\nA: 1\n\n", 0, false}, {"\tx: y\n", 0, false}, {":\n", 0, false},
        {"x", 0, false}, {"From ", 5, false}, {">>>>>>>>", 0, false}, {">From", 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct header_block *block = parse(cases[i].text);
        assert_int_equal(block->n_fields, 0);
        if (block->body_offset != cases[i].body || block->has_separator != cases[i].separator)
            fail_msg("case %zu: body at %zu", i, (size_t)block->body_offset);
        header_block_free(block);
    }
}

static void test_mbox_line(void **state)
{
    (void)state;
    struct header_block *block = parse("From a@b Mon Nov 23 15:04:05 2026\nA: 1\n\nbody");
    assert_int_equal(block->n_fields, 1);
    has(block, 0, "A", "1");
    header_block_free(block);
    block = parse("A: 1\nFrom a@b Mon Nov 23 2026\n\nbody"); // only as the first line
    assert_int_equal(block->n_fields, 1);
    assert_false(block->has_separator);
    header_block_free(block);
    block = parse("From a@b 2026\n>From c@d 2026\n>>From e@f\nA: 1\n\n");
    assert_int_equal(block->n_fields, 1);
    has(block, 0, "A", "1");
    header_block_free(block);
    block = parse("From a@b\r\n folded\nA: 1\n\n"); // nothing to continue
    assert_int_equal(block->n_fields, 0);
    header_block_free(block);
}

static void test_blank_before_colon(void **state)
{
    (void)state;
    struct header_block *block = parse("From : a@b\nTo\t \t:c@d\nFrom x\n");
    assert_int_equal(block->n_fields, 2);
    has(block, 0, "From", "a@b");
    has(block, 1, "To", "c@d");
    header_block_free(block);
    block = parse("A b: c\n"); // a blank within is another thing
    assert_int_equal(block->n_fields, 0);
    header_block_free(block);
}

static void test_folds(void **state)
{
    (void)state;
    struct header_block *block =
        parse("To: a@b,\r\n\tc@d,\n   e@f\nSubject:\n x\nEmpty:\nBlank: \n \n\t\nLast: 1\n 2");
    assert_int_equal(block->n_fields, 5);
    static const char *const unfolded[] = {"a@b,\tc@d,   e@f", "x", "", "", "1 2"};
    for (size_t i = 0; i < 5; i++) {
        char *value = header_unfold(&block->fields[i]);
        assert_string_equal(value, unfolded[i]);
        free(value);
    }
    has(block, 0, "To", "a@b,\r\n\tc@d,\n   e@f");
    has(block, 1, "Subject", "\n x");
    has(block, 3, "Blank", "\n \n\t");
    header_block_free(block);
}

static void test_wire(void **state)
{
    (void)state;
    struct header_block *block = parse("To: a@b,\r\r\n c@d,\r e@f,\n g@h\nX:\n\n");
    size_t length;
    char *wire = header_field_wire(&block->fields[0], &length);
    assert_string_equal(wire, "To: a@b,\r\n c@d,\r\n e@f,\r\n g@h\r\n");
    assert_int_equal(length, strlen(wire));
    free(wire);
    wire = header_field_wire(&block->fields[1], &length);
    assert_string_equal(wire, "X:\r\n");
    free(wire);
    header_block_free(block);
}

static void test_nul_and_8bit(void **state)
{
    (void)state;
    static const char nul[] = "Subject: a\0b\nTo: c@d\n\nx\0";
    struct header_block *block = parse_max(nul, sizeof nul - 1, MAX, 0);
    assert_int_equal(block->n_fields, 2);
    assert_true(block->has_nul);
    assert_int_equal(block->fields[0].value_length, 3);
    char *value = header_unfold(&block->fields[0]);
    assert_string_equal(value, "a b");
    free(value);
    header_block_free(block);
    static const char later[] = "A: 1\n\n\0\xff";
    block = parse_max(later, sizeof later - 1, MAX, 0); // only the block counts
    assert_false(block->has_nul);
    assert_false(block->has_8bit);
    header_block_free(block);
    static const char name[] = "A\0: 1\n\n";
    block = parse_max(name, sizeof name - 1, MAX, 0);
    assert_int_equal(block->n_fields, 0);
    header_block_free(block);
    block = parse("Subject: \xc3\xbc\n\n");
    assert_true(block->has_8bit);
    header_block_free(block);
}

static void test_find(void **state)
{
    (void)state;
    struct header_block *block = parse("X-Receiver: a\nTo: b\nx-receiver: c\nX-Receiver-More: d\n\n");
    size_t position = 0;
    const struct header_field *field = header_find(block, "X-Receiver", &position);
    assert_ptr_equal(field, &block->fields[0]);
    field = header_find(block, "X-Receiver", &position);
    assert_ptr_equal(field, &block->fields[2]);
    assert_null(header_find(block, "X-Receiver", &position));
    assert_null(header_find(block, "X-Receiver", &position));
    header_block_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_mixed_line_ends),
        cmocka_unit_test(test_bare_cr_hides_nothing),
        cmocka_unit_test(test_no_separator),
        cmocka_unit_test(test_headers_only),
        cmocka_unit_test(test_body_only),
        cmocka_unit_test(test_mbox_line),
        cmocka_unit_test(test_blank_before_colon),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_wire),
        cmocka_unit_test(test_nul_and_8bit),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
