// One SMTP session: a connection that libcurl opens (DNS, TLS, EHLO, STARTTLS, SASL) and that we carry mail
// on.
//
// libcurl connects with CURLOPT_CONNECT_ONLY on the loop's multi handle; what EHLO offered is taken from its
// header callback; then transactions are pipelined as far as the server's extensions allow (see
// transaction.h). A session belongs to the wire thread and never blocks. After smtp_session_open every
// session ends in exactly one `closed` event, after which it must be freed with smtp_session_free; the mails
// that had no final reply by then come back through `done` first.
//
// RFC 5321, 3207, 4954, 2920, 3030, 1870, 6152, 6531, 3461, 2034.
#ifndef OUTTRAY_AGENT_SMTP_SESSION_H
#define OUTTRAY_AGENT_SMTP_SESSION_H

#include "agent/base/multi.h"
#include "agent/smtp/body.h"
#include "agent/smtp/reply.h"
#include "config/config.h"
#include "config/secret.h"
#include <curl/curl.h>

#define SMTP_WINDOW_MAX 256
#define SMTP_WINDOW_BYTES_MAX                                                                                \
    (4 * 1024 * 1024)             // octets in flight without a reply, unless a single message is larger
#define SMTP_CAPABILITY_MAX   512 // octets kept of one EHLO line
#define SMTP_CAPABILITIES_MAX 100 // EHLO lines looked at

// Where in the dialogue something happened. smtp_stage_name: "connect", "tls", "ehlo", "auth", "mail",
// "rcpt", "data", "final", "idle".
enum smtp_stage {
    SMTP_STAGE_CONNECT,
    SMTP_STAGE_TLS,
    SMTP_STAGE_EHLO,
    SMTP_STAGE_AUTH,
    SMTP_STAGE_MAIL,
    SMTP_STAGE_RCPT,
    SMTP_STAGE_DATA,  // the reply to DATA, or a failure while the body is written
    SMTP_STAGE_FINAL, // the reply to the final dot or to BDAT … LAST
    SMTP_STAGE_IDLE,  // between transactions
};
const char *smtp_stage_name(enum smtp_stage stage);

struct smtp_capabilities {
    bool pipelining, chunking, eight_bit, smtputf8, dsn, enhanced_codes, starttls, size;
    uint64_t size_max; // octets; 0: no limit told (SIZE 0 or absent)
};

struct smtp_recipient {
    const char *address; // for the wire: A-label domain, checked
    const char *notify;  // DSN NOTIFY value or NULL
    const char *orcpt;   // DSN ORCPT value or NULL
};

// One mail transaction. Everything is borrowed from the caller until `done`.
struct smtp_mail {
    const char *reverse_path; // "" for <>
    const char *ret;          // DSN RET value or NULL
    const char *envid;        // DSN ENVID value or NULL
    bool eight_bit;           // BODY=8BITMIME is needed
    bool smtputf8;            // SMTPUTF8 is needed
    const struct smtp_recipient *recipients;
    size_t n_recipients; // 1 … recipients_per_message
    struct smtp_body body;
    void *owner; // for the caller
};

enum smtp_failure { // why there is no final reply
    SMTP_FAILURE_NONE,
    SMTP_FAILURE_CONNECTION, // could not be made, or was lost
    SMTP_FAILURE_TIMEOUT,
    SMTP_FAILURE_TLS,
    SMTP_FAILURE_PROTOCOL, // the server does not speak SMTP as it must
    SMTP_FAILURE_LOGIN,    // AUTH refused, or no mechanism in common
    SMTP_FAILURE_FILE,     // the message file changed while it was sent: this message's fault
    SMTP_FAILURE_DISK,     // the message file could not be read: our disk's
    SMTP_FAILURE_REQUIRED, // a needed extension is missing (8BITMIME, SMTPUTF8, SIZE too small): found before
                           // MAIL
    SMTP_FAILURE_CANCELLED, // we closed the session before this mail was begun or finished
};

// What became of one mail. Passed by pointer for the time of the callback.
//
// - MAIL refused: failure NONE, stage MAIL, final is that reply, no recipient has one. What comes behind it
//   counts for nothing, but for one case: 503 says that MAIL was nested in another transaction, and the
//   content is taken by BDAT all the same. Then it is at the server: stage FINAL.
// - All recipients refused: NONE, RCPT, final.code 0: each recipient's reply decides. What the server says to
//   DATA or BDAT then, even a 250, counts for nothing.
// - DATA refused: NONE, DATA, final is that reply.
// - Final reply, good or bad: NONE, FINAL.
// - 421 to one of its commands: NONE, the command's stage, final is the 421.
// - It lacks what it needs: REQUIRED, MAIL, not begun; final is made as a server would say it: 552 5.3.4
//   (SIZE), 554 5.6.3 (8BITMIME), 550 5.6.7 (SMTPUTF8), 501 5.1.3 (an address or parameter that would break
//   the command: a bug above this room).
// - 503 in its right place: PROTOCOL, final is the 503: worth another attempt, with window 1.
// - Anything else: failure, the stage it had come to, recipients' replies so far.
struct smtp_result {
    const struct smtp_mail *mail;
    enum smtp_stage stage;     // where it ended
    enum smtp_failure failure; // NONE: `final` (or for a refusal before it, the refusing reply) decides
    bool begun;                // MAIL was sent: the server may have seen something
    bool may_be_accepted;      // all octets were sent, no final reply: a repeat may duplicate
    struct smtp_reply final;   // reply to the final dot/BDAT LAST, or the reply that ended the transaction
                               // (MAIL, DATA 4xx/5xx)
    // By index: the reply to RCPT, NULL where none came or MAIL was refused. The array itself is NULL only
    // where there was no memory for it (CANCELLED).
    const struct smtp_reply *const *recipients;
    const char *problem; // words for a failure; never NULL then
    int64_t xfer_ns;     // from MAIL to the final reply
};

// What became of the session. Where reply.code is 400 or above it is the server's reason, whatever failure
// says: a refused greeting or EHLO is CONNECTION with that reply, a refused login LOGIN with it (or with a
// 334 whose explanation was decoded), a 421 at any time NONE with it.
struct smtp_closing {
    enum smtp_stage stage;
    enum smtp_failure
        failure; // NONE: ended by us (quit), or by the server between transactions without a fault
    CURLcode curl;
    long os_error;           // errno of connect(2) where known
    struct smtp_reply reply; // the last reply that mattered (421, 454, 535, …); code 0 where none
    char problem[512];       // words; "" where there is none
    bool no_chunking; // the server offers CHUNKING but does not know BDAT: use no_chunking with it next time
    bool anomaly;     // the server answered out of step: use window 1 with it next time
};

struct smtp_session;

struct smtp_session_events {
    // The session is ready for (more) mail: smtp_session_room is not 0. Called after set-up and whenever room
    // appears.
    void (*ready)(struct smtp_session *session, void *arg);
    void (*done)(struct smtp_session *session, const struct smtp_result *result, void *arg);
    void (*closed)(struct smtp_session *session, const struct smtp_closing *closing, void *arg);
};

struct smtp_session_params { // borrowed until smtp_session_open returns, but for the config (reference taken)
    const struct config *config;          // a reference is taken
    const struct config_account *account; // of this config: encryption, port, tls, limits, timeouts
    const char *server;                   // one of account->servers
    const char *ehlo_name;                // config->domain
    const char *username;                 // NULL: no AUTH
    const struct secret *secret;          // password or access token
    bool oauth;                           // the secret is a token: XOAUTH2
    bool no_chunking;                     // do not use BDAT even where CHUNKING is offered
    bool patient;                         // stay while idle as long as the server allows: a login is dear
    unsigned window;                      // 1 … SMTP_WINDOW_MAX: messages in flight
    struct smtp_session_events events;
    void *arg;
    // NULL, or told every octet of the dialogue as it passes, credentials too: by the client or by the
    // server. Called from the loop with `arg`.
    void (*trace)(bool client, const char *data, size_t length, void *arg);
};

// Begins to connect. 0 and *ret_session, or negative errno (-ENOMEM, -EMFILE). No event is called from inside
// this.
int smtp_session_open(struct loop *loop, struct multi *multi, const struct smtp_session_params *params,
    struct smtp_session **ret_session);

// How many more mails the session takes now: 0 while connecting, closing, full, or after
// messages_per_connection (then it quits by itself). Never more than 3 where the server does not offer
// CHUNKING (two can be begun, one lies ready), 1 where it offers no PIPELINING either.
unsigned smtp_session_room(const struct smtp_session *session);
// How many of those would go on the wire at once.
unsigned smtp_session_room_now(const struct smtp_session *session);
// Whether mails follow each other on the wire without waiting for replies (CHUNKING and PIPELINING).
bool smtp_session_streams(const struct smtp_session *session);
// Mails without a result yet.
unsigned smtp_session_in_flight(const struct smtp_session *session);

// Hands over a mail; room must not be 0. Its `done` comes later, never from inside this call.
void smtp_session_send(struct smtp_session *session, const struct smtp_mail *mail);

// Ends politely: what is in flight is finished, QUIT is sent, `closed` follows. Idempotent. A session that
// still connects ends at once, as by smtp_session_abort.
void smtp_session_quit(struct smtp_session *session);
// Ends now: `done` (CANCELLED) for what is in flight, then `closed`, both from inside this call.
void smtp_session_abort(struct smtp_session *session);
void smtp_session_free(struct smtp_session *session); // only after `closed`; takes NULL

// When the session's own timeout ends it at the latest (clock_boot), INT64_MAX for never: it cannot lie far
// back.
int64_t smtp_session_due(const struct smtp_session *session);

// Facts for the log, valid from the first `ready` on.
const struct smtp_capabilities *smtp_session_capabilities(const struct smtp_session *session);
const char *smtp_session_relay(const struct smtp_session *session);  // "mail.example.com:587"
const char *smtp_session_tls(const struct smtp_session *session);    // "TLSv1.3", "" without TLS
unsigned smtp_session_mails(const struct smtp_session *session);     // handed over so far (conn_use)
int64_t smtp_session_connect_ns(const struct smtp_session *session); // how long set-up took
int64_t smtp_session_progress(
    const struct smtp_session *session); // clock_boot: when the server last took octets or said something

#endif
