// Stages `credentials`, `auth` and `mail`: as the agent does it, with its own set-up of a connection, up to a
// MAIL command that is taken back by RSET.
#include "agent/auth/credentials.h"
#include "agent/auth/words.h"
#include "agent/base/clock.h"
#include "agent/cli/doctor.h"
#include "agent/cli/oauth_verb.h"
#include "agent/compose/idn.h"
#include "agent/delivery/outcome.h"
#include "agent/smtp/connect.h"
#include "spool-format/address.h"

#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_MAX 1200 // octets

static bool load_password(struct doctor *doctor, struct doctor_login *login)
{
    const struct config_account *account = doctor->account;
    int error = secret_read_file(&login->secret, account->password_file, NULL);
    login->username = account->username;
    if (!error) {
        doctor_detail(doctor, "password of %s, from %s", account->username, account->password_file);
        return doctor_end(doctor, NULL);
    }
    doctor_detail(doctor, "the password file %s %s", account->password_file, secret_problem(error));
    doctor_worsen(doctor, DOCTOR_FAILED);
    return doctor_end(doctor, "put the password into that file, readable for this user alone");
}

static bool load_token(struct doctor *doctor, struct doctor_login *login)
{
    const struct config_account *account = doctor->account;
    struct token token = {0};
    char until[OAUTH_TIME_SIZE];
    if (doctor->exchange.state_fd < 0) {
        doctor_detail(doctor, "the state directory cannot be opened: see stage files");
        doctor_worsen(doctor, DOCTOR_FAILED);
        return doctor_end(doctor, NULL);
    }
    int code = exchange_renew(&doctor->exchange, false, &token);
    if (code != EX_OK) {
        doctor_words(doctor, doctor->exchange.words);
        doctor_worsen(doctor, DOCTOR_FAILED);
        return doctor_end(doctor, doctor->exchange.fix);
    }
    oauth_time(token.expires, until);
    doctor_detail(
        doctor, "access token of %s, valid until %s", token.mailbox ? token.mailbox : account->email, until);
    if (token.needs) {
        doctor_detail(doctor, "it cannot be refreshed:");
        doctor_words(doctor, token.needs);
        doctor_worsen(doctor, DOCTOR_FAILED);
    }
    login->username = account->email; // whose mailbox, not who signed in for it
    login->oauth = true;
    login->secret = token.access;
    token.access = (struct secret){0};
    char fix[EXCHANGE_FIX_MAX] = "";
    if (token.needs)
        (void)snprintf(fix, sizeof fix, "see `outtray oauth status %s`", account->name);
    token_release(&token);
    (void)doctor_end(doctor, fix);
    return true; // it may still serve for a while
}

bool doctor_credentials(struct doctor *doctor, struct doctor_login *login)
{
    if (doctor->account->auth == CONFIG_AUTH_NONE) {
        doctor_skip(doctor, "credentials", "auth: none");
        return true;
    }
    doctor_begin(doctor, "credentials");
    return doctor->account->auth == CONFIG_AUTH_BASIC ? load_password(doctor, login)
                                                      : load_token(doctor, login);
}

const char *doctor_login_fix(const struct doctor *doctor, const struct smtp_closing *closing)
{
    struct outcome outcome = outcome_of_closing(closing);
    bool oauth =
        doctor->account->auth == CONFIG_AUTH_GOOGLE || doctor->account->auth == CONFIG_AUTH_MICROSOFT;
    if (oauth && outcome.refresh_token)
        return "the agent would refresh the token once and try again; do it with `outtray oauth refresh`, "
               "and if "
               "that "
               "does not help, `outtray oauth login`";
    if (outcome.fix)
        return outcome.fix;
    return outcome.verdict == VERDICT_ACCOUNT_CREDENTIALS
               ? credentials_fix(doctor->account)
               : "see the server's words; the agent tries again by itself";
}

static void hide(char words[static OAUTH_WORDS_MAX], const char *text, size_t length)
{
    struct secret copy = {0};
    if (secret_set(&copy, text, length) == 0)
        words_hide(words, &copy);
    secret_release(&copy);
}

// Some servers repeat what they were sent: the base64 of it.
static void hide_encoded(char words[static OAUTH_WORDS_MAX], const struct buffer *said)
{
    struct buffer encoded;
    size_t length = 4 * ((said->length + 2) / 3);
    buffer_init(&encoded, length + 1);
    buffer_make_secret(&encoded);
    char *to = buffer_reserve(&encoded, length + 1);
    if (to && said->length) {
        buffer_grew(&encoded, (size_t)EVP_EncodeBlock(
                                  (unsigned char *)to, (const unsigned char *)said->data, (int)said->length));
        hide(words, encoded.data, encoded.length);
    }
    buffer_release(&encoded);
}

void doctor_hide(const struct doctor_login *login, const char *text, char words[static OAUTH_WORDS_MAX])
{
    (void)snprintf(words, OAUTH_WORDS_MAX, "%s", text);
    if (login->secret.length) {
        struct buffer said;
        buffer_init(&said, SECRET_SIZE_MAX + COMMAND_MAX);
        buffer_make_secret(&said);
        if (login->oauth)
            (void)buffer_format(
                &said, "user=%s\001auth=Bearer %s\001\001", login->username, login->secret.text);
        else
            (void)buffer_format(&said, "%c%s%c%s", 0, login->username, 0, login->secret.text);
        hide_encoded(words, &said);
        hide(words, login->secret.text, login->secret.length);
        buffer_release(&said);
    }
}

void doctor_reply(struct doctor *doctor, const struct doctor_login *login, const char *text)
{
    char words[OAUTH_WORDS_MAX];
    doctor_hide(login, text, words);
    doctor_words(doctor, words);
}

struct line { // the connection that libcurl made
    struct doctor *doctor;
    struct connect connect;
    struct reply_reader reader;
    const char *problem;
};

static bool line_wait(struct line *line, short events)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    int64_t timeout_ms = line->doctor->account->timeouts.connect_ms;
    (void)curl_easy_getinfo(line->connect.easy, CURLINFO_ACTIVESOCKET, &fd);
    struct pollfd poll_fd = {.fd = (int)fd, .events = events};
    int n = fd == CURL_SOCKET_BAD ? -1 : poll(&poll_fd, 1, (int)timeout_ms);
    if (n <= 0)
        line->problem = n == 0 ? "no answer in time" : "the connection is gone";
    return n > 0;
}

static bool line_write(struct line *line, const char *text)
{
    size_t length = strlen(text), n = 0;
    while (length) {
        CURLcode code = curl_easy_send(line->connect.easy, text, length, &n);
        if (code == CURLE_AGAIN && line_wait(line, POLLOUT))
            continue; // with the same pointer and length: OpenSSL insists
        if (code != CURLE_OK) {
            line->problem = line->problem ? line->problem : curl_easy_strerror(code);
            return false;
        }
        text += n;
        length -= n;
    }
    return true;
}

// Sends a command and shows the reply: its code, or 0.
static int line_ask(struct line *line, const char *command)
{
    char data[1024];
    size_t n = 0, used;
    if (!line_write(line, command))
        return 0;
    for (;;) {
        CURLcode code = curl_easy_recv(line->connect.easy, data, sizeof data, &n);
        if (code == CURLE_AGAIN && line_wait(line, POLLIN))
            continue;
        if (code != CURLE_OK || n == 0) {
            line->problem = line->problem ? line->problem : "the server closed the connection";
            return 0;
        }
        for (size_t at = 0; at < n; at += used) {
            int r = reply_read(&line->reader, data + at, n - at, &used, &line->problem);
            if (r < 0)
                return 0;
            if (r > 0) {
                doctor_words(line->doctor, line->reader.reply.text);
                return line->reader.reply.code;
            }
        }
    }
}

static bool stage_mail(struct line *line)
{
    struct doctor *doctor = line->doctor;
    char command[COMMAND_MAX], *sender = NULL;
    doctor_begin(doctor, "mail");
    const char *problem = idn_address(doctor->account->email, &sender);
    int n = problem ? 0
                    : snprintf(command, sizeof command, "MAIL FROM:<%s>%s\r\n", sender,
                          line->connect.capabilities.smtputf8 && address_needs_smtputf8(sender) ? " SMTPUTF8"
                                                                                                : "");
    free(sender);
    if (problem || n < 0 || (size_t)n >= sizeof command) {
        doctor_detail(
            doctor, "%s cannot be a sender: %s", doctor->account->email, problem ? problem : "too long");
        doctor_worsen(doctor, DOCTOR_FAILED);
        return doctor_end(doctor, "correct `email` of the account");
    }
    doctor_detail(doctor, "MAIL FROM:<%s>, then RSET: nothing is sent", doctor->account->email);
    int code = line_ask(line, command);
    struct outcome outcome = {.verdict = VERDICT_SENT};
    if (code / 100 != 2) {
        if (code)
            outcome = outcome_of_reply(SMTP_STAGE_MAIL, &line->reader.reply);
        doctor_worsen(doctor, DOCTOR_FAILED);
    } else if (line_ask(line, "RSET\r\n") / 100 != 2) {
        doctor_worsen(doctor, DOCTOR_FAILED);
    }
    if (line->problem)
        doctor_detail(doctor, "%s", line->problem);
    if (doctor->row.state == DOCTOR_OK)
        (void)line_write(line, "QUIT\r\n");
    return doctor_end(doctor, doctor->row.state == DOCTOR_OK ? NULL
                              : outcome.fix                  ? outcome.fix
                                                             : "see the server's words");
}

static bool stage_auth(struct line *line, const struct doctor_login *login)
{
    struct doctor *doctor = line->doctor;
    struct smtp_closing closing;
    doctor_begin(doctor, "auth");
    CURLcode code = curl_easy_perform(line->connect.easy);
    if (!connect_finish(&line->connect, code, &closing)) {
        doctor_detail(doctor, "at stage %s: %s", smtp_stage_name(closing.stage), closing.problem);
        if (closing.reply.code)
            doctor_reply(doctor, login, closing.reply.text);
        doctor_worsen(doctor, DOCTOR_FAILED);
        return doctor_end(doctor, doctor_login_fix(doctor, &closing));
    }
    if (login->username) {
        doctor_detail(doctor, "logged in as %s%s", login->username, login->oauth ? " by XOAUTH2" : "");
        doctor_reply(doctor, login, line->connect.last.text);
    } else {
        doctor_detail(doctor, "auth: none");
        doctor_worsen(doctor, DOCTOR_SKIPPED);
    }
    return doctor_end(doctor, NULL);
}

struct smtp_session_params doctor_session(const struct doctor *doctor, const struct doctor_login *login)
{
    return (struct smtp_session_params){.config = doctor->config,
        .account = doctor->account,
        .server = doctor->server,
        .ehlo_name = doctor->config->domain,
        .username = login->username,
        .secret = &login->secret,
        .oauth = login->oauth,
        .window = 1};
}

bool doctor_mail(struct doctor *doctor, const struct doctor_login *login)
{
    struct line line = {.doctor = doctor};
    struct smtp_session_params params = doctor_session(doctor, login);
    reply_reader_init(&line.reader);
    int error = connect_open(&line.connect, &params);
    if (error) {
        doctor_begin(doctor, "auth");
        doctor_detail(doctor, "the connection cannot be prepared: %s", strerror(-error));
        doctor_worsen(doctor, DOCTOR_FAILED);
        return doctor_end(doctor, NULL);
    }
    bool good = stage_auth(&line, login);
    if (good)
        good = stage_mail(&line);
    else
        doctor_skip(doctor, "mail", doctor_not_reached);
    connect_close(&line.connect);
    return good;
}
