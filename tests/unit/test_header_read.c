// The header block of a message that is cut short, too long, read from a file, or hostile.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "header_support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

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
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_max),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
