// Replies of one mail's dialogue; the commands are in transaction_write.c.
#include "transaction.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const wait_names[] = {
    [TRANSACTION_AWAITS_RSET] = "RSET",
    [TRANSACTION_AWAITS_MAIL] = "MAIL",
    [TRANSACTION_AWAITS_RCPT] = "RCPT",
    [TRANSACTION_AWAITS_DATA] = "DATA",
    [TRANSACTION_AWAITS_FINAL] = "the message",
    [TRANSACTION_AWAITS_NOTHING] = "nothing",
};

const char *transaction_wait_name(enum transaction_wait wait)
{
    return wait_names[wait];
}

void transaction_pool_release(struct transaction_pool *pool)
{
    while (pool->unused) {
        struct transaction_reply *next = pool->unused->next;
        free(pool->unused);
        pool->unused = next;
    }
    pool->n_unused = 0;
}

void transaction_init(struct transaction *transaction, const struct smtp_mail *mail)
{
    struct transaction *t = transaction;
    t->mail = mail;
    t->result.mail = mail;
    if (t->replies_size < mail->n_recipients) {
        const struct smtp_reply **replies = reallocarray(t->replies, mail->n_recipients, sizeof *replies);
        if (!replies)
            return;
        t->replies = replies;
        t->replies_size = mail->n_recipients;
    }
    memset(t->replies, 0, mail->n_recipients * sizeof *t->replies);
    t->result.recipients = t->replies;
}

void transaction_clear(struct transaction *transaction, struct transaction_pool *pool)
{
    struct transaction *t = transaction;
    while (t->stored) {
        struct transaction_reply *next = t->stored->next;
        if (pool->n_unused < TRANSACTION_POOL_MAX) {
            t->stored->next = pool->unused;
            pool->unused = t->stored;
            pool->n_unused++;
        } else {
            free(t->stored);
        }
        t->stored = next;
    }
    // Everything but the replies' array starts from zero; the text of result.final is not worth wiping.
    const struct smtp_reply **replies = t->replies;
    size_t size = t->replies_size;
    t->result.mail = NULL;
    t->result.stage = SMTP_STAGE_MAIL;
    t->result.failure = SMTP_FAILURE_NONE;
    t->result.begun = t->result.may_be_accepted = false;
    t->result.final.code = 0;
    memset(t->result.final.enhanced, 0, sizeof t->result.final.enhanced);
    t->result.final.text[0] = '\0';
    t->result.recipients = NULL;
    t->result.problem = NULL;
    t->result.xfer_ns = 0;
    memset(&t->step, 0, sizeof *t - offsetof(struct transaction, step));
    t->mail = NULL;
    t->replies = replies;
    t->replies_size = size;
}

void transaction_release(struct transaction *transaction, struct transaction_pool *pool)
{
    transaction_clear(transaction, pool);
    free(transaction->replies);
    transaction->replies = NULL;
    transaction->replies_size = 0;
}

bool transaction_doomed(const struct transaction *t)
{
    return t->mail_refused || (t->rcpt_answered == t->mail->n_recipients && t->rcpt_accepted == 0);
}

bool transaction_sent(const struct transaction *t, const struct output *output)
{
    return t->step == TRANSACTION_WRITTEN && output->sent >= t->end;
}

enum smtp_stage transaction_stage(const struct transaction *t, const struct output *output)
{
    switch (t->wait) {
    case TRANSACTION_AWAITS_RSET:
    case TRANSACTION_AWAITS_MAIL:
        return SMTP_STAGE_MAIL;
    case TRANSACTION_AWAITS_RCPT:
        return SMTP_STAGE_RCPT;
    case TRANSACTION_AWAITS_DATA:
        return SMTP_STAGE_DATA;
    case TRANSACTION_AWAITS_FINAL:
        return transaction_sent(t, output) ? SMTP_STAGE_FINAL : SMTP_STAGE_DATA;
    case TRANSACTION_AWAITS_NOTHING:
        break;
    }
    return t->result.stage;
}

// The result follows from the replies. final is already in place where there is one.
void transaction_finish(struct transaction *t)
{
    struct smtp_result *result = &t->result;
    t->finished = true;
    t->wait = TRANSACTION_AWAITS_NOTHING;
    t->step = TRANSACTION_WRITTEN;
    result->begun = true;
    if (t->mail_refused) { // what RCPT said after that only says that there was no MAIL
        result->stage = SMTP_STAGE_MAIL;
        memset(t->replies, 0, t->mail->n_recipients * sizeof *t->replies);
    } else if (t->rcpt_accepted == 0 && result->final.code != 421) {
        result->stage = SMTP_STAGE_RCPT;
        result->final.code = 0;
        memset(result->final.enhanced, 0, sizeof result->final.enhanced);
        result->final.text[0] = '\0';
    }
    // A refused MAIL stands, whatever the server made of what came behind it: with DATA that was nothing but
    // a dot.
    bool refused = t->mail_refused && result->final.code != 503;
    if (t->out_of_step && !refused && result->final.code / 100 != 2) {
        result->failure = SMTP_FAILURE_PROTOCOL;
        result->problem = "the server answered out of step (503 to a command in its right place)";
    }
}

static const char *take_rset(struct transaction *t, const struct smtp_reply *reply)
{
    t->wait = TRANSACTION_AWAITS_MAIL;
    return reply->code / 100 == 3 ? "a reply of 3xx to RSET" : NULL;
}

static const char *take_mail(struct transaction *t, const struct smtp_reply *reply)
{
    if (reply->code / 100 == 3)
        return "a reply of 3xx to MAIL";
    t->wait = TRANSACTION_AWAITS_RCPT;
    if (reply->code / 100 == 2)
        return NULL;
    t->mail_refused = true;
    reply_copy(&t->result.final, reply);
    // Behind another transaction it means that the server still has that one open; alone it may say "log in".
    t->out_of_step |= reply->code == 503 && t->overlapped;
    return NULL;
}

// What is kept where there is no memory for a reply: a yes stays a yes, and nobody is refused for our want.
static const struct smtp_reply accepted_unkept = {
    .code = 250, .text = "250 (the words were lost: memory is short)"};
static const struct smtp_reply refused_unkept = {
    .code = 451, .text = "451 (it was refused, and the words were lost: memory is short)"};

// Keeps reply for the recipient in turn.
static void transaction_keep(
    struct transaction *t, struct transaction_pool *pool, const struct smtp_reply *reply)
{
    if (!t->stored || !reply_same(&t->stored->reply, reply)) {
        struct transaction_reply *kept = pool->unused;
        if (kept) {
            pool->unused = kept->next;
            pool->n_unused--;
        } else if (!(kept = malloc(sizeof *kept))) {
            t->replies[t->rcpt_answered] = reply->code / 100 == 2 ? &accepted_unkept : &refused_unkept;
            return;
        }
        reply_copy(&kept->reply, reply);
        kept->next = t->stored;
        t->stored = kept;
    }
    t->replies[t->rcpt_answered] = &t->stored->reply;
}

static const char *take_rcpt(
    struct transaction *t, struct transaction_pool *pool, const struct smtp_reply *reply)
{
    if (reply->code / 100 == 3)
        return "a reply of 3xx to RCPT";
    transaction_keep(t, pool, reply);
    t->rcpt_answered++;
    if (reply->code / 100 == 2)
        t->rcpt_accepted++;
    t->out_of_step |= reply->code == 503 && !t->mail_refused; // it contradicts the reply to MAIL
    if (t->rcpt_answered == t->mail->n_recipients)
        t->wait = t->bdat ? TRANSACTION_AWAITS_FINAL : TRANSACTION_AWAITS_DATA;
    return NULL;
}

static const char *take_data(struct transaction *t, const struct smtp_reply *reply)
{
    if (reply->code == 354) {
        t->go_ahead = true;
        t->wait = TRANSACTION_AWAITS_FINAL;
        t->n_written++; // the body
        return NULL;
    }
    if (reply->code < 400)
        return "a reply to DATA that is neither 354 nor a refusal";
    t->rset_after = true;
    if (!transaction_doomed(t)) {
        reply_copy(&t->result.final, reply);
        t->result.stage = SMTP_STAGE_DATA;
        t->out_of_step |= reply->code == 503;
    }
    transaction_finish(t);
    return NULL;
}

static const char *take_final(
    struct transaction *t, const struct smtp_reply *reply, const struct output *output)
{
    bool accepted = reply->code / 100 == 2, sent = transaction_sent(t, output);
    if (reply->code / 100 == 3)
        return "a reply of 3xx to the message";
    if (t->bdat && (reply->code == 500 || reply->code == 502)) { // it would take the content for commands
        t->bdat_unknown = true;
        return "the server does not know BDAT, although it offers CHUNKING";
    }
    if (accepted && !sent) {
        t->claimed = true;
        return "the server accepted the message before it had all of it";
    }
    // A MAIL refused for being nested in another transaction, and yet the content (not a lone dot) is taken:
    // it is at the server, in the other one's envelope.
    if (accepted && t->bdat && t->rcpt_accepted > 0 && t->result.final.code == 503)
        t->mail_refused = false;
    if (!transaction_doomed(t)) {
        reply_copy(&t->result.final, reply);
        t->result.stage = SMTP_STAGE_FINAL;
        t->out_of_step |= reply->code == 503;
    } // else it is what must come, or a 250 that counts for nobody
    t->rset_after = t->bdat && !accepted;
    if (sent || !t->bdat)
        transaction_finish(t);
    else
        t->answered_early = true; // the server counts octets: what BDAT promised has to follow
    return NULL;
}

const char *transaction_take(struct transaction *t, struct transaction_pool *pool,
    const struct smtp_reply *reply, const struct output *output)
{
    assert(t->n_answered < t->n_written);
    const char *problem = NULL;
    t->n_answered++;
    switch (t->wait) {
    case TRANSACTION_AWAITS_RSET:
        problem = take_rset(t, reply);
        break;
    case TRANSACTION_AWAITS_MAIL:
        problem = take_mail(t, reply);
        break;
    case TRANSACTION_AWAITS_RCPT:
        problem = take_rcpt(t, pool, reply);
        break;
    case TRANSACTION_AWAITS_DATA:
        problem = take_data(t, reply);
        break;
    case TRANSACTION_AWAITS_FINAL:
        problem = take_final(t, reply, output);
        break;
    case TRANSACTION_AWAITS_NOTHING:
        return "a reply to no command";
    }
    // Nobody gets it, everything written is answered, and the content was not announced: no need to.
    if (!problem && !t->finished && t->step <= TRANSACTION_WRITES_DATA && t->n_answered == t->n_written &&
        t->wait > TRANSACTION_AWAITS_MAIL && transaction_doomed(t)) {
        t->rset_after = !t->mail_refused;
        transaction_finish(t);
    }
    return problem;
}

void transaction_bye(struct transaction *t, struct transaction_pool *pool, const struct smtp_reply *reply)
{
    t->n_answered++;
    if (transaction_doomed(t)) {
        transaction_finish(t);
        return;
    }
    enum transaction_wait wait = t->wait;
    if (wait == TRANSACTION_AWAITS_RCPT)
        transaction_keep(t, pool, reply);
    reply_copy(&t->result.final, reply);
    transaction_finish(t);
    t->result.stage = wait <= TRANSACTION_AWAITS_MAIL   ? SMTP_STAGE_MAIL
                      : wait == TRANSACTION_AWAITS_RCPT ? SMTP_STAGE_RCPT
                      : wait == TRANSACTION_AWAITS_DATA ? SMTP_STAGE_DATA
                                                        : SMTP_STAGE_FINAL;
}

void transaction_drop(
    struct transaction *t, const struct output *output, enum smtp_failure failure, const char *problem)
{
    if (t->finished)
        return;
    struct smtp_result *result = &t->result;
    result->begun = t->n_written > 0 && output->sent > t->begin;
    if (result->begun && !t->claimed && (transaction_doomed(t) || t->answered_early)) {
        transaction_finish(t);
        return;
    }
    result->stage = transaction_stage(t, output);
    result->failure = t->file_changed  ? SMTP_FAILURE_FILE
                      : t->file_failed ? SMTP_FAILURE_DISK
                      : result->begun  ? failure
                                       : SMTP_FAILURE_CANCELLED;
    result->may_be_accepted = result->begun && !t->file_failed && (t->claimed || transaction_sent(t, output));
    result->problem = t->file_failed && result->problem ? result->problem : problem;
    t->finished = true;
}
