// Commands and body of one mail, written into the output buffer as far as it has room.
#include "transaction.h"

#include <errno.h>
#include <string.h>

enum progress { WROTE, NEEDS_ROOM, NEEDS_REPLY };

// The last gate before the wire: envelope.c checked all this, but a line end in a command would be a command
// of its own. Lengths are bounded so that every command fits into TRANSACTION_COMMAND_MAX.
static bool wire_text_ok(const char *text, size_t max, bool eight_bit)
{
    size_t length = strlen(text);
    if (length > max)
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == 127 || c == '<' || c == '>' || (c > 127 && !eight_bit))
            return false;
    }
    return true;
}

static bool parameter_ok(const char *text)
{
    return !text || (*text && wire_text_ok(text, TRANSACTION_PARAMETER_MAX, false));
}

static bool envelope_ok(const struct smtp_mail *mail)
{
    if (!wire_text_ok(mail->reverse_path, TRANSACTION_ADDRESS_MAX, mail->smtputf8) ||
        !parameter_ok(mail->ret) || !parameter_ok(mail->envid) || mail->n_recipients == 0)
        return false;
    for (size_t i = 0; i < mail->n_recipients; i++) {
        const struct smtp_recipient *recipient = &mail->recipients[i];
        if (!*recipient->address ||
            !wire_text_ok(recipient->address, TRANSACTION_ADDRESS_MAX, mail->smtputf8) ||
            !parameter_ok(recipient->notify) || !parameter_ok(recipient->orcpt))
            return false;
    }
    return true;
}

static void transaction_refuse(struct transaction *t, enum smtp_failure failure, const char *words)
{
    (void)reply_parse(words, &t->result.final); // stays 0 where they are no reply
    t->result.failure = failure;
    t->result.stage = SMTP_STAGE_MAIL;
    t->result.problem = words;
    t->step = TRANSACTION_WRITTEN;
    t->wait = TRANSACTION_AWAITS_NOTHING;
    t->checked = t->finished = true;
}

void transaction_begin(struct transaction *t, const struct smtp_capabilities *capabilities, bool lockstep,
    bool rset, const struct output *output, int64_t now)
{
    const struct smtp_mail *mail = t->mail;
    t->began = now;
    t->begin = output->produced;
    t->lockstep = lockstep;
    t->bdat = capabilities->chunking;
    t->step = rset ? TRANSACTION_WRITES_RSET : TRANSACTION_WRITES_MAIL;
    t->wait = rset ? TRANSACTION_AWAITS_RSET : TRANSACTION_AWAITS_MAIL;
    smtp_body_start(&t->cursor);
    // The same words that a server would use, so that the same rules apply to them.
    if (mail->n_recipients > 0 && !t->result.recipients)
        transaction_refuse(t, SMTP_FAILURE_CANCELLED, "out of memory");
    else if (!envelope_ok(mail))
        transaction_refuse(t, SMTP_FAILURE_REQUIRED,
            "501 5.1.3 an address or parameter of the envelope cannot be put into a command");
    else if (capabilities->size && capabilities->size_max && mail->body.size > capabilities->size_max)
        transaction_refuse(
            t, SMTP_FAILURE_REQUIRED, "552 5.3.4 the message is larger than the server's SIZE limit");
    else if (mail->smtputf8 && !capabilities->smtputf8)
        transaction_refuse(t, SMTP_FAILURE_REQUIRED,
            "550 5.6.7 the envelope needs SMTPUTF8, which the server does not offer");
    else if (mail->eight_bit && !capabilities->eight_bit)
        transaction_refuse(t, SMTP_FAILURE_REQUIRED,
            "554 5.6.3 the message needs 8BITMIME, which the server does not offer");
}

static enum progress write_rset(
    struct transaction *t, const struct smtp_capabilities *capabilities, struct output *output)
{
    (void)capabilities;
    output_add(output, "RSET\r\n", 6);
    t->n_written++;
    t->step = TRANSACTION_WRITES_MAIL;
    return WROTE;
}

static enum progress write_mail(
    struct transaction *t, const struct smtp_capabilities *capabilities, struct output *output)
{
    const struct smtp_mail *mail = t->mail;
    output_add(output, "MAIL FROM:<", 11);
    output_text(output, mail->reverse_path);
    output_add(output, ">", 1);
    if (capabilities->size) {
        output_add(output, " SIZE=", 6);
        output_number(output, mail->body.size);
    }
    if (mail->eight_bit)
        output_text(output, " BODY=8BITMIME");
    if (mail->smtputf8)
        output_text(output, " SMTPUTF8");
    if (capabilities->dsn && mail->ret) {
        output_text(output, " RET=");
        output_text(output, mail->ret);
    }
    if (capabilities->dsn && mail->envid) {
        output_text(output, " ENVID=");
        output_text(output, mail->envid);
    }
    output_add(output, "\r\n", 2);
    t->n_written++;
    t->step = TRANSACTION_WRITES_RCPT;
    return WROTE;
}

static enum progress write_rcpt(
    struct transaction *t, const struct smtp_capabilities *capabilities, struct output *output)
{
    const struct smtp_recipient *recipient = &t->mail->recipients[t->rcpt_written];
    output_add(output, "RCPT TO:<", 9);
    output_text(output, recipient->address);
    output_add(output, ">", 1);
    if (capabilities->dsn && recipient->notify) {
        output_text(output, " NOTIFY=");
        output_text(output, recipient->notify);
    }
    if (capabilities->dsn && recipient->orcpt) {
        output_text(output, " ORCPT=");
        output_text(output, recipient->orcpt);
    }
    output_add(output, "\r\n", 2);
    t->n_written++;
    if (++t->rcpt_written == t->mail->n_recipients)
        t->step = TRANSACTION_WRITES_DATA;
    return WROTE;
}

static enum progress write_data(
    struct transaction *t, const struct smtp_capabilities *capabilities, struct output *output)
{
    (void)capabilities;
    if (t->bdat) {
        output_add(output, "BDAT ", 5);
        output_number(output, t->mail->body.size);
        output_add(output, " LAST\r\n", 7);
    } else {
        output_add(output, "DATA\r\n", 6);
    }
    t->n_written++;
    t->step = TRANSACTION_WRITES_BODY;
    return WROTE;
}

// The last octet of the mail is in the buffer.
static enum progress write_over(struct transaction *t, struct output *output)
{
    t->step = TRANSACTION_WRITTEN;
    t->end = output->produced;
    if (t->answered_early)
        transaction_finish(t);
    return WROTE;
}

static int write_body(struct transaction *t, struct output *output, enum progress *ret_progress)
{
    if (!t->bdat && !t->go_ahead) {
        *ret_progress = NEEDS_REPLY;
        return 0;
    }
    if (!t->bdat && transaction_doomed(t)) { // 354 although all were refused: the lone dot, nothing before it
        t->step = TRANSACTION_WRITES_DOT;
        *ret_progress = WROTE;
        return 0;
    }
    int64_t n =
        smtp_body_read(&t->mail->body, &t->cursor, !t->bdat, output_tail(output), output_room(output));
    if (n < 0) {
        t->file_failed = true;
        t->file_changed = n == -ENODATA || n == -EFBIG;
        t->result.problem = n == -ENODATA ? "the message file became shorter while it was sent"
                            : n == -EFBIG ? "the message file became longer while it was sent"
                                          : "the message file could not be read";
        return (int)n;
    }
    output_grew(output, (size_t)n);
    *ret_progress = WROTE;
    if (t->cursor.finished && t->bdat)
        write_over(t, output);
    else if (t->cursor.finished)
        t->step = TRANSACTION_WRITES_DOT;
    return 0;
}

static enum progress write_dot(
    struct transaction *t, const struct smtp_capabilities *capabilities, struct output *output)
{
    (void)capabilities;
    if (!t->cursor.line_start) // a head without a line end: the dot must stand alone
        output_add(output, "\r\n", 2);
    output_add(output, ".\r\n", 3);
    return write_over(t, output);
}

static enum progress (*const write_command[])(
    struct transaction *, const struct smtp_capabilities *, struct output *) = {
    [TRANSACTION_WRITES_RSET] = write_rset,
    [TRANSACTION_WRITES_MAIL] = write_mail,
    [TRANSACTION_WRITES_RCPT] = write_rcpt,
    [TRANSACTION_WRITES_DATA] = write_data,
    [TRANSACTION_WRITES_DOT] = write_dot,
};

int transaction_write(
    struct transaction *t, const struct smtp_capabilities *capabilities, struct output *output)
{
    enum progress progress = WROTE;
    while (progress == WROTE && t->step != TRANSACTION_WRITTEN) {
        if (output_room(output) < TRANSACTION_COMMAND_MAX) {
            progress = NEEDS_ROOM;
        } else if (t->step == TRANSACTION_WRITES_BODY) {
            int error = write_body(t, output, &progress);
            if (error)
                return error;
        } else if (t->step <= TRANSACTION_WRITES_DATA &&
                   ((t->lockstep && t->n_answered < t->n_written) ||
                       (t->n_answered > 0 && t->wait > TRANSACTION_AWAITS_MAIL && transaction_doomed(t)))) {
            progress = NEEDS_REPLY; // to the command before, or to what was written before the refusal
        } else {
            progress = write_command[t->step](t, capabilities, output);
        }
    }
    return 0;
}
