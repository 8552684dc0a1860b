// libcurl on the loop: connections and requests end in one call of `done`, and none after multi_remove.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/base/multi.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANGS_AFTER (60 * CLOCK_SECOND)
#define MANY        40

struct line { // one transfer and what became of it
    struct bench *bench;
    struct multi_transfer transfer;
    CURL *easy;
    unsigned done;
    CURLcode result;
    bool ends, again; // what `done` does: removes and frees it; adds it once more
};

struct bench {
    struct loop *loop;
    struct multi *multi;
    struct loop_timer alarm;
    bool hung;
    unsigned done, wanted;
    int listener;
    uint16_t port;
    struct line lines[MANY];
};

static void bench_hangs(struct loop_timer *timer)
{
    struct bench *bench = timer->arg;
    bench->hung = true;
    loop_stop(bench->loop);
}

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_int_equal(loop_new(&bench->loop), 0);
    assert_int_equal(multi_new(bench->loop, &bench->multi), 0);
    loop_timer_init(&bench->alarm, bench_hangs, bench);
    assert_int_equal(loop_timer_set(bench->loop, &bench->alarm, clock_boot() + HANGS_AFTER), 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    bench->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(bench->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(bench->listener, MANY), 0);
    assert_int_equal(getsockname(bench->listener, (struct sockaddr *)&address, &length), 0);
    bench->port = ntohs(address.sin_port);
    *state = bench;
    return 0;
}

static void line_end(struct line *line)
{
    multi_remove(line->bench->multi, &line->transfer);
    curl_easy_cleanup(line->easy);
    line->easy = NULL;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    for (unsigned i = 0; i < MANY; i++)
        if (bench->lines[i].easy)
            line_end(&bench->lines[i]);
    multi_free(bench->multi);
    multi_free(NULL);
    loop_timer_cancel(bench->loop, &bench->alarm);
    loop_free(bench->loop);
    if (bench->listener >= 0)
        close(bench->listener);
    free(bench);
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void line_done(struct multi_transfer *transfer, CURLcode result)
{
    struct line *line = transfer->arg;
    line->done++;
    line->result = result;
    line->bench->done++;
    if (line->again) {
        line->again = false;
        multi_remove(line->bench->multi, transfer);
        assert_int_equal(multi_add(line->bench->multi, transfer, line->easy, line_done, line), 0);
    } else if (line->ends) {
        line_end(line);
    }
}

static struct line *line_open(struct bench *bench, unsigned i, bool connect_only)
{
    struct line *line = &bench->lines[i];
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", bench->port);
    *line = (struct line){.bench = bench, .easy = curl_easy_init()};
    assert_non_null(line->easy);
    curl_easy_setopt(line->easy, CURLOPT_URL, url);
    curl_easy_setopt(line->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(line->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(line->easy, CURLOPT_CONNECT_ONLY, connect_only ? 1L : 0L);
    return line;
}

static void line_add(struct line *line)
{
    assert_int_equal(multi_add(line->bench->multi, &line->transfer, line->easy, line_done, line), 0);
    assert_int_equal(line->done, 0); // never from inside
}

static void bench_look(void *arg)
{
    struct bench *bench = arg;
    if (bench->done >= bench->wanted)
        loop_stop(bench->loop);
}

static void run_until(struct bench *bench, unsigned done)
{
    bench->wanted = done;
    if (bench->done < done)
        assert_int_equal(loop_run(bench->loop, bench_look, bench), 0);
    assert_false(bench->hung);
}

struct heard {
    struct loop_watch watch;
    struct bench *bench;
    char text[32];
};

static void heard_ready(struct loop_watch *watch, uint32_t events)
{
    struct heard *heard = watch->arg;
    (void)events;
    assert_true(read(watch->fd, heard->text, sizeof heard->text - 1) > 0);
    heard->bench->done++;
}

static void a_connection_is_handed_over(void **state)
{
    struct bench *bench = *state;
    struct line *line = line_open(bench, 0, true);
    line_add(line);
    run_until(bench, 1);
    assert_int_equal(line->result, CURLE_OK);
    curl_socket_t fd = CURL_SOCKET_BAD;
    assert_int_equal(curl_easy_getinfo(line->easy, CURLINFO_ACTIVESOCKET, &fd), CURLE_OK);
    assert_true(fd >= 0);
    // The owner may watch the socket from now on.
    struct heard heard = {.bench = bench};
    loop_watch_init(&heard.watch, heard_ready, &heard);
    assert_int_equal(loop_watch_add(bench->loop, &heard.watch, fd, EPOLLIN), 0);
    int peer = accept(bench->listener, NULL, NULL);
    assert_true(peer >= 0);
    assert_int_equal(write(peer, "220 hello", 9), 9);
    run_until(bench, 2);
    assert_string_equal(heard.text, "220 hello");
    assert_int_equal(line->done, 1);
    loop_watch_remove(bench->loop, &heard.watch);
    close(peer);
}

static void a_refused_connection_says_so(void **state)
{
    struct bench *bench = *state;
    close(bench->listener); // nobody listens there now
    bench->listener = -1;
    struct line *line = line_open(bench, 0, true);
    line->ends = true;
    line_add(line);
    run_until(bench, 1);
    assert_int_equal(line->result, CURLE_COULDNT_CONNECT);
}

static void what_was_removed_is_not_called(void **state)
{
    struct bench *bench = *state;
    struct line *gone = line_open(bench, 0, true), *never = line_open(bench, 1, true);
    struct line *other = line_open(bench, 2, true);
    line_add(gone);
    line_add(other);
    line_end(gone);
    multi_remove(bench->multi, &gone->transfer); // a no-op, as for what was never added
    multi_remove(bench->multi, &never->transfer);
    run_until(bench, 1);
    assert_int_equal(gone->done, 0);
    assert_int_equal(other->done, 1);
}

static void timeouts_run_on_the_loop(void **state)
{
    struct bench *bench = *state;
    struct line *line = line_open(bench, 0, false); // nobody answers the request
    curl_easy_setopt(line->easy, CURLOPT_TIMEOUT_MS, 30L);
    line->ends = true;
    line_add(line);
    run_until(bench, 1);
    assert_int_equal(line->result, CURLE_OPERATION_TIMEDOUT);
}

static void a_transfer_may_be_added_again_from_its_own_end(void **state)
{
    struct bench *bench = *state;
    struct line *line = line_open(bench, 0, false);
    curl_easy_setopt(line->easy, CURLOPT_TIMEOUT_MS, 10L);
    line->again = line->ends = true;
    line_add(line);
    run_until(bench, 2);
    assert_int_equal(line->done, 2);
    assert_null(line->transfer.easy);
}

static void many_go_on_at_once(void **state)
{
    struct bench *bench = *state;
    for (unsigned i = 0; i < MANY; i++) {
        struct line *line = line_open(bench, i, true);
        line->ends = i % 2;
        line_add(line);
    }
    run_until(bench, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(bench->lines[i].done, 1);
        assert_int_equal(bench->lines[i].result, CURLE_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connection_is_handed_over),
        TEST(a_refused_connection_says_so),
        TEST(what_was_removed_is_not_called),
        TEST(timeouts_run_on_the_loop),
        TEST(a_transfer_may_be_added_again_from_its_own_end),
        TEST(many_go_on_at_once),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
