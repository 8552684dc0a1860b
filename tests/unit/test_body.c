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

#define PIECE 65536 // as many octets as are read from a file at once

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

static bool has_octet(const char *text, size_t length, unsigned char least, unsigned char most)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] >= least && (unsigned char)text[i] <= most)
            return true;
    return false;
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

// Everything that must hold for one body, whatever the size of the pieces it is read in, from `piece` on.
static void check_body_from(const char *text, size_t length, size_t piece)
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
    assert_true(scan.has_8bit == has_octet(text, length, 128, 255));
    assert_true(scan.has_nul == has_octet(text, length, 0, 0));

    char *converted = malloc(2 * length + 2);
    assert_int_equal(smtp_body_convert(text, length, converted), body_length);
    assert_memory_equal(converted, wire + sizeof head - 1, body_length);
    free(converted);

    struct smtp_body body = {
        .head = head, .head_length = sizeof head - 1, .fd = fd, .file_length = length, .size = wire_length};
    struct smtp_body whole = {.head = wire, .head_length = wire_length, .fd = -1, .size = wire_length};
    for (; piece <= stuffed_length + 32; piece += piece < 96 ? 1 : stuffed_length / 3 + 1) {
        check_read(&body, false, piece, wire, wire_length);
        check_read(&body, true, piece, stuffed, stuffed_length);
        check_read(&whole, false, piece, wire, wire_length);
        check_read(&whole, true, piece, stuffed, stuffed_length);
    }
    close(fd);
    free(wire);
    free(stuffed);
}

static void check_body(const char *text, size_t length)
{
    check_body_from(text, length, 16);
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

static size_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(*seed >> 33);
}

static void test_random_bodies(void **state)
{
    (void)state;
    static const char alphabet[] = {'\r', '\n', '.', 'a', '\r', '\n', 'b', '.', '\xe4', ' '};
    uint64_t seed = 20261123;
    for (unsigned round = 0; round < 300; round++) {
        char text[200];
        size_t length = next_random(&seed) % sizeof text;
        for (size_t i = 0; i < length; i++)
            text[i] = alphabet[next_random(&seed) % sizeof alphabet];
        check_body(text, length);
    }
}

// Lines of random length that end in one of the ways of `ends`, some with a dot in front.
static void fill_lines(char *text, size_t length, uint64_t *seed, const char *const *ends, size_t n_ends)
{
    for (size_t at = 0; at < length;) {
        size_t line = next_random(seed) % 100, left = length - at;
        line = line < left ? line : left;
        memset(text + at, next_random(seed) % 4 ? 'x' : '.', line);
        at += line;
        const char *end = ends[next_random(seed) % n_ends];
        for (; *end && at < length; end++)
            text[at++] = *end;
    }
}

// Bodies that are longer than what is read and counted at once, with line ends of one kind and of all kinds.
static void test_long_bodies(void **state)
{
    (void)state;
    static const char *const ends[] = {"\r\n", "\n", "\r", "\r\r\n", "\n\r", ""};
    static const struct {
        size_t first, n;
    } kinds[] = {{0, 1}, {1, 1}, {2, 1}, {0, 2}, {0, 6}, {5, 1}};
    static char text[3 * PIECE + 1000];
    uint64_t seed = 20261130;
    for (unsigned round = 0; round < 4; round++) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            size_t length = sizeof text - next_random(&seed) % 2000;
            fill_lines(text, length, &seed, ends + kinds[i].first, kinds[i].n);
            check_body_from(text, length, 1000 + next_random(&seed) % PIECE);
            check_body_from(text, length, 2 * PIECE);
        }
    }
}

// One octet that breaks the rule in a text that is on the wire as it is in the file, or one of its line ends,
// at every place where something begins or ends.
static void test_boundaries(void **state)
{
    (void)state;
    static const char *const odd[] = {"\r\n", "\n", "\r", "\r\n.", "\n.", "\xe4", ".", "\r\r", "\n\n"};
    static const size_t places[] = {0, 1, 127, 128, 129, 255, 256, PIECE - 3, PIECE - 2, PIECE - 1, PIECE,
        PIECE + 1, 2 * PIECE - 3, 2 * PIECE - 2, 2 * PIECE - 1};
    static char text[2 * PIECE + 4];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
            memset(text, 'x', sizeof text);
            memcpy(text + sizeof text - 2, "\r\n", 2);
            memcpy(text + places[i], odd[k], strlen(odd[k]));
            check_body_from(text, sizeof text, 2 * PIECE);
        }
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
    check_changed("half of a line end\r", 19, 20, sizeof head - 1 + 20, -ENODATA);
    check_changed("longer than it was\r\n", 20, 9, sizeof head - 1 + 9, -EFBIG);
    check_changed("more line ends\n\n\n\n\n\n", 20, 20, sizeof head - 1 + 21, -EFBIG);
    check_changed("fewer line ends.....", 20, 20, sizeof head - 1 + 30, -ENODATA);
    static char text[2 * PIECE + 1];
    memset(text, 'x', sizeof text);
    check_changed(text, 2 * PIECE + 1, 2 * PIECE, sizeof head - 1 + 2 * PIECE + 2, -EFBIG);
}

// What was measured as having the line ends of the wire is looked at once more while it is sent.
static void test_changed_line_ends(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a\nb\nc\r\n", "a\r\nb\n\r\n", "a\r\nb\r\r\n", "a\r\nbbb", "a\r\nbb\r"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_changed(
            texts[i], strlen(texts[i]), strlen(texts[i]), sizeof head - 1 + strlen(texts[i]), -EFBIG);
}

// The same for bodies that are read in more than one piece: one octet more, one less.
static void test_changed_long_files(void **state)
{
    (void)state;
    static char text[2 * PIECE + 3];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "x\r\n"[i % 3];
    for (size_t length = PIECE - PIECE % 3 - 3; length < PIECE + 6; length += 3) {
        int fd = file_of(text, length + 1);
        for (unsigned less = 0; less < 2; less++) {
            size_t scanned = less ? length + 3 : length, got;
            int error;
            struct smtp_body body = {.head = head,
                .head_length = sizeof head - 1,
                .fd = fd,
                .file_length = scanned,
                .size = sizeof head - 1 + scanned};
            for (unsigned stuff = 0; stuff < 2; stuff++) {
                free(read_body(&body, stuff, 2 * PIECE, &got, &error));
                assert_int_equal(error, less ? -ENODATA : -EFBIG);
                assert_true(got < body.size);
            }
        }
        close(fd);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_list),
        cmocka_unit_test(test_random_bodies),
        cmocka_unit_test(test_long_bodies),
        cmocka_unit_test(test_boundaries),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_scan_facts),
        cmocka_unit_test(test_offset),
        cmocka_unit_test(test_changed_files),
        cmocka_unit_test(test_changed_line_ends),
        cmocka_unit_test(test_changed_long_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
