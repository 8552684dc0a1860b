// `outtray pause` and `outtray resume`: an account's mail waits until its operator says so. And `outtray
// flush`: everything is due now.
//
// What is asked of a running agent are files in the state directory (see agent/delivery/pause.h).
#include "agent/base/clock.h"
#include "agent/cli/operator.h"
#include "agent/cli/service_user.h"
#include "agent/cli/verbs.h"
#include "agent/delivery/pause.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct pausing {
    const struct cli_verb *verb;
    const struct config *config;
    const struct config_account *account;
    struct pause pause;
    int state;
};

// Options, configuration, account and state directory of both verbs. EX_OK, or the code.
static int begin(struct pausing *pausing, int argc, char **argv)
{
    const char *path, *reason = NULL;
    const struct cli_option options[] = {{.name = "reason", .value = &reason}, {0}};
    int code;
    pausing->state = -1;
    if (cli_parse(pausing->verb, &argc, argv, options, &path, &code) < 0)
        return code == EX_OK ? -1 : code; // help
    if (argc != 2)
        return cli_usage(pausing->verb, argc < 2 ? "which account?" : "surplus argument behind the account");
    pausing->config = cli_load(pausing->verb, path, false, &code);
    if (!pausing->config)
        return code;
    pausing->account = cli_find_account(pausing->verb, pausing->config, argv[1]);
    if (!pausing->account)
        return EX_NOINPUT;
    operator_name(pausing->pause.by); // before another user is at work
    clock_poll();
    pausing->pause.at = clock_wall();
    (void)snprintf(pausing->pause.reason, sizeof pausing->pause.reason, "%s", reason ? reason : "");
    return operator_open_state(pausing->verb, pausing->config, &pausing->state);
}

static int end(struct pausing *pausing, int code)
{
    if (pausing->state >= 0)
        close(pausing->state);
    config_unref(pausing->config);
    return cli_end(pausing->verb, code < 0 ? EX_OK : code);
}

static bool agent_runs(const struct config *config)
{
    int spool = open(config->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool runs = spool >= 0 && spool_agent_running(spool, config->agent) != 0;
    if (spool >= 0)
        close(spool);
    return runs;
}

int cli_pause(int argc, char **argv)
{
    struct pausing pausing = {.verb = cli_find("pause")};
    struct pause before;
    int code = begin(&pausing, argc, argv);
    if (code != EX_OK || !pausing.account)
        return end(&pausing, code);
    const char *name = pausing.account->name;
    bool was = pause_get(pausing.state, name, &before) == 0;
    int error = pause_set(pausing.state, name, &pausing.pause);
    if (error < 0)
        return end(&pausing, operator_fail(pausing.verb, pausing.config, "cannot pause the account", error));
    if (error)
        cli_fail(pausing.verb, 0, "note: the disk of %s is full; who paused the account and why is not noted",
            pausing.config->state);
    printf("account %s is paused%s%s\n", name, was ? " still" : "",
        agent_runs(pausing.config) ? "; what is on the wire is finished" : "");
    printf("`outtray resume %s` lets its mail go again\n", name);
    return end(&pausing, EX_OK);
}

int cli_resume(int argc, char **argv)
{
    struct pausing pausing = {.verb = cli_find("resume")};
    bool was = false;
    int code = begin(&pausing, argc, argv);
    if (code != EX_OK || !pausing.account)
        return end(&pausing, code);
    const char *name = pausing.account->name;
    bool runs = agent_runs(pausing.config);
    int error = pause_clear(pausing.state, name, runs ? &pausing.pause : NULL, &was);
    if (error && (error != -ENOENT || runs))
        return end(&pausing, operator_fail(pausing.verb, pausing.config, "cannot resume the account", error));
    if (was)
        printf("account %s is resumed%s\n", name, runs ? "" : "; its mail goes out once an agent runs");
    else
        printf("account %s was not paused by anybody%s\n", name,
            runs ? "; where it is in trouble it is tried again now" : "");
    return end(&pausing, EX_OK);
}

static int touch_deferred(struct select *select, const struct picks *picks)
{
    size_t done = 0;
    int code = EX_OK;
    for (size_t i = 0; i < picks->n; i++) {
        const struct picked *picked = &picks->items[i];
        char path[2 * SPOOL_NAME_SIZE + 32], status[SPOOL_STATUS_SIZE];
        spool_name_status(picked->name, status);
        (void)snprintf(
            path, sizeof path, "%s/%s/%s", picked->tenant->name, spool_state_name(SPOOL_DEFERRED), status);
        if (utimensat(select->queue.spool, path, NULL, AT_SYMLINK_NOFOLLOW) == 0 || errno == ENOENT)
            done++; // one without a status file is due already
        else
            code = cli_fail(select->queue.verb, cli_is_denied(-errno) ? EX_NOPERM : EX_IOERR, "%s/%s: %s%s",
                select->queue.config->spool, path, strerror(errno), cli_denied_hint(-errno));
        if (code != EX_OK)
            return code;
    }
    printf("%zu deferred message%s due; no agent is running\n", done, done == 1 ? " is" : "s are");
    return code;
}

int cli_flush(int argc, char **argv)
{
    struct select select = {.queue = {.verb = cli_find("flush")}, .all = true};
    struct picks picks = {0};
    const struct cli_option none[] = {{0}};
    const char *path;
    int code, state = -1;
    if (cli_parse(select.queue.verb, &argc, argv, none, &path, &code) < 0)
        return code;
    if (argc > 1)
        return cli_usage(select.queue.verb, "surplus argument `%s`; `outtray retry` takes names", argv[1]);
    code = select_open(&select, path, 0, true);
    int runs = code == EX_OK ? spool_agent_running(select.queue.spool, select.queue.config->agent) : 0;
    if (code == EX_OK && runs) {
        code = operator_open_state(select.queue.verb, select.queue.config, &state);
        int error = code == EX_OK ? pause_flush(state) : 0;
        if (error)
            code = operator_fail(select.queue.verb, select.queue.config, "cannot write `flush`", error);
        else if (code == EX_OK)
            printf("the agent makes everything due now\n");
    } else if (code == EX_OK) {
        int r = select_all(&select, SELECT_STATE(SPOOL_DEFERRED), &picks);
        code = r < 0 ? cli_fail(select.queue.verb, EX_OSERR, "%s", strerror(-r))
                     : touch_deferred(&select, &picks);
        code = code == EX_OK ? select.queue.code : code;
    }
    for (size_t i = 0; code == EX_OK && i < select.queue.config->n_accounts; i++)
        operator_note_account(select.queue.verb, select.queue.config, select.queue.config->accounts[i].name);
    if (state >= 0)
        close(state);
    picks_release(&picks);
    select_close(&select);
    return cli_end(select.queue.verb, code);
}
