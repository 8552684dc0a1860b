// The keeper beside another process on the same token file, and at the end of its own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keeper_support.h"

#ifdef OUTTRAY_TEST_CLOCK // else time cannot be moved

static void two_processes_ask_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_with_token(&bench, 3600);
    move_clock(4000);
    bench_start(&bench, 0);
    bench_start(&bench, 1);
    UNTIL(&bench, is_ready);
    UNTIL(&bench, is_quiet);
    move_clock(2); // who found the lock taken looks again
    UNTIL(&bench, is_quiet);
    assert_int_equal(web_requests(&bench.web), 1);
    for (unsigned i = 0; i < 2; i++) {
        struct secret secret = {0};
        char words[OAUTH_WORDS_MAX];
        const char *fix;
        assert_int_equal(keeper_token(bench.keepers[i], "office", &secret, words, &fix), KEEPER_READY);
        assert_string_equal(secret.text, "secret-access-1");
        secret_release(&secret);
    }
    bench_release(&bench);
}

static void who_has_the_lock_is_waited_for(void **state)
{
    (void)state;
    struct bench bench;
    int lock = -1;
    bench_with_token(&bench, 3600);
    move_clock(4000);
    assert_int_equal(token_lock(bench.place.fd, "office", &lock), 0);
    bench_start(&bench, 0);
    for (unsigned i = 0; i < 5; i++) {
        UNTIL(&bench, is_quiet);
        move_clock(1.5);
    }
    assert_int_equal(state_of(&bench), KEEPER_WAITING);
    assert_int_equal(web_requests(&bench.web), 0);
    store(&bench, "secret-access-verb", "secret-refresh-verb", 3600);
    close(lock);
    UNTIL(&bench, is_ready);
    move_clock(2);
    UNTIL(&bench, is_quiet);
    assert_access(&bench, "secret-access-verb");
    assert_int_equal(web_requests(&bench.web), 0);
    bench_release(&bench);
}

static void a_replaced_refresh_token_is_durable_before_it_is_used(void **state)
{
    (void)state;
    struct bench bench;
    bench_with_token(&bench, 3600);
    move_clock(4000);
    assert_int_equal(mkdirat(bench.place.fd, "tokens/.office.json.new", 0700), 0); // nothing can be written
    bench_start(&bench, 0);
    UNTIL(&bench, is_waiting_told);
    for (unsigned i = 0; i < 4; i++) {
        bench.waiting = 0;
        move_clock(61);
        UNTIL(&bench, is_stuck);
        assert_int_equal(state_of(&bench), KEEPER_WAITING);
        assert_stored(&bench, "secret-access-0", "secret-refresh-0");
    }
    assert_non_null(strstr(log_text(&bench), "token_not_stored"));
    assert_int_equal(unlinkat(bench.place.fd, "tokens/.office.json.new", AT_REMOVEDIR), 0);
    move_clock(61);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-1");
    assert_stored(&bench, "secret-access-1", "secret-refresh-1");
    assert_int_equal(web_requests(&bench.web), 1); // it was asked for once
    bench_release(&bench);
}

static void an_answer_on_its_way_is_waited_for_at_the_end(void **state)
{
    (void)state;
    struct bench bench;
    bench_with_token(&bench, 3600);
    move_clock(4000);
    bench_reply(&bench, (struct web_reply){.status = 200, .fault = WEB_LATE});
    bench_start(&bench, 0);
    UNTIL(&bench, is_asked);
    assert_true(keeper_end(bench.keepers[0]));
    web_release(&bench.web);
    UNTIL(&bench, is_quiet);
    assert_false(keeper_end(bench.keepers[0]));
    assert_stored(&bench, "secret-access-1", "secret-refresh-1");
    bench_release(&bench);
}

static void an_end_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(&bench, NULL);
    assert_false(keeper_end(NULL));
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    move_clock(4000);
    bench_reply(&bench, (struct web_reply){.status = 200, .body = "", .fault = WEB_HANG});
    bench_start(&bench, 0);
    UNTIL(&bench, is_asked);
    assert_true(keeper_end(bench.keepers[0]));
    move_clock(11);
    assert_false(keeper_end(bench.keepers[0]));
    bench_release(&bench);
}

#endif

int main(void)
{
#ifdef OUTTRAY_TEST_CLOCK
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_processes_ask_once),
        cmocka_unit_test(who_has_the_lock_is_waited_for),
        cmocka_unit_test(a_replaced_refresh_token_is_durable_before_it_is_used),
        cmocka_unit_test(an_answer_on_its_way_is_waited_for_at_the_end),
        cmocka_unit_test(an_end_does_not_wait_for_ever),
    };
    return keeper_run_tests(tests);
#else
    return 0;
#endif
}
