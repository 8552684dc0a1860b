// What libcurl's result and the server's last words mean: where the set-up ended, why, and what to tell.
#include "connect.h"

#include <linux/tcp.h> // its struct tcp_info has the octets received
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

// Which failures of libcurl belong to TLS. All others are judged by how far the dialogue came.
static bool is_tls(CURLcode code)
{
    switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_USE_SSL_FAILED:
        return true;
    default:
        return false;
    }
}

static enum smtp_stage connect_stage(struct connect *connect)
{
    curl_off_t tls_us = 0;
    curl_easy_getinfo(connect->easy, CURLINFO_APPCONNECT_TIME_T, &tls_us);
    // From the TCP connection on, or from the 220 for STARTTLS.
    bool in_handshake = tls_us == 0 && (connect->handshake || (connect->starttls && connect->encrypted));
    switch (connect->phase) {
    case CONNECT_GREETING:
        return in_handshake ? SMTP_STAGE_TLS : SMTP_STAGE_CONNECT;
    case CONNECT_STARTTLS:
        return SMTP_STAGE_TLS;
    case CONNECT_EHLO:
    case CONNECT_HELO:
        return in_handshake ? SMTP_STAGE_TLS : SMTP_STAGE_EHLO;
    case CONNECT_AUTH:
        return SMTP_STAGE_AUTH;
    case CONNECT_READY:
        break;
    }
    return connect->login ? SMTP_STAGE_AUTH : SMTP_STAGE_EHLO;
}

static void closing_set(struct smtp_closing *closing, enum smtp_failure failure, const char *problem)
{
    closing->failure = failure;
    (void)snprintf(closing->problem, sizeof closing->problem, "%s", problem);
}

static void closing_begin(struct connect *connect, CURLcode result, struct smtp_closing *closing)
{
    memset(closing, 0, sizeof *closing);
    closing->stage = connect_stage(connect);
    closing->curl = result;
    curl_easy_getinfo(connect->easy, CURLINFO_OS_ERRNO, &closing->os_error);
    if (connect->os_error)
        closing->os_error = connect->os_error;
}

void connect_refused(struct connect *connect, const char *words, int os_error)
{
    (void)snprintf(connect->error, sizeof connect->error, "%s", words);
    connect->os_error = os_error;
}

// An XOAUTH2 server explains a refusal in a 334 with base64 JSON (no secret in it): made readable.
static void closing_challenge(struct smtp_closing *closing)
{
    const char *text = closing->reply.text;
    size_t length = strlen(text) > 4 ? strlen(text) - 4 : 0;
    unsigned char plain[REPLY_TEXT_MAX + 3];
    if (length == 0 || length % 4 != 0 || length > REPLY_TEXT_MAX)
        return;
    int n = EVP_DecodeBlock(plain, (const unsigned char *)text + 4, (int)length);
    if (n <= 0)
        return;
    char *to = closing->reply.text + 4;
    size_t made = 0;
    for (int i = 0; i < n && made < REPLY_TEXT_MAX - 4; i++)
        if (plain[i])
            to[made++] = (char)plain[i];
    to[made] = '\0';
}

static void closing_no_mechanism(struct connect *connect, struct smtp_closing *closing)
{
    closing->stage = SMTP_STAGE_AUTH;
    closing_set(closing, SMTP_FAILURE_LOGIN,
        connect->oauth
            ? "the server does not offer AUTH XOAUTH2"
            : "the server offers no AUTH that a password can be used with (PLAIN, LOGIN, CRAM-MD5)");
}

static void closing_login(struct connect *connect, struct smtp_closing *closing)
{
    closing->stage = SMTP_STAGE_AUTH;
    if (connect->last.code == 334 && connect->oauth) {
        closing_challenge(closing);
        closing_set(closing, SMTP_FAILURE_LOGIN, "the server did not accept the access token");
    } else if (connect->last.code >= 400) {
        closing_set(closing, SMTP_FAILURE_LOGIN, "the server refused the login");
    } else if (connect->last.code / 100 == 2) { // the reply to EHLO: AUTH was not even tried
        closing_no_mechanism(connect, closing);
    } else {
        closing_set(closing, SMTP_FAILURE_LOGIN, "the login did not come to an end");
    }
}

static void closing_tls(struct connect *connect, CURLcode result, struct smtp_closing *closing)
{
    closing->stage = SMTP_STAGE_TLS;
    const char *words = *connect->error ? connect->error : curl_easy_strerror(result);
    if (result == CURLE_USE_SSL_FAILED)
        words =
            connect->last.code >= 400 ? "the server refused STARTTLS" : "the server does not offer STARTTLS";
    closing_set(closing, SMTP_FAILURE_TLS, words);
}

static void closing_of(struct connect *connect, CURLcode result, struct smtp_closing *closing)
{
    bool refused = connect->last.code >= 400;
    closing_begin(connect, result, closing);
    if (refused || connect->last.code == 334)
        reply_copy(&closing->reply, &connect->last);
    if (connect->problem && result == CURLE_WRITE_ERROR) {
        closing_set(closing, SMTP_FAILURE_PROTOCOL, connect->problem);
    } else if (result == CURLE_OPERATION_TIMEDOUT) {
        closing_set(closing, SMTP_FAILURE_TIMEOUT,
            *connect->error ? connect->error : "the connection was not ready in time");
    } else if (is_tls(result)) {
        closing_tls(connect, result, closing);
    } else if (result == CURLE_LOGIN_DENIED || result == CURLE_AUTH_ERROR) {
        closing_login(connect, closing);
    } else if (refused && (result == CURLE_WEIRD_SERVER_REPLY || result == CURLE_REMOTE_ACCESS_DENIED)) {
        // The phase has moved on with the reply that refused.
        closing->stage = connect->phase == CONNECT_EHLO ? SMTP_STAGE_CONNECT : SMTP_STAGE_EHLO;
        closing_set(closing, SMTP_FAILURE_CONNECTION, "the server refused the connection");
    } else if (result == CURLE_WEIRD_SERVER_REPLY) {
        closing_set(closing, SMTP_FAILURE_PROTOCOL,
            *connect->error ? connect->error : "the server sent more than the reply that was due");
    } else if (result == CURLE_RECV_ERROR && !connect->encrypted) { // libcurl shows a stale errno
        closing_set(closing, SMTP_FAILURE_CONNECTION, "the server closed the connection");
    } else {
        closing_set(
            closing, SMTP_FAILURE_CONNECTION, *connect->error ? connect->error : curl_easy_strerror(result));
    }
}

// Octets that libcurl took from the socket but showed to nobody: they came behind the last reply in the same
// packet, and libcurl drops them. Known exactly without TLS only, where the kernel counts; within TLS the
// peer is the authenticated server, and what is dropped can at least never be taken for a reply.
static bool connect_swallowed(const struct connect *connect, int fd)
{
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    socklen_t length = sizeof info;
    int unread = 0;
    if (*connect->tls || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 ||
        length < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received ||
        ioctl(fd, FIONREAD, &unread) != 0 || unread < 0)
        return false;
    uint64_t fin = info.tcpi_state == 1 ? 0 : 1; // established; else a FIN counts as an octet
    return info.tcpi_bytes_received > connect->octets + (uint64_t)unread + fin;
}

// Nothing may be readable before the first command of ours (RFC 3207, RFC 4954): it could only be meant to
// be taken for the reply to a command that was not sent yet.
static bool connect_quiet(struct connect *connect, struct smtp_closing *closing)
{
    char octet;
    size_t n = 0;
    CURLcode code = curl_easy_recv(connect->easy, &octet, 1, &n); // also attaches the connection for good
    const struct curl_tlssessioninfo *tls = NULL;
    if (curl_easy_getinfo(connect->easy, CURLINFO_TLS_SSL_PTR, &tls) == CURLE_OK && tls && tls->internals &&
        tls->backend == CURLSSLBACKEND_OPENSSL)
        (void)snprintf(connect->tls, sizeof connect->tls, "%s", SSL_get_version(tls->internals));
    curl_socket_t fd = CURL_SOCKET_BAD;
    curl_easy_getinfo(connect->easy, CURLINFO_ACTIVESOCKET, &fd);
    closing_begin(connect, code, closing);
    if (fd == CURL_SOCKET_BAD || (code == CURLE_OK && n == 0) || (code != CURLE_OK && code != CURLE_AGAIN)) {
        closing_set(closing, SMTP_FAILURE_CONNECTION, "the server closed the connection");
        return false;
    }
    if (code == CURLE_OK || connect_swallowed(connect, (int)fd)) {
        closing_set(closing, SMTP_FAILURE_PROTOCOL, "the server sent more than the reply that was due");
        return false;
    }
    return true;
}

bool connect_finish(struct connect *connect, CURLcode result, struct smtp_closing *ret_closing)
{
    if (result != CURLE_OK) {
        closing_of(connect, result, ret_closing);
        return false;
    }
    if (connect->login && !connect->logged_in) { // libcurl calls that a success
        closing_begin(connect, result, ret_closing);
        closing_no_mechanism(connect, ret_closing);
        return false;
    }
    return connect_quiet(connect, ret_closing);
}

void connect_timed_out(struct connect *connect, int64_t timeout_ms, struct smtp_closing *ret_closing)
{
    closing_begin(connect, CURLE_OPERATION_TIMEDOUT, ret_closing);
    ret_closing->failure = SMTP_FAILURE_TIMEOUT;
    (void)snprintf(ret_closing->problem, sizeof ret_closing->problem,
        "the connection was not ready for mail within %lld ms", (long long)timeout_ms);
}
