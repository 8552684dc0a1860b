// A hostile server against the window of one connection (pipeline.c, transaction.c, reply.c, body.c).
//
// The input is a program: which extensions are offered, which mails there are, then steps: hand over a mail,
// write, let octets through, answer well, answer badly, say anything at all, change a file below the agent.
// A reader that knows nothing of the agent's code takes the octets apart again and keeps account of which
// reply answered which command. In the end every mail has exactly one result, in order, and a recipient
// counts as served exactly where the server said so after it had the whole message.
#include "agent/smtp/pipeline.h"
#include "wire.h"

#define STEPS_MAX 400

struct play {
    const uint8_t *data;
    size_t size;
    struct smtp_capabilities capabilities;
    struct pipeline pipeline;
    struct output output;
    struct reply_reader reader;
    struct wire wire;
    char hostile[16];
    unsigned done;
    bool over, bye;
};

static unsigned next(struct play *play)
{
    if (play->size == 0)
        return 0;
    play->size--;
    return *play->data++;
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
        wire_read(&play->wire, text[i]);
}

static bool doomed(const struct wire_seen *seen, const struct smtp_mail *mail)
{
    bool any = seen->n_rcpt_answered < mail->n_recipients;
    for (unsigned i = 0; i < seen->n_rcpt_answered; i++)
        any |= seen->rcpt_codes[i] / 100 == 2;
    return !any || (seen->mail_code && seen->mail_code / 100 != 2);
}

static void take_result(struct play *play, const struct smtp_result *result, bool dropped)
{
    const struct wire *wire = &play->wire;
    EXPECT(play->done < wire->given && result->mail == &wire->mails[play->done]);
    const struct smtp_mail *mail = result->mail;
    const struct wire_seen *seen = &wire->seen[play->done++];
    for (unsigned i = 0; i < mail->n_recipients; i++) {
        bool sent = wire_is_sent(result, i);
        EXPECT(sent == (wire_said_yes(wire, seen, i) && seen->final_in_time));
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

// Notes what the reply answers, if anything does. A 421 is the end of everything, and never a yes.
static void account_for(struct play *play, int code)
{
    if (code != 421 && play->wire.n_answered < play->wire.n_commands)
        wire_answer(&play->wire, code, play->output.sent);
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
        struct wire *wire = &play->wire;
        bool early = wire->n_answered == wire->n_commands &&
                     (wire->state == WIRE_IN_BDAT || wire->state == WIRE_IN_DATA) && code != 421;
        enum pipeline_event event;
        if (early) {
            wire->seen[wire->current].final_code = code;
            event = pipeline_reply(&play->pipeline, &play->output, &play->reader.reply, &problem);
            if (wire->state == WIRE_IN_BDAT && event == PIPELINE_GOES_ON)
                wire->n_answered++; // the FINAL that is to come
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
    static const char *const addresses[WIRE_RECIPIENTS] = {"a@x", "b@y.example", "c@z", "d@[192.0.2.1]"};
    unsigned choice = next(play);
    size_t length = lengths[choice % 4 == 3 && i > 1 ? 2 : choice % 4]; // two large ones are slow enough
    struct smtp_mail *mail = wire_make_mail(&play->wire, i, length, choice & 0x40);
    struct smtp_recipient *recipients = play->wire.recipients[i];
    for (unsigned j = 0; j < WIRE_RECIPIENTS; j++)
        recipients[j] = (struct smtp_recipient){.address = addresses[j]};
    if (i == 3)
        recipients[1] =
            (struct smtp_recipient){.address = play->hostile, .notify = "NEVER", .orcpt = play->hostile};
    mail->ret = "HDRS";
    mail->envid = i == 5 ? play->hostile : "id";
    mail->eight_bit = (choice & 0x30) == 0x30;
    mail->n_recipients = 1 + (choice >> 2) % WIRE_RECIPIENTS;
}

static void change_file(struct play *play, unsigned which)
{
    const struct smtp_mail *mail = &play->wire.mails[which % play->wire.n_mails];
    if (mail->body.fd < 0)
        return;
    off_t length = (off_t)mail->body.file_length;
    play->wire.file_changed = true;
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
        for (unsigned n = 1 + argument; n > 0 && play->wire.given < play->wire.n_mails && !play->over; n--)
            if (pipeline_room(&play->pipeline) > 0)
                pipeline_push(&play->pipeline, &play->wire.mails[play->wire.given++]);
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
            if (play->wire.given < play->wire.n_mails && pipeline_room(&play->pipeline) > 0)
                pipeline_push(&play->pipeline, &play->wire.mails[play->wire.given++]);
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
    play->wire.current = -1;
    play->wire.chunking = play->capabilities.chunking;
    play->wire.offered = &play->capabilities;
    unsigned counts = next(play);
    play->wire.n_mails = 1 + counts % WIRE_MAILS;
    size_t n = offers & 64 && play->size > 15 ? 15 : 0; // an address that the agent should never get
    memcpy(play->hostile, n ? (const char *)play->data : "h@x", n ? n : 4);
    play->data += n;
    play->size -= n;
    for (unsigned i = 0; i < play->wire.n_mails; i++)
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
    EXPECT(play.done == play.wire.given && play.pipeline.n == 0);
    pipeline_release(&play.pipeline);
    output_release(&play.output);
    wire_release(&play.wire);
    return 0;
}
