// A scripted SMTP server for unit tests: one thread, one connection, an ephemeral port on 127.0.0.1.
//
// The script has one step a line, a letter, a colon, a blank and what belongs to it:
//
//     S: LINE    sends LINE and CRLF
//     s: TEXT    sends TEXT in one piece; \r \n \0 \e \\ stand for themselves
//     C: LINE    the client's next line must be LINE
//     B: N       reads N octets of body
//     D:         reads up to the lone dot, which is not kept
//     Q:         the client has sent nothing more so far
//     T:         the server's side of a TLS handshake
//     t:         the same, which must fail
//     O:         waits until the client has seen the session open
//     d: N       waits until the client has seen N mails done
//     +: N       moves the test clock on by N seconds
//     P: N       the same again and again, until the client has seen the session closed
//     X:  R:     closes; closes with a reset
//     E:  Z:     the client must close now; reads whatever comes until it does
//
// Bodies are kept one behind another. The first step that does not go as written ends the script and is told
// by server_stop. Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_SMTP_SERVER_H
#define OUTTRAY_TESTS_UNIT_SMTP_SERVER_H

#include "clock_support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_TIMEOUT_S 20 // for one read or write of the server

struct server {
    const char *script;
    int listener, fd;
    uint16_t port;
    pthread_t thread;
    SSL_CTX *context; // with a key and certificate of its own
    SSL *tls;
    char input[65536];
    size_t start, end;
    char *bodies;
    size_t bodies_length, bodies_size;
    atomic_bool opened, closed; // set by the client's side, as this is
    atomic_uint done;
    char fault[1024]; // "" where everything went as written
};

static inline ssize_t server_receive(struct server *server, char *to, size_t size)
{
    if (!server->tls)
        return recv(server->fd, to, size, 0);
    int n = SSL_read(server->tls, to, (int)size);
    return n > 0 ? n : SSL_get_error(server->tls, n) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static inline bool server_fill(struct server *server)
{
    if (server->start == server->end)
        server->start = server->end = 0;
    ssize_t n = server_receive(server, server->input + server->end, sizeof server->input - server->end);
    if (n <= 0)
        return false;
    server->end += (size_t)n;
    return true;
}

static inline void server_send(struct server *server, const char *data, size_t length)
{
    while (length) { // a client that is gone already is no fault of the server
        ssize_t n = server->tls ? SSL_write(server->tls, data, (int)length)
                                : send(server->fd, data, length, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        data += n;
        length -= (size_t)n;
    }
}

static inline void server_send_text(struct server *server, const char *text, bool escapes)
{
    char data[8192];
    size_t n = 0;
    for (; *text && n < sizeof data - 2; text++) {
        char c = *text;
        if (escapes && c == '\\' && text[1]) {
            c = *++text;
            c = (char)(c == 'r' ? '\r' : c == 'n' ? '\n' : c == '0' ? '\0' : c == 'e' ? 27 : c);
        }
        data[n++] = c;
    }
    if (!escapes) {
        data[n++] = '\r';
        data[n++] = '\n';
    }
    server_send(server, data, n);
}

// The client's next line without its CRLF, or NULL.
static inline char *server_line(struct server *server, char *line, size_t size)
{
    size_t n = 0;
    for (;;) {
        if (server->start == server->end && !server_fill(server))
            return NULL;
        char c = server->input[server->start++];
        if (n + 1 >= size)
            return NULL;
        line[n++] = c;
        if (c == '\n')
            break;
    }
    if (n < 2 || line[n - 2] != '\r')
        return NULL;
    line[n - 2] = '\0';
    return line;
}

static inline bool server_keep(struct server *server, const char *data, size_t length)
{
    size_t need = server->bodies_length + length + 1;
    if (need > server->bodies_size) {
        char *bodies = realloc(server->bodies, 2 * need);
        if (!bodies)
            return false;
        server->bodies = bodies;
        server->bodies_size = 2 * need;
    }
    memcpy(server->bodies + server->bodies_length, data, length);
    server->bodies_length += length;
    server->bodies[server->bodies_length] = '\0';
    return true;
}

static inline bool server_body(struct server *server, size_t length)
{
    while (length) {
        if (server->start == server->end && !server_fill(server))
            return false;
        size_t n = server->end - server->start;
        n = n < length ? n : length;
        if (!server_keep(server, server->input + server->start, n))
            return false;
        server->start += n;
        length -= n;
    }
    return true;
}

static inline bool server_dot(struct server *server)
{
    char line[4096];
    while (server_line(server, line, sizeof line)) {
        if (strcmp(line, ".") == 0)
            return true;
        server_keep(server, line, strlen(line));
        server_keep(server, "\r\n", 2);
    }
    return false;
}

static inline bool server_handshake(struct server *server)
{
    server->tls = SSL_new(server->context);
    SSL_set_fd(server->tls, server->fd);
    return SSL_accept(server->tls) == 1;
}

static inline void server_close(struct server *server, bool reset)
{
    struct linger linger = {.l_onoff = 1};
    if (reset)
        setsockopt(server->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    else if (server->tls)
        SSL_shutdown(server->tls);
    close(server->fd);
    server->fd = -1;
}

static inline bool server_wait_open(struct server *server)
{
    for (unsigned i = 0; i < SERVER_TIMEOUT_S * 1000 && !atomic_load(&server->opened); i++)
        usleep(1000);
    return atomic_load(&server->opened);
}

static inline bool server_wait_done(struct server *server, unsigned n)
{
    for (unsigned i = 0; i < SERVER_TIMEOUT_S * 1000 && atomic_load(&server->done) < n; i++)
        usleep(1000);
    return atomic_load(&server->done) >= n;
}

static inline bool server_pass_time(struct server *server, double seconds)
{
    for (unsigned i = 0; i < SERVER_TIMEOUT_S * 100 && !atomic_load(&server->closed); i++) {
        clock_move(seconds);
        usleep(10000);
    }
    return atomic_load(&server->closed);
}

static inline bool server_step(struct server *server, char step, const char *text)
{
    char got[4096];
    switch (step) {
    case 'S':
    case 's':
        server_send_text(server, text, step == 's');
        return true;
    case 'C':
        if (!server_line(server, got, sizeof got))
            snprintf(got, sizeof got, "(nothing)");
        if (strcmp(got, text) == 0)
            return true;
        snprintf(server->fault, sizeof server->fault, "got \"%.400s\" instead of \"%.400s\"", got, text);
        return false;
    case 'B':
        return server_body(server, strtoul(text, NULL, 10));
    case 'D':
        return server_dot(server);
    case 'Q':
        return server->start == server->end && recv(server->fd, got, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
               errno == EAGAIN;
    case 'T':
        return server_handshake(server);
    case 't':
        return !server_handshake(server);
    case 'O':
        return server_wait_open(server);
    case 'd':
        return server_wait_done(server, (unsigned)strtoul(text, NULL, 10));
    case '+':
        clock_move(strtod(text, NULL));
        return true;
    case 'P':
        return server_pass_time(server, strtod(text, NULL));
    case 'X':
    case 'R':
        server_close(server, step == 'R');
        return true;
    case 'E':
        return server->start == server->end && !server_fill(server);
    case 'Z':
        do
            server->start = server->end = 0;
        while (server_fill(server));
        return true;
    default:
        return false;
    }
}

static inline void *server_run(void *arg)
{
    struct server *server = arg;
    struct timeval timeout = {.tv_sec = SERVER_TIMEOUT_S};
    int on = 1;
    server->fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    setsockopt(server->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(server->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(server->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    char line[8192];
    for (const char *at = server->script; *at;) {
        size_t length = strcspn(at, "\n");
        const char *text = length > 3 ? at + 3 : "";
        snprintf(line, sizeof line, "%.*s", length > 3 ? (int)length - 3 : 0, text);
        if (!server_step(server, *at, line)) {
            if (!*server->fault)
                snprintf(server->fault, sizeof server->fault, "in step \"%.*s\"", (int)length, at);
            break;
        }
        at += length + (at[length] == '\n');
    }
    if (server->fd >= 0)
        server_close(server, false);
    return NULL;
}

// A key and a certificate for 127.0.0.1 that signs itself, written to ca_file.
static inline void server_certificate(struct server *server, const char *ca_file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(certificate, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(certificate, key, EVP_sha256());
    server->context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(server->context, certificate);
    SSL_CTX_use_PrivateKey(server->context, key);
    FILE *out = fopen(ca_file, "w");
    if (!out || PEM_write_X509(out, certificate) != 1 || fclose(out) != 0)
        abort();
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static inline void server_start(struct server *server, const char *script, const char *ca_file)
{
    memset(server, 0, sizeof *server);
    server->script = script;
    server->fd = -1;
    server_certificate(server, ca_file);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->listener, 1), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &length), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

// Waits for the script to end; what went wrong is in server->fault.
static inline void server_stop(struct server *server)
{
    shutdown(server->listener, SHUT_RDWR); // should nobody have come
    pthread_join(server->thread, NULL);
    close(server->listener);
    SSL_free(server->tls);
    SSL_CTX_free(server->context);
}

#endif
