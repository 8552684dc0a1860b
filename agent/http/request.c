// HTTPS requests (see request.h).
#include "request.h"
#include "agent/base/buffer.h"
#include "agent/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct http_request {
    struct multi *multi;
    struct multi_transfer transfer;
    CURL *easy;
    struct curl_slist *headers;
    char *body; // owned copy; libcurl reads it while sending
    size_t body_length;
    struct buffer response;
    bool too_long;
    char error[CURL_ERROR_SIZE];
    void (*done)(const struct http_response *response, void *arg);
    void *arg;
};

// The authority of a URL names only this machine. A user name before it would hide the real host.
static bool url_is_loopback(const char *authority, size_t length)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (length >= n && strncasecmp(authority, names[i], n) == 0 && (length == n || authority[n] == ':'))
            return true;
    }
    return false;
}

const char *http_url_problem(const char *url)
{
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f ||
            *c == '\\') // programs differ about those
            return "has blanks, backslashes, control or non-ASCII characters";
    bool encrypted = strncasecmp(url, "https://", 8) == 0;
    if (!encrypted && strncasecmp(url, "http://", 7) != 0)
        return "must begin with https://";
    const char *authority = url + (encrypted ? 8 : 7);
    size_t length = strcspn(authority, "/?#");
    if (!length)
        return "names no host";
    if (memchr(authority, '@', length))
        return "must not hold a user name";
    return encrypted || url_is_loopback(authority, length) ? NULL : "must begin with https://";
}

bool http_url_place(const char *url, char *ret_host, size_t size, uint16_t *ret_port)
{
    CURLU *parts = curl_url();
    char *host = NULL, *port = NULL;
    bool found = parts && !curl_url_set(parts, CURLUPART_URL, url, 0) &&
                 !curl_url_get(parts, CURLUPART_HOST, &host, 0) &&
                 !curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    if (found) {
        size_t bracket = *host == '[', length = strlen(host) - 2 * bracket;
        found = length < size;
        (void)snprintf(ret_host, size, "%.*s", (int)length, host + bracket);
        *ret_port = (uint16_t)strtoul(port, NULL, 10);
    }
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return found;
}

static void http_free(struct http_request *request)
{
    multi_remove(request->multi, &request->transfer);
    if (request->easy)
        curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->headers);
    if (request->body)
        explicit_bzero(request->body, request->body_length);
    free(request->body);
    buffer_release(&request->response);
    free(request);
}

static size_t http_receive(char *data, size_t size, size_t n, void *arg)
{
    struct http_request *request = arg;
    if (buffer_append(&request->response, data, size * n)) {
        request->too_long = true;
        return 0;
    }
    return size * n;
}

static int64_t http_retry_after(CURL *easy)
{
    curl_off_t seconds = 0;
    struct curl_header *header;
    if (curl_easy_header(easy, "Retry-After", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return -1;
    curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds);
    return seconds > 0 ? seconds : 0;
}

static int64_t http_date(CURL *easy)
{
    struct curl_header *header;
    if (curl_easy_header(easy, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return 0;
    time_t when = curl_getdate(header->value, NULL);
    return when > 0 ? when * CLOCK_SECOND : 0;
}

static void http_done(struct multi_transfer *transfer, CURLcode result)
{
    struct http_request *request = transfer->arg;
    struct http_response response = {.body = "", .content_type = "", .retry_after_s = -1};
    long status = 0;
    char *type = NULL;
    if (result == CURLE_OK) {
        curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(request->easy, CURLINFO_CONTENT_TYPE, &type);
        response.status = (int)status;
        response.body = request->response.data ? request->response.data : "";
        response.length = request->response.length;
        response.content_type = type ? type : "";
        response.retry_after_s = http_retry_after(request->easy);
        response.date = http_date(request->easy);
    } else {
        response.problem = request->too_long   ? "the answer is too long"
                           : request->error[0] ? request->error
                           : *transfer->error  ? transfer->error
                                               : curl_easy_strerror(result);
    }
    request->done(&response, request->arg);
    http_free(request);
}

static void http_configure(struct http_request *request, const struct http_params *params)
{
    CURL *easy = request->easy;
    curl_easy_setopt(easy, CURLOPT_URL, params->url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); // never what the environment says
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    // A request on a connection that died unseen would be sent twice: a refresh token that is replaced on
    // every use must not be.
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(
        easy, CURLOPT_TIMEOUT_MS, (long)(params->timeout_ms ? params->timeout_ms : HTTP_TIMEOUT_MS));
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_receive);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "outtray/" OUTTRAY_VERSION);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    if (params->ca_file && *params->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, params->ca_file);
    if (request->body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
    }
}

static int http_prepare(struct http_request *request, const struct http_params *params)
{
    char type[128];
    (void)snprintf(type, sizeof type, "Content-Type: %s",
        params->content_type ? params->content_type : "application/x-www-form-urlencoded");
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");
    request->headers = headers;
    if (!headers || (params->body && !curl_slist_append(headers, type)))
        return -ENOMEM;
    if (params->body) {
        request->body_length = strlen(params->body);
        request->body = strdup(params->body);
        if (!request->body)
            return -ENOMEM;
    }
    request->easy = curl_easy_init();
    if (!request->easy)
        return -ENOMEM;
    http_configure(request, params);
    char host[HTTP_HOST_MAX];
    uint16_t port;
    if (!http_url_place(params->url, host, sizeof host, &port))
        return multi_add(request->multi, &request->transfer, request->easy, http_done, request);
    return multi_connect(request->multi, &request->transfer, request->easy, http_done, request, host, port,
        params->timeout_ms ? params->timeout_ms : HTTP_TIMEOUT_MS);
}

int http_start(struct multi *multi, const struct http_params *params,
    void (*done)(const struct http_response *response, void *arg), void *arg,
    struct http_request **ret_request)
{
    if (http_url_problem(params->url))
        return -EINVAL;
    struct http_request *request = calloc(1, sizeof *request);
    if (!request)
        return -ENOMEM;
    request->multi = multi;
    request->done = done;
    request->arg = arg;
    buffer_init(&request->response, HTTP_RESPONSE_MAX);
    buffer_make_secret(&request->response);
    int error = http_prepare(request, params);
    if (error) {
        http_free(request);
        return error;
    }
    *ret_request = request;
    return 0;
}

void http_cancel(struct http_request *request)
{
    if (request)
        http_free(request);
}

struct http_waiting {
    struct loop *loop;
    struct http_request *request; // NULL once done
    void (*done)(const struct http_response *response, void *arg);
    void *arg;
};

static void http_performed(const struct http_response *response, void *arg)
{
    struct http_waiting *waiting = arg;
    waiting->request = NULL;
    waiting->done(response, waiting->arg);
    loop_stop(waiting->loop);
}

int http_perform(const struct http_params *params,
    void (*done)(const struct http_response *response, void *arg), void *arg)
{
    struct http_waiting waiting = {.done = done, .arg = arg};
    struct multi *multi = NULL;
    int error = loop_new(&waiting.loop);
    if (error)
        return error;
    error = multi_new(waiting.loop, &multi);
    if (!error)
        error = http_start(multi, params, http_performed, &waiting, &waiting.request);
    if (!error)
        error = loop_run(waiting.loop, NULL, NULL);
    http_cancel(waiting.request);
    multi_free(multi);
    loop_free(waiting.loop);
    return error;
}
