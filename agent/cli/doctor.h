// The parts of `outtray doctor`: stages, and the report they write.
//
// A stage is a row: begun, filled with details (ours) and words (the other side's, verbatim), ended with what
// became of it and what to do next. Rows are printed as they end, or collected for --json. Nothing in them is
// a secret.
#ifndef OUTTRAY_AGENT_CLI_DOCTOR_H
#define OUTTRAY_AGENT_CLI_DOCTOR_H

#include "agent/cli/cli.h"
#include "agent/cli/oauth_exchange.h"
#include "agent/cli/service_user.h"
#include "agent/smtp/session.h"
#include <jansson.h>
#include <netdb.h>

#define DOCTOR_TEXT_MAX      (32 * 1024) // octets of a row's details, and of its words
#define DOCTOR_ADDRESSES_MAX 16          // of one server that are tried
#define DOCTOR_EXPIRY_DAYS   14          // a certificate with less is worth a warning
#define DOCTOR_CONNECT_MS    10000       // for one address, unless the account allows less

extern const char doctor_not_reached[]; // why a stage is skipped behind one that failed
extern const char doctor_no_credentials[];

enum doctor_state { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAILED, DOCTOR_SKIPPED };

struct doctor_row {
    const char *stage; // constant: files, dns, tcp, tls, ehlo, credentials, auth, mail, send
    int64_t begun;     // clock_boot
    enum doctor_state state;
    struct buffer details, words; // lines
};

struct doctor {
    const struct cli_verb *verb;
    const struct config *config;
    const struct config_account *account;
    struct service_user user;
    struct exchange exchange;
    bool json;
    const char *send;      // an address, or NULL
    const char *server;    // of the stages under way; NULL for those of none
    const char *failed;    // the first stage that did
    struct doctor_row row; // the stage under way
    json_t *rows;
    struct dialogue *dialogue; // NULL, or who writes down what is said while sending
};

// Runs a verb that examines one account: takes ACCOUNT, --json, and --TO with the address to send to, which
// `must` stand; then runs the stages that `examine` asks for, as the user that outtray runs as, and prints
// the report. The exit code.
int doctor_run(struct doctor *doctor, const char *to, bool must, void (*examine)(struct doctor *doctor),
    int argc, char **argv);

void doctor_begin(struct doctor *doctor, const char *stage);
void doctor_detail(struct doctor *doctor, const char *format, ...) __attribute__((format(printf, 2, 3)));
void doctor_words(struct doctor *doctor, const char *text);
// The worst of what the row has been told counts.
void doctor_worsen(struct doctor *doctor, enum doctor_state state);
// next: what to do; NULL: nothing. Returns whether the stage did not fail.
bool doctor_end(struct doctor *doctor, const char *next);
// A row for a stage that is not tried, and why.
void doctor_skip(struct doctor *doctor, const char *stage, const char *why);
// The report's last line, or the whole JSON. The exit code.
int doctor_finish(struct doctor *doctor);

struct doctor_login { // what an account logs in with; secret is empty where nothing is needed
    const char *username;
    struct secret secret;
    bool oauth;
};

// The stages. Each returns whether those after it can be tried.
void doctor_files(struct doctor *doctor);
bool doctor_dns(struct doctor *doctor, struct addrinfo **ret_list);
bool doctor_tcp(struct doctor *doctor, const struct addrinfo *list, int *ret_fd);
bool doctor_hello(struct doctor *doctor, int fd); // tls and ehlo; closes fd
bool doctor_credentials(struct doctor *doctor, struct doctor_login *login);
bool doctor_mail(struct doctor *doctor, const struct doctor_login *login); // auth and mail
void doctor_send(struct doctor *doctor, const struct doctor_login *login);

// A copy of text without the secret, should it hold it, as it is or encoded.
void doctor_hide(const struct doctor_login *login, const char *text, char words[static OAUTH_WORDS_MAX]);
// The words of a reply, should they repeat the secret, without it.
void doctor_reply(struct doctor *doctor, const struct doctor_login *login, const char *text);
// A session of the account with the server under way, as the agent has them, but for one message.
struct smtp_session_params doctor_session(const struct doctor *doctor, const struct doctor_login *login);
// What to do about a refused login.
const char *doctor_login_fix(const struct doctor *doctor, const struct smtp_closing *closing);

#endif
