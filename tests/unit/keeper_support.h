// What the tests of the keeper share: a provider that a function here plays, and a clock that the test moves.
//
// Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_KEEPER_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_KEEPER_SUPPORT_H

#include "agent/auth/credentials.h"
#include "agent/auth/keeper_private.h"
#include "auth_support.h"
#include "clock_support.h"
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

static inline struct web_reply bench_answer(const char *head, const char *body, void *arg)
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

static inline void bench_reply(struct bench *bench, struct web_reply reply)
{
    pthread_mutex_lock(&bench->lock);
    bench->reply = reply;
    pthread_mutex_unlock(&bench->lock);
}

// Tokens named after the number of the request.
static inline void bench_grant(struct bench *bench, int seconds, bool rotate)
{
    pthread_mutex_lock(&bench->lock);
    (void)snprintf(bench->template, sizeof bench->template,
        "{\"access_token\":\"secret-access-%%u\",\"expires_in\":%d%s}", seconds,
        rotate ? ",\"refresh_token\":\"secret-refresh-%u\"" : "");
    bench->reply = (struct web_reply){.status = 200};
    pthread_mutex_unlock(&bench->lock);
}

static inline void bench_jobs(struct loop_timer *timer)
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

static inline void bench_submit(void (*work)(void *), void (*done)(void *), void *job, void *arg)
{
    struct bench *bench = arg;
    assert_true(bench->n_jobs < 16);
    bench->jobs[bench->n_jobs++] = (struct job){work, done, job};
    (void)loop_timer_set(bench->loop, &bench->runner, clock_boot());
}

static inline void bench_changed(const char *account, enum keeper_state state, void *arg)
{
    struct bench *bench = arg;
    assert_string_equal(account, "office");
    bench->ready += state == KEEPER_READY;
    bench->waiting += state == KEEPER_WAITING;
    bench->needs += state == KEEPER_NEEDS;
}

static inline void move_clock(double seconds)
{
    clock_move(seconds);
    clock_poll();
}

static inline void bench_round(void *arg)
{
    struct bench *bench = arg;
    bench->met = bench->met || bench->until(bench);
    if (bench->met || time(NULL) > bench->deadline)
        loop_stop(bench->loop);
}

static inline bool bench_try(struct bench *bench, bool (*until)(struct bench *))
{
    bench->until = until;
    bench->met = false;
    bench->deadline = time(NULL) + DEADLINE_S;
    assert_int_equal(loop_run(bench->loop, bench_round, bench), 0);
    return bench->met;
}

#define UNTIL(bench, condition) assert_true(bench_try(bench, condition))

static inline enum keeper_state now_of(
    struct bench *bench, char *access, size_t size, char *words, const char **fix)
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

static inline enum keeper_state state_of(struct bench *bench)
{
    return now_of(bench, NULL, 0, NULL, NULL);
}

static inline bool is_ready(struct bench *bench)
{
    return state_of(bench) == KEEPER_READY && bench->ready;
}

static inline bool is_needs(struct bench *bench)
{
    return state_of(bench) == KEEPER_NEEDS && bench->needs;
}

static inline bool is_waiting_told(struct bench *bench)
{
    return bench->waiting != 0;
}

// Everything that is under way has come to rest, for some rounds: events of files come with the next one.
static inline bool is_quiet(struct bench *bench)
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
static inline bool is_stuck(struct bench *bench)
{
    return bench->n_jobs == 0 && bench->waiting;
}

static inline bool is_asked(struct bench *bench)
{
    return web_requests(&bench->web) != 0;
}

static inline void assert_access(struct bench *bench, const char *expected)
{
    char access[64];
    assert_int_equal(now_of(bench, access, sizeof access, NULL, NULL), KEEPER_READY);
    assert_string_equal(access, expected);
}

static inline void bench_start(struct bench *bench, unsigned i)
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

static inline void bench_configure(struct bench *bench, const char *oauth)
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

static inline void bench_make(struct bench *bench, const char *oauth)
{
    *bench = (struct bench){.lock = PTHREAD_MUTEX_INITIALIZER};
    place_make(&bench->place);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/log", bench->place.path);
    assert_int_equal(log_open(&(struct log_target){false, path, LOG_NO_SYSLOG, NULL}, &bench->log), 0);
    assert_int_equal(loop_new(&bench->loop), 0);
    assert_int_equal(multi_new(bench->loop, &bench->multi), 0);
    loop_timer_init(&bench->runner, bench_jobs, bench);
    web_start(&bench->web, bench_answer, bench);
    bench_grant(bench, 3600, true);
    bench_configure(bench, oauth ? oauth : "client_id: client-1");
}

static inline void bench_end(struct bench *bench, unsigned i)
{
    (void)keeper_end(bench->keepers[i]);
    while (bench->n_jobs)
        bench_jobs(&bench->runner);
    keeper_free(bench->keepers[i]);
    bench->keepers[i] = NULL;
}

static inline const char *log_text(struct bench *bench)
{
    static char text[65536];
    int fd = openat(bench->place.fd, "log", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static inline void bench_release(struct bench *bench)
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
static inline void store(struct bench *bench, const char *access, const char *refresh, int64_t seconds)
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

// A bench with a token that lasts so many seconds.
static inline void bench_with_token(struct bench *bench, int64_t seconds)
{
    bench_make(bench, NULL);
    store(bench, "secret-access-0", "secret-refresh-0", seconds);
}

// And a keeper that has it.
static inline void bench_with_keeper(struct bench *bench, int64_t seconds)
{
    bench_with_token(bench, seconds);
    bench_start(bench, 0);
    UNTIL(bench, is_ready);
}

static inline void assert_stored(struct bench *bench, const char *access, const char *refresh)
{
    struct token token = {0};
    assert_int_equal(token_read(bench->place.fd, "office", &token), 0);
    assert_string_equal(token.access.text, access);
    assert_string_equal(token.refresh.text ? token.refresh.text : "", refresh);
    token_release(&token);
}

// The clock file is there for all tests of the program.
#define keeper_run_tests(tests) keeper_run((tests), sizeof(tests) / sizeof((tests)[0]))
static inline int keeper_run(const struct CMUnitTest *tests, size_t n)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = _cmocka_run_group_tests("tests", tests, n, clock_make, clock_remove);
    curl_global_cleanup();
    return failed;
}
#endif

#endif
