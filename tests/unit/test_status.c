// Status files: every promise of spool-format/status.h, hostile text and damaged files.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool-format/status.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define WHEN 1795446245 // 2026-11-23T15:04:05Z

struct fixture {
    char path[64];
    int dir;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    snprintf(fixture->path, sizeof fixture->path, "/tmp/outtray-test-status-XXXXXX");
    if (mkdtemp(fixture->path) == NULL)
        return -1;
    fixture->dir = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    DIR *list = fdopendir(fixture->dir);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        unlinkat(fixture->dir, entry->d_name, 0);
    closedir(list);
    int r = rmdir(fixture->path); // a directory left behind by a test is a fault of the test
    free(fixture);
    return r;
}

static void put(int dir, const char *name, const char *data, size_t length)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        assert_true(n > 0);
        data += n;
        length -= (size_t)n;
    }
    close(fd);
}

static char *get(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct stat st;
    fstat(fd, &st);
    char *data = malloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    data[st.st_size] = 0;
    close(fd);
    return data;
}

static struct status *make(enum status_state state)
{
    struct status *status = status_new();
    status_set_text(&status->tenant, "acme");
    status_set_text(&status->name, "1764000000.M1P2.host");
    status->inode = 131073;
    status->size = 5321;
    status->submitted = (struct timespec){WHEN, 123456789};
    status->state = state;
    return status;
}

static const struct timespec second = {WHEN + 1, 0};

// The file of the specification, to the letter, with `born` as the one additional key.
static void test_format_deferred(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_DEFERRED);
    status_set_text(&status->message_id, "<\xe2\x80\xa6@pbx.example.com>");
    status->born = (struct timespec){WHEN, 7};
    status->next_attempt = (struct timespec){WHEN + 120, 0};
    status_add_recipient(status, "a@example.net");
    status_set_recipient(status, 0, STATUS_SENT, "250 2.0.0 Ok: queued as 4X", &second);
    status_add_recipient(status, "b@example.net");
    status_set_recipient(status, 1, STATUS_PENDING, "451 4.3.0 try later", &second);
    status_add_recipient(status, "c@example.net");
    status_set_recipient(status, 2, STATUS_REFUSED, "550 5.1.1 no such user", &second);
    status_add_recipient(status, "d@example.net");
    const struct timespec at = {WHEN, 999999999};
    status_add_attempt(
        status, &at, "relay", "mail.example.com:587", "TLSv1.3", "rcpt", "451 4.3.0 try later");
    status_add_attempt(status, &second, "relay", NULL, NULL, "connect", NULL);
    assert_int_equal(status_write(fixture->dir, "m", status), 0);
    status_free(status);
    char *text = get(fixture->dir, "m.status");
    assert_string_equal(text, "version: 1\n"
                              "tenant: acme\n"
                              "name: 1764000000.M1P2.host\n"
                              "inode: 131073\n"
                              "size: 5321\n"
                              "submitted: 2026-11-23T15:04:05.123456Z\n"
                              "born: 2026-11-23T15:04:05.000000007Z\n"
                              "message_id: <\xe2\x80\xa6@pbx.example.com>\n"
                              "state: deferred\n"
                              "next_attempt: 2026-11-23T15:06:05Z\n"
                              "recipients:\n"
                              "  - {address: a@example.net, state: sent, reply: \"250 2.0.0 Ok: queued as "
                              "4X\", at: 2026-11-23T15:04:06Z}\n"
                              "  - {address: b@example.net, state: pending, reply: \"451 4.3.0 try later\", "
                              "at: 2026-11-23T15:04:06Z}\n"
                              "  - {address: c@example.net, state: refused, reply: \"550 5.1.1 no such "
                              "user\", at: 2026-11-23T15:04:06Z}\n"
                              "  - {address: d@example.net, state: pending}\n"
                              "attempts:\n"
                              "  - {at: 2026-11-23T15:04:05Z, account: relay, relay: "
                              "\"mail.example.com:587\", tls: TLSv1.3, stage: rcpt, "
                              "reply: \"451 4.3.0 try later\"}\n"
                              "  - {at: 2026-11-23T15:04:06Z, account: relay, stage: connect}\n");
    free(text);
}

static void test_format_failed(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_FAILED);
    status->next_attempt = second; // not of a failed message
    status->reason = STATUS_REASON_RECIPIENT;
    status_set_text(&status->detail, "550 5.1.1 no such user");
    status_set_text(&status->fix, "mv failed/1764000000.M1P2.host new/");
    assert_int_equal(status_write(fixture->dir, "m", status), 0);
    status_free(status);
    char *text = get(fixture->dir, "m.status");
    assert_non_null(strstr(text, "\nstate: failed\nreason: recipient\ndetail: \"550 5.1.1 no such user\"\n"
                                 "fix: mv failed/1764000000.M1P2.host new/\nrecipients: []\nattempts: []\n"));
    assert_null(strstr(text, "next_attempt"));
    free(text);
}

static struct status *round_trip(int dir, struct status *status)
{
    struct status *back = NULL;
    assert_int_equal(status_write(dir, "m", status), 0);
    int r = status_read(dir, "m", &back, NULL, NULL);
    if (r < 0) {
        char *text = get(dir, "m.status");
        fail_msg("%d for\n%s", r, text);
    }
    return back;
}

static void test_round_trip(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_FAILED);
    status->born = (struct timespec){WHEN - 5, 123456789};
    status->reason = STATUS_REASON_POLICY;
    status->delay_warned = second;
    status_set_text(&status->detail, "detail");
    status_add_recipient(status, "a@b");
    status_set_recipient(status, 0, STATUS_REFUSED, "554 no", &second);
    status_add_recipient(status, "c@d");
    status_add_attempt(status, &second, "account", "relay:25", NULL, "data", "554 no");
    status->attempts_total = 7;
    struct status *back = round_trip(fixture->dir, status);
    assert_string_equal(back->tenant, "acme");
    assert_string_equal(back->name, status->name);
    assert_int_equal(back->inode, 131073);
    assert_int_equal(back->size, 5321);
    assert_int_equal(back->submitted.tv_sec, WHEN);
    assert_int_equal(back->submitted.tv_nsec, 123456000);
    assert_memory_equal(&back->born, &status->born, sizeof back->born);
    assert_null(back->message_id);
    assert_int_equal(back->state, STATUS_FAILED);
    assert_int_equal(back->reason, STATUS_REASON_POLICY);
    assert_int_equal(back->next_attempt.tv_sec, 0);
    assert_int_equal(back->delay_warned.tv_sec, WHEN + 1);
    assert_string_equal(back->detail, "detail");
    assert_int_equal(back->n_recipients, 2);
    assert_int_equal(back->recipients[0].state, STATUS_REFUSED);
    assert_string_equal(back->recipients[0].reply, "554 no");
    assert_int_equal(back->recipients[0].at.tv_sec, WHEN + 1);
    assert_int_equal(back->recipients[1].state, STATUS_PENDING);
    assert_null(back->recipients[1].reply);
    assert_int_equal(back->n_attempts, 1);
    assert_int_equal(back->attempts_total, 7);
    assert_string_equal(back->attempts[0].relay, "relay:25");
    assert_null(back->attempts[0].tls);
    status_free(back);
    status_free(status);
}

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

static void test_cut_text(void **state)
{
    (void)state;
    struct status *status = status_new();
    char text[STATUS_TEXT_MAX + 100];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    memcpy(text + STATUS_TEXT_MAX - 1, "\xe2\x82\xac", 3); // would be cut in two
    status_add_recipient(status, "a@b");
    assert_int_equal(status_set_recipient(status, 0, STATUS_SENT, text, NULL), 0);
    assert_int_equal(strlen(status->recipients[0].reply), STATUS_TEXT_MAX - 1);
    assert_int_equal(status_set_recipient(status, 1, STATUS_SENT, text, NULL), -EINVAL);
    memset(text, '\x80', sizeof text - 1); // never a character: still cut, still bounded
    assert_int_equal(status_set_recipient(status, 0, STATUS_SENT, text, NULL), 0);
    assert_true(strlen(status->recipients[0].reply) <= STATUS_TEXT_MAX);
    status_free(status);
}

static void test_attempts_max(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_DEFERRED);
    for (int i = 0; i < STATUS_ATTEMPTS_MAX + 50; i++) {
        struct timespec at = {WHEN + i, 0};
        assert_int_equal(status_add_attempt(status, &at, "a", NULL, NULL, NULL, NULL), 0);
    }
    struct status *back = round_trip(fixture->dir, status);
    assert_int_equal(back->n_attempts, STATUS_ATTEMPTS_MAX);
    assert_int_equal(back->attempts_total, STATUS_ATTEMPTS_MAX + 50);
    assert_int_equal(back->attempts[0].at.tv_sec, WHEN);
    assert_int_equal(back->attempts[1].at.tv_sec, WHEN + 51);
    assert_int_equal(back->attempts[STATUS_ATTEMPTS_MAX - 1].at.tv_sec, WHEN + STATUS_ATTEMPTS_MAX + 49);
    status_free(back);
    status_free(status);
}

static void test_file(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_DEFERRED), *back;
    struct timespec mtime, ctime;
    struct stat st;
    put(fixture->dir, ".131073.status.tmp", "left by a crash", 15);
    status->next_attempt = (struct timespec){WHEN + 3600, 250};
    assert_int_equal(status_write(fixture->dir, "m", status), 0);
    assert_int_equal(status_read(fixture->dir, "m", &back, &mtime, &ctime), 0);
    assert_int_equal(mtime.tv_sec, WHEN + 3600);
    assert_int_equal(mtime.tv_nsec, 250);
    assert_int_equal(back->next_attempt.tv_sec, WHEN + 3600);
    status_free(back);
    assert_int_equal(fstatat(fixture->dir, "m.status", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(ctime.tv_sec, st.st_ctim.tv_sec);
    assert_int_equal(faccessat(fixture->dir, ".131073.status.tmp", F_OK, 0), -1);
    ino_t before = st.st_ino;
    status->state = STATUS_FAILED; // its own file is replaced, and its mtime is that of writing
    assert_int_equal(status_write(fixture->dir, "m", status), 0);
    assert_int_equal(fstatat(fixture->dir, "m.status", &st, 0), 0);
    assert_true(st.st_ino != before);
    assert_true(st.st_mtim.tv_sec != WHEN + 3600);
    status_free(status);
}

static void test_never_overwrites_another(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = make(STATUS_DEFERRED);
    assert_int_equal(status_write(fixture->dir, "m", status), 0);
    status->inode++;
    assert_int_equal(status_write(fixture->dir, "m", status), -EEXIST);
    put(fixture->dir, "n.status", "no status", 9);
    assert_int_equal(status_write(fixture->dir, "n", status), -EEXIST);
    char *text = get(fixture->dir, "n.status");
    assert_string_equal(text, "no status");
    free(text);
    assert_int_equal(status_write(fixture->dir, ".n", status), -EINVAL);
    assert_int_equal(status_write(fixture->dir, "a/b", status), -EINVAL);
    assert_int_equal(status_write(-1, "n", status), -EBADF);
    uint64_t inode, size;
    assert_int_equal(status_peek(fixture->dir, "m", &inode, &size), 0);
    assert_int_equal(inode, 131073);
    status_free(status);
    DIR *list = fdopendir(openat(fixture->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        assert_null(strstr(entry->d_name, ".tmp"));
    closedir(list);
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

static void test_identify(void **state)
{
    struct fixture *fixture = *state;
    struct status *status = status_new();
    struct stat st;
    int fd = openat(fixture->dir, "m", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "hello", 5), 5);
    fstat(fd, &st);
    assert_int_equal(status_identify(status, fd), 0);
    assert_int_equal(status->inode, st.st_ino);
    assert_int_equal(status->size, 5);
    assert_int_equal(status->submitted.tv_sec, st.st_mtim.tv_sec);
    struct timespec before = status->born;
    static const struct timespec times[2] = {{WHEN, 0}, {WHEN, 0}};
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(status_identify(status, fd), 0); // a touch changes neither
    assert_int_equal(status->submitted.tv_sec, st.st_mtim.tv_sec);
    assert_memory_equal(&status->born, &before, sizeof before);
    close(fd);
    assert_int_equal(status_identify(status, -1), -EBADF);
    status_free(status);
}

static void test_time_format(void **state)
{
    (void)state;
    char text[STATUS_TIME_SIZE];
    const struct timespec time = {WHEN, 123456789};
    static const struct {
        int digits;
        const char *text;
    } cases[] = {{0, "2026-11-23T15:04:05Z"}, {3, "2026-11-23T15:04:05.123Z"},
        {6, "2026-11-23T15:04:05.123456Z"}, {9, "2026-11-23T15:04:05.123456789Z"},
        {12, "2026-11-23T15:04:05.123456789Z"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        status_time_format(&time, cases[i].digits, text);
        assert_string_equal(text, cases[i].text);
        struct timespec back;
        assert_int_equal(status_time_parse(text, &back), 0);
        assert_int_equal(back.tv_sec, WHEN);
    }
    static const struct timespec extremes[] = {
        {INT64_MAX, 0}, {INT64_MIN, 0}, {253402300799, 999999999}, {-1, 0}};
    for (size_t i = 0; i < sizeof extremes / sizeof *extremes; i++) {
        status_time_format(&extremes[i], 6, text);
        assert_int_equal(strlen(text), 27);
    }
}

static void test_time_parse(void **state)
{
    (void)state;
    struct timespec time;
    static const struct {
        const char *text;
        long seconds, nanoseconds;
    } good[] = {{"1970-01-01T00:00:00Z", 0, 0}, {"2026-11-23T15:04:05.5Z", WHEN, 500000000},
        {"2026-11-23t15:04:05z", WHEN, 0}, {"2026-11-23 15:04:05Z", WHEN, 0},
        {"2026-11-23T16:04:05+01:00", WHEN, 0}, {"2026-11-23T05:34:05-09:30", WHEN, 0},
        {"2026-11-23T15:04:05.1234567899Z", WHEN, 123456789}, {"2024-02-29T00:00:00Z", 1709164800, 0},
        {"2016-12-31T23:59:60Z", 1483228800, 0}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (status_time_parse(good[i].text, &time) < 0 || time.tv_sec != good[i].seconds ||
            time.tv_nsec != good[i].nanoseconds)
            fail_msg("%s: %ld.%09ld", good[i].text, (long)time.tv_sec, time.tv_nsec);
    }
    static const char *const bad_times[] = {"", "now", "2026-11-23", "2026-11-23T15:04Z",
        "2026-11-23T15:04:05", "2026-13-23T15:04:05Z", "2026-00-23T15:04:05Z", "2026-04-31T15:04:05Z",
        "2023-02-29T15:04:05Z", "1900-02-29T15:04:05Z", "2026-11-23T24:04:05Z", "2026-11-23T15:60:05Z",
        "2026-11-23T15:04:61Z", "2026-11-23T15:04:05.Z", "2026-11-23T15:04:05Zx", "2026-11-23T15:04:05+1:00",
        "2026-11-23T15:04:05+24:00", "2026-11-23T15:04:05+01", "2026-1-23T15:04:05Z", " 2026-11-23T15:04:05Z",
        "02026-11-23T15:04:05Z", "2026/11/23T15:04:05Z", "-026-11-23T15:04:05Z"};
    for (size_t i = 0; i < sizeof bad_times / sizeof *bad_times; i++) {
        if (status_time_parse(bad_times[i], &time) != -EINVAL)
            fail_msg("accepted: %s", bad_times[i]);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(status_reason_name(STATUS_REASON_MALFORMED), "malformed");
    assert_string_equal(status_reason_name(STATUS_REASON_EXPIRED), "expired");
    assert_string_equal(status_reason_name((enum status_reason)99), "unknown");
    assert_string_equal(status_recipient_state_name(STATUS_REFUSED), "refused");
    assert_string_equal(status_recipient_state_name((enum status_recipient_state)99), "unknown");
    status_free(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_format_deferred),
        TEST(test_format_failed),
        TEST(test_round_trip),
        TEST(test_hostile_text),
        TEST(test_every_octet),
        cmocka_unit_test(test_cut_text),
        TEST(test_attempts_max),
        TEST(test_file),
        TEST(test_never_overwrites_another),
        TEST(test_many_recipients),
        TEST(test_damaged),
        TEST(test_truncated),
        TEST(test_bombs),
        TEST(test_no_files),
        TEST(test_edited),
        TEST(test_identify),
        cmocka_unit_test(test_time_format),
        cmocka_unit_test(test_time_parse),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
