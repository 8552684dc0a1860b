// `outtray retry`: what waits for its next attempt is due now; what had failed goes back to new/.
#include "agent/cli/act.h"
#include "agent/cli/operator.h"
#include "agent/cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static const char *why_not(enum spool_state state)
{
    switch (state) {
    case SPOOL_SENT:
        return "was delivered; to send it again see outtray-spool(5)";
    case SPOOL_HOLD:
        return "is held; let it go with `outtray release`";
    default:
        return "cannot be retried";
    }
}

// The status file's mtime is the time of the next attempt. It stays in deferred/ while its message is
// claimed, so this can come too late, but does no harm then.
static void make_due(const struct spool_tenant *spool, struct act_item *item)
{
    const struct picked *picked = item->picked;
    char status[SPOOL_STATUS_SIZE];
    struct stat stat;
    spool_name_status(picked->name, status);
    if (utimensat(spool->dir[SPOOL_DEFERRED], status, NULL, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT) {
        act_fail(item, -errno);
        return;
    }
    if (fstatat(spool->dir[SPOOL_DEFERRED], picked->name, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
        stat.st_ino != picked->inode) {
        act_gone(spool, item); // which is what was wanted
        item->outcome = ACT_NOTHING;
        if (item->at == SPOOL_CUR)
            act_words(item, "is being delivered in this moment");
        return;
    }
    item->outcome = ACT_DONE;
    act_words(item, "due now");
}

static void step(struct act *act, const struct spool_tenant *spool, struct act_item *item)
{
    switch (item->picked->state) {
    case SPOOL_DEFERRED:
        make_due(spool, item);
        break;
    case SPOOL_FAILED: // its status stays behind, and is adopted: who has it is not sent to again
        if (act_move(act, spool, item, SPOOL_NEW))
            act_words(item, "moved to new/, to be tried again");
        break;
    case SPOOL_CUR:
        item->outcome = ACT_NOTHING;
        act_words(item, "is being delivered in this moment");
        break;
    default:
        item->outcome = ACT_NOTHING;
        act_words(item, "waits in new/ for its first attempt already");
    }
}

int cli_retry(int argc, char **argv)
{
    bool failed = false;
    struct act act = {.select = {.queue = {.verb = cli_find("retry")}},
        .by_name = SELECT_STATE(SPOOL_NEW) | SELECT_STATE(SPOOL_CUR) | SELECT_STATE(SPOOL_DEFERRED) |
                   SELECT_STATE(SPOOL_FAILED),
        .why_not = why_not,
        .step = step,
        .after = operator_note_items};
    const struct cli_option options[] = {
        {.name = "failed", .flag = &failed},
        {.name = "reason", .value = &act.select.reason_name},
        {0},
    };
    int code;
    if (act_parse(&act, options, &argc, argv, &code) < 0)
        return code;
    if (failed && argc > 1)
        return cli_usage(
            act.select.queue.verb, "--failed goes without names: a name is found in failed/ too");
    act.chosen = SELECT_STATE(SPOOL_FAILED);
    if (!act.select.reason_name)
        act.chosen = SELECT_STATE(SPOOL_DEFERRED) | (failed ? act.chosen : 0);
    return act_run(&act, argc, argv);
}
