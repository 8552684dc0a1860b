// When the keeper fetches a token, and which one it hands out.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keeper_support.h"

#ifdef OUTTRAY_TEST_CLOCK // else time cannot be moved

static void without_a_token_a_person_is_needed(void **state)
{
    (void)state;
    struct bench bench;
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    bench_make(&bench, NULL);
    bench_start(&bench, 0);
    UNTIL(&bench, is_needs);
    assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_NEEDS);
    assert_non_null(strstr(words, "pbx@example.com"));
    assert_non_null(strstr(fix, "outtray oauth login office"));
    assert_int_equal(keeper_expires_s(bench.keepers[0], "office"), INT64_MIN);
    assert_int_equal(keeper_expires_s(bench.keepers[0], "other"), INT64_MIN);
    assert_int_equal(web_requests(&bench.web), 0);
    // A verb stores one: it counts at once.
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-0");
    assert_in_range(keeper_expires_s(bench.keepers[0], "office"), 3595, 3600);
    assert_int_equal(web_requests(&bench.web), 0);
    // And taken away again.
    bench.needs = 0;
    assert_int_equal(token_remove(bench.place.fd, "office"), 0);
    UNTIL(&bench, is_needs);
    bench_release(&bench);
}

static void a_token_is_refreshed_ten_minutes_before_its_end(void **state)
{
    (void)state;
    struct bench bench;
    bench_with_keeper(&bench, 3600);
    move_clock(3600 - 600 - 200);
    UNTIL(&bench, is_quiet);
    assert_int_equal(web_requests(&bench.web), 0);
    assert_access(&bench, "secret-access-0");
    bench.ready = 0;
    move_clock(200);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-1");
    assert_stored(&bench, "secret-access-1", "secret-refresh-1");
    assert_int_equal(web_requests(&bench.web), 1);
    assert_non_null(strstr(bench.asked, "refresh_token=secret-refresh-0"));
    UNTIL(&bench, is_quiet);
    assert_int_equal(web_requests(&bench.web), 1);
    // A provider that does not replace refresh tokens: the old one stays.
    bench_grant(&bench, 3600, false);
    bench.ready = 0;
    move_clock(3100);
    UNTIL(&bench, is_ready);
    assert_stored(&bench, "secret-access-2", "secret-refresh-1");
    bench_release(&bench);
}

static void short_tokens_are_never_used_after_their_end(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(&bench, NULL);
    bench_grant(&bench, 60, true);
    store(&bench, "secret-access-0", "secret-refresh-0", 60);
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
    int64_t began = clock_boot(), fetched = clock_boot();
    char access[64], last[64] = "secret-access-0";
    while (clock_boot() - began < 1200 * CLOCK_SECOND) {
        move_clock(5);
        UNTIL(&bench, is_ready);
        UNTIL(&bench, is_quiet);
        assert_int_equal(now_of(&bench, access, sizeof access, NULL, NULL), KEEPER_READY);
        if (strcmp(access, last) != 0)
            fetched = clock_boot();
        (void)snprintf(last, sizeof last, "%s", access);
        assert_true(clock_boot() - fetched < 58 * CLOCK_SECOND);
    }
    assert_in_range(web_requests(&bench.web), 1200 / 60, 1200 / 35);
    // The clock jumps: nobody gets the token that expired.
    move_clock(3 * 86400);
    assert_int_equal(state_of(&bench), KEEPER_WAITING);
    bench.ready = 0;
    UNTIL(&bench, is_ready);
    bench_release(&bench);
}

static void an_idle_account_is_refreshed_every_day(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 30 * 86400);
    bench_grant(&bench, 30 * 86400, true);
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
    for (unsigned day = 1; day <= 3; day++) {
        bench.ready = 0;
        move_clock(86400 + 10);
        UNTIL(&bench, is_ready);
        UNTIL(&bench, is_quiet);
        assert_int_equal(web_requests(&bench.web), day);
    }
    bench_release(&bench);
}

static void what_expired_while_nobody_ran_is_refreshed_first(void **state)
{
    (void)state;
    struct bench bench;
    bench_with_token(&bench, 3600);
    move_clock(7 * 86400);
    bench_start(&bench, 0);
    assert_int_equal(state_of(&bench), KEEPER_WAITING);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-1");
    bench_release(&bench);
}

static void without_a_person_the_first_token_is_fetched_too(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(
        &bench, "client_id: client-1, flow: client_credentials, client_secret_file: /nonexistent/secret");
    bench_grant(&bench, 3600, false);
    bench_start(&bench, 0);
    UNTIL(&bench, is_needs); // the secret cannot be read
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_NEEDS);
    assert_non_null(strstr(words, "/nonexistent/secret"));
    assert_int_equal(web_requests(&bench.web), 0);
    // Mended, and the configuration read again: at once.
    char oauth[256];
    (void)snprintf(oauth, sizeof oauth,
        "client_id: client-1, flow: client_credentials, client_secret_file: %s",
        place_write(&bench.place, "secret", "secret-client", 0600));
    loaded_release(&bench.loaded);
    bench_configure(&bench, oauth);
    assert_int_equal(keeper_configure(bench.keepers[0], bench.loaded.config), 0);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-1");
    assert_stored(&bench, "secret-access-1", "");
    assert_non_null(strstr(bench.asked, "grant_type=client_credentials"));
    assert_non_null(strstr(bench.asked, "client_secret=secret-client"));
    bench_release(&bench);
}

static void tokens_of_another_client_or_mailbox_are_not_used(void **state)
{
    (void)state;
    struct bench bench;
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    bench_with_keeper(&bench, 3600);
    static const char *const settings[] = {
        "client_id: client-2", "client_id: client-1, login: other@example.com"};
    for (unsigned i = 0; i < 2; i++) {
        bench.needs = bench.ready = 0;
        loaded_release(&bench.loaded);
        bench_configure(&bench, settings[i]);
        assert_int_equal(keeper_configure(bench.keepers[0], bench.loaded.config), 0);
        UNTIL(&bench, is_needs);
        UNTIL(&bench, is_quiet);
        assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_NEEDS);
        assert_non_null(strstr(words, i ? "mailbox" : "client"));
    }
    loaded_release(&bench.loaded); // and back
    bench_configure(&bench, "client_id: client-1");
    assert_int_equal(keeper_configure(bench.keepers[0], bench.loaded.config), 0);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-0");
    assert_int_equal(web_requests(&bench.web), 0);
    bench_release(&bench);
}

static void an_account_that_leaves_the_configuration_is_left_alone(void **state)
{
    (void)state;
    struct bench bench;
    struct loaded with;
    bench_with_keeper(&bench, 3600);
    with = bench.loaded;
    load_text(&bench.loaded,
        "version: 1\nspool: /tmp/spool\nstate: /tmp/state\ndomain: d.example\n"
        "accounts: {relay: {auth: none, server: s.example}}\ntenants: {t: {account: relay}}\n");
    assert_int_equal(keeper_configure(bench.keepers[0], bench.loaded.config), 0);
    loaded_release(&with);
    assert_int_equal(state_of(&bench), KEEPER_NEEDS);
    move_clock(86400);
    UNTIL(&bench, is_quiet);
    assert_int_equal(web_requests(&bench.web), 0);
    bench_release(&bench);
}

static void a_file_that_is_broken_is_told(void **state)
{
    (void)state;
    struct bench bench;
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    bench_make(&bench, NULL);
    assert_int_equal(mkdirat(bench.place.fd, "tokens", 0700), 0);
    place_write(&bench.place, "tokens/office.json", "{\"version\":1", 0600);
    bench_start(&bench, 0);
    UNTIL(&bench, is_needs);
    assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_NEEDS);
    assert_non_null(strstr(words, "cannot be understood"));
    bench_release(&bench);
}

static void credentials_come_from_the_keeper(void **state)
{
    (void)state;
    struct bench bench;
    struct credentials credentials;
    char problem[OAUTH_WORDS_MAX];
    bench_make(&bench, NULL);
    const struct config_account *account = &bench.loaded.config->accounts[0];
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    bench_start(&bench, 0);
    assert_int_equal(credentials_load(bench.keepers[0], account, &credentials, problem), -EAGAIN);
    credentials_release(&credentials);
    UNTIL(&bench, is_ready);
    assert_int_equal(credentials_load(bench.keepers[0], account, &credentials, problem), 0);
    assert_true(credentials.oauth);
    assert_string_equal(credentials.username, "pbx@example.com");
    assert_string_equal(credentials.secret.text, "secret-access-0");
    assert_int_equal(credentials.serial, keeper_serial(bench.keepers[0], "office"));
    credentials_release(&credentials);
    assert_int_equal(token_remove(bench.place.fd, "office"), 0);
    UNTIL(&bench, is_needs);
    assert_int_equal(credentials_load(bench.keepers[0], account, &credentials, problem), -EKEYREJECTED);
    assert_non_null(strstr(credentials.fix, "outtray oauth login office"));
    assert_non_null(strstr(problem, "needs authorization"));
    credentials_release(&credentials);
    bench_release(&bench);
}

#endif

int main(void)
{
#ifdef OUTTRAY_TEST_CLOCK
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_token_a_person_is_needed),
        cmocka_unit_test(a_token_is_refreshed_ten_minutes_before_its_end),
        cmocka_unit_test(short_tokens_are_never_used_after_their_end),
        cmocka_unit_test(an_idle_account_is_refreshed_every_day),
        cmocka_unit_test(what_expired_while_nobody_ran_is_refreshed_first),
        cmocka_unit_test(without_a_person_the_first_token_is_fetched_too),
        cmocka_unit_test(tokens_of_another_client_or_mailbox_are_not_used),
        cmocka_unit_test(an_account_that_leaves_the_configuration_is_left_alone),
        cmocka_unit_test(a_file_that_is_broken_is_told),
        cmocka_unit_test(credentials_come_from_the_keeper),
    };
    return keeper_run_tests(tests);
#else
    return 0;
#endif
}
