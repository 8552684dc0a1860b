// Status files with hostile text in them, and damaged ones (spool-format/status.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "status_support.h"

// Whatever text a server or a header gives comes back as it was; what is no UTF-8 as the characters of that
// number.
static void test_hostile_text(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *text;
        const char *back; // NULL: the same
    } cases[] = {{"", NULL}, {" ", NULL}, {" lead and trail ", NULL}, {"\"quoted\"", NULL},
        {"'single'", NULL}, {"back\\slash\\n", NULL}, {"two\nlines\r\nand \ttab", NULL},
        {"\033[31mred\033[0m\a\b\177", NULL}, {"J\xc3\xb6rg \xe2\x82\xac \xf0\x9f\x98\x80", NULL},
        {"\xc2\x85 nel \xe2\x80\xa8 ls \xe2\x80\xa9 ps \xef\xbb\xbf bom \xc2\xa0", NULL},
        {"\xef\xbf\xbe\xef\xbf\xbf", NULL}, {"\xff\xc3(\xe2\x82", "\xc3\xbf\xc3\x83(\xc3\xa2\xc2\x82"},
        {"\xed\xa0\x80", "\xc3\xad\xc2\xa0\xc2\x80"}, {"null", NULL}, {"~", NULL}, {"true", NULL},
        {"No", NULL}, {"y", NULL}, {"123", NULL}, {"0x1F", NULL}, {"1e5", NULL}, {".inf", NULL},
        {"2026-11-23", NULL}, {"12:30:45", NULL}, {"<<", NULL}, {"=", NULL}, {"- a", NULL}, {"-", NULL},
        {"---", NULL}, {"...", NULL}, {"key: value", NULL}, {"a:", NULL}, {"a #b", NULL}, {"#a", NULL},
        {"a#b", NULL}, {"{a}", NULL}, {"[a]", NULL}, {"a, b", NULL}, {"a]", NULL}, {"a}", NULL}, {"*a", NULL},
        {"&a", NULL}, {"!!str a", NULL}, {"%YAML", NULL}, {"@a", NULL}, {"`a", NULL}, {"|", NULL},
        {">", NULL}, {"> a", NULL}, {"? a", NULL}, {"?", NULL}, {":", NULL}, {",", NULL}, {"\\", NULL},
        {"\"", NULL}, {"}, state: sent}", NULL}, {"x\"}\n  - {address: evil, state: sent}", NULL},
        {"a\nversion: 2", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text = cases[i].text, *expected = cases[i].back != NULL ? cases[i].back : text;
        struct status *status = make(STATUS_FAILED);
        status_set_text(&status->tenant, text);
        status_set_text(&status->name, text);
        status_set_text(&status->message_id, text);
        status_set_text(&status->detail, text);
        status_set_text(&status->fix, text);
        status_add_recipient(status, text);
        status_set_recipient(status, 0, STATUS_REFUSED, text, &second);
        status_add_attempt(status, &second, text, text, text, text, text);
        struct status *back = round_trip(fixture->dir, status);
        const char *const got[] = {back->tenant, back->name, back->message_id, back->detail, back->fix,
            back->recipients[0].address, back->recipients[0].reply, back->attempts[0].account,
            back->attempts[0].relay, back->attempts[0].tls, back->attempts[0].stage, back->attempts[0].reply};
        for (size_t j = 0; j < sizeof got / sizeof *got; j++) {
            if (got[j] == NULL || strcmp(got[j], expected) != 0)
                fail_msg(
                    "text %zu, place %zu: '%s' for '%s'", i, j, got[j] != NULL ? got[j] : "(null)", text);
        }
        assert_int_equal(back->n_recipients, 1);
        assert_int_equal(back->n_attempts, 1);
        uint64_t inode, size;
        assert_int_equal(status_peek(fixture->dir, "m", &inode, &size), 0);
        assert_int_equal(inode, 131073);
        assert_int_equal(size, 5321);
        status_free(back);
        status_free(status);
    }
}

// Each octet alone and between others, so that no byte value breaks the YAML.
static void test_every_octet(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_DEFERRED);
    for (int c = 1; c < 256; c++) {
        char text[4] = {'a', (char)c, 'b', 0};
        status_add_recipient(status, text);
        status_add_recipient(status, (char[]){(char)c, 0});
    }
    struct status *back = round_trip(fixture->dir, status);
    assert_int_equal(back->n_recipients, 510);
    for (size_t i = 0; i < 2 * 127; i++)
        assert_string_equal(back->recipients[i].address, status->recipients[i].address);
    status_free(back);
    status_free(status);
}

static void test_many_recipients(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_DEFERRED);
    for (int i = 0; i < 100000; i++) {
        char address[64];
        snprintf(address, sizeof address, "recipient.%d@some-department.example.net", i);
        assert_int_equal(status_add_recipient(status, address), 0);
        status_set_recipient(status, (size_t)i, STATUS_SENT, "250 2.0.0 Ok: queued as 4XABCDEF", &second);
    }
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    struct status *back = round_trip(fixture->dir, status);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    assert_true(end.tv_sec - start.tv_sec < 20); // under the sanitizers; a second without
    assert_int_equal(back->n_recipients, 100000);
    assert_string_equal(back->recipients[99999].address, "recipient.99999@some-department.example.net");
    status_free(back);
    for (int i = 0; i < 100000; i++) { // and one that is too large is refused, not written
        char reply[700];
        memset(reply, 'x', sizeof reply - 1);
        reply[sizeof reply - 1] = 0;
        status_set_recipient(status, (size_t)i, STATUS_SENT, reply, &second);
    }
    assert_int_equal(status_write(fixture->dir, "huge", status), -E2BIG);
    assert_int_equal(faccessat(fixture->dir, "huge.status", F_OK, 0), -1);
    status_free(status);
}

static void bad(int dir, const char *text)
{
    struct status *status = NULL;
    uint64_t inode, size;
    put(dir, "bad.status", text, strlen(text));
    int r = status_read(dir, "bad", &status, NULL, NULL);
    if (r != -EBADMSG)
        fail_msg("%d for %s", r, text);
    r = status_peek(dir, "bad", &inode, &size);
    if (r != -EBADMSG && r != 0)
        fail_msg("peek: %d for %s", r, text);
}

#define HEAD "version: 1\ninode: 5\nsize: 6\nstate: failed\n"

static void test_damaged(void **state)
{
    struct fixture *fixture = *state;
    static const char *const texts[] = {"", "\n", "garbage", "[]", "{}", "\1\2\3", "\xff\xfe", "version: 1\n",
        "version: 2\ninode: 5\nsize: 6\nstate: failed\n", "inode: 5\nsize: 6\nstate: failed\n",
        "version: 1\nsize: 6\nstate: failed\n", "version: 1\ninode: 5\nstate: failed\n",
        "version: 1\ninode: 5\nsize: 6\n", "version: 1\ninode: -5\nsize: 6\nstate: failed\n",
        "version: 1\ninode: 5x\nsize: 6\nstate: failed\n",
        "version: 1\ninode: 99999999999999999999999\nsize: 6\nstate: failed\n",
        "version: 1\ninode: 5\nsize: \nstate: failed\n", "version: 1\ninode: 5\nsize: 6\nstate: new\n",
        HEAD "reason: bad\n", HEAD "submitted: yesterday\n", HEAD "detail: [a]\n", HEAD "detail: {a: b}\n",
        HEAD "recipients: a\n", HEAD "recipients: {a: b}\n", HEAD "recipients: [a]\n",
        HEAD "recipients: [[a]]\n", HEAD "recipients: [{state: sent}]\n", HEAD "recipients: [{address: a}]\n",
        HEAD "recipients: [{address: a, state: lost}]\n",
        HEAD "recipients: [{address: a, state: sent, at: x}]\n", HEAD "attempts: [a]\n",
        HEAD "attempts: [{at: x}]\n", HEAD "attempts: 5\n", HEAD "{a: b}: c\n", HEAD "[a]: c\n",
        HEAD "detail: \"open\n", HEAD "detail: \"nul \\0 in it\"\n", HEAD "detail: &a x\nfix: *a\n",
        HEAD "---\nversion: 1\n", HEAD "\tdetail: x\n", "- version: 1\n",
        HEAD "x: [[[[[[[[[[[[[[[[[[[[[[[[[[a]]]]]]]]]]]]]]]]]]]]]]]]]]\n", HEAD "unfinished",
        HEAD "a: b: c\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        bad(fixture->dir, texts[i]);
}

// Every cut of a good file is refused, or is a shorter good file; never anything else.
static void test_truncated(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_FAILED), *back;
    status->reason = STATUS_REASON_SIZE;
    status_set_text(&status->detail, "a \"detail\"");
    status_add_recipient(status, "a@b");
    status_add_attempt(status, &second, "account", "relay:25", "TLSv1.3", "data", "451 later");
    assert_int_equal(status_write(fixture->dir, "m", status), 0);
    status_free(status);
    char *text = get(fixture->dir, "m.status");
    for (size_t length = 0; length < strlen(text); length++) {
        put(fixture->dir, "cut.status", text, length);
        int r = status_read(fixture->dir, "cut", &back, NULL, NULL);
        if (r == 0)
            status_free(back);
        else
            assert_int_equal(r, -EBADMSG);
    }
    // Each octet replaced by others: no crash, and no other error.
    for (size_t i = 0; i < strlen(text); i++) {
        static const char others[] = "\0\n {}[]\"'*&-:x\xff";
        for (size_t j = 0; j < sizeof others - 1; j++) {
            char *copy = strdup(text);
            copy[i] = others[j];
            put(fixture->dir, "cut.status", copy, strlen(text));
            int r = status_read(fixture->dir, "cut", &back, NULL, NULL);
            if (r == 0)
                status_free(back);
            else
                assert_int_equal(r, -EBADMSG);
            free(copy);
        }
    }
    free(text);
}

static char *repeat(const char *head, const char *unit, size_t n)
{
    size_t length = strlen(unit), start = strlen(head);
    char *text = malloc(start + n * length + 1);
    memcpy(text, head, start + 1);
    for (size_t i = 0; i < n; i++)
        memcpy(text + start + i * length, unit, length + 1);
    return text;
}

static void test_bombs(void **state)
{
    struct fixture *fixture = *state;
    bad(fixture->dir, HEAD
        "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n");
    static const char *const units[] = {"[", "{", "{a: ", "- ", "a: ", "\"", "'", "[[[[[[[[\n", "? ", "&a ",
        "!", "#\n", "%", "a: \n ", "|\n"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct status *status = NULL;
        uint64_t inode, size;
        char *text = repeat(HEAD "x: ", units[i], 500000);
        put(fixture->dir, "bomb.status", text, strlen(text));
        int r = status_read(fixture->dir, "bomb", &status, NULL, NULL);
        if (r == 0)
            status_free(status); // comments are harmless
        else
            assert_int_equal(r, -EBADMSG);
        assert_int_equal(status_peek(fixture->dir, "bomb", &inode, &size), 0); // by its first lines
        free(text);
    }
}

// A sparse file of a gigabyte, and things that are no files.
static void test_no_files(void **state)
{
    struct fixture *fixture = *state;
    struct status *status;
    uint64_t inode, size;
    int fd = openat(fixture->dir, "big.status", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 1 << 30), 0);
    close(fd);
    assert_int_equal(mkfifoat(fixture->dir, "fifo.status", 0600), 0);
    assert_int_equal(symlinkat("big.status", fixture->dir, "link.status"), 0);
    assert_int_equal(symlinkat("nowhere", fixture->dir, "dangling.status"), 0);
    assert_int_equal(mknodat(fixture->dir, "socket.status", S_IFSOCK | 0600, 0), 0);
    static const char *const names[] = {"big", "fifo", "link", "dangling", "socket"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int r = status_read(fixture->dir, names[i], &status, NULL, NULL);
        if (r != -EBADMSG)
            fail_msg("%s: %d", names[i], r);
        assert_int_equal(status_peek(fixture->dir, names[i], &inode, &size), -EBADMSG);
        struct status *other = make(STATUS_FAILED);
        assert_int_equal(status_write(fixture->dir, names[i], other), -EEXIST);
        status_free(other);
    }
    assert_int_equal(status_read(fixture->dir, "none", &status, NULL, NULL), -ENOENT);
    assert_int_equal(status_peek(fixture->dir, "none", &inode, &size), -ENOENT);
    assert_int_equal(mkdirat(fixture->dir, "directory.status", 0700), 0);
    assert_int_equal(status_read(fixture->dir, "directory", &status, NULL, NULL), -EBADMSG);
    assert_int_equal(unlinkat(fixture->dir, "directory.status", AT_REMOVEDIR), 0);
}

// People edit: other order, other style, comments, keys of a later version, null.
static void test_edited(void **state)
{
    struct fixture *fixture = *state;
    static const char text[] =
        "# edited by hand\n---\nsize: 6\nstate: 'deferred'\nfuture: {a: [1, {b: c}], d: ~}\ninode: \"5\"\n"
        "message_id:\ndetail: ~\nfix: null\nrecipients:\n- address: a@b\n  state: pending\n  more: []\n  "
        "at:\nnext_attempt: 2026-11-23T16:06:05+01:00\n"
        "attempts: []\nversion: 1\n...\n";
    struct status *status;
    uint64_t inode, size;
    put(fixture->dir, "m.status", text, sizeof text - 1);
    assert_int_equal(status_read(fixture->dir, "m", &status, NULL, NULL), 0);
    assert_int_equal(status->inode, 5);
    assert_int_equal(status->next_attempt.tv_sec, WHEN + 120);
    assert_null(status->message_id);
    assert_null(status->detail);
    assert_null(status->fix);
    assert_int_equal(status->n_recipients, 1);
    status_free(status);
    assert_int_equal(status_peek(fixture->dir, "m", &inode, &size), 0);
    assert_int_equal(inode, 5);
    assert_int_equal(size, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hostile_text),
        TEST(test_every_octet),
        TEST(test_many_recipients),
        TEST(test_damaged),
        TEST(test_truncated),
        TEST(test_bombs),
        TEST(test_no_files),
        TEST(test_edited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
