// A session against a scripted server, its events written down as text. Include it after <cmocka.h>.
//
//     open                             `ready` for the first time; then " tls" where TLS is up
//     0 final: 250 ok [250 550]        `done` of mail 0: stage, failure unless none, final reply, RCPT's
//     codes 1 mail cancelled: [-] (words)    and where there is no final reply, the words; begun and maybe
//     (may be
//                                      accepted) where these are set
//     closed idle                      `closed`: stage, failure unless none, reply, words, anomaly
#ifndef OUTTRAY_TESTS_UNIT_SMTP_CLIENT_H
#define OUTTRAY_TESTS_UNIT_SMTP_CLIENT_H

#include "agent/base/clock.h"
#include "agent/smtp/session.h"
#include "config_support.h"
#include "smtp_server.h"

#include <signal.h>

#define CLIENT_MAILS 16

struct scenario {
    const char *script; // of the server
    const char *server; // default 127.0.0.1
    enum config_encryption encryption;
    const char *username, *password;
    bool oauth;
    bool trust; // the server's certificate is trusted
    unsigned window;
    unsigned n_mails;
    unsigned n_recipients; // per mail; default 1
    unsigned messages_per_connection;
    bool keep;             // no quit after the last mail
    unsigned quit_after;   // quit when so many are handed over; 0: when all are done
    unsigned abort_after;  // abort from inside the callback when so many are done; 0: never
    struct smtp_mail mail; // what the mails have beyond the default
};

struct client {
    struct loop *loop;
    struct multi *multi;
    struct smtp_session *session;
    const struct scenario *scenario;
    struct smtp_mail mails[CLIENT_MAILS];
    char heads[CLIENT_MAILS][64];
    char addresses[8][32];
    struct smtp_recipient recipients[8];
    unsigned given, done;
    bool opened;
    struct server *server; // it waits for some events
    FILE *out;
    char *events;
    size_t size;
};

static const char *const client_failures[] = {
    [SMTP_FAILURE_NONE] = "none",
    [SMTP_FAILURE_CONNECTION] = "connection",
    [SMTP_FAILURE_TIMEOUT] = "timeout",
    [SMTP_FAILURE_TLS] = "tls",
    [SMTP_FAILURE_PROTOCOL] = "protocol",
    [SMTP_FAILURE_LOGIN] = "login",
    [SMTP_FAILURE_FILE] = "file",
    [SMTP_FAILURE_DISK] = "disk",
    [SMTP_FAILURE_REQUIRED] = "required",
    [SMTP_FAILURE_CANCELLED] = "cancelled",
};

static inline void client_ready(struct smtp_session *session, void *arg)
{
    struct client *client = arg;
    const struct scenario *scenario = client->scenario;
    assert_true(smtp_session_room(session) > 0);
    if (!client->opened)
        fprintf(client->out, "open%s\n", *smtp_session_tls(session) ? " tls" : "");
    client->opened = true;
    atomic_store(&client->server->opened, true);
    while (client->given < scenario->n_mails && smtp_session_room(session) > 0) {
        smtp_session_send(session, &client->mails[client->given++]);
        if (client->given == scenario->quit_after)
            smtp_session_quit(session);
    }
}

static inline void client_done(struct smtp_session *session, const struct smtp_result *result, void *arg)
{
    struct client *client = arg;
    FILE *out = client->out;
    client->done++;
    atomic_store(&client->server->done, client->done);
    fprintf(out, "%td %s", result->mail - client->mails, smtp_stage_name(result->stage));
    if (result->failure)
        fprintf(out, " %s", client_failures[result->failure]);
    fprintf(out, ":%s%s [", result->final.code ? " " : "", result->final.code ? result->final.text : "");
    for (size_t i = 0; i < result->mail->n_recipients; i++)
        fprintf(out, result->recipients[i] ? "%s%d" : "%s-", i ? " " : "",
            result->recipients[i] ? result->recipients[i]->code : 0);
    fputs("]", out);
    if (result->failure) {
        assert_non_null(result->problem);
        fprintf(out, "%s%s (%s)", result->begun ? " begun" : "", result->may_be_accepted ? " maybe" : "",
            result->problem);
    } else {
        assert_true(result->begun);
        assert_false(result->may_be_accepted);
    }
    fputs("\n", out);
    assert_true(smtp_session_in_flight(session) + client->done <= client->given);
    if (client->done == client->scenario->abort_after)
        smtp_session_abort(session);
    else if (client->done == client->scenario->n_mails && !client->scenario->keep)
        smtp_session_quit(session);
}

static inline void client_closed(struct smtp_session *session, const struct smtp_closing *closing, void *arg)
{
    struct client *client = arg;
    FILE *out = client->out;
    assert_int_equal(client->done, client->given);
    fprintf(out, "closed %s", smtp_stage_name(closing->stage));
    if (closing->failure)
        fprintf(out, " %s", client_failures[closing->failure]);
    if (closing->reply.code)
        fprintf(out, ": %s", closing->reply.text);
    if (*closing->problem)
        fprintf(out, " (%s)", closing->problem);
    fputs(closing->anomaly ? " anomaly\n" : "\n", out);
    loop_stop(client->loop);
    atomic_store(&client->server->closed, true);
    smtp_session_free(session);
    client->session = NULL;
}

static inline void client_mails(struct client *client)
{
    const struct scenario *scenario = client->scenario;
    unsigned n = scenario->n_recipients ? scenario->n_recipients : 1;
    for (unsigned i = 0; i < n; i++) {
        snprintf(client->addresses[i], sizeof client->addresses[i], "r%u@mx.example", i);
        client->recipients[i].address = client->addresses[i];
    }
    assert_true(scenario->n_mails <= CLIENT_MAILS);
    for (unsigned i = 0; i < scenario->n_mails; i++) {
        struct smtp_mail *mail = &client->mails[i];
        *mail = scenario->mail;
        if (!mail->reverse_path)
            mail->reverse_path = "a@client.example";
        if (!mail->recipients) {
            mail->recipients = client->recipients;
            mail->n_recipients = n;
        }
        if (!mail->body.head) { // 21 octets
            snprintf(client->heads[i], sizeof client->heads[i], "Subject: %u\r\n\r\nHello\r\n", i % 10);
            mail->body =
                (struct smtp_body){.head = client->heads[i], .head_length = 21, .fd = -1, .size = 21};
        }
    }
}

static inline void client_run(
    struct client *client, const struct config_account *account, const struct config *config)
{
    const struct scenario *scenario = client->scenario;
    struct secret secret = {0};
    if (scenario->password)
        assert_int_equal(secret_set(&secret, scenario->password, strlen(scenario->password)), 0);
    struct smtp_session_params params = {
        .config = config,
        .account = account,
        .server = account->servers[0],
        .ehlo_name = "client.example",
        .username = scenario->username,
        .secret = &secret,
        .oauth = scenario->oauth,
        .window = scenario->window ? scenario->window : 8,
        .events = {client_ready, client_done, client_closed},
        .arg = client,
    };
    assert_int_equal(loop_new(&client->loop), 0);
    assert_int_equal(multi_new(client->loop, &client->multi), 0);
    assert_int_equal(smtp_session_open(client->loop, client->multi, &params, &client->session), 0);
    secret_release(&secret);
    alarm(60); // nothing here may take long; this ends the test where it does
    assert_int_equal(loop_run(client->loop, NULL, NULL), 0);
    alarm(0);
    multi_free(client->multi);
    loop_free(client->loop);
}

// Plays a scenario: the server's script must come to its end and the events must be these. Returns the bodies
// that the server got, to be freed.
static inline char *play(const struct scenario *scenario, const char *events)
{
    static const char yaml[] =
        "version: 1\nspool: /tmp\nstate: /tmp\ndomain: client.example\naccounts:\n  a:\n"
        "    auth: none\n    email: a@client.example\n    server: mx.example\n"
        "tenants:\n  t: {account: a}\n";
    clock_poll(); // a scenario before may have moved the clock once more than its client saw
    char ca_file[] = "/tmp/outtray-test-ca.XXXXXX";
    int fd = mkstemp(ca_file);
    assert_true(fd >= 0);
    close(fd);
    struct server *server = malloc(sizeof *server);
    assert_non_null(server);
    server_start(server, scenario->script, ca_file);
    struct loaded loaded;
    load_text(&loaded, yaml);
    if (loaded.result)
        fail_msg("%s", loaded.text);
    const char *servers[] = {scenario->server ? scenario->server : "127.0.0.1"};
    struct config_account account = loaded.config->accounts[0];
    account.servers = servers;
    account.n_servers = 1;
    account.port = server->port;
    account.encryption = scenario->encryption;
    account.limits.messages_per_connection = scenario->messages_per_connection;
    if (scenario->trust)
        account.tls.ca_file = ca_file;
    struct client client = {.scenario = scenario, .server = server};
    client.out = open_memstream(&client.events, &client.size);
    client_mails(&client);
    client_run(&client, &account, loaded.config);
    fclose(client.out);
    server_stop(server);
    unlink(ca_file);
    loaded_release(&loaded);
    bool same = strcmp(client.events, events) == 0;
    if (!same || *server->fault)
        print_error("server: %s\nexpected:\n%sgot:\n%s", server->fault, events, client.events);
    assert_true(same);
    assert_string_equal(server->fault, "");
    char *bodies = server->bodies ? server->bodies : strdup("");
    free(client.events);
    free(server);
    return bodies;
}

// The same where the bodies do not matter.
static inline void expect_events(const struct scenario *scenario, const char *events)
{
    free(play(scenario, events));
}

// The clock's control file, for steps "+:"; and the server's TLS may write to a client that is gone.
static inline int client_set_up(void **state)
{
    return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -1 : clock_make(state);
}

#define GREETING "S: 220 mx\nC: EHLO client.example\n"
#define STREAMED GREETING "s: 250-mx\\r\\n250-PIPELINING\\r\\n250 CHUNKING\\r\\n\n"
#define GROUPED  GREETING "s: 250-mx\\r\\n250 PIPELINING\\r\\n\n"
#define LOCKSTEP GREETING "S: 250 mx\n"
#define ENVELOPE "C: MAIL FROM:<a@client.example>\nC: RCPT TO:<r0@mx.example>\n"
#define BDAT     ENVELOPE "C: BDAT 21 LAST\nB: 21\n"
#define DATA     ENVELOPE "C: DATA\n"
#define ACCEPTED "S: 250 ok\nS: 250 ok\nS: 250 queued\n"
#define QUIT     "C: QUIT\nS: 221 bye\nE:\n"

#endif
