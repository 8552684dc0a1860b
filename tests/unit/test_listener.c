// The listener by itself: what it says before anything was published, and of an agent that does not come
// round.
#include "agent/base/clock.h"
#include "agent/observe/listener.h"

// cmocka.h wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct bench {
    struct log *log;
    struct listener *listener;
    int port;
};

// A port that nobody has now.
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void bench_make(struct bench *bench)
{
    char where[32];
    const struct log_target target = {.file = "/dev/null", .facility = LOG_NO_SYSLOG, NULL};
    assert_int_equal(log_open(&target, &bench->log), 0);
    assert_int_equal(listener_new(bench->log, &bench->listener), 0);
    bench->port = free_port();
    (void)snprintf(where, sizeof where, ":%d", bench->port);
    assert_int_equal(listener_listen(bench->listener, where), 0);
    assert_int_equal(listener_listen(bench->listener, where), 0); // nothing to do
}

static void bench_end(struct bench *bench)
{
    listener_free(bench->listener);
    log_close(bench->log);
}

static void expect(const struct bench *bench, const char *path, int code, const char *body)
{
    char text[8192];
    size_t used = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)bench->port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(write(fd, text, (size_t)n), n);
    for (ssize_t got; (got = read(fd, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = '\0';
    close(fd);
    int seen = 0;
    assert_int_equal(sscanf(text, "HTTP/1.1 %d ", &seen), 1);
    assert_int_equal(seen, code);
    const char *end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    assert_string_equal(end + 4, body);
}

static void publish(const struct bench *bench, int64_t age_s, bool healthy, const char *words)
{
    struct listener_view view = {.at = clock_work() - age_s * CLOCK_SECOND, .healthy = healthy};
    (void)snprintf(view.words, sizeof view.words, "%s", words);
    buffer_init(&view.status, 100);
    buffer_init(&view.metrics, 100);
    buffer_text(&view.status, "{}\n");
    listener_publish(bench->listener, &view);
    assert_null(view.status.data);
}

static void before_the_first_page(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(&bench);
    expect(&bench, "/healthz", 503, "the agent is starting\n");
    expect(&bench, "/metrics", 503, "the agent is starting\n");
    bench_end(&bench);
    listener_free(NULL);
}

static void healthy_and_not(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(&bench);
    publish(&bench, 0, true, "ok");
    expect(&bench, "/healthz", 200, "ok\n");
    expect(&bench, "/status.json", 200, "{}\n");
    expect(&bench, "/metrics", 503, "nothing to show: memory is short\n"); // nothing was rendered
    publish(&bench, 0, false, "the spool is full");
    expect(&bench, "/healthz", 503, "the spool is full\n");
    expect(&bench, "/livez", 200, "alive\n");
    bench_end(&bench);
}

static void an_agent_that_does_not_come_round(void **state)
{
    (void)state;
    struct bench bench;
    bench_make(&bench);
    publish(&bench, LISTENER_STALE_S - 5, true, "ok");
    expect(&bench, "/healthz", 200, "ok\n");
    publish(&bench, 1000, true, "ok");
    static const char words[] =
        "the agent has not come round for 1000 s: its loop or its intake desk hangs\n";
    expect(&bench, "/healthz", 503, words);
    expect(&bench, "/livez", 503, words);
    expect(&bench, "/status.json", 200, "{}\n"); // what was true last, with its time in it
    bench_end(&bench);
}

static void places_that_cannot_be_had(void **state)
{
    (void)state;
    struct bench bench;
    char where[32];
    bench_make(&bench);
    struct listener *other = NULL;
    assert_int_equal(listener_new(bench.log, &other), 0);
    (void)snprintf(where, sizeof where, "127.0.0.1:%d", bench.port);
    assert_int_equal(listener_listen(other, where), -EADDRINUSE);
    assert_int_equal(listener_listen(other, where), -EADDRINUSE);                   // tried again
    assert_int_equal(listener_listen(other, "mail.example.com:1"), -EADDRNOTAVAIL); // no names are looked up
    assert_int_equal(listener_listen(other, ""), 0);
    assert_int_equal(listener_listen(bench.listener, ""), 0);
    assert_int_equal(listener_listen(other, where), 0);
    listener_free(other);
    bench_end(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_the_first_page),
        cmocka_unit_test(healthy_and_not),
        cmocka_unit_test(an_agent_that_does_not_come_round),
        cmocka_unit_test(places_that_cannot_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
