// Status files: every promise of spool-format/status.h but those about bad input (test_status_hostile.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "status_support.h"

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
    const struct CMUnitTest tests[] = {
        TEST(test_format_deferred),
        TEST(test_format_failed),
        TEST(test_round_trip),
        cmocka_unit_test(test_cut_text),
        TEST(test_attempts_max),
        TEST(test_file),
        TEST(test_never_overwrites_another),
        TEST(test_identify),
        cmocka_unit_test(test_time_format),
        cmocka_unit_test(test_time_parse),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
