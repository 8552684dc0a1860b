// Stages `tls` and `ehlo`: what the server shows and offers before anybody logs in.
//
// This is a connection of our own, because libcurl's tells only whether the certificate will do: here it is
// said what is in it. No credential passes over it.
#include "agent/cli/doctor.h"
#include "agent/cli/doctor_certificate.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WIRE_READ_SIZE 4096

struct wire {
    struct doctor *doctor;
    int fd;
    SSL_CTX *context;
    SSL *ssl; // NULL: in the clear
    struct reply_reader reader;
    char data[WIRE_READ_SIZE]; // read and not looked at yet
    size_t length, used;
    const char *problem; // why it stopped
};

static bool wire_wait(struct wire *wire, short events)
{
    struct pollfd poll_fd = {.fd = wire->fd, .events = events};
    int64_t timeout_ms = wire->doctor->account->timeouts.connect_ms;
    int n = poll(&poll_fd, 1, (int)timeout_ms);
    if (n == 0)
        wire->problem = "no answer in time";
    else if (n < 0)
        wire->problem = strerror(errno);
    return n > 0;
}

// What an OpenSSL call wants before it can go on; false where it failed.
static bool wire_wait_tls(struct wire *wire, int result)
{
    int error = SSL_get_error(wire->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        return wire_wait(wire, POLLIN);
    if (error == SSL_ERROR_WANT_WRITE)
        return wire_wait(wire, POLLOUT);
    wire->problem = certificate_openssl_problem(error);
    return false;
}

static bool wire_write(struct wire *wire, const char *text)
{
    size_t length = strlen(text);
    while (length) {
        ssize_t n =
            wire->ssl ? SSL_write(wire->ssl, text, (int)length) : send(wire->fd, text, length, MSG_NOSIGNAL);
        if (n > 0) {
            text += n;
            length -= (size_t)n;
        } else if (wire->ssl ? !wire_wait_tls(wire, (int)n)
                             : (errno != EAGAIN && errno != EINTR) || !wire_wait(wire, POLLOUT)) {
            if (!wire->problem)
                wire->problem = strerror(errno);
            return false;
        }
    }
    return true;
}

static bool wire_fill(struct wire *wire)
{
    for (;;) {
        ssize_t n = wire->ssl ? SSL_read(wire->ssl, wire->data, sizeof wire->data)
                              : recv(wire->fd, wire->data, sizeof wire->data, 0);
        if (n > 0) {
            wire->length = (size_t)n;
            wire->used = 0;
            return true;
        }
        if (!wire->ssl && n == 0) {
            wire->problem = "the server closed the connection";
            return false;
        }
        if (wire->ssl ? !wire_wait_tls(wire, (int)n)
                      : (errno != EAGAIN && errno != EINTR) || !wire_wait(wire, POLLIN)) {
            if (!wire->problem)
                wire->problem = strerror(errno);
            return false;
        }
    }
}

// Sends a command (NULL: only listens) and reads the reply into reader.reply; its lines go into the words of
// the row. The code, or 0 with problem set.
static int wire_ask(struct wire *wire, const char *command)
{
    if (command && !wire_write(wire, command))
        return 0;
    for (;;) {
        while (wire->used < wire->length) {
            const char *at = wire->data + wire->used;
            size_t used;
            int r = reply_read(&wire->reader, at, wire->length - wire->used, &used, &wire->problem);
            (void)buffer_append(&wire->doctor->row.words, at, used);
            wire->used += used;
            if (r < 0)
                return 0;
            if (r > 0)
                return wire->reader.reply.code;
        }
        if (!wire_fill(wire))
            return 0;
    }
}

// What the server said last, or that it said nothing, decides what to do.
static bool fail(struct wire *wire, const char *next)
{
    struct doctor *doctor = wire->doctor;
    if (wire->problem)
        doctor_detail(doctor, "%s", wire->problem);
    doctor_worsen(doctor, DOCTOR_FAILED);
    return doctor_end(doctor, next);
}

static bool say_ehlo(struct wire *wire)
{
    char command[300];
    (void)snprintf(command, sizeof command, "EHLO %s\r\n", wire->doctor->config->domain);
    return wire_ask(wire, command) / 100 == 2;
}

static bool handshake(struct wire *wire)
{
    const struct config_account *account = wire->doctor->account;
    wire->context = certificate_context(&account->tls, &wire->problem);
    wire->ssl = wire->context ? SSL_new(wire->context) : NULL;
    if (!wire->ssl || !certificate_expect(wire->ssl, wire->doctor->server) ||
        !SSL_set_fd(wire->ssl, wire->fd)) {
        SSL_free(wire->ssl);
        wire->ssl = NULL;
        return false;
    }
    int r;
    while ((r = SSL_connect(wire->ssl)) != 1)
        if (!wire_wait_tls(wire, r))
            return false;
    return true;
}

// Up to the point where the handshake may begin.
static bool before_tls(struct wire *wire)
{
    struct doctor *doctor = wire->doctor;
    if (doctor->account->encryption != CONFIG_ENCRYPTION_STARTTLS)
        return true;
    int code = wire_ask(wire, NULL);
    if (code != 220)
        return fail(
            wire, code ? "the server refuses this host; see its words"
                       : "see that an SMTP server with STARTTLS is at this port; 465 is `encryption: tls`");
    if (!say_ehlo(wire))
        return fail(wire, "the server refuses EHLO; see its words, and `domain` of the configuration");
    code = wire_ask(wire, "STARTTLS\r\n");
    if (code != 220)
        return fail(wire, "the server does not do STARTTLS here: correct `encryption` and `port`");
    if (wire->used < wire->length) {
        wire->problem = "the server sent more than the reply to STARTTLS";
        return fail(wire, "somebody between here and the server may be changing what is sent");
    }
    return true;
}

static bool stage_tls(struct wire *wire)
{
    struct doctor *doctor = wire->doctor;
    if (doctor->account->encryption == CONFIG_ENCRYPTION_NONE) {
        doctor_skip(doctor, "tls", "encryption: none");
        return true;
    }
    doctor_begin(doctor, "tls");
    if (!before_tls(wire))
        return false;
    if (!handshake(wire))
        return fail(
            wire, "see that encryption and port go together (starttls 587, tls 465), and the TLS files");
    const char *next = certificate_judge(doctor, wire->ssl);
    return doctor_end(doctor, next);
}

static bool stage_ehlo(struct wire *wire)
{
    struct doctor *doctor = wire->doctor;
    doctor_begin(doctor, "ehlo");
    bool greets = doctor->account->encryption != CONFIG_ENCRYPTION_STARTTLS;
    if (greets && wire_ask(wire, NULL) != 220)
        return fail(wire, wire->problem ? "see that an SMTP server is at this port; 465 is `encryption: tls`"
                                        : "the server refuses this host; see its words");
    if (!say_ehlo(wire))
        return fail(wire, "the server refuses EHLO; see its words, and `domain` of the configuration");
    if (wire_write(wire, "QUIT\r\n") && wire->ssl)
        (void)SSL_shutdown(wire->ssl);
    return doctor_end(doctor, NULL);
}

bool doctor_hello(struct doctor *doctor, int fd)
{
    struct wire wire = {.doctor = doctor, .fd = fd};
    reply_reader_init(&wire.reader);
    bool good = stage_tls(&wire);
    if (good)
        good = stage_ehlo(&wire);
    else
        doctor_skip(doctor, "ehlo", "the stages before did not come to it");
    SSL_free(wire.ssl);
    SSL_CTX_free(wire.context);
    close(fd);
    return good;
}
