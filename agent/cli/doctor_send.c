// Stage `send`: one test message, by a session as the agent uses them.
#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include "agent/cli/dialogue.h"
#include "agent/cli/doctor.h"
#include "agent/compose/idn.h"
#include "agent/compose/mail_date.h"
#include "agent/delivery/outcome.h"

#include "spool-format/address.h"

#include <errno.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX 4096 // octets

struct sending {
    struct doctor *doctor;
    const struct doctor_login *login;
    struct loop *loop;
    struct smtp_mail mail;
    bool handed_over, told;
    char next[512]; // what to do; "" where nothing
};

static void on_ready(struct smtp_session *session, void *arg)
{
    struct sending *sending = arg;
    if (!sending->handed_over) {
        sending->handed_over = true;
        smtp_session_send(session, &sending->mail);
    }
}

static void set_next(struct sending *sending, const char *fix)
{
    (void)snprintf(sending->next, sizeof sending->next, "%s", fix ? fix : "see the server's words");
}

static void on_done(struct smtp_session *session, const struct smtp_result *result, void *arg)
{
    struct sending *sending = arg;
    struct doctor *doctor = sending->doctor;
    const struct smtp_reply *recipient = result->recipients ? result->recipients[0] : NULL;
    struct outcome outcome = outcome_of_result(result);
    sending->told = true;
    if (result->problem)
        doctor_detail(doctor, "at stage %s: %s", smtp_stage_name(result->stage), result->problem);
    if (recipient && recipient->code >= 400) { // it says more than the DATA that followed
        outcome = outcome_of_reply(SMTP_STAGE_RCPT, recipient);
        doctor_words(doctor, recipient->text);
    }
    if (result->final.code)
        doctor_words(doctor, result->final.text);
    if (outcome.verdict != VERDICT_SENT) {
        doctor_worsen(doctor, DOCTOR_FAILED);
        set_next(sending, outcome.fix);
    }
    smtp_session_quit(session);
}

static void on_closed(struct smtp_session *session, const struct smtp_closing *closing, void *arg)
{
    struct sending *sending = arg;
    (void)session;
    if (!sending->told) {
        doctor_detail(sending->doctor, "at stage %s: %s", smtp_stage_name(closing->stage), closing->problem);
        if (closing->reply.code)
            doctor_reply(sending->doctor, sending->login, closing->reply.text);
        doctor_worsen(sending->doctor, DOCTOR_FAILED);
        set_next(sending, doctor_login_fix(sending->doctor, closing));
    }
    loop_stop(sending->loop);
}

static void on_trace(bool client, const char *data, size_t length, void *arg)
{
    const struct sending *sending = arg;
    dialogue_take(sending->doctor->dialogue, client, data, length);
}

// One short text, all of it in the head.
static int compose(struct doctor *doctor, const char *to, struct buffer *out)
{
    unsigned char random[12];
    char date[MAIL_DATE_SIZE], id[2 * sizeof random + 1], host[HOST_NAME_MAX + 1] = "";
    mail_date_format(clock_wall(), date);
    if (RAND_bytes(random, sizeof random) != 1)
        return -EIO;
    for (size_t i = 0; i < sizeof random; i++)
        (void)snprintf(id + 2 * i, 3, "%02x", random[i]);
    (void)gethostname(host, sizeof host - 1);
    (void)buffer_format(out,
        "Date: %s\r\nMessage-ID: <doctor.%s@%s>\r\nFrom: <%s>\r\nTo: <%s>\r\n"
        "Subject: Test message of outtray\r\nAuto-Submitted: auto-generated\r\n\r\n",
        date, id, doctor->config->domain, doctor->account->email, to);
    (void)buffer_format(out, "This message was sent by `outtray %s` for the account %s on %s.\r\n",
        doctor->verb->name, doctor->account->name, host);
    return buffer_error(out);
}

static int run_session(struct sending *sending, const struct doctor_login *login)
{
    struct doctor *doctor = sending->doctor;
    struct multi *multi = NULL;
    struct smtp_session *session = NULL;
    struct smtp_session_params params = doctor_session(doctor, login);
    params.events = (struct smtp_session_events){on_ready, on_done, on_closed};
    params.arg = sending;
    params.trace = doctor->dialogue ? on_trace : NULL;
    int error = loop_new(&sending->loop);
    if (error)
        return error;
    error = multi_new(sending->loop, &multi);
    if (!error)
        error = smtp_session_open(sending->loop, multi, &params, &session);
    if (!error)
        error = loop_run(sending->loop, NULL, NULL);
    if (!error)
        smtp_session_free(session);
    multi_free(multi);
    loop_free(sending->loop);
    return error;
}

static int send_message(struct sending *sending, const struct doctor_login *login)
{
    struct doctor *doctor = sending->doctor;
    struct buffer head;
    char *sender = NULL, *to = NULL;
    buffer_init(&head, MESSAGE_MAX);
    const char *problem = idn_address(doctor->account->email, &sender);
    if (!problem)
        problem = idn_address(doctor->send, &to);
    int error = problem ? -EINVAL : compose(doctor, to, &head);
    if (!error) {
        struct smtp_recipient recipient = {.address = to};
        sending->mail = (struct smtp_mail){.reverse_path = sender,
            .smtputf8 = address_needs_smtputf8(sender) || address_needs_smtputf8(to),
            .recipients = &recipient,
            .n_recipients = 1,
            .body = {.head = head.data, .head_length = head.length, .fd = -1, .size = head.length}};
        error = run_session(sending, login);
    }
    free(sender);
    free(to);
    buffer_release(&head);
    return error;
}

void doctor_send(struct doctor *doctor, const struct doctor_login *login)
{
    struct sending sending = {.doctor = doctor, .login = login};
    doctor_begin(doctor, "send");
    doctor_detail(doctor, "a test message from %s to %s", doctor->account->email, doctor->send);
    int error = send_message(&sending, login);
    if (error) {
        doctor_detail(doctor, "it could not be sent: %s", strerror(-error));
        doctor_worsen(doctor, DOCTOR_FAILED);
    }
    (void)doctor_end(doctor, sending.next);
}
