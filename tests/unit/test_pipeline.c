// The window against a model of a server: whatever is refused, however the octets and replies fall into
// pieces, each mail's result says exactly what the server did with it, and the server never sees a command
// out of order. The model is as strict as servers get: MAIL inside a transaction is a 503, and a transaction
// whose DATA or recipients were refused stays open until RSET.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/smtp/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAILS      40
#define RECIPIENTS 4
#define BODY_MAX   6000

struct random {
    uint64_t state;
};

static unsigned below(struct random *random, unsigned n)
{
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random->state >> 33) % n;
}

struct model {
    struct random *random;
    bool chunking, open, in_data;
    bool refused_any; // since MAIL: a transaction without recipients
    size_t bdat;      // octets of a chunk still to come
    unsigned n_accepted;
    char recipients[RECIPIENTS]; // the digit of each accepted one
    char input[1 << 18];
    size_t length;
    char body[4 * BODY_MAX];
    size_t body_length;
    char replies[1 << 16];
    size_t replies_length;
    unsigned delivered[MAILS]; // bit i: recipient i got this mail; twice is a failure
};

static void model_say(struct model *model, const char *reply)
{
    size_t n = strlen(reply);
    assert_true(model->replies_length + n < sizeof model->replies);
    memcpy(model->replies + model->replies_length, reply, n);
    model->replies_length += n;
}

// The message is whole: the model decides, and looks at what it got.
static void model_final(struct model *model, const char *expected, size_t expected_length)
{
    if (model->n_accepted == 0) {
        model_say(model, "503 no recipients\r\n");
    } else if (below(model->random, 8) == 0) {
        model_say(model, "451-4.3.0 not\r\n451 now\r\n");
    } else {
        unsigned id = (unsigned)strtoul(model->body + 4, NULL, 10);
        assert_true(id < MAILS);
        assert_int_equal(model->body_length, expected_length + (size_t)snprintf(NULL, 0, "%u", id));
        assert_memory_equal(strchr(model->body, '\r'), expected, expected_length - 4);
        for (unsigned i = 0; i < model->n_accepted; i++) {
            unsigned bit = 1u << (model->recipients[i] - '0');
            assert_false(model->delivered[id] & bit);
            model->delivered[id] |= bit;
        }
        model_say(model, "250 2.0.0 queued\r\n");
    }
    model->open = false;
    model->n_accepted = 0;
    model->body_length = 0;
}

static void model_command(struct model *model, const char *line)
{
    if (strncmp(line, "MAIL FROM:<a@x>", 15) == 0) {
        assert_false(model->open); // nothing may be sent as part of another transaction
        bool refused = below(model->random, 10) == 0;
        model->open = !refused;
        model->n_accepted = 0;
        model_say(model, refused ? "450 4.1.8 later\r\n" : "250 2.1.0 ok\r\n");
    } else if (strncmp(line, "RCPT TO:<", 9) == 0) {
        bool refused = !model->open || below(model->random, 3) == 0;
        if (!refused)
            model->recipients[model->n_accepted++] = line[9];
        model_say(model, !model->open ? "503 no MAIL\r\n"
                         : refused    ? "550 5.1.1 no\r\n"
                                      : "250 2.1.5 ok\r\n");
    } else if (strncmp(line, "BDAT ", 5) == 0 && model->chunking) {
        model->bdat = strtoul(line + 5, NULL, 10);
        assert_string_equal(strchr(line + 5, ' '), " LAST");
    } else if (strcmp(line, "DATA") == 0 && !model->chunking) {
        if (!model->open || (model->n_accepted == 0 && below(model->random, 2)))
            model_say(model, "503 no\r\n");
        else if (below(model->random, 10) == 0)
            model_say(model, "432 4.3.2 busy\r\n");
        else if ((model->in_data = true))
            model_say(model, "354 go\r\n");
    } else if (strcmp(line, "RSET") == 0) {
        model->open = false;
        model_say(model, "250 reset\r\n");
    } else {
        fail_msg("command out of place: %s", line);
    }
}

static void model_data_line(
    struct model *model, const char *line, size_t length, const char *expected, size_t size)
{
    if (strcmp(line, ".") == 0) {
        model->in_data = false;
        if (model->n_accepted == 0)
            assert_int_equal(model->body_length, 0);
        model_final(model, expected, size);
        return;
    }
    bool stuffed = *line == '.';
    assert_true(model->body_length + length + 2 < sizeof model->body);
    memcpy(model->body + model->body_length, line + stuffed, length - stuffed);
    model->body_length += length - stuffed;
    memcpy(model->body + model->body_length, "\r\n", 2);
    model->body_length += 2;
}

// Eats what can be eaten of the input.
static void model_run(struct model *model, const char *expected, size_t size)
{
    size_t at = 0;
    for (;;) {
        if (model->bdat) {
            size_t n = model->length - at < model->bdat ? model->length - at : model->bdat;
            memcpy(model->body + model->body_length, model->input + at, n);
            model->body_length += n;
            model->bdat -= n;
            at += n;
            if (model->bdat)
                break;
            model_final(model, expected, size);
        }
        char *end = memchr(model->input + at, '\n', model->length - at);
        if (!end)
            break;
        assert_true(end > model->input + at && end[-1] == '\r');
        end[-1] = '\0';
        const char *line = model->input + at;
        at = (size_t)(end + 1 - model->input);
        if (model->in_data)
            model_data_line(model, line, strlen(line), expected, size);
        else
            model_command(model, line);
    }
    memmove(model->input, model->input + at, model->length - at);
    model->length -= at;
}

struct play {
    struct random random;
    struct model model;
    struct pipeline pipeline;
    struct output output;
    struct reply_reader reader;
    struct smtp_mail mails[MAILS];
    char *heads[MAILS];
    struct smtp_recipient recipients[RECIPIENTS];
    char tail[BODY_MAX + 16]; // what all bodies have behind their number
    size_t tail_length;
    unsigned given, done;
};

static void play_result(struct play *play, const struct smtp_result *result)
{
    size_t id = (size_t)(result->mail - play->mails);
    assert_int_equal(result->failure, SMTP_FAILURE_NONE);
    unsigned delivered = 0;
    for (unsigned i = 0; i < result->mail->n_recipients; i++)
        if (result->final.code / 100 == 2 && result->recipients[i] && result->recipients[i]->code / 100 == 2)
            delivered |= 1u << i;
    assert_int_equal(delivered, play->model.delivered[id]);
    if (result->final.code == 451)
        assert_string_equal(result->final.text, "451 4.3.0 not now");
    play->done++;
}

// A few replies reach the client, not always whole ones.
static void play_replies(struct play *play)
{
    struct model *model = &play->model;
    size_t length = below(&play->random, (unsigned)model->replies_length + 1), at = 0;
    while (at < length) {
        size_t used;
        const char *problem = NULL;
        int result = reply_read(&play->reader, model->replies + at, length - at, &used, &problem);
        assert_true(result >= 0);
        at += used;
        if (result == 0)
            break;
        enum pipeline_event event =
            pipeline_reply(&play->pipeline, &play->output, &play->reader.reply, &problem);
        if (event != PIPELINE_GOES_ON)
            fail_msg("%s", problem);
        const struct smtp_result *finished;
        while ((finished = pipeline_finished(&play->pipeline, 0)))
            play_result(play, finished);
    }
    memmove(model->replies, model->replies + length, model->replies_length - length);
    model->replies_length -= length;
}

static void play_octets(struct play *play)
{
    struct output *output = &play->output;
    size_t n = below(&play->random, (unsigned)output_waiting(output) + 1);
    if (below(&play->random, 4) == 0)
        n = output_waiting(output);
    assert_true(play->model.length + n <= sizeof play->model.input);
    memcpy(play->model.input + play->model.length, output->data + output->start, n);
    play->model.length += n;
    if (n)
        output_taken(output, n);
    model_run(&play->model, play->tail, play->tail_length + 4);
}

static void play_begin(struct play *play)
{
    static const char line[] = ".dotted line\r\nanother\r\n";
    memcpy(play->tail, "\r\n\r\n", 4);
    play->tail_length = 4 + below(&play->random, BODY_MAX);
    for (size_t i = 4; i < play->tail_length; i++)
        play->tail[i] = line[(i - 4) % (sizeof line - 1)];
    memcpy(play->tail + play->tail_length, "x\r\n", 3);
    play->tail_length += 3;
    static const char *const addresses[RECIPIENTS] = {"0@x", "1@x", "2@x", "3@x"};
    for (unsigned i = 0; i < RECIPIENTS; i++)
        play->recipients[i].address = addresses[i];
    for (unsigned i = 0; i < MAILS; i++) {
        size_t size = play->tail_length + 16;
        play->heads[i] = malloc(size);
        size_t n = (size_t)snprintf(play->heads[i], size, "Id: %u", i);
        memcpy(play->heads[i] + n, play->tail, play->tail_length);
        n += play->tail_length;
        play->mails[i] = (struct smtp_mail){.reverse_path = "a@x",
            .recipients = play->recipients,
            .n_recipients = 1 + below(&play->random, RECIPIENTS),
            .body = {.head = play->heads[i], .head_length = n, .fd = -1, .size = n}};
    }
}

static void play_all(uint64_t seed, bool pipelining, bool chunking, unsigned window)
{
    struct play *play = calloc(1, sizeof *play);
    assert_non_null(play);
    play->random.state = seed;
    play->model.random = &play->random;
    play->model.chunking = chunking;
    play_begin(play);
    const struct smtp_capabilities capabilities = {.pipelining = pipelining, .chunking = chunking};
    assert_int_equal(pipeline_init(&play->pipeline, window), 0);
    assert_int_equal(output_init(&play->output), 0);
    reply_reader_init(&play->reader);
    pipeline_open(&play->pipeline, &capabilities);
    for (unsigned step = 0; play->done < MAILS; step++) {
        assert_true(step < 1000000);
        while (play->given < MAILS && pipeline_room(&play->pipeline) > 0 && below(&play->random, 4))
            pipeline_push(&play->pipeline, &play->mails[play->given++]);
        assert_true(play->pipeline.n <= window);
        assert_true(chunking || play->pipeline.n_begun <= (pipelining ? 2 : 1));
        if (output_waiting(&play->output) == 0 || below(&play->random, 2))
            pipeline_write(&play->pipeline, &play->output, 0);
        const struct smtp_result *finished;
        while ((finished = pipeline_finished(&play->pipeline, 0)))
            play_result(play, finished);
        play_octets(play);
        play_replies(play);
    }
    assert_false(play->pipeline.anomaly);
    assert_int_equal(play->pipeline.n, 0);
    assert_int_equal(play->pipeline.octets, 0);
    pipeline_release(&play->pipeline);
    output_release(&play->output);
    for (unsigned i = 0; i < MAILS; i++)
        free(play->heads[i]);
    free(play);
}

static void test_streamed(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++)
        play_all(seed, true, true, 1 + seed % 9);
}

static void test_grouped(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++)
        play_all(seed, true, false, 1 + seed % 4);
}

// How many mails a session takes: all that may be on the wire at once, and grouped one more that lies ready.
static void test_room(void **state)
{
    (void)state;
    static const struct {
        struct smtp_capabilities capabilities;
        unsigned window, room, now;
    } rows[] = {
        {{.pipelining = true, .chunking = true}, 1, 1, 1},
        {{.pipelining = true, .chunking = true}, 8, 8, 8},
        {{.pipelining = true}, 1, 1, 1},
        {{.pipelining = true}, 2, 2, 2},
        {{.pipelining = true}, 3, 3, 2},
        {{.pipelining = true}, 8, 3, 2},
        {{.chunking = true}, 8, 1, 1},
        {{0}, 8, 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pipeline pipeline;
        assert_int_equal(pipeline_init(&pipeline, rows[i].window), 0);
        pipeline_open(&pipeline, &rows[i].capabilities);
        assert_int_equal(pipeline_room(&pipeline), rows[i].room);
        assert_int_equal(pipeline_room_now(&pipeline), rows[i].now);
        pipeline_release(&pipeline);
    }
}

static void test_lockstep(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 30; seed++)
        play_all(seed, false, seed % 2, 8);
}

// Large messages wait for the octets in flight to become fewer; a single one is never too large.
static void test_window_in_octets(void **state)
{
    (void)state;
    size_t size = SMTP_WINDOW_BYTES_MAX / 2;
    char *head = calloc(1, 3 * size);
    assert_non_null(head);
    const struct smtp_recipient recipient = {.address = "b@x"};
    struct smtp_mail mail = {.reverse_path = "a@x",
        .recipients = &recipient,
        .n_recipients = 1,
        .body = {.head = head, .head_length = size, .fd = -1, .size = size}};
    struct smtp_mail larger = mail;
    larger.body.head_length = larger.body.size = 3 * size;
    const struct smtp_capabilities capabilities = {.pipelining = true, .chunking = true};
    struct pipeline pipeline;
    struct output output;
    assert_int_equal(pipeline_init(&pipeline, 8), 0);
    assert_int_equal(output_init(&output), 0);
    pipeline_open(&pipeline, &capabilities);
    pipeline_push(&pipeline, &mail);
    pipeline_push(&pipeline, &mail);
    pipeline_push(&pipeline, &larger);
    static const unsigned begun[] = {2, 1, 1};
    struct smtp_reply reply;
    const char *problem;
    assert_true(reply_parse("250 ok", &reply));
    for (unsigned i = 0; i < 3; i++) {
        do {
            pipeline_write(&pipeline, &output, 0);
            size_t n = output_waiting(&output);
            if (n == 0)
                break;
            output_taken(&output, n);
        } while (true);
        assert_int_equal(pipeline.n_begun, begun[i]);
        for (unsigned command = 0; command < 3; command++)
            assert_int_equal(pipeline_reply(&pipeline, &output, &reply, &problem), PIPELINE_GOES_ON);
        assert_non_null(pipeline_finished(&pipeline, 0));
    }
    assert_int_equal(pipeline.n, 0);
    pipeline_release(&pipeline);
    output_release(&output);
    free(head);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streamed),
        cmocka_unit_test(test_grouped),
        cmocka_unit_test(test_lockstep),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_window_in_octets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
