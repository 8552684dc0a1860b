// The window of one connection.
#include "pipeline.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int pipeline_init(struct pipeline *pipeline, unsigned window)
{
    assert(window >= 1 && window <= SMTP_WINDOW_MAX);
    *pipeline = (struct pipeline){.window = window, .n_slots = window + 1};
    pipeline->slots = calloc(pipeline->n_slots, sizeof *pipeline->slots);
    return pipeline->slots ? 0 : -ENOMEM;
}

void pipeline_release(struct pipeline *pipeline)
{
    for (unsigned i = 0; pipeline->slots && i < pipeline->n_slots; i++)
        transaction_release(&pipeline->slots[i], &pipeline->pool);
    free(pipeline->slots);
    pipeline->slots = NULL;
    transaction_pool_release(&pipeline->pool);
}

void pipeline_open(struct pipeline *pipeline, const struct smtp_capabilities *capabilities)
{
    pipeline->capabilities = capabilities;
    pipeline->mode = !capabilities->pipelining ? PIPELINE_LOCKSTEP
                     : capabilities->chunking  ? PIPELINE_STREAMED
                                               : PIPELINE_GROUPED;
}

// How many mails may be begun at once. Grouped, only the next envelope can be ahead of a body.
static unsigned pipeline_limit(const struct pipeline *pipeline)
{
    switch (pipeline->mode) {
    case PIPELINE_LOCKSTEP:
        return 1;
    case PIPELINE_GROUPED:
        return pipeline->window < 2 ? pipeline->window : 2;
    case PIPELINE_STREAMED:
        break;
    }
    return pipeline->window;
}

static unsigned pipeline_left(const struct pipeline *pipeline, unsigned limit)
{
    return pipeline->stopped || pipeline->n >= limit ? 0 : limit - pipeline->n;
}

unsigned pipeline_room(const struct pipeline *pipeline)
{
    unsigned limit = pipeline_limit(pipeline);
    bool spare = pipeline->mode == PIPELINE_GROUPED && limit < pipeline->window;
    return pipeline_left(pipeline, spare ? limit + 1 : limit);
}

unsigned pipeline_room_now(const struct pipeline *pipeline)
{
    return pipeline_left(pipeline, pipeline_limit(pipeline));
}

static struct transaction *pipeline_at(const struct pipeline *pipeline, unsigned i)
{
    unsigned at = pipeline->head + i;
    return &pipeline->slots[at >= pipeline->n_slots ? at - pipeline->n_slots : at];
}

void pipeline_push(struct pipeline *pipeline, const struct smtp_mail *mail)
{
    assert(pipeline->n + 1 < pipeline->n_slots);
    struct transaction *t = pipeline_at(pipeline, pipeline->n++);
    transaction_clear(t, &pipeline->pool);
    transaction_init(t, mail);
}

static bool pipeline_may_begin(const struct pipeline *pipeline)
{
    if (pipeline->n_begun == pipeline->n || pipeline->n_begun >= pipeline_limit(pipeline))
        return false;
    if (pipeline->n_begun == 0)
        return true;
    const struct transaction *next = pipeline_at(pipeline, pipeline->n_begun);
    return pipeline->octets + next->mail->body.size <= SMTP_WINDOW_BYTES_MAX;
}

static void pipeline_judge(struct pipeline *pipeline, const struct transaction *t)
{
    if (t->out_of_step) {
        pipeline->anomaly = true;
        pipeline->window = 1;
    }
    // With more mails behind it, its transaction was closed by their MAIL, or that was refused.
    if (t->finished && t->rset_after && t == pipeline_at(pipeline, pipeline->n_begun - 1))
        pipeline->rset_needed = true;
}

void pipeline_write(struct pipeline *pipeline, struct output *output, int64_t now)
{
    while (!pipeline->stopped) {
        struct transaction *t = pipeline->n_begun ? pipeline_at(pipeline, pipeline->n_begun - 1) : NULL;
        if (!t || t->step == TRANSACTION_WRITTEN) {
            if (!pipeline_may_begin(pipeline) || output_room(output) < TRANSACTION_COMMAND_MAX)
                return;
            t = pipeline_at(pipeline, pipeline->n_begun);
            t->overlapped = pipeline->n_begun > 0;
            transaction_begin(t, pipeline->capabilities, pipeline->mode == PIPELINE_LOCKSTEP,
                pipeline->rset_needed, output, now);
            if (!t->checked)
                pipeline->rset_needed = false;
            pipeline->octets += t->mail->body.size;
            pipeline->n_begun++;
            continue;
        }
        if (transaction_write(t, pipeline->capabilities, output) < 0)
            pipeline->stopped = true;
        pipeline_judge(pipeline, t);
        if (t->step != TRANSACTION_WRITTEN)
            return;
    }
}

enum pipeline_event pipeline_reply(struct pipeline *pipeline, const struct output *output,
    const struct smtp_reply *reply, const char **ret_problem)
{
    struct transaction *t = pipeline->n_begun ? pipeline_at(pipeline, 0) : NULL;
    bool asked = t && t->n_answered < t->n_written && output->sent > t->begin;
    if (reply->code == 421) {
        if (asked)
            transaction_bye(t, &pipeline->pool, reply);
        pipeline->stopped = pipeline->bye = true;
        return PIPELINE_BYE;
    }
    if (!asked) {
        *ret_problem = "the server sent a reply to no command";
        pipeline->anomaly = pipeline->stopped = true;
        return PIPELINE_FAULT;
    }
    bool in_data = !t->bdat && t->wait == TRANSACTION_AWAITS_FINAL && !transaction_sent(t, output);
    const char *problem = transaction_take(t, &pipeline->pool, reply, output);
    pipeline_judge(pipeline, t);
    if (problem) {
        *ret_problem = problem;
        pipeline->anomaly |= !t->bdat_unknown;
        pipeline->no_chunking |= t->bdat_unknown;
        pipeline->stopped = true;
        return PIPELINE_FAULT;
    }
    if (in_data && t->finished) { // whether it reads on up to the dot is anyone's guess
        pipeline->stopped = true;
        return PIPELINE_BYE;
    }
    return PIPELINE_GOES_ON;
}

// Takes the oldest mail out; its slot is not used again before n_slots - 1 more were pushed.
static const struct smtp_result *pipeline_pop(struct pipeline *pipeline, int64_t now)
{
    struct transaction *t = pipeline_at(pipeline, 0);
    if (pipeline->n_begun) {
        pipeline->n_begun--;
        pipeline->octets -= t->mail->body.size;
        t->result.xfer_ns = now - t->began;
    }
    pipeline->head = pipeline->head + 1 == pipeline->n_slots ? 0 : pipeline->head + 1;
    pipeline->n--;
    return &t->result;
}

const struct smtp_result *pipeline_finished(struct pipeline *pipeline, int64_t now)
{
    if (!pipeline->n_begun)
        return NULL;
    const struct transaction *t = pipeline_at(pipeline, 0);
    return t->finished ? pipeline_pop(pipeline, now) : NULL;
}

const struct smtp_result *pipeline_drop(struct pipeline *pipeline, const struct output *output,
    enum smtp_failure failure, const char *problem, int64_t now)
{
    if (!pipeline->n)
        return NULL;
    struct transaction *t = pipeline_at(pipeline, 0);
    transaction_drop(t, output, failure, problem);
    if (pipeline->bye) // what came behind the command that got the 421 was not looked at
        t->result.may_be_accepted = false;
    return pipeline_pop(pipeline, now);
}

bool pipeline_broken(const struct pipeline *pipeline)
{
    return pipeline->n_begun && pipeline_at(pipeline, 0)->file_failed;
}

enum transaction_wait pipeline_waits(const struct pipeline *pipeline)
{
    const struct transaction *t = pipeline->n_begun ? pipeline_at(pipeline, 0) : NULL;
    return t && t->n_answered < t->n_written ? t->wait : TRANSACTION_AWAITS_NOTHING;
}

enum smtp_stage pipeline_stage(const struct pipeline *pipeline, const struct output *output)
{
    return pipeline->n_begun ? transaction_stage(pipeline_at(pipeline, 0), output) : SMTP_STAGE_IDLE;
}

bool pipeline_oldest_sent(const struct pipeline *pipeline, const struct output *output)
{
    return pipeline->n_begun && transaction_sent(pipeline_at(pipeline, 0), output);
}
