// The header block of a message: every promise of spool-format/header.h, and hostile blocks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool-format/header.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX (256 * 1024)

static struct header_block *parse_max(const char *data, size_t length, size_t max, int expected)
{
    struct header_block *block = NULL;
    int r = header_block_parse(data, length, true, max, &block);
    if (r != expected)
        fail_msg("%d instead of %d", r, expected);
    return block;
}

static struct header_block *parse(const char *data)
{
    return parse_max(data, strlen(data), MAX, 0);
}

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

// Every prefix of a message either needs more or gives what the whole message gives.
static void test_prefixes(void **state)
{
    (void)state;
    static const char *const texts[] = {"From x y\r\nA: 1\r\n 2\r\r\nB : 3\rC: 4\n\r\nbody", "A: 1\nno field",
        "no field", "From : a@b\n\nbody", "\r\nbody", "A: 1\n\n", "Fro: 1\n\n", "A: 1\r\r\n\r\r\nbody", "F",
        "Abc  d: e\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct header_block *whole = parse(texts[i]);
        for (size_t length = 0; length <= strlen(texts[i]); length++) {
            struct header_block *block = NULL;
            char *copy = malloc(length + 1); // so that the sanitizer sees its end
            memcpy(copy, texts[i], length);
            char *data = realloc(copy, length == 0 ? 1 : length);
            int r = header_block_parse(data, length, false, MAX, &block);
            if (r == 0) {
                assert_int_equal(block->body_offset, whole->body_offset);
                assert_int_equal(block->n_fields, whole->n_fields);
                assert_int_equal(block->has_separator, whole->has_separator);
                header_block_free(block);
            } else {
                assert_int_equal(r, -EAGAIN);
            }
            r = header_block_parse(data, length, true, MAX, &block); // and any prefix is a message of its own
            assert_int_equal(r, 0);
            header_block_free(block);
            free(data);
        }
        header_block_free(whole);
    }
}

static void test_max(void **state)
{
    (void)state;
    const char *text = "A: 1\nB: 2\n\nbody that is longer than the block";
    for (size_t max = 0; max < 11; max++)
        parse_max(text, strlen(text), max, -E2BIG);
    for (size_t max = 11; max < 50; max++)
        header_block_free(parse_max(text, strlen(text), max, 0));
    parse_max("A: 1", 4, 3, -E2BIG);
    header_block_free(parse_max("A: 1", 4, 4, 0));
    header_block_free(parse_max("", 0, 0, 0));
    header_block_free(parse_max("no field", 8, 0, 0)); // its block is empty
    struct header_block *block = NULL;
    char long_line[3000] = "A: 1\nB: ";
    memset(long_line + 8, 'x', sizeof long_line - 8);
    assert_int_equal(
        header_block_parse(long_line, sizeof long_line, false, 5, &block), -E2BIG); // end or no end
}

static int memory_file(const char *data, size_t length)
{
    int fd = memfd_create("message", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, length), (ssize_t)length);
    return fd;
}

static void test_read(void **state)
{
    (void)state;
    const size_t size = 200000; // more than one read
    char *text = malloc(size);
    memset(text, 'x', size);
    memcpy(text, "A: ", 3);
    memcpy(text + size - 10, "\nB: 2\n\nend", 10);
    int fd = memory_file(text, size);
    struct header_block *block = NULL;
    assert_int_equal(header_block_read(fd, MAX, &block), 0);
    assert_int_equal(block->n_fields, 2);
    assert_int_equal(block->body_offset, size - 3);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), (off_t)size);
    header_block_free(block);
    assert_int_equal(header_block_read(fd, 1000, &block), -E2BIG);
    close(fd);
    free(text);
    fd = memory_file("", 0);
    assert_int_equal(header_block_read(fd, MAX, &block), 0);
    assert_int_equal(block->n_fields, 0);
    assert_int_equal(block->body_offset, 0);
    assert_string_equal(block->data, "");
    header_block_free(block);
    close(fd);
    assert_int_equal(header_block_read(-1, MAX, &block), -EBADF);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static char *repeat(const char *unit, size_t n, size_t *ret_length)
{
    size_t length = strlen(unit);
    char *text = malloc(n * length);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * length, unit, length);
    *ret_length = n * length;
    return text;
}

// Hostile blocks of 10 MiB and of many lines: refused or read, and in linear time. The bound is a hundred
// times what is needed, and a thousandth of what anything quadratic takes.
static void test_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        size_t n;
        size_t max;
        int expected;
    } cases[] = {{"A: b\n", 100000, 10 << 20, 0}, {" b\n", 100000, 10 << 20, 0},
        {"A:\n b\n", 100000, 10 << 20, 0},
        {"A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n", 220000, MAX, -E2BIG},
        {"A:\n", 300000, 10 << 20, -E2BIG}, {"\r", 10 << 20, MAX, -E2BIG}, {"A:\r", 3 << 20, MAX, -E2BIG},
        {"A\r", 3 << 20, MAX, 0}, {"x", 10 << 20, MAX, 0}, {" ", 10 << 20, MAX, 0},
        {"From ", 2 << 20, MAX, -E2BIG}, {"A:", 5 << 20, MAX, -E2BIG}, {"\n", 10 << 20, MAX, 0},
        {"\xff", 10 << 20, MAX, 0}, {">", 10 << 20, MAX, 0}, {"From x\n", 1 << 20, MAX, -E2BIG},
        {">From x\n", 1 << 20, 10 << 20, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length;
        struct header_block *block = NULL;
        char *text = repeat(cases[i].unit, cases[i].n, &length);
        double start = seconds();
        int r = header_block_parse(text, length, true, cases[i].max, &block);
        if (r != cases[i].expected)
            fail_msg("case %zu: %d", i, r);
        int fd = memory_file(text, length);
        header_block_free(block);
        block = NULL;
        assert_int_equal(header_block_read(fd, cases[i].max, &block), r);
        header_block_free(block);
        close(fd);
        free(text);
        assert_true(seconds() - start < 10);
    }
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
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_max),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
