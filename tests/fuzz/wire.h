// The server's side of the fuzz targets that carry mail: mails to send, a reader that takes the octets of
// SMTP apart and knows nothing of the agent's code, and an account of which reply answered which command.
#ifndef OUTTRAY_TESTS_FUZZ_WIRE_H
#define OUTTRAY_TESTS_FUZZ_WIRE_H

#include "agent/smtp/session.h"
#include "agent/smtp/transaction.h"
#include "fuzz.h"

#define WIRE_MAILS      12
#define WIRE_RECIPIENTS 4
#define WIRE_COMMANDS   512
#define WIRE_LINE       4096

enum wire_kind { WIRE_OTHER, WIRE_MAIL, WIRE_RCPT, WIRE_DATA, WIRE_FINAL };

struct wire_command {
    enum wire_kind kind;
    unsigned mail, recipient;
    uint64_t end; // offset in the stream behind its last octet
};

struct wire_seen { // of one mail: what went out, what came in
    unsigned n_rcpt, n_rcpt_answered;
    int mail_code, rcpt_codes[WIRE_RECIPIENTS], final_code;
    size_t octets;      // of the message that agreed
    bool whole, empty;  // it is over; as a lone dot, since nobody was accepted
    bool final_in_time; // its last reply came when all of it was there
    uint64_t end;       // offset behind it
};

struct wire {
    struct smtp_mail mails[WIRE_MAILS];
    struct smtp_recipient recipients[WIRE_MAILS][WIRE_RECIPIENTS];
    char reverse_paths[WIRE_MAILS][16];
    char *heads[WIRE_MAILS], *texts[WIRE_MAILS]; // the expected octets of each
    unsigned n_mails, given;                     // how many were handed to the agent
    bool chunking;                               // BDAT is expected, else DATA
    bool logs_in;                                // EHLO, AUTH and QUIT are expected, too
    bool file_changed;                           // under the agent: contents are not compared any more
    const struct smtp_capabilities *offered;     // where not NULL: parameters of MAIL are held to it

    struct wire_seen seen[WIRE_MAILS];
    struct wire_command commands[WIRE_COMMANDS];
    unsigned n_commands, n_answered;
    int current; // the mail of the last MAIL command; -1: none
    enum { WIRE_IN_COMMANDS, WIRE_IN_LOGIN, WIRE_IN_WAIT, WIRE_IN_DATA, WIRE_IN_BDAT } state;
    char line[WIRE_LINE];
    size_t length;
    uint64_t chunk, offset; // octets of BDAT to come; of the stream
    bool line_start, dot, cr;
};

// Makes mail i: a body of so many octets with all that is hard about line ends and dots, sent from memory or
// streamed from a file. The caller fills in who it is from and for.
static inline struct smtp_mail *wire_make_mail(struct wire *wire, unsigned i, size_t length, bool streamed)
{
    struct smtp_mail *mail = &wire->mails[i];
    char *file = malloc(length), *head = malloc(64), *text = malloc(66 + 2 * length);
    EXPECT(file && head && text);
    for (size_t j = 0; j < length; j++)
        file[j] = "\n.x\r..\n\r\n.abcdefghij\r\n..\nlonger, with\rmore\r\r\n."[j % 47];
    size_t n = (size_t)snprintf(head, 64, "From: x\r\n.Id: %u\r\n\r\n", i);
    memcpy(text, head, n);
    size_t body = smtp_body_convert(file, length, text + n);
    (void)snprintf(wire->reverse_paths[i], sizeof wire->reverse_paths[i], "m%u@x", i);
    *mail = (struct smtp_mail){.reverse_path = wire->reverse_paths[i],
        .recipients = wire->recipients[i],
        .body = {.fd = -1, .size = n + body, .head = text, .head_length = n + body}};
    if (streamed) {
        mail->body.fd = fuzz_file(file, length);
        mail->body.file_length = length;
        mail->body.head = head;
        mail->body.head_length = n;
    }
    wire->heads[i] = head;
    wire->texts[i] = text;
    free(file);
    return mail;
}

static inline void wire_release(struct wire *wire)
{
    for (unsigned i = 0; i < wire->n_mails; i++) {
        if (wire->mails[i].body.fd >= 0)
            close(wire->mails[i].body.fd);
        free(wire->heads[i]);
        free(wire->texts[i]);
    }
}

static inline void wire_add(struct wire *wire, enum wire_kind kind, unsigned recipient)
{
    EXPECT(wire->n_commands < WIRE_COMMANDS);
    wire->commands[wire->n_commands++] =
        (struct wire_command){kind, wire->current < 0 ? 0 : (unsigned)wire->current, recipient, wire->offset};
}

static inline void wire_read_mail(struct wire *wire)
{
    const char *line = wire->line;
    int id = (int)strtoul(line + 12, NULL, 10);
    EXPECT(id > wire->current && (unsigned)id < wire->given); // in order, each once
    wire->current = id;
    if (wire->offered) {
        EXPECT((strstr(line, " SIZE=") != NULL) == wire->offered->size);
        EXPECT((strstr(line, " BODY=8BITMIME") != NULL) == wire->mails[id].eight_bit);
        EXPECT(!strstr(line, " BODY=") || wire->offered->eight_bit);
        EXPECT(!strstr(line, " ENVID=") || wire->offered->dsn);
    }
    wire_add(wire, WIRE_MAIL, 0);
}

static inline void wire_read_rcpt(struct wire *wire, struct wire_seen *seen, const struct smtp_mail *mail)
{
    EXPECT(seen->n_rcpt < mail->n_recipients);
    const char *address = mail->recipients[seen->n_rcpt].address, *given = wire->line + 9;
    EXPECT(strncmp(given, address, strlen(address)) == 0 && given[strlen(address)] == '>');
    wire_add(wire, WIRE_RCPT, seen->n_rcpt++);
}

// BDAT or DATA.
static inline void wire_read_content(
    struct wire *wire, const struct wire_seen *seen, const struct smtp_mail *mail)
{
    EXPECT(seen->n_rcpt == mail->n_recipients && !seen->whole);
    if (strcmp(wire->line, "DATA") == 0) {
        EXPECT(!wire->chunking);
        wire_add(wire, WIRE_DATA, 0);
        wire->state = WIRE_IN_WAIT; // whether the content follows is for the reply to say
        return;
    }
    char *end;
    EXPECT(wire->chunking);
    wire->chunk = strtoull(wire->line + 5, &end, 10);
    EXPECT(strcmp(end, " LAST") == 0 && wire->chunk == mail->body.size && wire->chunk > 0);
    wire->state = WIRE_IN_BDAT;
}

static inline void wire_read_command(struct wire *wire)
{
    const char *line = wire->line;
    bool mail = strncmp(line, "MAIL FROM:<m", 12) == 0, rcpt = strncmp(line, "RCPT TO:<", 9) == 0,
         content = strncmp(line, "BDAT ", 5) == 0 || strcmp(line, "DATA") == 0;
    for (const char *c = line; *c; c++)
        EXPECT((unsigned char)*c >= ' ' && *c != 127);
    if (wire->state == WIRE_IN_LOGIN) { // a response to a challenge
        wire->state = WIRE_IN_COMMANDS;
        wire_add(wire, WIRE_OTHER, 0);
        return;
    }
    if (!mail && !rcpt && !content) {
        EXPECT(wire->logs_in || strcmp(line, "RSET") == 0);
        wire_add(wire, WIRE_OTHER, 0);
        return;
    }
    EXPECT(strlen(line) + 2 <= TRANSACTION_COMMAND_MAX);
    if (mail) {
        wire_read_mail(wire);
        return;
    }
    EXPECT(wire->current >= 0);
    if (rcpt)
        wire_read_rcpt(wire, &wire->seen[wire->current], &wire->mails[wire->current]);
    else
        wire_read_content(wire, &wire->seen[wire->current], &wire->mails[wire->current]);
}

static inline void wire_message_over(struct wire *wire)
{
    struct wire_seen *seen = &wire->seen[wire->current];
    seen->whole = true;
    seen->empty = seen->octets == 0;
    EXPECT(seen->empty || seen->octets == wire->mails[wire->current].body.size);
    seen->end = wire->offset;
    wire_add(wire, WIRE_FINAL, 0);
    wire->state = WIRE_IN_COMMANDS;
    wire->dot = wire->cr = false;
}

static inline void wire_content_octet(struct wire *wire, char c)
{
    struct wire_seen *seen = &wire->seen[wire->current];
    EXPECT(wire->file_changed || seen->octets < wire->mails[wire->current].body.size);
    EXPECT(wire->file_changed || c == wire->texts[wire->current][seen->octets]);
    seen->octets++;
}

static inline void wire_data_octet(struct wire *wire, char c)
{
    if (wire->dot && wire->line_start) { // behind a dot at the start of a line
        if (c == '\r') {
            wire->cr = true;
        } else if (c == '\n') {
            EXPECT(wire->cr);
            wire_message_over(wire);
        } else {
            EXPECT(c == '.' && !wire->cr);
            wire->dot = wire->line_start = false;
            wire_content_octet(wire, c);
        }
    } else if (wire->line_start && c == '.') {
        wire->dot = true;
    } else {
        wire_content_octet(wire, c);
        wire->line_start = c == '\n';
    }
}

static inline void wire_command_octet(struct wire *wire, char c)
{
    EXPECT(wire->length < sizeof wire->line - 1);
    EXPECT((c == '\n') == wire->cr); // CRLF and nothing else
    wire->cr = c == '\r';
    wire->line[wire->length++] = c;
    if (c != '\n')
        return;
    wire->line[wire->length - 2] = '\0';
    wire->length = 0;
    wire_read_command(wire);
}

// Takes the next octet that the agent wrote.
static inline void wire_read(struct wire *wire, char c)
{
    wire->offset++;
    EXPECT(wire->state != WIRE_IN_WAIT); // nothing follows DATA before its reply
    switch (wire->state) {
    case WIRE_IN_WAIT:
        break;
    case WIRE_IN_DATA:
        wire_data_octet(wire, c);
        break;
    case WIRE_IN_BDAT:
        wire_content_octet(wire, c);
        if (--wire->chunk == 0)
            wire_message_over(wire);
        break;
    case WIRE_IN_COMMANDS:
    case WIRE_IN_LOGIN:
        wire_command_octet(wire, c);
        break;
    }
}

// Notes that a reply answers the oldest command that has none; sent: octets that the server has had.
static inline void wire_answer(struct wire *wire, int code, uint64_t sent)
{
    EXPECT(wire->n_answered < wire->n_commands);
    const struct wire_command *command = &wire->commands[wire->n_answered++];
    struct wire_seen *seen = &wire->seen[command->mail];
    switch (command->kind) {
    case WIRE_OTHER:
        if (code == 334)
            wire->state = WIRE_IN_LOGIN;
        break;
    case WIRE_MAIL:
        seen->mail_code = code;
        break;
    case WIRE_RCPT:
        seen->rcpt_codes[command->recipient] = code;
        seen->n_rcpt_answered++;
        break;
    case WIRE_DATA:
        EXPECT(wire->state == WIRE_IN_WAIT);
        wire->state = code == 354 ? WIRE_IN_DATA : WIRE_IN_COMMANDS;
        wire->line_start = true;
        wire->dot = wire->cr = false;
        break;
    case WIRE_FINAL:
        seen->final_code = code;
        seen->final_in_time = sent >= command->end;
        break;
    }
}

// Whether the server said yes to all that makes recipient i served. A 503 to MAIL with a yes to all behind
// it: by BDAT the message is at the server, in whatever envelope.
static inline bool wire_said_yes(const struct wire *wire, const struct wire_seen *seen, unsigned i)
{
    bool mail_taken = seen->mail_code / 100 == 2 || (seen->mail_code == 503 && wire->chunking);
    return mail_taken && seen->final_code / 100 == 2 && i < seen->n_rcpt_answered &&
           seen->rcpt_codes[i] / 100 == 2;
}

// Whether the agent takes recipient i for served.
static inline bool wire_is_sent(const struct smtp_result *result, unsigned i)
{
    return result->failure == SMTP_FAILURE_NONE && result->final.code / 100 == 2 && result->recipients &&
           result->recipients[i] && result->recipients[i]->code / 100 == 2;
}

#endif
