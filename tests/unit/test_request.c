// HTTPS requests on the loop: what is sent, what comes back, and every way it can fail.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/auth/redirect.h"
#include "agent/base/clock.h"
#include "agent/http/request.h"
#include "auth_support.h"
#include "web_server.h"

struct provider {
    struct web_reply reply;
    char head[4096], body[4096]; // of the last request
};

static struct web_reply provider_answer(const char *head, const char *body, void *arg)
{
    struct provider *provider = arg;
    (void)snprintf(provider->head, sizeof provider->head, "%.*s", (int)(body - head), head);
    (void)snprintf(provider->body, sizeof provider->body, "%s", body);
    return provider->reply;
}

struct seen {
    unsigned calls;
    int status;
    size_t length;
    char body[512], type[64], problem[256];
    int64_t retry_after_s, date;
};

static void see(const struct http_response *response, void *arg)
{
    struct seen *seen = arg;
    seen->calls++;
    seen->status = response->status;
    seen->length = response->length;
    assert_int_equal(response->body[response->length], '\0');
    (void)snprintf(seen->body, sizeof seen->body, "%s", response->body);
    (void)snprintf(seen->type, sizeof seen->type, "%s", response->content_type);
    (void)snprintf(seen->problem, sizeof seen->problem, "%s", response->problem ? response->problem : "");
    assert_true((response->status == 0) == (response->problem != NULL));
    seen->retry_after_s = response->retry_after_s;
    seen->date = response->date;
}

static void ask(struct web *web, const char *path, const char *body, int64_t timeout_ms, struct seen *seen)
{
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u%s", (unsigned)web->port, path);
    struct http_params params = {.url = url, .body = body, .timeout_ms = timeout_ms};
    *seen = (struct seen){0};
    assert_int_equal(http_perform(&params, see, seen), 0);
    assert_int_equal(seen->calls, 1);
}

static void a_form_is_posted_and_the_answer_comes_back(void **state)
{
    (void)state;
    struct provider provider = {.reply = {.status = 400,
                                    .type = "application/json; charset=utf-8",
                                    .headers = "Retry-After: 17\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
                                    .body = "{\"error\":\"invalid_grant\"}"}};
    struct web web;
    struct seen seen;
    web_start(&web, provider_answer, &provider);
    ask(&web, "/token?x=1", "grant_type=refresh_token&a=%20", 0, &seen);
    assert_int_equal(seen.status, 400);
    assert_string_equal(seen.body, "{\"error\":\"invalid_grant\"}");
    assert_string_equal(seen.type, "application/json; charset=utf-8");
    assert_int_equal(seen.retry_after_s, 17);
    assert_int_equal(seen.date, (int64_t)784111777 * CLOCK_SECOND);
    assert_memory_equal(provider.head, "POST /token?x=1 HTTP/", 21);
    assert_non_null(strcasestr(provider.head, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
    assert_non_null(strcasestr(provider.head, "\r\nAccept: application/json\r\n"));
    assert_string_equal(provider.body, "grant_type=refresh_token&a=%20");
    provider.reply = (struct web_reply){.status = 200, .body = ""};
    ask(&web, "/", NULL, 0, &seen);
    assert_memory_equal(provider.head, "GET / HTTP/", 11);
    assert_int_equal(seen.status, 200);
    assert_int_equal(seen.length, 0);
    assert_int_equal(seen.retry_after_s, -1);
    assert_int_equal(seen.date, 0);
    web_stop(&web);
}

static void redirects_are_not_followed(void **state)
{
    (void)state;
    struct provider provider = {
        .reply = {.status = 302, .headers = "Location: http://127.0.0.1:1/\r\n", .body = "{}"}};
    struct web web;
    struct seen seen;
    web_start(&web, provider_answer, &provider);
    ask(&web, "/", "secret=1", 0, &seen);
    assert_int_equal(seen.status, 302);
    assert_int_equal(web_requests(&web), 1);
    web_stop(&web);
}

static void what_fails_is_told_in_words(void **state)
{
    (void)state;
    static const struct {
        enum web_fault fault;
        const char *word;
    } rows[] = {
        {WEB_TRUNCATED, ""},
        {WEB_HANG, "imed out"},
        {WEB_ENDLESS, "too long"},
        {WEB_CLOSE, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct provider provider = {.reply = {.status = 200, .body = "{}", .fault = rows[i].fault}};
        struct web web;
        struct seen seen;
        web_start(&web, provider_answer, &provider);
        ask(&web, "/", "a=b", rows[i].fault == WEB_HANG ? 200 : 0, &seen);
        assert_int_equal(seen.status, 0);
        assert_true(seen.problem[0]);
        if (!strstr(seen.problem, rows[i].word))
            fail_msg("%s: %s", rows[i].word, seen.problem);
        assert_int_equal(web_requests(&web), 1); // never sent twice
        web_stop(&web);
    }
    struct web web;
    struct seen seen;
    web_start(&web, provider_answer, NULL);
    web_stop(&web); // nobody listens there any more
    ask(&web, "/", "a=b", 0, &seen);
    assert_int_equal(seen.status, 0);
}

static void answers_up_to_the_limit_are_taken(void **state)
{
    (void)state;
    char *body = malloc(HTTP_RESPONSE_MAX + 2);
    memset(body, 'x', HTTP_RESPONSE_MAX + 1);
    body[HTTP_RESPONSE_MAX] = '\0';
    struct provider provider = {.reply = {.status = 200, .body = body}};
    struct web web;
    struct seen seen;
    web_start(&web, provider_answer, &provider);
    ask(&web, "/", NULL, 0, &seen);
    assert_int_equal(seen.status, 200);
    assert_int_equal(seen.length, HTTP_RESPONSE_MAX);
    body[HTTP_RESPONSE_MAX] = 'x';
    body[HTTP_RESPONSE_MAX + 1] = '\0';
    ask(&web, "/", NULL, 0, &seen);
    assert_int_equal(seen.status, 0);
    assert_non_null(strstr(seen.problem, "too long"));
    web_stop(&web);
    free(body);
}

static void proxies_of_the_environment_are_not_used(void **state)
{
    (void)state;
    struct provider provider = {.reply = {.status = 200, .body = "{}"}};
    struct web web;
    struct seen seen;
    setenv("http_proxy", "http://127.0.0.1:1/", 1);
    setenv("all_proxy", "http://127.0.0.1:1/", 1);
    web_start(&web, provider_answer, &provider);
    ask(&web, "/", NULL, 0, &seen);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    assert_int_equal(seen.status, 200);
    web_stop(&web);
}

static void only_encrypted_or_local_urls_are_used(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool good;
    } rows[] = {
        {"https://login.microsoftonline.com/common/oauth2/v2.0/token", true},
        {"https://login.example/users/a@b?c=d@e", true},
        {"HTTPS://login.example", true},
        {"http://127.0.0.1:8080/token", true},
        {"http://localhost/token", true},
        {"http://[::1]:8080/", true},
        {"http://127.0.0.1", true},
        {"http://login.example/", false},
        {"http://127.0.0.1.evil.example/", false},
        {"http://localhost.evil.example/", false},
        {"http://localhost:80@evil.example/", false},
        {"http://127.0.0.1@evil.example/", false},
        {"http://127.0.0.1\\@evil.example/", false},
        {"https://user:password@login.example/", false},
        {"https://", false},
        {"https:///token", false},
        {"ftp://login.example/", false},
        {"file:///etc/passwd", false},
        {"", false},
        {"https://login.example/a b", false},
        {"https://login.example/a\r\nX: y", false},
        {"https://l\xc3\xb6gin.example/", false},
    };
    struct loop *loop;
    struct multi *multi;
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(multi_new(loop, &multi), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if ((http_url_problem(rows[i].url) == NULL) != rows[i].good)
            fail_msg("%s", rows[i].url);
        if (rows[i].good)
            continue;
        struct http_params params = {.url = rows[i].url};
        struct http_request *request;
        assert_int_equal(http_start(multi, &params, see, NULL, &request), -EINVAL);
    }
    multi_free(multi);
    loop_free(loop);
}

static void a_cancelled_request_says_nothing(void **state)
{
    (void)state;
    struct provider provider = {.reply = {.status = 200, .body = "{}", .fault = WEB_HANG}};
    struct web web;
    struct seen seen = {0};
    struct loop *loop;
    struct multi *multi;
    char url[64];
    web_start(&web, provider_answer, &provider);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", (unsigned)web.port);
    struct http_params params = {.url = url, .body = "a=b"};
    struct http_request *request = NULL;
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(multi_new(loop, &multi), 0);
    assert_int_equal(http_start(multi, &params, see, &seen, &request), 0);
    assert_int_equal(seen.calls, 0);
    http_cancel(request);
    http_cancel(NULL);
    multi_free(multi);
    loop_free(loop);
    assert_int_equal(seen.calls, 0);
    web_stop(&web);
}

// The loopback redirect, with a browser that is a thread here.
struct browser {
    uint16_t port;
    const char *const *requests; // sent one after another, each on its own connection; NULL-terminated
    char answers[8][2048];
    pthread_t thread;
};

static void *browse(void *arg)
{
    struct browser *browser = arg;
    for (size_t i = 0; browser->requests[i]; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
            .sin_port = htons(browser->port),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
            web_send(fd, browser->requests[i], strlen(browser->requests[i]));
            size_t length = 0;
            for (ssize_t n = 1; n > 0 && length < sizeof browser->answers[i] - 1;
                 length += (size_t)(n > 0 ? n : 0))
                n = recv(fd, browser->answers[i] + length, sizeof browser->answers[i] - 1 - length, 0);
        }
        close(fd);
    }
    return NULL;
}

static void the_redirect_takes_one_answer_and_closes(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /?code=evil&state=other HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /?code=evil&state=mine HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /?state=mine&code=4%2F0A%2Bb&scope=a%20b HTTP/1.1\r\nHost: x\r\n\r\n",
        NULL,
    };
    struct redirect *redirect, *second;
    struct secret query = {0}, code = {0};
    char words[OAUTH_WORDS_MAX];
    assert_int_equal(redirect_open(0, &redirect), 0);
    assert_int_not_equal(redirect_port(redirect), 0);
    assert_true(redirect_open(redirect_port(redirect), &second) < 0);
    struct browser browser = {.port = redirect_port(redirect), .requests = requests};
    assert_int_equal(pthread_create(&browser.thread, NULL, browse, &browser), 0);
    assert_int_equal(redirect_wait(redirect, "mine", 20000, &query), 0);
    redirect_close(redirect);
    pthread_join(browser.thread, NULL);
    struct oauth_pending pending = {.state = "mine"};
    assert_int_equal(oauth_parse_paste(query.text, &pending, &code, words), 0);
    assert_string_equal(code.text, "4/0A+b");
    assert_non_null(strstr(browser.answers[0], " 404 "));
    assert_non_null(strstr(browser.answers[1], " 400 "));
    assert_non_null(strstr(browser.answers[2], " 405 "));
    assert_non_null(strstr(browser.answers[3], " 400 "));
    assert_non_null(strstr(browser.answers[4], " 200 "));
    assert_non_null(strstr(browser.answers[4], "terminal"));
    for (size_t i = 0; i < 5; i++)
        assert_null(strstr(browser.answers[i], "evil"));
    secret_release(&query);
    secret_release(&code);
}

static void a_refusal_comes_by_the_redirect_too(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET /?error=access_denied&error_description=no%20thanks&state=mine HTTP/1.1\r\nHost: x\r\n\r\n",
        NULL};
    struct redirect *redirect;
    struct secret query = {0}, code = {0};
    char words[OAUTH_WORDS_MAX];
    assert_int_equal(redirect_open(0, &redirect), 0);
    struct browser browser = {.port = redirect_port(redirect), .requests = requests};
    assert_int_equal(pthread_create(&browser.thread, NULL, browse, &browser), 0);
    assert_int_equal(redirect_wait(redirect, "mine", 20000, &query), 0);
    redirect_close(redirect);
    pthread_join(browser.thread, NULL);
    struct oauth_pending pending = {.state = "mine"};
    assert_int_equal(oauth_parse_paste(query.text, &pending, &code, words), -EBADMSG);
    assert_string_equal(words, "the provider refused: access_denied: no thanks");
    secret_release(&query);
}

static void a_redirect_that_does_not_come_ends(void **state)
{
    (void)state;
    struct redirect *redirect;
    struct secret query = {0};
    assert_int_equal(redirect_open(0, &redirect), 0);
    assert_int_equal(redirect_wait(redirect, "mine", 30, &query), -ETIMEDOUT);
    assert_null(query.text);
    redirect_close(redirect);
    redirect_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_form_is_posted_and_the_answer_comes_back),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(what_fails_is_told_in_words),
        cmocka_unit_test(answers_up_to_the_limit_are_taken),
        cmocka_unit_test(proxies_of_the_environment_are_not_used),
        cmocka_unit_test(only_encrypted_or_local_urls_are_used),
        cmocka_unit_test(a_cancelled_request_says_nothing),
        cmocka_unit_test(the_redirect_takes_one_answer_and_closes),
        cmocka_unit_test(a_refusal_comes_by_the_redirect_too),
        cmocka_unit_test(a_redirect_that_does_not_come_ends),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
