// The course of a verb that works on messages.
#include "agent/cli/act.h"
#include "agent/observe/json.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char act_busy[] = "is being delivered in this moment; try again in a moment";

void act_words(struct act_item *item, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(item->words, sizeof item->words, format, arguments);
    va_end(arguments);
}

void act_fail(struct act_item *item, int error)
{
    item->outcome = ACT_FAILED;
    item->error = error;
    act_words(item, "%s%s", strerror(-error), cli_denied_hint(error));
}

void act_touch(struct act *act, enum spool_state to, enum spool_state from)
{
    act->touched_to |= SELECT_STATE(to);
    act->touched_from |= SELECT_STATE(from);
}

void act_gone(const struct spool_tenant *spool, struct act_item *item)
{
    struct stat stat;
    item->outcome = ACT_BUSY;
    item->at = SPOOL_CUR;
    for (enum spool_state state = SPOOL_NEW; state < SPOOL_STATES; state++)
        if (state != SPOOL_CUR &&
            fstatat(spool->dir[state], item->picked->name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
            stat.st_ino == item->picked->inode)
            item->at = state;
    if (item->at == SPOOL_CUR)
        act_words(item, "%s", act_busy);
    else if (item->at == SPOOL_SENT)
        act_words(item, "was delivered in this moment");
    else
        act_words(item, "was moved to %s/ in this moment; try again", spool_state_name(item->at));
}

// An agent that delivers what lies in new/ has its lock. 0 with *ret_fd to be closed after the move, or -1
// where the file cannot be locked by us; -EWOULDBLOCK.
static int lock_new(const struct spool_tenant *spool, const struct picked *picked, int *ret_fd)
{
    int fd = picked->state == SPOOL_NEW ? openat(spool->dir[SPOOL_NEW], picked->name,
                                              O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
                                        : -1;
    int error = fd < 0 ? 0 : spool_lock(fd);
    *ret_fd = fd;
    if (error != -EWOULDBLOCK)
        return 0;
    close(fd);
    return error;
}

bool act_move(struct act *act, const struct spool_tenant *spool, struct act_item *item, enum spool_state to)
{
    const struct picked *picked = item->picked;
    struct stat stat;
    int fd;
    int error = lock_new(spool, picked, &fd);
    if (error) {
        item->outcome = ACT_BUSY;
        act_words(item, "%s", act_busy);
        return false;
    }
    error = spool_move(spool, picked->state, picked->name, picked->inode, to, item->name);
    if (fd >= 0)
        close(fd);
    if (error == -ENOENT) {
        act_gone(spool, item);
        return false;
    }
    if (error) {
        act_fail(item, error);
        return false;
    }
    act_touch(act, to, picked->state);
    item->at = to;
    if (fstatat(spool->dir[to], item->name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
        stat.st_ino != picked->inode) { // the agent took ours, and a new one got its name
        (void)spool_move(spool, to, item->name, stat.st_ino, picked->state, item->name);
        act_touch(act, picked->state, to);
        act_gone(spool, item);
        return false;
    }
    item->outcome = ACT_DONE;
    return true;
}

static int gather_error(struct act *act, int error)
{
    return cli_fail(act->select.queue.verb, EX_OSERR, "%s",
        error == -E2BIG ? "these are too many messages at once; choose a tenant" : strerror(-error));
}

static bool is_workable(const struct act *act, const struct picked *picked)
{
    return act->by_name & SELECT_STATE(picked->state);
}

// Moves what NAME stands for into picks; it has to be one message.
static int gather_name(struct act *act, const char *name, struct picks *picks)
{
    const struct cli_verb *verb = act->select.queue.verb;
    struct picks found = {0};
    size_t workable = 0;
    const struct picked *first = NULL;
    int r = select_name(&act->select, name, &found), code = EX_OK;
    for (size_t i = 0; i < found.n; i++)
        if (is_workable(act, &found.items[i]) && workable++ == 0)
            first = &found.items[i];
    if (r < 0) {
        code = gather_error(act, r);
    } else if (found.n == 0) {
        code = act->select.queue.code ? act->select.queue.code
                                      : cli_fail(verb, EX_NOINPUT, "there is no message `%s`", name);
    } else if (workable == 0) {
        char *path = select_path(&found.items[0]);
        code = cli_fail(verb, found.items[0].state == SPOOL_CUR ? EX_TEMPFAIL : EX_NOINPUT, "%s %s",
            path ? path : name, act->why_not(found.items[0].state));
        free(path);
    } else if (workable > 1) {
        code = cli_fail(verb, EX_USAGE, "%zu messages are called `%s`; say which:", workable, name);
        for (size_t i = 0; i < found.n; i++) {
            char *path = is_workable(act, &found.items[i]) ? select_path(&found.items[i]) : NULL;
            char *clean = path ? observe_clean(path, true) : NULL;
            if (clean)
                (void)fprintf(stderr, "  %s\n", clean);
            free(clean);
            free(path);
        }
    } else {
        struct picked *items = reallocarray(picks->items, picks->n + 1, sizeof *items);
        if (items) {
            picks->items = items;
            items[picks->n++] = *first;
            found.items[first - found.items].name = found.items[first - found.items].agent = NULL;
        }
        code = items ? EX_OK : gather_error(act, -ENOMEM);
    }
    picks_release(&found);
    return code;
}

// What is to be worked on. Where a NAME cannot be, the others still are.
static int gather(struct act *act, int argc, char **argv, struct picks *picks)
{
    int code = EX_OK;
    for (int i = 1; i < argc; i++) {
        int one = gather_name(act, argv[i], picks);
        if (one != EX_OK)
            code = one;
    }
    if (argc > 1)
        return code;
    int r = select_all(&act->select, act->chosen, picks);
    return r < 0 ? gather_error(act, r) : EX_OK;
}

static void sync_tenant(struct act *act, const struct spool_tenant *spool, struct act_item *items, size_t n)
{
    int error = 0;
    for (int pass = 0; pass < 2; pass++) // destinations first
        for (enum spool_state state = 0; state < SPOOL_STATES && !error; state++)
            if ((pass == 0 ? act->touched_to : act->touched_from) & SELECT_STATE(state))
                error = spool_sync(spool, state);
    act->touched_to = act->touched_from = 0;
    for (size_t i = 0; error && i < n; i++)
        if (items[i].outcome == ACT_DONE)
            act_fail(&items[i], error);
}

// All of one tenant: n items.
static void work_tenant(struct act *act, struct act_item *items, size_t n)
{
    struct spool_tenant *spool = NULL;
    int error =
        spool_tenant_open(act->select.queue.spool, items->picked->tenant->name, NULL, false, &spool, NULL);
    for (size_t i = 0; i < n; i++) {
        if (error)
            act_fail(&items[i], error);
        else
            act->step(act, spool, &items[i]);
    }
    if (error)
        return;
    sync_tenant(act, spool, items, n);
    for (size_t i = 0; act->finish && i < n; i++)
        act->finish(act, spool, &items[i]);
    sync_tenant(act, spool, items, n);
    spool_tenant_close(spool);
}

static const char *const outcome_names[] = {
    [ACT_DONE] = "done", [ACT_NOTHING] = "nothing", [ACT_BUSY] = "busy", [ACT_FAILED] = "failed"};

static int print_json(const struct act_item *items, size_t n)
{
    json_t *list = json_array();
    int error = list ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < n; i++) {
        const struct act_item *item = &items[i];
        bool gone = item->at == SPOOL_STATES;
        json_t *one =
            json_pack("{s:o, s:o, s:s, s:s, s:o}", "tenant", observe_json_text(item->picked->tenant->name),
                "name", observe_json_text(item->picked->name), "from", spool_state_name(item->picked->state),
                "result", outcome_names[item->outcome], "detail", observe_json_text(item->words));
        error = observe_json_set(one, "state", gone ? json_null() : json_string(spool_state_name(item->at)));
        if (!error && !gone && strcmp(item->name, item->picked->name) != 0 && *item->name)
            error = observe_json_set(one, "new_name", observe_json_text(item->name));
        if (!error && json_array_append(list, one) < 0)
            error = -ENOMEM;
        json_decref(one);
    }
    if (!error)
        error = cli_print_json(list);
    json_decref(list);
    return error;
}

static int tell(struct act *act, const struct act_item *items, size_t n, bool named)
{
    const struct cli_verb *verb = act->select.queue.verb;
    int code = EX_OK;
    if (act->json && print_json(items, n) < 0)
        code = cli_fail(verb, EX_OSERR, "%s", strerror(ENOMEM));
    for (size_t i = 0; i < n; i++) {
        const struct act_item *item = &items[i];
        char *path = select_path(item->picked);
        if (item->outcome == ACT_BUSY && !named) {
            act->moved_on++;
        } else if (item->outcome == ACT_BUSY || item->outcome == ACT_FAILED) {
            int own = item->outcome == ACT_BUSY    ? EX_TEMPFAIL
                      : cli_is_denied(item->error) ? EX_NOPERM
                                                   : EX_IOERR;
            code = cli_fail(verb, own, "%s%s %s", path ? path : item->picked->name,
                item->outcome == ACT_FAILED ? ":" : "", item->words);
        } else if (!act->json) {
            queue_print(path ? path : item->picked->name);
            printf(": ");
            queue_print(item->words);
            printf("\n");
        }
        free(path);
    }
    if (act->moved_on)
        (void)fprintf(stderr, "outtray %s: %" PRIu64 " message%s moved on in this moment and %s left alone\n",
            verb->name, act->moved_on, act->moved_on == 1 ? "" : "s", act->moved_on == 1 ? "was" : "were");
    if (n == 0 && !named && !act->json)
        printf("no message to work on\n");
    if (act->after)
        act->after(act, items, n);
    return code;
}

static int work(struct act *act, const struct picks *picks, bool named)
{
    struct act_item *items = calloc(picks->n + 1, sizeof *items);
    if (!items)
        return gather_error(act, -ENOMEM);
    for (size_t i = 0; i < picks->n; i++) {
        items[i] = (struct act_item){
            .picked = &picks->items[i], .at = picks->items[i].state, .status_in = SPOOL_STATES};
        (void)snprintf(items[i].name, sizeof items[i].name, "%s", picks->items[i].name);
    }
    for (size_t i = 0, n; i < picks->n; i += n) {
        for (n = 1; i + n < picks->n && picks->items[i + n].tenant == picks->items[i].tenant;)
            n++;
        work_tenant(act, &items[i], n);
    }
    int code = tell(act, items, picks->n, named);
    free(items);
    return code;
}

int act_parse(struct act *act, const struct cli_option *own, int *argc, char **argv, int *ret_code)
{
    struct cli_option options[4 + ACT_OWN_MAX + 1] = {
        {.name = "tenant", .value = &act->select.tenant_name},
        {.name = "account", .value = &act->select.account_name},
        {.name = "all", .flag = &act->select.all},
        {.name = "json", .flag = &act->json},
    };
    for (size_t n = 4; own && own->name; own++) {
        assert(n < 4 + ACT_OWN_MAX);
        options[n++] = *own;
    }
    return cli_parse(act->select.queue.verb, argc, argv, options, &act->config_path, ret_code);
}

int act_run(struct act *act, int argc, char **argv)
{
    struct picks picks = {0};
    int code = select_open(&act->select, act->config_path, argc - 1, true);
    if (code == EX_OK) {
        code = gather(act, argc, argv, &picks);
        int asked = act->confirm && picks.n ? act->confirm(act, &picks) : EX_OK;
        int worked =
            asked == EX_OK && (picks.n || argc == 1 || act->json) ? work(act, &picks, argc > 1) : asked;
        code = worked != EX_OK ? worked : code;
        if (code == EX_OK)
            code = act->select.queue.code; // what could not be read
    }
    picks_release(&picks);
    select_close(&act->select);
    return cli_end(act->select.queue.verb, code);
}
