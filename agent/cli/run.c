// outtray run: the agent itself.
#include "agent/base/clock.h"
#include "agent/cli/cli.h"
#include "agent/cli/verbs.h"
#include "agent/delivery/agent.h"

#include <unistd.h>

int cli_run(int argc, char **argv)
{
    const struct cli_verb *verb = cli_find("run");
    bool once = false;
    const struct cli_option options[] = {{.name = "once", .flag = &once}, {0}};
    const char *path;
    int code;
    if (cli_parse(verb, &argc, argv, options, &path, &code))
        return code;
    if (argc > 1)
        return cli_usage(verb, "unexpected argument %s", argv[1]);
    const struct config *config = cli_load(verb, path, true, &code);
    if (!config)
        return code;
    if (geteuid() == 0)
        fprintf(stderr, "outtray run: warning: running as root; a user of its own is enough and safer\n");
    clock_poll();
    code = agent_run(config, &cli_config_checks, once);
    config_unref(config);
    return code;
}
