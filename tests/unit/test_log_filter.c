// Lines of the log taken apart, and chosen.
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/cli/log_filter.h"

#include <setjmp.h> // cmocka wants these four before it
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// What the log writes, read back: every octet but NUL in a value, in both formats.
static void what_is_written_is_read_back(void **state)
{
    (void)state;
    char value[256];
    for (int json = 0; json < 2; json++) {
        struct log *log = NULL;
        struct log_lines lines;
        assert_int_equal(log_open(&(struct log_target){json, "", LOG_NO_SYSLOG, NULL}, &log), 0);
        log_lines_init(&lines, log);
        for (int c = 1; c < 128; c++)
            value[c - 1] = (char)c;
        value[127] = '\0';
        log_line_begin(&lines, 1764000000 * CLOCK_SECOND, LOG_INFO_LEVEL, "sent");
        log_line_text(&lines, "reply", value);
        log_line_text(&lines, "to", "");
        log_line_number(&lines, "nrcpt", 12);
        log_line_end(&lines);
        lines.text.data[lines.text.length - 1] = '\0'; // the line end
        json_t *parsed = log_filter_parse(lines.text.data);
        assert_non_null(parsed);
        assert_string_equal(json_string_value(json_object_get(parsed, "reply")), value);
        assert_string_equal(json_string_value(json_object_get(parsed, "to")), "");
        assert_int_equal(json_integer_value(json_object_get(parsed, "nrcpt")), 12);
        assert_string_equal(json_string_value(json_object_get(parsed, "event")), "sent");
        json_decref(parsed);
        log_lines_release(&lines);
        log_close(log);
    }
}

static void what_is_no_line_is_none(void **state)
{
    (void)state;
    const char *const lines[] = {"", "time=", "time=x event=sent", "hello", "{", "{}", "[1]", "{\"time\": 1}",
        "event=sent", "time=2026 level=notice", "\xff\xfe", "time=2026 =x event=sent"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        json_t *parsed = log_filter_parse(lines[i]);
        if (parsed)
            fail_msg("%s is a line", lines[i]);
    }
}

static void torn_escapes_end_the_value(void **state)
{
    (void)state;
    const char *const lines[] = {"time=2026 event=sent reply=\"", "time=2026 event=sent reply=\"\\",
        "time=2026 event=sent reply=\"\\u00", "time=2026 event=sent reply=\"\\u001",
        "time=2026 event=sent reply=\"x\\u00zz\""};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        json_t *parsed = log_filter_parse(lines[i]);
        assert_non_null(parsed);
        json_decref(parsed);
    }
}

static bool fits(const struct log_filter *filter)
{
    json_t *line = log_filter_parse(
        "Nov 23 10:00:00 host outtray[1]: time=2026-11-23T10:00:00.000Z event=failed tenant=acme "
        "name=one account=relay to=a@example.net,B@example.net reply=\"x event=sent\"");
    assert_non_null(line);
    bool result = log_filter_fits(filter, line);
    json_decref(line);
    return result;
}

static void filters_choose(void **state)
{
    (void)state;
    assert_true(log_filter_is_empty(&(struct log_filter){0}));
    assert_true(fits(&(struct log_filter){0}));
    assert_true(fits(
        &(struct log_filter){.tenant = "acme", .account = "relay", .name = "one", .events = "sent,failed"}));
    assert_false(fits(&(struct log_filter){.events = "sent"}));
    assert_false(fits(&(struct log_filter){.events = "fail,failedx,"}));
    assert_false(fits(&(struct log_filter){.tenant = "acm"}));
    assert_true(fits(&(struct log_filter){.recipient = "b@EXAMPLE"}));
    assert_false(fits(&(struct log_filter){.recipient = "c@"}));
    int64_t then = 1795428000 * CLOCK_SECOND; // 2026-11-23T10:00:00Z
    assert_true(fits(&(struct log_filter){.since = then}));
    assert_false(fits(&(struct log_filter){.since = then + 1}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(what_is_no_line_is_none),
        cmocka_unit_test(torn_escapes_end_the_value),
        cmocka_unit_test(filters_choose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
