// The octets of a message on the wire: line ends, dot-stuffing, exact size, files that change.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/smtp/body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int file_of(const char *data, size_t length)
{
    int fd = memfd_create("body", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, length), (ssize_t)length);
    return fd;
}

// The rules once more, written the slow and obvious way.
static size_t plain_convert(const char *text, size_t length, char *to)
{
    size_t made = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' || text[i] == '\n') {
            if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n')
                i++;
            to[made++] = '\r';
            to[made++] = '\n';
        } else {
            to[made++] = text[i];
        }
    }
    if (length && text[length - 1] != '\r' && text[length - 1] != '\n') {
        to[made++] = '\r';
        to[made++] = '\n';
    }
    return made;
}

static size_t plain_stuff(const char *text, size_t length, char *to)
{
    size_t made = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '.' && (i == 0 || text[i - 1] == '\n'))
            to[made++] = '.';
        to[made++] = text[i];
    }
    return made;
}

// Reads a body with pieces of one size. Returns the octets; the error that ended it, or 0, in *ret_error.
static char *read_body(
    const struct smtp_body *body, bool stuff, size_t piece, size_t *ret_length, int *ret_error)
{
    struct smtp_body_cursor cursor;
    char *data = NULL, *to = malloc(piece);
    size_t length = 0;
    int64_t n;
    smtp_body_start(&cursor);
    while ((n = smtp_body_read(body, &cursor, stuff, to, piece)) > 0) {
        assert_true((size_t)n <= piece);
        data = realloc(data, length + (size_t)n);
        memcpy(data + length, to, (size_t)n);
        length += (size_t)n;
    }
    assert_true(n < 0 || cursor.finished);
    free(to);
    *ret_length = length;
    *ret_error = (int)n;
    return data;
}

static const char head[] = "Subject: x\r\n.Odd: field\r\n\r\n";

static void check_read(
    const struct smtp_body *body, bool stuff, size_t piece, const char *expected, size_t length)
{
    size_t got;
    int error;
    char *data = read_body(body, stuff, piece, &got, &error);
    assert_int_equal(error, 0);
    assert_int_equal(got, length);
    if (length)
        assert_memory_equal(data, expected, length);
    free(data);
}

// Everything that must hold for one body, whatever the size of the pieces it is read in.
static void check_body(const char *text, size_t length)
{
    char *wire = malloc(sizeof head + 2 * length + 2), *stuffed = malloc(2 * sizeof head + 4 * length + 4);
    memcpy(wire, head, sizeof head - 1);
    size_t body_length = plain_convert(text, length, wire + sizeof head - 1);
    size_t wire_length = sizeof head - 1 + body_length;
    size_t stuffed_length = plain_stuff(wire, wire_length, stuffed);
    int fd = file_of(text, length);

    struct smtp_body_scan scan;
    assert_int_equal(smtp_body_scan(fd, 0, length, &scan), 0);
    assert_int_equal(scan.file_length, length);
    assert_int_equal(scan.wire_length, body_length);
    assert_int_equal(scan.dots, stuffed_length - wire_length - 1); // one is in the head

    char *converted = malloc(2 * length + 2);
    assert_int_equal(smtp_body_convert(text, length, converted), body_length);
    assert_memory_equal(converted, wire + sizeof head - 1, body_length);
    free(converted);

    struct smtp_body body = {
        .head = head, .head_length = sizeof head - 1, .fd = fd, .file_length = length, .size = wire_length};
    struct smtp_body whole = {.head = wire, .head_length = wire_length, .fd = -1, .size = wire_length};
    for (size_t piece = 16; piece <= stuffed_length + 32; piece += piece < 96 ? 1 : stuffed_length / 3 + 1) {
        check_read(&body, false, piece, wire, wire_length);
        check_read(&body, true, piece, stuffed, stuffed_length);
        check_read(&whole, false, piece, wire, wire_length);
        check_read(&whole, true, piece, stuffed, stuffed_length);
    }
    close(fd);
    free(wire);
    free(stuffed);
}

static void test_content_list(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "\n",
        "\r\n",
        "\r",
        "plain\r\n",
        "bare lf\nmore\n",
        "bare cr\rmore\r",
        "a\n.\nb\n",
        "a\n.\r\nb\r\n",
        "a\r\n.\nb\r\n",
        "a\r.\rb\r",
        "a\r\n.\r\nMAIL FROM:<smuggled@x>\r\n",
        ".",
        ".\n",
        "..\n...\n",
        ".leading\n.dots\n",
        "no final line end",
        "a\n\n\nb",
        "a\r\r\nb",
        "a\r\r\r\n\n\r",
        "a\n\rb",
        "a\r",
        "\r\n.\r",
        "\x80\xff 8 bit\n",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        check_body(bodies[i], strlen(bodies[i]));
}

static void test_random_bodies(void **state)
{
    (void)state;
    static const char alphabet[] = {'\r', '\n', '.', 'a', '\r', '\n', 'b', '.', '\xe4', ' '};
    uint64_t seed = 20261123;
    for (unsigned round = 0; round < 300; round++) {
        char text[200];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t length = (size_t)(seed >> 33) % sizeof text;
        for (size_t i = 0; i < length; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[i] = alphabet[(seed >> 33) % sizeof alphabet];
        }
        check_body(text, length);
    }
}

static void test_long_line(void **state)
{
    (void)state;
    size_t length = 1024 * 1024;
    char *text = malloc(length + 1);
    memset(text, 'x', length);
    text[length] = '\n';
    int fd = file_of(text, length + 1);
    struct smtp_body_scan scan;
    assert_int_equal(smtp_body_scan(fd, 0, UINT64_MAX, &scan), 0);
    assert_int_equal(scan.longest_line, length);
    assert_int_equal(scan.wire_length, length + 2);
    struct smtp_body body = {.head = head,
        .head_length = sizeof head - 1,
        .fd = fd,
        .file_length = length + 1,
        .size = sizeof head - 1 + length + 2};
    size_t got;
    int error;
    char *data = read_body(&body, false, 65536, &got, &error);
    assert_int_equal(error, 0);
    assert_int_equal(got, body.size);
    assert_memory_equal(data + sizeof head - 1, text, length);
    free(data);
    free(text);
    close(fd);
}

static void test_scan_facts(void **state)
{
    (void)state;
    struct smtp_body_scan scan;
    int fd = file_of("Header: x\n\nab\xc3\xa4\n.\n..x\nlongest line\nend", 38);
    assert_int_equal(smtp_body_scan(fd, 11, UINT64_MAX, &scan), 0);
    assert_int_equal(scan.file_length, 27);
    assert_int_equal(scan.wire_length, 27 + 4 + 2);
    assert_int_equal(scan.dots, 2);
    assert_int_equal(scan.longest_line, 12);
    assert_true(scan.has_8bit);
    assert_false(scan.has_nul);
    assert_int_equal(smtp_body_scan(fd, 11, 26, &scan), -EFBIG);
    assert_int_equal(smtp_body_scan(fd, 11, 27, &scan), 0);
    close(fd);
    fd = file_of("a\0b", 3);
    assert_int_equal(smtp_body_scan(fd, 0, 10, &scan), 0);
    assert_true(scan.has_nul);
    assert_false(scan.has_8bit);
    close(fd);
    assert_int_equal(smtp_body_scan(fd, 0, 10, &scan), -EBADF);
}

static void test_offset(void **state)
{
    (void)state;
    int fd = file_of("Old: header\n\nbody\n.dot", 22);
    struct smtp_body body = {.head = "New: header\r\n\r\n",
        .head_length = 15,
        .fd = fd,
        .file_offset = 13,
        .file_length = 9,
        .size = 15 + 12};
    check_read(&body, false, 64, "New: header\r\n\r\nbody\r\n.dot\r\n", 27);
    check_read(&body, true, 64, "New: header\r\n\r\nbody\r\n..dot\r\n", 28);
    close(fd);
}

// What was promised by BDAT n must never be followed by more, and a changed file must be found out before the
// last of the n octets is given out: the server would take the message as whole.
static void check_changed(const char *now, size_t length, size_t scanned, uint64_t size, int expected)
{
    int fd = file_of(now, length);
    struct smtp_body body = {
        .head = head, .head_length = sizeof head - 1, .fd = fd, .file_length = scanned, .size = size};
    for (size_t piece = 16; piece < 64; piece++) {
        size_t got;
        int error;
        char *data = read_body(&body, false, piece, &got, &error);
        assert_int_equal(error, expected);
        assert_true(got < size);
        free(data);
    }
    close(fd);
}

static void test_changed_files(void **state)
{
    (void)state;
    check_changed("shorter\r\n", 9, 20, sizeof head - 1 + 20, -ENODATA);
    check_changed("", 0, 20, sizeof head - 1 + 20, -ENODATA);
    check_changed("longer than it was\r\n", 20, 9, sizeof head - 1 + 9, -EFBIG);
    check_changed("more line ends\n\n\n\n\n\n", 20, 20, sizeof head - 1 + 21, -EFBIG);
    check_changed("fewer line ends.....", 20, 20, sizeof head - 1 + 30, -ENODATA);
    char *text = malloc(16384 * 2 + 1);
    memset(text, 'x', 16384 * 2 + 1);
    check_changed(text, 16384 * 2 + 1, 16384 * 2, sizeof head - 1 + 16384 * 2 + 2, -EFBIG);
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_list),
        cmocka_unit_test(test_random_bodies),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_scan_facts),
        cmocka_unit_test(test_offset),
        cmocka_unit_test(test_changed_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
