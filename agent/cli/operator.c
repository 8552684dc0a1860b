// Who works on the spool, and what they should know.
#include "agent/cli/operator.h"
#include "agent/cli/service_user.h"
#include "agent/delivery/pause.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static_assert(OPERATOR_NAME_MAX == SERVICE_USER_NAME_MAX, "names of users are as long everywhere");

void operator_name(char name[static OPERATOR_NAME_MAX + 1])
{
    const char *sudo = getuid() == 0 ? getenv("SUDO_USER") : NULL;
    if (sudo && *sudo)
        (void)snprintf(name, OPERATOR_NAME_MAX + 1, "%s", sudo);
    else
        service_user_name(getuid(), name);
}

int operator_fail(const struct cli_verb *verb, const struct config *config, const char *what, int error)
{
    return cli_fail(verb,
        cli_is_denied(error) ? EX_NOPERM
        : error == -ENOENT   ? EX_CONFIG
        : error == -ENOSPC   ? EX_CANTCREAT
                             : EX_IOERR,
        "%s in %s: %s%s", what, config->state, strerror(-error),
        error == -ENOENT ? " (make it with `outtray init`)" : cli_denied_hint(error));
}

int operator_open_state(const struct cli_verb *verb, const struct config *config, int *ret_fd)
{
    struct service_user user;
    int code;
    if (service_user_become(verb, config, &user, &code) < 0)
        return code;
    int fd = open(config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return operator_fail(verb, config, "cannot open the directory", -errno);
    if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0) {
        code = operator_fail(verb, config, "cannot write", -errno);
        close(fd);
        return code;
    }
    *ret_fd = fd;
    return EX_OK;
}

void operator_note_account(const struct cli_verb *verb, const struct config *config, const char *account)
{
    struct pause pause;
    int state = open(config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return;
    if (pause_get(state, account, &pause) == 0)
        cli_fail(verb, 0,
            "note: account %s was paused by %s%s%s; its mail goes out after `outtray resume %s`", account,
            *pause.by ? pause.by : "somebody", *pause.reason ? ": " : "", pause.reason, account);
    close(state);
}

void operator_note_agent(const struct cli_verb *verb, int spool)
{
    if (spool_agent_running(spool, NULL) == 0)
        cli_fail(verb, 0, "note: no agent is running; mail goes out once one is");
}

void operator_note_items(const struct act *act, const struct act_item *items, size_t n)
{
    const struct queue *queue = &act->select.queue;
    bool any = false;
    for (size_t a = 0; a < queue->config->n_accounts; a++) {
        const struct config_account *account = &queue->config->accounts[a];
        for (size_t i = 0; i < n; i++)
            if (items[i].picked->tenant->account == account && items[i].outcome <= ACT_NOTHING) {
                operator_note_account(queue->verb, queue->config, account->name);
                any = true;
                break;
            }
    }
    if (any)
        operator_note_agent(queue->verb, queue->spool);
}
