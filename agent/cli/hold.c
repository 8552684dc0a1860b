// `outtray hold` and `outtray release`: mail that is kept back where no agent looks, and let go again.
#include "agent/cli/act.h"
#include "agent/cli/operator.h"
#include "agent/cli/verbs.h"

#include <errno.h>
#include <string.h>

static const char *hold_why_not(enum spool_state state)
{
    switch (state) {
    case SPOOL_CUR:
        return act_busy;
    case SPOOL_HOLD:
        return "is held already";
    case SPOOL_SENT:
        return "was delivered; there is nothing to keep back";
    case SPOOL_FAILED:
        return "was given up: it stays in failed/ until `outtray retry`";
    default:
        return "cannot be held";
    }
}

// A status file in deferred/ stays where it is: it knows who has the message already, and where it belongs.
static void hold_step(struct act *act, const struct spool_tenant *spool, struct act_item *item)
{
    if (act_move(act, spool, item, SPOOL_HOLD))
        act_words(item, "held");
}

static const char *release_why_not(enum spool_state state)
{
    switch (state) {
    case SPOOL_CUR:
        return "is not held: it is being delivered in this moment";
    case SPOOL_SENT:
        return "is not held: it was delivered";
    case SPOOL_FAILED:
        return "is not held: it was given up (`outtray retry` tries it again)";
    default:
        return "is not held: it waits for its delivery";
    }
}

static void release_step(struct act *act, const struct spool_tenant *spool, struct act_item *item)
{
    const struct picked *picked = item->picked;
    enum spool_state to = spool_origin(spool, picked->name, picked->inode, picked->size);
    if (act_move(act, spool, item, to))
        act_words(item, "released to %s/", spool_state_name(to));
}

static int run(struct act *act, int argc, char **argv)
{
    int code;
    if (act_parse(act, NULL, &argc, argv, &code) < 0)
        return code;
    return act_run(act, argc, argv);
}

int cli_hold(int argc, char **argv)
{
    const unsigned states = SELECT_STATE(SPOOL_NEW) | SELECT_STATE(SPOOL_DEFERRED);
    struct act act = {.select = {.queue = {.verb = cli_find("hold")}},
        .chosen = states,
        .by_name = states,
        .why_not = hold_why_not,
        .step = hold_step};
    return run(&act, argc, argv);
}

int cli_release(int argc, char **argv)
{
    struct act act = {.select = {.queue = {.verb = cli_find("release")}},
        .chosen = SELECT_STATE(SPOOL_HOLD),
        .by_name = SELECT_STATE(SPOOL_HOLD),
        .why_not = release_why_not,
        .step = release_step,
        .after = operator_note_items};
    return run(&act, argc, argv);
}
