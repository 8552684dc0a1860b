// What verbs say in the same words: names that nobody has, what may not be read, JSON, and output that is
// lost.
#include "agent/cli/cli.h"

#include "agent/observe/json.h"
#include "config/nearest.h"

#include <errno.h>
#include <stdlib.h>

#define JSON_MAX ((size_t)1024 * 1024 * 1024) // octets of what one verb prints

static void say_unknown(const struct cli_verb *verb, const struct config *config, const char *what,
    const char *name, const struct nearest *nearest)
{
    if (nearest->best)
        cli_fail(verb, 0, "there is no %s %s; did you mean %s?", what, name, nearest->best);
    else
        cli_fail(verb, 0, "there is no %s %s in %s", what, name, config->path);
}

const struct config_account *cli_find_account(
    const struct cli_verb *verb, const struct config *config, const char *name)
{
    const struct config_account *account = config_find_account(config, name);
    struct nearest nearest = {.word = name};
    if (account)
        return account;
    for (size_t i = 0; i < config->n_accounts; i++)
        nearest_offer(&nearest, config->accounts[i].name);
    say_unknown(verb, config, "account", name, &nearest);
    return NULL;
}

const struct config_tenant *cli_find_tenant(
    const struct cli_verb *verb, const struct config *config, const char *name)
{
    const struct config_tenant *tenant = config_find_tenant(config, name);
    struct nearest nearest = {.word = name};
    if (tenant)
        return tenant;
    for (size_t i = 0; i < config->n_tenants; i++)
        nearest_offer(&nearest, config->tenants[i].name);
    say_unknown(verb, config, "tenant", name, &nearest);
    return NULL;
}

bool cli_is_denied(int error)
{
    return error == -EACCES || error == -EPERM;
}

const char *cli_denied_hint(int error)
{
    return cli_is_denied(error) ? " (run as root or as the user outtray)" : "";
}

void cli_note_left_out(const struct cli_verb *verb)
{
    cli_fail(verb, 0, "what may not be read is left out%s", cli_denied_hint(-EACCES));
}

bool cli_wants_no_colour(void)
{
    const char *no_colour = getenv("NO_COLOR");
    return no_colour && *no_colour;
}

int cli_print_json(const struct json_t *json)
{
    struct buffer text;
    buffer_init(&text, JSON_MAX);
    int error = observe_json_print(json, &text);
    if (!error)
        (void)fwrite(text.data, 1, text.length, stdout);
    buffer_release(&text);
    return error;
}

int cli_end(const struct cli_verb *verb, int code)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EX_OK)
        return cli_fail(verb, EX_IOERR, "standard output takes no more");
    return code;
}
