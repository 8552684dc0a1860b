// The keeper against a provider that a function here plays, with a clock that the test moves.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/auth/credentials.h"
#include "agent/auth/keeper_private.h"
#include "auth_support.h"
#include "config_support.h"
#include "web_server.h"

#ifdef OUTTRAY_TEST_CLOCK // else time cannot be moved

#define DEADLINE_S 20

struct bench {
    struct place place;
    struct loop *loop;
    struct multi *multi;
    struct log *log;
    struct keeper *keepers[2]; // two of them are two processes
    struct web web;
    struct loaded loaded;
    struct web_reply reply;
    char template[512]; // body of an answer; %u is the number of the request
    char body[1024];    // the answer made of it
    char asked[8192];   // body of the last request
    pthread_mutex_t lock;
    struct job {
        void (*work)(void *), (*done)(void *);
        void *job;
    } jobs[16];
    unsigned n_jobs;
    struct loop_timer runner;
    unsigned ready, waiting, needs; // calls of `changed`
    bool (*until)(struct bench *bench);
    bool met;
    int64_t deadline;
};

static struct web_reply bench_answer(const char *head, const char *body, void *arg)
{
    struct bench *bench = arg;
    (void)head;
    pthread_mutex_lock(&bench->lock);
    (void)snprintf(bench->asked, sizeof bench->asked, "%s", body);
    struct web_reply reply = bench->reply;
    if (!reply.body) {
        char number[16], *at;
        (void)snprintf(number, sizeof number, "%u", web_requests(&bench->web) + 1);
        (void)snprintf(bench->body, sizeof bench->body, "%s", bench->template);
        while ((at = strstr(bench->body, "%u"))) {
            memmove(at + strlen(number), at + 2, strlen(at + 2) + 1);
            memcpy(at, number, strlen(number));
        }
        reply.body = bench->body;
    }
    pthread_mutex_unlock(&bench->lock);
    return reply;
}

static void bench_reply(struct bench *bench, struct web_reply reply)
{
    pthread_mutex_lock(&bench->lock);
    bench->reply = reply;
    pthread_mutex_unlock(&bench->lock);
}

// Tokens named after the number of the request.
static void bench_grant(struct bench *bench, int seconds, bool rotate)
{
    pthread_mutex_lock(&bench->lock);
    (void)snprintf(bench->template, sizeof bench->template,
        "{\"access_token\":\"secret-access-%%u\",\"expires_in\":%d%s}", seconds,
        rotate ? ",\"refresh_token\":\"secret-refresh-%u\"" : "");
    bench->reply = (struct web_reply){.status = 200};
    pthread_mutex_unlock(&bench->lock);
}

static void bench_jobs(struct loop_timer *timer)
{
    struct bench *bench = timer->arg;
    struct job jobs[16];
    unsigned n = bench->n_jobs;
    memcpy(jobs, bench->jobs, sizeof jobs);
    bench->n_jobs = 0;
    for (unsigned i = 0; i < n; i++) {
        jobs[i].work(jobs[i].job);
        jobs[i].done(jobs[i].job);
    }
}

static void bench_submit(void (*work)(void *), void (*done)(void *), void *job, void *arg)
{
    struct bench *bench = arg;
    assert_true(bench->n_jobs < 16);
    bench->jobs[bench->n_jobs++] = (struct job){work, done, job};
    (void)loop_timer_set(bench->loop, &bench->runner, clock_boot());
}

static void bench_changed(const char *account, enum keeper_state state, void *arg)
{
    struct bench *bench = arg;
    assert_string_equal(account, "office");
    bench->ready += state == KEEPER_READY;
    bench->waiting += state == KEEPER_WAITING;
    bench->needs += state == KEEPER_NEEDS;
}

static void move_clock(double seconds)
{
    static double passed;
    const char *path = getenv("OUTTRAY_TEST_CLOCK");
    passed += seconds;
    char text[64], temporary[128];
    int n = snprintf(text, sizeof text, "%f", passed);
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, (size_t)n), n);
    close(fd);
    assert_int_equal(rename(temporary, path), 0);
    clock_poll();
}

static void bench_round(void *arg)
{
    struct bench *bench = arg;
    bench->met = bench->met || bench->until(bench);
    if (bench->met || time(NULL) > bench->deadline)
        loop_stop(bench->loop);
}

static bool bench_try(struct bench *bench, bool (*until)(struct bench *))
{
    bench->until = until;
    bench->met = false;
    bench->deadline = time(NULL) + DEADLINE_S;
    assert_int_equal(loop_run(bench->loop, bench_round, bench), 0);
    return bench->met;
}

#define UNTIL(bench, condition) assert_true(bench_try(bench, condition))

static enum keeper_state now_of(struct bench *bench, char *access, size_t size, char *words, const char **fix)
{
    struct secret secret = {0};
    char unused[OAUTH_WORDS_MAX];
    const char *none;
    enum keeper_state state =
        keeper_token(bench->keepers[0], "office", &secret, words ? words : unused, fix ? fix : &none);
    if (access)
        (void)snprintf(access, size, "%s", secret.text ? secret.text : "");
    assert_true((state == KEEPER_READY) == (secret.length != 0));
    secret_release(&secret);
    return state;
}

static enum keeper_state state_of(struct bench *bench)
{
    return now_of(bench, NULL, 0, NULL, NULL);
}

static bool is_ready(struct bench *bench)
{
    return state_of(bench) == KEEPER_READY && bench->ready;
}

static bool is_needs(struct bench *bench)
{
    return state_of(bench) == KEEPER_NEEDS && bench->needs;
}

static bool is_waiting_told(struct bench *bench)
{
    return bench->waiting != 0;
}

// Everything that is under way has come to rest, for some rounds: events of files come with the next one.
static bool is_quiet(struct bench *bench)
{
    static unsigned quiet;
    bool busy = bench->n_jobs != 0;
    for (unsigned i = 0; i < 2; i++)
        for (const struct kept *kept = bench->keepers[i] ? bench->keepers[i]->accounts : NULL; kept;
             kept = kept->next)
            busy |= kept->flight || kept->looking || kept->notify ||
                    (loop_timer_pending(&kept->timer) && kept->timer.due <= clock_boot());
    quiet = busy ? 0 : quiet + 1;
    if (quiet < 4)
        return false;
    quiet = 0;
    return true;
}

// A token that could not be stored is still on its way.
static bool is_stuck(struct bench *bench)
{
    return bench->n_jobs == 0 && bench->waiting;
}

static bool is_asked(struct bench *bench)
{
    return web_requests(&bench->web) != 0;
}

static void assert_access(struct bench *bench, const char *expected)
{
    char access[64];
    assert_int_equal(now_of(bench, access, sizeof access, NULL, NULL), KEEPER_READY);
    assert_string_equal(access, expected);
}

static void bench_start(struct bench *bench, unsigned i)
{
    struct keeper_params params = {.loop = bench->loop,
        .multi = bench->multi,
        .log = bench->log,
        .state_fd = bench->place.fd,
        .submit = bench_submit,
        .changed = bench_changed,
        .arg = bench};
    bench->ready = bench->waiting = bench->needs = 0;
    assert_int_equal(keeper_new(&params, &bench->keepers[i]), 0);
    assert_int_equal(keeper_configure(bench->keepers[i], bench->loaded.config), 0);
}

static void bench_configure(struct bench *bench, const char *oauth)
{
    char text[2048];
    (void)snprintf(text, sizeof text,
        "version: 1\nspool: /tmp/spool\nstate: /tmp/state\ndomain: d.example\n"
        "accounts:\n  office:\n    auth: microsoft\n    email: pbx@example.com\n"
        "    oauth: {%s, tenant: t, token_url: \"http://127.0.0.1:%u/token\"}\n"
        "tenants: {t: {account: office}}\n",
        oauth, (unsigned)bench->web.port);
    load_text(&bench->loaded, text);
    if (bench->loaded.result)
        fail_msg("%s", bench->loaded.text);
}

static void bench_make(struct bench *bench, const char *oauth)
{
    *bench = (struct bench){.lock = PTHREAD_MUTEX_INITIALIZER};
    place_make(&bench->place);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/log", bench->place.path);
    assert_int_equal(log_open(false, path, &bench->log), 0);
    assert_int_equal(loop_new(&bench->loop), 0);
    assert_int_equal(multi_new(bench->loop, &bench->multi), 0);
    loop_timer_init(&bench->runner, bench_jobs, bench);
    web_start(&bench->web, bench_answer, bench);
    bench_grant(bench, 3600, true);
    bench_configure(bench, oauth ? oauth : "client_id: client-1");
}

static void bench_end(struct bench *bench, unsigned i)
{
    (void)keeper_end(bench->keepers[i]);
    while (bench->n_jobs)
        bench_jobs(&bench->runner);
    keeper_free(bench->keepers[i]);
    bench->keepers[i] = NULL;
}

static const char *log_text(struct bench *bench)
{
    static char text[65536];
    int fd = openat(bench->place.fd, "log", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void bench_release(struct bench *bench)
{
    bench_end(bench, 0);
    bench_end(bench, 1);
    web_release(&bench->web);
    web_stop(&bench->web);
    // Whatever a test did, no secret got into the log.
    assert_null(strstr(log_text(bench), "secret-"));
    multi_free(bench->multi);
    loop_free(bench->loop);
    log_close(bench->log);
    loaded_release(&bench->loaded);
    place_remove(&bench->place);
}

// As a verb does: a token authorized now.
static void store(struct bench *bench, const char *access, const char *refresh, int64_t seconds)
{
    struct token token = {.obtained = clock_wall(), .authorized = clock_wall(), .refresh_used = clock_wall()};
    secret_put(&token.access, access);
    if (*refresh)
        secret_put(&token.refresh, refresh);
    assert_int_equal(token_set_text(&token.mailbox, "pbx@example.com"), 0);
    assert_int_equal(token_set_text(&token.flow, "authorization_code"), 0);
    assert_int_equal(token_set_text(&token.client_id, "client-1"), 0);
    token.expires = token.obtained + seconds * CLOCK_SECOND;
    assert_int_equal(token_write(bench->place.fd, "office", &token), 0);
    token_release(&token);
}

static void assert_stored(struct bench *bench, const char *access, const char *refresh)
{
    struct token token = {0};
    assert_int_equal(token_read(bench->place.fd, "office", &token), 0);
    assert_string_equal(token.access.text, access);
    assert_string_equal(token.refresh.text ? token.refresh.text : "", refresh);
    token_release(&token);
}

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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    move_clock(7 * 86400);
    bench_start(&bench, 0);
    assert_int_equal(state_of(&bench), KEEPER_WAITING);
    UNTIL(&bench, is_ready);
    assert_access(&bench, "secret-access-1");
    bench_release(&bench);
}

static void a_dead_grant_needs_a_person_and_keeps_the_token(void **state)
{
    (void)state;
    struct bench bench;
    char words[OAUTH_WORDS_MAX];
    const char *fix;
    struct token token = {0};
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 7200);
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
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

static void two_processes_ask_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
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
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
    bench_start(&bench, 0);
    UNTIL(&bench, is_ready);
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

static void a_clock_that_differs_is_told_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(&bench, NULL);
    store(&bench, "secret-access-0", "secret-refresh-0", 3600);
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

static int make_clock(void **state)
{
    static char path[] = "/tmp/outtray-test-clock.XXXXXX";
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    return setenv("OUTTRAY_TEST_CLOCK", path, 1);
}

static int remove_clock(void **state)
{
    (void)state;
    return unlink(getenv("OUTTRAY_TEST_CLOCK"));
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
        cmocka_unit_test(a_dead_grant_needs_a_person_and_keeps_the_token),
        cmocka_unit_test(what_an_administrator_must_mend_is_tried_every_hour),
        cmocka_unit_test(trouble_on_the_way_is_waited_out_with_the_current_token),
        cmocka_unit_test(without_a_current_token_trouble_is_told),
        cmocka_unit_test(a_refused_token_is_replaced_once),
        cmocka_unit_test(a_token_that_worked_may_be_replaced_again),
        cmocka_unit_test(two_processes_ask_once),
        cmocka_unit_test(who_has_the_lock_is_waited_for),
        cmocka_unit_test(a_replaced_refresh_token_is_durable_before_it_is_used),
        cmocka_unit_test(an_answer_on_its_way_is_waited_for_at_the_end),
        cmocka_unit_test(an_end_does_not_wait_for_ever),
        cmocka_unit_test(without_a_person_the_first_token_is_fetched_too),
        cmocka_unit_test(tokens_of_another_client_or_mailbox_are_not_used),
        cmocka_unit_test(an_account_that_leaves_the_configuration_is_left_alone),
        cmocka_unit_test(a_clock_that_differs_is_told_once),
        cmocka_unit_test(a_file_that_is_broken_is_told),
        cmocka_unit_test(credentials_come_from_the_keeper),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, make_clock, remove_clock);
    curl_global_cleanup();
    return failed;
#else
    return 0;
#endif
}
