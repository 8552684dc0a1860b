// The set-up of one connection by libcurl: address, TLS, EHLO, STARTTLS, SASL; then the octets.
//
// connect_open configures an easy handle with CURLOPT_CONNECT_ONLY; the caller adds it to the multi handle
// and, when it is done, asks connect_finish whether the connection may be used. Every line of the set-up
// dialogue passes through here, so that what EHLO offered and what the server said last is known; credentials
// never do.
//
// Traps of libcurl 7.88 that are handled here: it reports success without having logged in where the server
// offers no usable AUTH or refuses EHLO; it waits in silence for a reply from what is no SMTP server; it
// throws away what follows the last reply in the same packet; and once added to a multi handle the connection
// counts as unused until the first curl_easy_recv, so connect_finish makes that call at once.
#ifndef OUTTRAY_AGENT_SMTP_CONNECT_H
#define OUTTRAY_AGENT_SMTP_CONNECT_H

#include "session.h"

#define CONNECT_EHLO_NAME_MAX 255 // octets; RFC 5321 section 4.5.3.1.2

enum connect_phase { // what the next reply answers
    CONNECT_GREETING,
    CONNECT_EHLO,
    CONNECT_HELO,
    CONNECT_STARTTLS,
    CONNECT_AUTH,
    CONNECT_READY, // nothing more is expected
};

struct connect {
    void (*trace)(bool client, const char *data, size_t length, void *arg); // NULL: nobody looks on
    void *trace_arg;
    CURL *easy; // owned
    char error[CURL_ERROR_SIZE];
    long os_error; // of connect(2), where somebody else called it
    enum connect_phase phase;
    bool starttls, login, oauth; // what was asked for
    bool encrypted;              // TLS is up, or the STARTTLS reply was 220
    bool handshake;              // TLS was begun
    bool logged_in;
    unsigned ehlo_lines;
    uint64_t octets; // of all reply lines
    struct reply_reader reader;
    struct smtp_reply last; // the last complete reply
    struct smtp_capabilities capabilities;
    const char *problem; // what the dialogue was ended for; NULL where it was not
    char tls[16];        // "TLSv1.3"
};

int connect_open(struct connect *connect, const struct smtp_session_params *params); // 0, -ENOMEM or -EINVAL
void connect_close(struct connect *connect); // removed from the multi handle before

// Somebody else tried to connect for us (multi.h), and this is why it did not work. Before connect_finish.
void connect_refused(struct connect *connect, const char *words, int os_error);
// Judges what libcurl reports. True: the connection may carry mail. False: *ret_closing says why not.
bool connect_finish(struct connect *connect, CURLcode result, struct smtp_closing *ret_closing);
// What to report when the set-up took too long.
void connect_timed_out(struct connect *connect, int64_t timeout_ms, struct smtp_closing *ret_closing);

#endif
