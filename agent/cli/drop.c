// `outtray drop`: mail that shall not go out ends in failed/ with a status file that says who gave it up, or
// is deleted.
//
// The message is taken out of the agent's reach first, by a rename into hold/: from there on nobody else
// works on it, and a crash leaves it held, whole.
#include "agent/base/clock.h"
#include "agent/cli/act.h"
#include "agent/cli/operator.h"
#include "agent/cli/verbs.h"
#include "agent/delivery/filing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_MAX 10 // names listed before the question

struct drop {
    struct act act; // first
    bool delete, failed, yes;
    char by[OPERATOR_NAME_MAX + 1];
};

static const char *why_not(enum spool_state state)
{
    switch (state) {
    case SPOOL_CUR:
        return act_busy;
    case SPOOL_SENT:
        return "was delivered; there is nothing to drop";
    case SPOOL_FAILED:
        return "lies in failed/ already (--delete removes it)";
    default:
        return "cannot be dropped";
    }
}

static int confirm(struct act *act, const struct picks *picks)
{
    struct drop *drop = (struct drop *)act;
    char answer[16] = "";
    if (drop->yes)
        return EX_OK;
    if (!isatty(STDIN_FILENO))
        return cli_usage(act->select.queue.verb, "say --yes where nobody can be asked");
    for (size_t i = 0; i < picks->n && i < SHOWN_MAX; i++) {
        printf("  ");
        select_print(&picks->items[i]);
        printf("\n");
    }
    if (picks->n > SHOWN_MAX)
        printf("  ... and %zu more\n", picks->n - SHOWN_MAX);
    printf("%s %zu message%s? [y/N] ", drop->delete ? "Delete for good" : "Give up", picks->n,
        picks->n == 1 ? "" : "s");
    (void)fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
        return EX_OK;
    return cli_fail(act->select.queue.verb, CLI_FINDINGS, "nothing was dropped");
}

// The status file that the message has from earlier attempts, or a new one of what it would be sent to.
static int find_status(struct drop *drop, const struct spool_tenant *spool, struct act_item *item, int fd,
    struct status **ret_status)
{
    static const enum spool_state places[] = {SPOOL_DEFERRED, SPOOL_FAILED};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int found =
            spool_find_status(spool, places[i], item->picked->name, fd, ret_status, item->status_name);
        if (found == 1)
            item->status_in = places[i];
        if (found != 0 && found != -EBADMSG)
            return found == 1 ? 0 : found;
    }
    struct queue_place place = {item->picked->tenant, SPOOL_HOLD, NULL, spool->root, spool->dir[SPOOL_HOLD]};
    struct queue_message message = {.place = &place, .name = item->name};
    struct queue_view view = {0};
    int error = fstat(fd, &message.stat) ? -errno : queue_view_fill(&drop->act.select.queue, &message, &view);
    if (!error) {
        *ret_status = view.status;
        view.status = NULL;
    }
    queue_view_release(&view);
    return error;
}

static int write_status(struct drop *drop, const struct spool_tenant *spool, struct act_item *item)
{
    struct status *status = NULL;
    char chosen[SPOOL_NAME_SIZE], detail[ACT_WORDS_MAX];
    int fd = openat(spool->dir[SPOOL_HOLD], item->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int error = fd < 0 ? -errno : find_status(drop, spool, item, fd, &status);
    if (!error && !status)
        error = -ENOMEM;
    if (!error)
        error = status_identify(status, fd);
    if (!error)
        error = spool_choose(spool, SPOOL_FAILED, item->name, item->picked->inode, chosen);
    if (!error)
        error = status_set_text(&status->name, chosen);
    if (!error)
        error = filing_fix_text(status, chosen);
    (void)snprintf(detail, sizeof detail, "dropped by %s with `outtray drop`", drop->by);
    if (!error)
        error = status_set_text(&status->detail, detail);
    if (!error) {
        status->state = STATUS_FAILED;
        status->reason = STATUS_REASON_EXPIRED;
        status->next_attempt = (struct timespec){0};
        error = status_write(spool->dir[SPOOL_FAILED], chosen, status);
    }
    status_free(status);
    if (fd >= 0)
        close(fd);
    return error;
}

// Half way is no place to stay: the message goes back to where it was.
static void put_back(struct drop *drop, const struct spool_tenant *spool, struct act_item *item, int error)
{
    const struct picked *picked = item->picked;
    if (spool_move(spool, SPOOL_HOLD, item->name, picked->inode, picked->state, item->name) == 0) {
        item->at = picked->state;
        act_touch(&drop->act, picked->state, SPOOL_HOLD);
    }
    act_fail(item, error);
    if (item->at == SPOOL_HOLD)
        act_words(item, "%s; it lies in hold/ now", strerror(-error));
}

static void give_up(struct drop *drop, const struct spool_tenant *spool, struct act_item *item)
{
    int error = write_status(drop, spool, item);
    if (!error)
        error = spool_move(spool, SPOOL_HOLD, item->name, item->picked->inode, SPOOL_FAILED, item->name);
    if (error) {
        put_back(drop, spool, item, error);
        return;
    }
    act_touch(&drop->act, SPOOL_FAILED, SPOOL_HOLD);
    item->at = SPOOL_FAILED;
    act_words(item, "given up, moved to failed/");
}

static void step(struct act *act, const struct spool_tenant *spool, struct act_item *item)
{
    struct drop *drop = (struct drop *)act;
    if (item->picked->state != SPOOL_HOLD && !act_move(act, spool, item, SPOOL_HOLD))
        return;
    item->outcome = ACT_DONE;
    if (!drop->delete) {
        give_up(drop, spool, item);
        return;
    }
    if (unlinkat(spool->dir[SPOOL_HOLD], item->name, 0) < 0) {
        put_back(drop, spool, item, -errno);
        return;
    }
    act_touch(act, SPOOL_HOLD, item->picked->state);
    item->at = SPOOL_STATES;
    act_words(item, "deleted");
}

// The status files of before belong to nobody now.
static void finish(struct act *act, const struct spool_tenant *spool, struct act_item *item)
{
    const struct drop *drop = (const struct drop *)act;
    const struct picked *picked = item->picked;
    if (item->outcome != ACT_DONE)
        return;
    if (!drop->delete) {
        if (item->status_in == SPOOL_DEFERRED)
            (void)spool_status_remove(spool, SPOOL_DEFERRED, item->status_name, picked->inode);
        return;
    }
    (void)spool_status_remove(spool, SPOOL_DEFERRED, picked->name, picked->inode);
    (void)spool_status_remove(spool, SPOOL_FAILED, picked->name, picked->inode);
    act_touch(act, SPOOL_DEFERRED, SPOOL_FAILED);
}

int cli_drop(int argc, char **argv)
{
    const unsigned waiting =
        SELECT_STATE(SPOOL_NEW) | SELECT_STATE(SPOOL_DEFERRED) | SELECT_STATE(SPOOL_HOLD);
    struct drop drop = {.act = {.select = {.queue = {.verb = cli_find("drop")}},
                            .why_not = why_not,
                            .step = step,
                            .finish = finish,
                            .confirm = confirm}};
    struct act *act = &drop.act;
    const struct cli_option options[] = {
        {.name = "failed", .flag = &drop.failed},
        {.name = "delete", .flag = &drop.delete},
        {.name = "yes", .letter = 'y', .flag = &drop.yes},
        {0},
    };
    int code;
    if (act_parse(act, options, &argc, argv, &code) < 0)
        return code;
    if (drop.failed && (!drop.delete || argc > 1))
        return cli_usage(act->select.queue.verb,
            drop.delete ? "--failed goes without names: a name is found in failed/ too"
                        : "--failed goes with --delete: what is dropped without it lies in failed/");
    operator_name(drop.by);
    act->chosen = drop.failed ? SELECT_STATE(SPOOL_FAILED) : waiting;
    act->by_name = waiting | (drop.delete ? SELECT_STATE(SPOOL_FAILED) : 0);
    return act_run(act, argc, argv);
}
