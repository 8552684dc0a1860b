// X-Outtray-* (what a message says about its own delivery), and dates as people write them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compose_support.h"

#include "agent/base/clock.h"
#include "agent/compose/mail_date.h"

#define SUBMITTED (SUBMITTED_SECONDS * CLOCK_SECOND)

static void date(const char *text, int64_t seconds)
{
    int64_t wall = 0;
    if (mail_date_parse(text, SUBMITTED, &wall))
        fail_msg("%s is no date", text);
    if (wall != seconds * CLOCK_SECOND)
        fail_msg("%s is %lld", text, (long long)(wall / CLOCK_SECOND));
}

static void no_date(const char *text)
{
    int64_t wall = 0;
    if (!mail_date_parse(text, SUBMITTED, &wall))
        fail_msg("'%s' is %lld", text, (long long)(wall / CLOCK_SECOND));
}

static void test_dates_of_mail(void **state)
{
    (void)state;
    date("Mon, 23 Nov 2026 15:04:05 +0000", SUBMITTED_SECONDS);
    date("23 Nov 2026 15:04:05 +0000", SUBMITTED_SECONDS);
    date("Mon, 23 Nov 2026 16:04:05 +0100", SUBMITTED_SECONDS);
    date("mon,23 nov 2026 10:04:05 EST", SUBMITTED_SECONDS);
    date("Mon, 23 Nov 2026 15:04:05 GMT", SUBMITTED_SECONDS);
    date("Mon, 23 Nov 2026 15:04:05 +0000 (GMT (or so))", SUBMITTED_SECONDS);
    date(" (a) Mon (b), 23 (c) Nov 2026\t15:04:05 -0000 ", SUBMITTED_SECONDS);
    date("Mon, 23 Nov 2026 15:04 +0000", SUBMITTED_SECONDS - 5);
    date("23 Nov 26 15:04:05 Z", SUBMITTED_SECONDS); // RFC 5322 section 4.3
    date("1 Jan 70 00:00:00 +0000", 0);
    date("Thu, 29 Feb 2024 00:00:00 +0000", 1709164800);
    date("31 Dec 2016 23:59:60 +0000", 1483228800);
}

static void test_times_of_files_and_from_now(void **state)
{
    (void)state;
    date("2026-11-23T15:04:05Z", SUBMITTED_SECONDS);
    date("2026-11-23T16:04:05+01:00", SUBMITTED_SECONDS);
    date("+90s", SUBMITTED_SECONDS + 90);
    date("+10m", SUBMITTED_SECONDS + 600);
    date("+2h", SUBMITTED_SECONDS + 7200);
    date(" +1d ", SUBMITTED_SECONDS + 86400);
    date("+2w", SUBMITTED_SECONDS + 14 * 86400);
}

static void test_what_is_no_date(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "tomorrow", "Mon, 23 Nov 2026", "Mon 23 Nov 2026 15:04:05 +0000",
        "31 Feb 2026 00:00:00 +0000", "23 Foo 2026 15:04:05 +0000", "23 Nov 2026 25:04:05 +0000",
        "23 Nov 2026 15:60:05 +0000", "23 Nov 2026 15:04:05", "23 Nov 2026 15:04:05 +00",
        "23 Nov 2026 15:04:05 +0060", "23 Nov 2026 15:04:05 +0000 x", "0 Nov 2026 15:04:05 +0000",
        "2026-11-23 15:04", "+", "+h", "+2", "+2x", "+2hh", "+-2h", "+99999999999h", "+9999999999w", "2h",
        "(open", "+2 h", "23 Nov 20260 15:04:05 +0000", "1764000000"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        no_date(bad[i]);
    char text[5000];
    memset(text, ' ', sizeof text);
    text[sizeof text - 1] = '\0';
    no_date(text);
}

static void test_dates_are_written(void **state)
{
    (void)state;
    char text[MAIL_DATE_SIZE];
    mail_date_format(SUBMITTED, text);
    assert_string_equal(text, SUBMITTED_DATE);
    mail_date_format(SUBMITTED + CLOCK_SECOND - 1, text);
    assert_string_equal(text, SUBMITTED_DATE);
    mail_date_format(0, text);
    assert_string_equal(text, "Thu, 1 Jan 1970 00:00:00 +0000");
    mail_date_format(-1, text);
    assert_string_equal(text, "Wed, 31 Dec 1969 23:59:59 +0000");
    mail_date_format(INT64_MAX, text);
    assert_string_equal(text, "Fri, 11 Apr 2262 23:47:16 +0000");
    mail_date_format(INT64_MIN, text);
    assert_string_equal(text, "Mon, 1 Jan 1900 00:00:00 +0000");
}

static struct composed with(struct bench *bench, const char *fields)
{
    char text[2048];
    (void)snprintf(text, sizeof text, "%sTo: a@x.example\n\ntext\n", fields);
    return compose(bench, text);
}

static void malformed(const char *fields, const char *words)
{
    struct bench bench;
    bench_init(&bench);
    struct composed composed = with(&bench, fields);
    fault_is(&composed, STATUS_REASON_MALFORMED, words);
    composed_release(&composed);
}

static void test_not_before_and_expires(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    struct composed composed =
        with(&bench, "X-Outtray-Not-Before: +2h\nX-Outtray-Expires: Tue, 24 Nov 2026\n 15:04:05 +0000\n");
    assert_int_equal(composed.result, 0);
    // Relative to the submission, to the nanosecond.
    assert_int_equal(
        composed.outgoing->not_before, SUBMITTED + 7200 * CLOCK_SECOND + bench.submitted.tv_nsec);
    assert_int_equal(composed.outgoing->expires, SUBMITTED + 86400 * CLOCK_SECOND);
    wire_lacks(&composed, "X-Outtray");
    composed_release(&composed);
    composed = with(&bench, "X-Outtray-Expires: 1 Jan 1970 00:00:00 +0000\n");
    assert_int_equal(composed.outgoing->expires, 1); // long ago, and not absent
    composed_release(&composed);
    composed = with(&bench, "");
    assert_int_equal(composed.outgoing->expires, 0);
    assert_int_equal(composed.outgoing->not_before, 0);
    composed_release(&composed);
    malformed("X-Outtray-Not-Before: soon\n", "X-Outtray-Not-Before is no time: soon");
    malformed("X-Outtray-Expires:\n", "X-Outtray-Expires is no time");
    malformed("X-Outtray-Expires: +1h\nX-Outtray-Expires: +2h\n", "X-Outtray-Expires stands there 2 times");
    malformed("X-Outtray-Expires: \x1b[31m\xff\n", "X-Outtray-Expires is no time: ?[31m?");
}

static void test_priority(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        bool high;
    } cases[] = {{"X-Outtray-Priority: high\n", true}, {"X-OUTTRAY-PRIORITY: High \n", true},
        {"X-Outtray-Priority: normal\n", false}, {"X-Outtray-Priority: low\n", false},
        {"X-Priority: 1\n", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench bench;
        bench_init(&bench);
        struct composed composed = with(&bench, cases[i].field);
        assert_int_equal(composed.result, 0);
        assert_int_equal(composed.outgoing->high_priority, cases[i].high);
        composed_release(&composed);
    }
    malformed("X-Outtray-Priority: urgent\n", "X-Outtray-Priority is high, normal or low, not urgent");
}

// The named tenant is looked up in a configuration that was loaded.
static const struct config *load(bool tenant_header)
{
    static const char text[] =
        "version: 1\ndomain: pbx.example.com\nspool: /tmp/s\nstate: /tmp/t\naccounts:\n"
        "  one: {auth: none, email: one@example.com, server: 127.0.0.1, encryption: none}\n"
        "  two: {auth: none, email: two@example.com, server: 127.0.0.1, encryption: none}\n"
        "tenants:\n  other: {account: two, from: Other <other@example.com>}\n"
        "  acme: {account: one, from: Acme <a@acme.example>, tenant_header: %s}\n";
    char path[] = "/tmp/outtray-test-controls.XXXXXX";
    const struct config *config = NULL;
    struct config_findings findings = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, text, tenant_header ? "true" : "false") > 0);
    close(fd);
    int r = config_load(path, NULL, &config, &findings);
    unlink(path);
    for (size_t i = 0; r && i < findings.n; i++)
        print_error("%s\n", findings.items[i].text);
    assert_int_equal(r, 0);
    config_findings_release(&findings);
    return config;
}

static struct composed with_loaded(const struct config *config, const char *fields)
{
    struct bench bench;
    struct stat stat;
    char text[2048];
    struct composed composed = {0};
    bench_init(&bench);
    (void)snprintf(text, sizeof text, "%sTo: a@x.example\n\ntext\n", fields);
    composed.fd = make_file(&bench, text, strlen(text), &stat);
    composed.result = outgoing_compose(config, config_find_tenant(config, "acme"), "name", composed.fd, &stat,
        &composed.outgoing, &composed.fault);
    if (composed.outgoing)
        read_wire(&composed);
    return composed;
}

static void test_another_tenant_where_the_spool_allows_it(void **state)
{
    (void)state;
    const struct config *config = load(true);
    struct composed composed = with_loaded(config, "X-Outtray-Tenant: other\n");
    assert_int_equal(composed.result, 0);
    assert_string_equal(composed.outgoing->tenant->name, "other");
    assert_string_equal(composed.outgoing->from, "Other <other@example.com>");
    assert_string_equal(composed.outgoing->envelope_from, "two@example.com");
    wire_lacks(&composed, "X-Outtray");
    composed_release(&composed);
    composed = with_loaded(config, "X-Outtray-Tenant: nobody\n");
    fault_is(&composed, STATUS_REASON_POLICY, "no tenant is called nobody");
    composed_release(&composed);
    composed = with_loaded(config, "X-Outtray-Tenant: other\nX-Outtray-Tenant: acme\n");
    fault_is(&composed, STATUS_REASON_MALFORMED, "2 times");
    composed_release(&composed);
    config_unref(config);
}

static void test_another_tenant_where_it_does_not(void **state)
{
    (void)state;
    const struct config *config = load(false);
    static const char *const fields[] = {"X-Outtray-Tenant: other\n", "X-Outtray-Tenant: nobody\n",
        "X-Outtray-Tenant: a\nX-Outtray-Tenant: b\n"};
    for (size_t i = 0; i < 3; i++) {
        struct composed composed = with_loaded(config, fields[i]);
        assert_int_equal(composed.result, 0);
        assert_string_equal(composed.outgoing->tenant->name, "acme");
        wire_lacks(&composed, "X-Outtray");
        composed_release(&composed);
    }
    config_unref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates_of_mail),
        cmocka_unit_test(test_times_of_files_and_from_now),
        cmocka_unit_test(test_what_is_no_date),
        cmocka_unit_test(test_dates_are_written),
        cmocka_unit_test(test_not_before_and_expires),
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_another_tenant_where_the_spool_allows_it),
        cmocka_unit_test(test_another_tenant_where_it_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
