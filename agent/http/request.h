// HTTPS requests on the loop's curl multi handle, for token endpoints.
//
// Small and bounded: one body out, one body in (at most HTTP_RESPONSE_MAX octets), no redirects, https://
// only (http:// for loopback addresses, so that it can be tried out), certificate checks always on, nothing
// of the environment (proxies) used. Bodies may hold secrets: they are wiped when the request ends.
#ifndef OUTTRAY_AGENT_HTTP_REQUEST_H
#define OUTTRAY_AGENT_HTTP_REQUEST_H

#include "agent/base/multi.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_RESPONSE_MAX (256 * 1024) // octets
#define HTTP_TIMEOUT_MS   30000
#define HTTP_HOST_MAX     256 // with its NUL

struct http_request;

struct http_response { // borrowed for the time of the callback
    int status;        // 0: no response (see problem)
    const char *body;  // NUL-terminated behind length
    size_t length;
    const char *content_type; // "" where none
    int64_t retry_after_s;    // -1: none told
    int64_t date;             // wall ns of the Date header; 0: none
    const char *problem;      // words where status is 0: connection, TLS, timeout, too long; never NULL then
};

struct http_params { // borrowed until http_start returns
    const char *url;
    const char *body;         // NULL: GET; else POST
    const char *content_type; // of body; NULL: application/x-www-form-urlencoded
    const char *ca_file;      // NULL or "": the system's
    int64_t timeout_ms;       // 0: HTTP_TIMEOUT_MS
};

// Begins a request. done is called once, never from inside this call; the request is gone when it returns,
// and must not be cancelled from inside it. 0; -EINVAL for a URL that may not be used; -ENOMEM.
int http_start(struct multi *multi, const struct http_params *params,
    void (*done)(const struct http_response *response, void *arg), void *arg,
    struct http_request **ret_request);
void http_cancel(struct http_request *request); // takes NULL; done is not called

// For verbs: one request on a loop of its own; done is called from inside. Same results.
int http_perform(const struct http_params *params,
    void (*done)(const struct http_response *response, void *arg), void *arg);

// NULL where url may be requested (https, or http to 127.0.0.1, [::1], localhost), else a constant reason.
const char *http_url_problem(const char *url);

// The host (without the brackets of an IPv6 address) and the port that a URL leads to. False where it names
// none, or the host is longer than size.
bool http_url_place(const char *url, char *ret_host, size_t size, uint16_t *ret_port);

#endif
