// A hostile server against the window of one connection (pipeline.c, transaction.c, reply.c, body.c).
//
// The input is a program: which extensions are offered, which mails there are, then steps: hand over a mail,
// write, let octets through, answer well, answer badly, say anything at all, change a file below the agent.
// A reader that knows nothing of the agent's code takes the octets apart again and keeps account of which
// reply answered which command. In the end every mail has exactly one result, in order, and a recipient
// counts as served exactly where the server said so after it had the whole message.
#include "agent/smtp/pipeline.h"
#include "fuzz.h"

#define MAILS      12
#define RECIPIENTS 4
#define COMMANDS   (MAILS * (RECIPIENTS + 5))
#define STEPS_MAX  400

enum kind { RSET, MAIL, RCPT, DATA, FINAL };

struct command {
    enum kind kind;
    unsigned mail, recipient;
    uint64_t end; // offset in the stream behind its last octet
};

struct seen { // of one mail: what went out, what came in
    unsigned n_rcpt, n_rcpt_answered;
    int mail_code, rcpt_codes[RECIPIENTS], final_code;
    bool whole, empty, final_in_time;
    uint64_t end;
};

struct play {
    const uint8_t *data;
    size_t size;
    struct smtp_capabilities capabilities;
    struct pipeline pipeline;
    struct output output;
    struct reply_reader reader;
    struct smtp_mail mails[MAILS];
    struct smtp_recipient recipients[MAILS][RECIPIENTS];
    char reverse_paths[MAILS][16], hostile[16];
    char *wires[MAILS]; // the expected octets of each
    char *heads[MAILS];
    struct seen seen[MAILS];
    unsigned n_mails, given, done;
    struct command commands[COMMANDS];
    unsigned n_commands, n_answered;
    int current; // the mail of the last MAIL command
    enum { IN_COMMANDS, IN_WAIT, IN_DATA, IN_BDAT } state;
    char line[2 * TRANSACTION_COMMAND_MAX];
    size_t line_length;
    uint64_t chunk;  // octets of BDAT to come
    size_t compared; // octets of the body that agreed
    bool line_start, dot, cr;
    uint64_t offset; // of the stream
    bool file_changed, over;
    bool bye;
};

static unsigned next(struct play *play)
{
    if (play->size == 0)
        return 0;
    play->size--;
    return *play->data++;
}

static void add_command(struct play *play, enum kind kind, unsigned recipient)
{
    EXPECT(play->n_commands < COMMANDS);
    play->commands[play->n_commands++] =
        (struct command){kind, (unsigned)play->current, recipient, play->offset};
}

static void read_command(struct play *play)
{
    const char *line = play->line;
    struct seen *seen = &play->seen[play->current < 0 ? 0 : play->current];
    EXPECT(play->line_length <= TRANSACTION_COMMAND_MAX);
    for (const char *c = line; *c; c++)
        EXPECT((unsigned char)*c >= ' ' && *c != 127);
    if (strncmp(line, "MAIL FROM:<m", 12) == 0) {
        int id = (int)strtoul(line + 12, NULL, 10);
        EXPECT(id > play->current && (unsigned)id < play->given); // in order, each once
        play->current = id;
        EXPECT((strstr(line, " SIZE=") != NULL) == play->capabilities.size);
        EXPECT((strstr(line, " BODY=8BITMIME") != NULL) == play->mails[id].eight_bit);
        EXPECT(!strstr(line, " BODY=") || play->capabilities.eight_bit);
        EXPECT(!strstr(line, " ENVID=") || play->capabilities.dsn);
        add_command(play, MAIL, 0);
        return;
    }
    if (strcmp(line, "RSET") == 0) {
        add_command(play, RSET, 0);
        return;
    }
    EXPECT(play->current >= 0);
    const struct smtp_mail *mail = &play->mails[play->current];
    if (strncmp(line, "RCPT TO:<", 9) == 0) {
        EXPECT(seen->n_rcpt < mail->n_recipients);
        const char *address = mail->recipients[seen->n_rcpt].address;
        EXPECT(strncmp(line + 9, address, strlen(address)) == 0 && line[9 + strlen(address)] == '>');
        add_command(play, RCPT, seen->n_rcpt++);
        return;
    }
    EXPECT(seen->n_rcpt == mail->n_recipients && !seen->whole);
    play->compared = 0;
    if (strncmp(line, "BDAT ", 5) == 0) {
        char *end;
        EXPECT(play->capabilities.chunking);
        play->chunk = strtoull(line + 5, &end, 10);
        EXPECT(strcmp(end, " LAST") == 0 && play->chunk == mail->body.size && play->chunk > 0);
        play->state = IN_BDAT;
    } else {
        EXPECT(strcmp(line, "DATA") == 0 && !play->capabilities.chunking);
        play->state = IN_WAIT; // whether the content follows is for the reply to say
        add_command(play, DATA, 0);
    }
}

static void message_over(struct play *play)
{
    struct seen *seen = &play->seen[play->current];
    seen->whole = true;
    seen->empty = play->compared == 0;
    EXPECT(seen->empty || play->compared == play->mails[play->current].body.size);
    seen->end = play->offset;
    add_command(play, FINAL, 0);
    play->state = IN_COMMANDS;
    play->dot = play->cr = false;
}

static void content_octet(struct play *play, char c)
{
    EXPECT(play->compared < play->mails[play->current].body.size || play->file_changed);
    EXPECT(play->file_changed || c == play->wires[play->current][play->compared]);
    play->compared++;
}

static void data_octet(struct play *play, char c)
{
    if (play->dot && play->line_start) { // behind a dot at the start of a line
        if (c == '\r') {
            play->cr = true;
            return;
        }
        if (c == '\n') {
            EXPECT(play->cr);
            message_over(play);
            return;
        }
        EXPECT(c == '.' && !play->cr);
        play->dot = play->line_start = false;
        content_octet(play, c);
        return;
    }
    if (play->line_start && c == '.') {
        play->dot = true;
        return;
    }
    content_octet(play, c);
    play->line_start = c == '\n';
}

static void octet(struct play *play, char c)
{
    bool after_cr = play->cr;
    play->offset++;
    EXPECT(play->state != IN_WAIT); // nothing behind DATA before its reply
    switch (play->state) {
    case IN_WAIT:
        break;
    case IN_BDAT:
        content_octet(play, c);
        if (--play->chunk == 0)
            message_over(play);
        return;
    case IN_DATA:
        data_octet(play, c);
        return;
    case IN_COMMANDS:
        EXPECT(play->line_length < sizeof play->line - 1);
        EXPECT((c == '\n') == after_cr); // CRLF and nothing else
        play->cr = c == '\r';
        play->line[play->line_length++] = c;
        if (c != '\n')
            return;
        play->cr = false;
        play->line[play->line_length - 2] = '\0';
        read_command(play);
        play->line_length = 0;
        return;
    }
}

static void play_write(struct play *play)
{
    uint64_t before = play->output.produced;
    bool stopped = play->pipeline.stopped;
    pipeline_write(&play->pipeline, &play->output, 1);
    size_t n = (size_t)(play->output.produced - before);
    EXPECT(n == 0 || !stopped);
    const char *text = play->output.data + play->output.end - n;
    for (size_t i = 0; i < n; i++)
        octet(play, text[i]);
}

static bool doomed(const struct seen *seen, const struct smtp_mail *mail)
{
    bool any = seen->n_rcpt_answered < mail->n_recipients;
    for (unsigned i = 0; i < seen->n_rcpt_answered; i++)
        any |= seen->rcpt_codes[i] / 100 == 2;
    return !any || (seen->mail_code && seen->mail_code / 100 != 2);
}

static void take_result(struct play *play, const struct smtp_result *result, bool dropped)
{
    EXPECT(play->done < play->given && result->mail == &play->mails[play->done]);
    const struct smtp_mail *mail = result->mail;
    const struct seen *seen = &play->seen[play->done++];
    // A 503 to MAIL with a yes to all behind it: by BDAT the message is at the server, in whatever envelope.
    bool mail_taken = seen->mail_code / 100 == 2 || (seen->mail_code == 503 && play->capabilities.chunking);
    bool accepted = mail_taken && seen->final_code / 100 == 2 && seen->final_in_time;
    for (unsigned i = 0; i < mail->n_recipients; i++) {
        bool sent = result->failure == SMTP_FAILURE_NONE && result->final.code / 100 == 2 &&
                    result->recipients[i] && result->recipients[i]->code / 100 == 2;
        bool expected = accepted && i < seen->n_rcpt_answered && seen->rcpt_codes[i] / 100 == 2;
        EXPECT(sent == expected);
        EXPECT(!sent || (seen->whole && !seen->empty));
    }
    EXPECT(result->failure == SMTP_FAILURE_NONE || result->problem);
    if (result->may_be_accepted)
        EXPECT(result->failure != SMTP_FAILURE_NONE && (seen->whole || seen->final_code / 100 == 2));
    bool unanswered = seen->whole && !seen->empty && play->output.sent >= seen->end && seen->final_code == 0;
    if (dropped && unanswered && !play->bye && !doomed(seen, mail))
        EXPECT(result->may_be_accepted);
    EXPECT(!mail->smtputf8 || result->failure != SMTP_FAILURE_NONE);
}

static void take_results(struct play *play)
{
    const struct smtp_result *result;
    while ((result = pipeline_finished(&play->pipeline, 2)))
        take_result(play, result, false);
}

// Notes what the reply answers: the oldest command, if that is on its way.
static void account_for(struct play *play, int code)
{
    if (play->n_answered == play->n_commands)
        return;
    const struct command *command = &play->commands[play->n_answered];
    struct seen *seen = &play->seen[command->mail < MAILS ? command->mail : 0];
    if (code == 421) // the end of everything, and never a yes
        return;
    play->n_answered++;
    switch (command->kind) {
    case RSET:
        break;
    case MAIL:
        seen->mail_code = code;
        break;
    case RCPT:
        seen->rcpt_codes[command->recipient] = code;
        seen->n_rcpt_answered++;
        break;
    case DATA:
        EXPECT(play->state == IN_WAIT);
        play->state = code == 354 ? IN_DATA : IN_COMMANDS;
        play->line_start = true;
        play->dot = play->cr = false;
        break;
    case FINAL:
        seen->final_code = code;
        seen->final_in_time = play->output.sent >= command->end;
        break;
    }
}

static void play_octets(struct play *play, const char *text, size_t length)
{
    for (size_t at = 0; at < length && !play->over;) {
        size_t used;
        const char *problem = NULL;
        int result = reply_read(&play->reader, text + at, length - at, &used, &problem);
        at += used;
        if (result < 0)
            play->over = true;
        if (result != 1)
            return;
        int code = play->reader.reply.code;
        // A message that is still being written has no command of its own in the account yet: an early reply
        // to it is never a yes, and an early no may come.
        bool early = play->n_answered == play->n_commands &&
                     (play->state == IN_BDAT || play->state == IN_DATA) && code != 421;
        enum pipeline_event event;
        if (early) {
            struct seen *seen = &play->seen[play->current];
            seen->final_code = code;
            event = pipeline_reply(&play->pipeline, &play->output, &play->reader.reply, &problem);
            if (play->state == IN_BDAT && event == PIPELINE_GOES_ON)
                play->n_answered++; // the FINAL that is to come
        } else {
            account_for(play, code);
            event = pipeline_reply(&play->pipeline, &play->output, &play->reader.reply, &problem);
        }
        EXPECT(event != PIPELINE_FAULT || problem);
        EXPECT(event == PIPELINE_GOES_ON || play->pipeline.stopped);
        play->bye |= code == 421;
        play->over = event != PIPELINE_GOES_ON;
        take_results(play);
    }
}

static void play_reply(struct play *play, const char *text)
{
    play_octets(play, text, strlen(text));
}

static void play_good_reply(struct play *play)
{
    enum transaction_wait wait = pipeline_waits(&play->pipeline);
    if (wait == TRANSACTION_AWAITS_NOTHING)
        return;
    if (wait == TRANSACTION_AWAITS_FINAL && !pipeline_oldest_sent(&play->pipeline, &play->output))
        return;
    play_reply(play, wait == TRANSACTION_AWAITS_DATA ? "354 go\r\n" : "250 2.0.0 ok\r\n");
}

static void play_take(struct play *play, size_t n)
{
    size_t waiting = output_waiting(&play->output);
    n = n < waiting ? n : waiting;
    if (n)
        output_taken(&play->output, n);
}

static void make_mail(struct play *play, unsigned i)
{
    static const size_t lengths[] = {1, 40, 3000, 70000};
    unsigned choice = next(play);
    struct smtp_mail *mail = &play->mails[i];
    size_t length = lengths[choice % 4 == 3 && i > 1 ? 2 : choice % 4]; // two large ones are slow enough
    char *file = malloc(length);
    EXPECT(file);
    for (size_t j = 0; j < length; j++)
        file[j] = "\n.x\r..\n\r\n.abcdefghij\r\n..\nlonger, with\rmore\r\r\n."[j % 47];
    (void)snprintf(play->reverse_paths[i], sizeof play->reverse_paths[i], "m%u@x", i);
    for (unsigned j = 0; j < RECIPIENTS; j++)
        play->recipients[i][j] = (struct smtp_recipient){
            .address = (const char *const[]){"a@x", "b@y.example", "c@z", "d@[192.0.2.1]"}[j]};
    if (i == 3)
        play->recipients[i][1] =
            (struct smtp_recipient){.address = play->hostile, .notify = "NEVER", .orcpt = play->hostile};
    *mail = (struct smtp_mail){.reverse_path = play->reverse_paths[i],
        .ret = "HDRS",
        .envid = i == 5 ? play->hostile : "id",
        .eight_bit = (choice & 0x30) == 0x30,
        .recipients = play->recipients[i],
        .n_recipients = 1 + (choice >> 2) % RECIPIENTS};
    play->heads[i] = malloc(64);
    EXPECT(play->heads[i]);
    size_t head = (size_t)snprintf(play->heads[i], 64, "From: x\r\n.Id: %u\r\n\r\n", i);
    char *wire = malloc(head + 2 * length + 2);
    EXPECT(wire);
    memcpy(wire, play->heads[i], head);
    size_t body = smtp_body_convert(file, length, wire + head);
    play->wires[i] = wire;
    mail->body.size = head + body;
    mail->body.fd = -1;
    if (choice & 0x40) { // streamed from its file
        mail->body.head = play->heads[i];
        mail->body.head_length = head;
        mail->body.fd = fuzz_file(file, length);
        mail->body.file_length = length;
    } else {
        mail->body.head = wire;
        mail->body.head_length = head + body;
    }
    free(file);
}

static void change_file(struct play *play, unsigned which)
{
    const struct smtp_mail *mail = &play->mails[which % play->n_mails];
    if (mail->body.fd < 0)
        return;
    off_t length = (off_t)mail->body.file_length;
    play->file_changed = true;
    EXPECT(ftruncate(mail->body.fd, which & 0x80 ? length / 2 : length + 100) == 0);
}

static void play_step(struct play *play)
{
    static const char *const bad[] = {"550 5.1.1 no\r\n", "451 4.3.0 later\r\n", "503 5.5.1 order\r\n",
        "421 4.4.2 bye\r\n", "354 go\r\n", "250 ok\r\n", "500 what\r\n", "552 5.3.4 large\r\n",
        "250-a\r\n250 b\r\n", "250-a\r\n550 b\r\n", "999 x\r\n", "hello\r\n", "220 hello\r\n", "432 busy\r\n",
        "502 5.5.1 no BDAT\r\n", "334 \r\n"};
    unsigned step = next(play), argument = step >> 3;
    switch (step % 8) {
    case 0:
        for (unsigned n = 1 + argument; n > 0 && play->given < play->n_mails && !play->over; n--)
            if (pipeline_room(&play->pipeline) > 0)
                pipeline_push(&play->pipeline, &play->mails[play->given++]);
        break;
    case 1:
        play_write(play);
        break;
    case 2:
        play_take(play, argument == 31 ? SIZE_MAX : (size_t)argument * argument * 20 + 1);
        break;
    case 3:
        play_reply(play, bad[argument % (sizeof bad / sizeof *bad)]);
        break;
    case 4: {
        size_t n = argument < play->size ? argument : play->size;
        char *text = fuzz_text(play->data, n);
        play->data += n;
        play->size -= n;
        play_octets(play, text, n);
        free(text);
        break;
    }
    case 5:
        for (unsigned n = 1 + argument; n > 0 && !play->over; n--)
            play_good_reply(play);
        break;
    case 6: // all goes well for a while
        for (unsigned n = 1 + argument; n > 0 && !play->over; n--) {
            if (play->given < play->n_mails && pipeline_room(&play->pipeline) > 0)
                pipeline_push(&play->pipeline, &play->mails[play->given++]);
            play_write(play);
            play_take(play, SIZE_MAX);
            play_good_reply(play);
        }
        break;
    case 7:
        if (argument == 31)
            change_file(play, next(play));
        else
            play_write(play);
        break;
    }
}

static void play_begin(struct play *play)
{
    unsigned offers = next(play);
    play->capabilities = (struct smtp_capabilities){.pipelining = offers & 1,
        .chunking = offers & 2,
        .eight_bit = offers & 4,
        .dsn = offers & 8,
        .size = offers & 16,
        .size_max = offers & 32 ? 50000 : 0};
    play->current = -1;
    unsigned counts = next(play);
    play->n_mails = 1 + counts % MAILS;
    size_t n = offers & 64 && play->size > 15 ? 15 : 0; // an address that the agent should never get
    memcpy(play->hostile, n ? (const char *)play->data : "h@x", n ? n : 4);
    play->data += n;
    play->size -= n;
    for (unsigned i = 0; i < play->n_mails; i++)
        make_mail(play, i);
    EXPECT(pipeline_init(&play->pipeline, 1 + (counts >> 4) % 9) == 0 && output_init(&play->output) == 0);
    reply_reader_init(&play->reader);
    pipeline_open(&play->pipeline, &play->capabilities);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play play;
    play = (struct play){.data = data, .size = size};
    play_begin(&play);
    for (unsigned steps = 0; play.size > 0 && !play.over && steps < STEPS_MAX; steps++) {
        play_step(&play);
        take_results(&play);
        if (pipeline_broken(&play.pipeline))
            break;
    }
    const struct smtp_result *result;
    while ((result = pipeline_drop(&play.pipeline, &play.output, SMTP_FAILURE_CONNECTION, "gone", 3)))
        take_result(&play, result, true);
    EXPECT(play.done == play.given && play.pipeline.n == 0);
    pipeline_release(&play.pipeline);
    output_release(&play.output);
    for (unsigned i = 0; i < play.n_mails; i++) {
        if (play.mails[i].body.fd >= 0)
            close(play.mails[i].body.fd);
        free(play.heads[i]);
        free(play.wires[i]);
    }
    return 0;
}
