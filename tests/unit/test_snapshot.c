// status.json and the metrics: keys, zeros, escapes, the histogram, and replacing the files.
#include "agent/observe/snapshot.h"

// cmocka.h wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX (1024 * 1024)

static const struct observe_tenant idle = {.name = "acme", .account = "relay"};
static const struct observe_account closed = {
    .name = "relay", .breaker = "closed", .reason = "", .window = 8, .token_expires_s = INT64_MIN};

static struct snapshot snapshot_of(const struct observe_tenant *tenant, const struct observe_account *account)
{
    return (struct snapshot){
        .time = 1795446246120000000,
        .started = 1795446000000000000,
        .agent = "main",
        .config_path = "/etc/outtray/outtray.yaml",
        .version = "0.1.0",
        .pid = 42,
        .spool = "ok",
        .tenants = tenant,
        .n_tenants = 1,
        .accounts = account,
        .n_accounts = 1,
        .landlock = 7,
        .seccomp = true,
    };
}

static json_t *status_of(const struct snapshot *snapshot)
{
    struct buffer text;
    buffer_init(&text, TEXT_MAX);
    assert_int_equal(observe_status_json(snapshot, &text), 0);
    json_error_t error;
    json_t *root = json_loads(text.data, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    buffer_release(&text);
    return root;
}

static char *metrics_of(const struct snapshot *snapshot)
{
    struct buffer text;
    buffer_init(&text, TEXT_MAX);
    assert_int_equal(observe_metrics(snapshot, &text), 0);
    return buffer_detach(&text, NULL);
}

static void assert_series(const char *metrics, const char *line)
{
    char whole[512];
    (void)snprintf(whole, sizeof whole, "\n%s\n", line);
    if (!strstr(metrics, whole))
        fail_msg("no series %s in:\n%s", line, metrics);
}

static void assert_keys(const json_t *object, const char *const *keys)
{
    const char *key;
    json_t *value;
    json_t *borrowed = (json_t *)(uintptr_t)object; // jansson's loop takes no const
    json_object_foreach(borrowed, key, value)
    {
        assert_non_null(*keys);
        assert_string_equal(key, *keys++);
    }
    assert_null(*keys);
}

static void status_has_every_key(void **state)
{
    (void)state;
    struct snapshot snapshot = snapshot_of(&idle, &closed);
    json_t *root = status_of(&snapshot);
    assert_keys(root, (const char *const[]){"version", "time", "pid", "agent", "started", "config", "spool",
                          "tenants", "accounts", "sandbox", "healthy", "health", NULL});
    assert_string_equal(json_string_value(json_object_get(root, "time")), "2026-11-23T15:04:06.120Z");
    json_t *tenant = json_object_get(json_object_get(root, "tenants"), "acme");
    assert_keys(tenant, (const char *const[]){"account", "new", "cur", "deferred", "failed", "sent_total",
                            "failed_total", "ignored", NULL});
    assert_keys(json_object_get(tenant, "cur"), (const char *const[]){"count", "bytes", "oldest_s", NULL});
    json_t *account = json_object_get(json_object_get(root, "accounts"), "relay");
    assert_keys(account, (const char *const[]){"breaker", "reason", "fix", "probe_at", "sessions", "window",
                             "in_flight", "sent_total", "logins_total", "token_expires_s", "paused", NULL});
    assert_string_equal(json_string_value(json_object_get(account, "fix")), "");
    assert_true(json_is_null(json_object_get(account, "probe_at")));
    assert_true(json_is_null(json_object_get(account, "token_expires_s")));
    assert_true(json_is_true(json_object_get(json_object_get(root, "sandbox"), "seccomp")));
    json_decref(root);
}

static void status_tells_what_is(void **state)
{
    (void)state;
    struct observe_tenant tenant = idle;
    tenant.states[OBSERVE_DEFERRED] = (struct observe_count){3, 4096, 77};
    tenant.failed[0] = 2;
    tenant.failed[4] = 1;
    tenant.sent_total = 9;
    struct observe_account account = closed;
    account.breaker = "open_quota";
    account.reason = "550 5.4.5 Daily user sending limit exceeded";
    account.probe_at = 1795446365000000000;
    account.token_expires_s = -5;
    struct snapshot snapshot = snapshot_of(&tenant, &account);
    json_t *root = status_of(&snapshot);
    json_t *shown = json_object_get(json_object_get(root, "tenants"), "acme");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(shown, "deferred"), "bytes")), 4096);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(shown, "deferred"), "oldest_s")), 77);
    assert_int_equal(json_integer_value(json_object_get(shown, "failed_total")), 3);
    assert_int_equal(json_integer_value(json_object_get(shown, "sent_total")), 9);
    shown = json_object_get(json_object_get(root, "accounts"), "relay");
    assert_string_equal(json_string_value(json_object_get(shown, "probe_at")), "2026-11-23T15:06:05Z");
    assert_int_equal(json_integer_value(json_object_get(shown, "token_expires_s")), -5);
    json_decref(root);
}

static void hostile_text_makes_no_broken_json(void **state)
{
    (void)state;
    struct observe_tenant tenant = idle;
    tenant.name = "a\"\\\n\xff";
    struct observe_account account = closed;
    account.reason = "535 \x1b[2J\x80 \xed\xa0\x80 \xc0\xaf \xf5 \xe2\x82 \"}";
    struct snapshot snapshot = snapshot_of(&tenant, &account);
    json_t *root = status_of(&snapshot);
    assert_non_null(json_object_get(json_object_get(root, "tenants"), "a\"\\\n\xef\xbf\xbd"));
    const char *reason = json_string_value(
        json_object_get(json_object_get(json_object_get(root, "accounts"), "relay"), "reason"));
    assert_non_null(reason);
    assert_memory_equal(reason, "535 \x1b[2J\xef\xbf\xbd ", 12);
    assert_string_equal(reason + strlen(reason) - 3, " \"}");
    json_decref(root);
}

static void every_series_is_there_from_the_start(void **state)
{
    (void)state;
    struct snapshot snapshot = snapshot_of(&idle, &closed);
    char *metrics = metrics_of(&snapshot);
    static const char *const lines[] = {
        "outtray_messages{tenant=\"acme\",state=\"new\"} 0",
        "outtray_messages{tenant=\"acme\",state=\"failed\"} 0",
        "outtray_oldest_message_age_seconds{tenant=\"acme\",state=\"deferred\"} 0",
        "outtray_delivered_total{tenant=\"acme\",account=\"relay\"} 0",
        "outtray_failed_total{tenant=\"acme\",reason=\"recipient\"} 0",
        "outtray_failed_total{tenant=\"acme\",reason=\"expired\"} 0",
        "outtray_deferred_total{tenant=\"acme\",class=\"greylist\"} 0",
        "outtray_deferred_total{tenant=\"acme\",class=\"local\"} 0",
        "outtray_account_breaker{account=\"relay\",state=\"closed\"} 1",
        "outtray_account_breaker{account=\"relay\",state=\"open_unreachable\"} 0",
        "outtray_account_breaker{account=\"relay\",state=\"open_credentials\"} 0",
        "outtray_account_breaker{account=\"relay\",state=\"open_quota\"} 0",
        "outtray_sessions{account=\"relay\"} 0",
        "outtray_logins_total{account=\"relay\"} 0",
        "outtray_in_flight{account=\"relay\"} 0",
        "outtray_token_expiry_seconds{account=\"relay\"} 0",
        "outtray_delivery_seconds_bucket{account=\"relay\",le=\"0.05\"} 0",
        "outtray_delivery_seconds_bucket{account=\"relay\",le=\"+Inf\"} 0",
        "outtray_delivery_seconds_sum{account=\"relay\"} 0.000000",
        "outtray_delivery_seconds_count{account=\"relay\"} 0",
        "outtray_spool_ok 1",
        "outtray_up 1",
        "outtray_build_info{version=\"0.1.0\"} 1",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_series(metrics, lines[i]);
    free(metrics);
}

static void delivered_pairs_stand_once(void **state)
{
    (void)state;
    const struct observe_delivered delivered[] = {{"acme", "old", 5}, {"acme", "relay", 7}};
    struct snapshot snapshot = snapshot_of(&idle, &closed);
    snapshot.delivered = delivered;
    snapshot.n_delivered = 2;
    snapshot.spool = "full";
    char *metrics = metrics_of(&snapshot);
    assert_series(metrics, "outtray_delivered_total{tenant=\"acme\",account=\"old\"} 5");
    assert_series(metrics, "outtray_delivered_total{tenant=\"acme\",account=\"relay\"} 7");
    assert_null(strstr(metrics, "account=\"relay\"} 0\nouttray_delivered_total"));
    assert_null(strstr(metrics, "outtray_delivered_total{tenant=\"acme\",account=\"relay\"} 0"));
    assert_series(metrics, "outtray_spool_ok 0");
    free(metrics);
}

static void histogram_is_cumulative(void **state)
{
    (void)state;
    struct observe_account account = closed;
    account.delivery[0] = 2;
    account.delivery[4] = 3; // up to 1 s
    account.delivery[OBSERVE_BUCKETS] = 1;
    account.delivery_sum_s = 90003.25;
    struct snapshot snapshot = snapshot_of(&idle, &account);
    char *metrics = metrics_of(&snapshot);
    assert_series(metrics, "outtray_delivery_seconds_bucket{account=\"relay\",le=\"0.05\"} 2");
    assert_series(metrics, "outtray_delivery_seconds_bucket{account=\"relay\",le=\"0.5\"} 2");
    assert_series(metrics, "outtray_delivery_seconds_bucket{account=\"relay\",le=\"1\"} 5");
    assert_series(metrics, "outtray_delivery_seconds_bucket{account=\"relay\",le=\"86400\"} 5");
    assert_series(metrics, "outtray_delivery_seconds_bucket{account=\"relay\",le=\"+Inf\"} 6");
    assert_series(metrics, "outtray_delivery_seconds_sum{account=\"relay\"} 90003.250000");
    assert_series(metrics, "outtray_delivery_seconds_count{account=\"relay\"} 6");
    free(metrics);
}

static void hostile_labels_are_escaped(void **state)
{
    (void)state;
    struct observe_tenant tenant = idle;
    tenant.name = "a\"} 1\\\nb\r\xff";
    struct snapshot snapshot = snapshot_of(&tenant, &closed);
    char *metrics = metrics_of(&snapshot);
    assert_series(metrics, "outtray_messages{tenant=\"a\\\"} 1\\\\\xef\xbf\xbd"
                           "b\xef\xbf\xbd\xef\xbf\xbd\",state=\"new\"} 0");
    free(metrics);
}

static void help_and_type_come_once_before_their_series(void **state)
{
    (void)state;
    struct snapshot snapshot = snapshot_of(&idle, &closed);
    char *metrics = metrics_of(&snapshot);
    char seen[32][64], type[64] = "";
    size_t n = 0;
    for (char *line = metrics; *line; line += strcspn(line, "\n") + 1) {
        if (sscanf(line, "# TYPE %63s", type) == 1) {
            for (size_t i = 0; i < n; i++)
                assert_string_not_equal(seen[i], type);
            assert_true(n < 32);
            memcpy(seen[n++], type, sizeof type);
        } else if (*line != '#') {
            assert_memory_equal(line, type, strlen(type)); // a histogram's series begin with its name
        }
    }
    assert_int_equal(n, 18); // as many as outtray(8) lists
    free(metrics);
}

static void full_buffer_is_an_error(void **state)
{
    (void)state;
    struct snapshot snapshot = snapshot_of(&idle, &closed);
    struct buffer small;
    buffer_init(&small, 100);
    assert_true(observe_status_json(&snapshot, &small) < 0);
    buffer_clear(&small);
    assert_true(observe_metrics(&snapshot, &small) < 0);
    buffer_release(&small);
}

static void class_names_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < OBSERVE_CLASSES; i++)
        assert_int_equal(observe_class_index(observe_classes[i]), i);
    assert_int_equal(observe_class_index("something else"), OBSERVE_CLASSES - 1);
    assert_int_equal(observe_class_index(NULL), OBSERVE_CLASSES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_has_every_key),
        cmocka_unit_test(status_tells_what_is),
        cmocka_unit_test(hostile_text_makes_no_broken_json),
        cmocka_unit_test(every_series_is_there_from_the_start),
        cmocka_unit_test(delivered_pairs_stand_once),
        cmocka_unit_test(histogram_is_cumulative),
        cmocka_unit_test(hostile_labels_are_escaped),
        cmocka_unit_test(help_and_type_come_once_before_their_series),
        cmocka_unit_test(full_buffer_is_an_error),
        cmocka_unit_test(class_names_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
