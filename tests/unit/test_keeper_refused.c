// What the keeper makes of refusals: by the provider, and by the mail server that it gave a token for.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keeper_support.h"

#ifdef OUTTRAY_TEST_CLOCK // else time cannot be moved

static void a_dead_grant_needs_a_person_and_keeps_the_token(void **state)
{
    (void)state;
    struct bench bench;
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    struct token token = {0};
    bench_with_token(&bench, 3600);
    bench_reply(&bench,
        (struct web_reply){.status = 400,
            .body = "{\"error\":\"invalid_grant\",\"error_description\":\"AADSTS50173: secret-refresh-0 "
                    "was revoked\",\"error_codes\":[50173]}"});
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
    move_clock(3100);
    UNTIL(&bench, is_needs);
    assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_NEEDS);
    assert_string_equal(words, "invalid_grant: AADSTS50173: [hidden] was revoked");
    assert_string_equal(fix, "run `outtray oauth login office`");
    UNTIL(&bench, is_quiet);
    assert_stored(&bench, "secret-access-0", "secret-refresh-0");
    assert_int_equal(token_read(bench.place.fd, "office", &token), 0);
    assert_string_equal(token.needs, words);
    assert_true(token.needs_login);
    token_release(&token);
    // Neither time nor a restart makes it ask again.
    move_clock(86400);
    UNTIL(&bench, is_quiet);
    bench_end(&bench, 0);
    bench_start(&bench, 0);
    UNTIL(&bench, is_needs);
    UNTIL(&bench, is_quiet);
    assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_NEEDS);
    assert_non_null(strstr(words, "AADSTS50173"));
    assert_int_equal(web_requests(&bench.web), 1);
    // A person does.
    store(&bench, "secret-access-new", "secret-refresh-new", 3600);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-new");
    bench_release(&bench);
}

static bool has_two_requests(struct bench *bench)
{
    return web_requests(&bench->web) >= 2;
}

static void what_an_administrator_must_mend_is_tried_every_hour(void **state)
{
    (void)state;
    struct bench bench;
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    bench_with_token(&bench, 3600);
    move_clock(3600);
    bench_reply(&bench, (struct web_reply){.status = 401,
                            .body = "{\"error\":\"invalid_client\",\"error_codes\":[7000222]}"});
    bench_start(&bench, 0);
    UNTIL(&bench, is_needs);
    assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_NEEDS);
    assert_non_null(strstr(fix, "client_secret_file"));
    move_clock(3000);
    UNTIL(&bench, is_quiet);
    assert_int_equal(web_requests(&bench.web), 1);
    bench_grant(&bench, 3600, true);
    move_clock(900);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-2");
    bench_release(&bench);
}

static void trouble_on_the_way_is_waited_out_with_the_current_token(void **state)
{
    (void)state;
    static const struct web_reply replies[] = {
        {.status = 502, .type = "text/html", .body = "<html>secret-access-0</html>"},
        {.status = 429, .body = "{}", .headers = "Retry-After: 120\r\n"},
        {.status = 200, .body = "{\"access_token\":\"secret-tr"},
        {.status = 200, .body = "{\"access_token\":\"secret-x\"}", .fault = WEB_TRUNCATED},
        {.status = 400, .body = "{\"error\":\"temporarily_unavailable\"}"},
    };
    struct bench bench;
    bench_with_keeper(&bench, 7200);
    move_clock(7200 - 600);
    double wait = 10;
    for (unsigned i = 0; i < sizeof replies / sizeof *replies; i++) {
        bench_reply(&bench, replies[i]);
        UNTIL(&bench, is_quiet);
        assert_int_equal(web_requests(&bench.web), i + 1);
        assert_access(&bench, "secret-access-0"); // as long as it lasts
        if (i == 4)
            break;
        double least = replies[i].headers && wait < 120 ? 120 : wait;
        move_clock(least * 0.95);
        UNTIL(&bench, is_quiet);
        assert_int_equal(web_requests(&bench.web), i + 1); // not earlier than promised
        bench_reply(&bench, replies[i + 1]);
        move_clock(least * 0.3);
        wait *= 2;
    }
    assert_int_equal(bench.waiting, 0); // nobody had to know
    move_clock(600);
    UNTIL(&bench, is_waiting_told);
    assert_int_equal(state_of(&bench), KEEPER_WAITING);
    bench_release(&bench);
}

static void without_a_current_token_trouble_is_told(void **state)
{
    (void)state;
    struct bench bench;
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    bench_with_token(&bench, 3600);
    move_clock(4000);
    bench_reply(&bench, (struct web_reply){.status = 503, .body = "{\"error\":\"server_error\"}"});
    bench_start(&bench, 0);
    UNTIL(&bench, is_waiting_told);
    assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_WAITING);
    assert_string_equal(words, "server_error");
    bench_grant(&bench, 3600, true);
    move_clock(13);
    UNTIL(&bench, is_ready);
    bench_release(&bench);
}

static void a_refused_token_is_replaced_once(void **state)
{
    (void)state;
    struct bench bench;
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    bench_with_keeper(&bench, 3600);
    uint64_t first = keeper_serial(bench.keepers[0], "office");
    bench.ready = 0;
    assert_true(keeper_refused(bench.keepers[0], "office", first, "535 5.7.3 no"));
    assert_int_equal(state_of(&bench), KEEPER_WAITING); // nobody tries it again
    assert_true(keeper_refused(bench.keepers[0], "office", first, "535 5.7.3 no"));
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-1");
    UNTIL(&bench, is_quiet);
    assert_int_equal(web_requests(&bench.web), 1);
    uint64_t second = keeper_serial(bench.keepers[0], "office");
    assert_int_not_equal(first, second);
    // A session that had the old one says so late: the new one stays.
    assert_true(keeper_refused(bench.keepers[0], "office", first, "535 5.7.3 no"));
    assert_access(&bench, "secret-access-1");
    // The fresh one is refused too: that is for a person, until another hour has passed.
    assert_false(keeper_refused(bench.keepers[0], "office", second, "535 5.7.3 still no"));
    assert_int_equal(now_of(&bench, NULL, 0, words, &fix), KEEPER_NEEDS);
    assert_string_equal(words, "535 5.7.3 still no");
    assert_non_null(strstr(fix, "outtray oauth login office"));
    UNTIL(&bench, is_quiet);
    assert_int_equal(bench.needs, 0); // who asked knows already
    struct token token = {0};
    assert_int_equal(token_read(bench.place.fd, "office", &token), 0);
    assert_string_equal(token.needs, "535 5.7.3 still no");
    assert_false(token.needs_login);
    token_release(&token);
    bench.ready = 0;
    move_clock(4000);
    UNTIL(&bench, is_ready);
    assert_false(keeper_refused(
        bench.keepers[0], "office", keeper_serial(bench.keepers[0], "office"), "535 5.7.3 for ever"));
    UNTIL(&bench, is_quiet);
    assert_int_equal(web_requests(&bench.web), 2);
    bench_release(&bench);
}

static void a_token_that_worked_may_be_replaced_again(void **state)
{
    (void)state;
    struct bench bench;
    bench_with_keeper(&bench, 3600);
    for (unsigned i = 1; i <= 3; i++) {
        uint64_t serial = keeper_serial(bench.keepers[0], "office");
        keeper_accepted(bench.keepers[0], "office", serial);
        bench.ready = 0;
        assert_true(keeper_refused(bench.keepers[0], "office", serial, "535"));
        move_clock(11);
        UNTIL(&bench, is_ready);
        assert_int_equal(web_requests(&bench.web), i);
    }
    bench_release(&bench);
}

static void a_clock_that_differs_is_told_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_with_token(&bench, 3600);
    move_clock(4000);
    bench_reply(
        &bench, (struct web_reply){
                    .status = 503, .body = "{}", .headers = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"});
    bench_start(&bench, 0);
    UNTIL(&bench, is_waiting_told);
    move_clock(15);
    UNTIL(&bench, has_two_requests);
    UNTIL(&bench, is_quiet);
    const char *told = strstr(log_text(&bench), "event=clock_skew");
    assert_non_null(told);
    assert_null(strstr(told + 1, "event=clock_skew"));
    bench_release(&bench);
}

#endif

int main(void)
{
#ifdef OUTTRAY_TEST_CLOCK
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_grant_needs_a_person_and_keeps_the_token),
        cmocka_unit_test(what_an_administrator_must_mend_is_tried_every_hour),
        cmocka_unit_test(trouble_on_the_way_is_waited_out_with_the_current_token),
        cmocka_unit_test(without_a_current_token_trouble_is_told),
        cmocka_unit_test(a_refused_token_is_replaced_once),
        cmocka_unit_test(a_token_that_worked_may_be_replaced_again),
        cmocka_unit_test(a_clock_that_differs_is_told_once),
    };
    return keeper_run_tests(tests);
#else
    return 0;
#endif
}
