// `outtray explain FILE`: what would become of a message, and why, without sending it.
#include "agent/cli/cli.h"
#include "agent/cli/verbs.h"

#include "agent/base/clock.h"
#include "agent/cli/explain.h"
#include "spool-format/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Where FILE lies, as far as its path tells: SPOOL/TENANT/STATE/NAME or SPOOL/TENANT/cur/AGENT/NAME.
struct place {
    char tenant[NAME_MAX + 1]; // "" where it is not in the spool
    char state[NAME_MAX + 1];
};

static void take_part(const char **path, char ret_part[static NAME_MAX + 1])
{
    size_t length = strcspn(*path, "/");
    if ((*path)[length] != '/' || length > NAME_MAX)
        return; // the last part is the file itself
    memcpy(ret_part, *path, length);
    ret_part[length] = '\0';
    *path += length + 1;
}

static void find_place(const struct config *config, const char *file, struct place *ret_place)
{
    *ret_place = (struct place){0};
    char *spool = realpath(config->spool, NULL), *path = realpath(file, NULL);
    size_t length = spool ? strlen(spool) : 0;
    if (spool && path && !strncmp(path, spool, length) && path[length] == '/') {
        const char *rest = path + length + 1;
        take_part(&rest, ret_place->tenant);
        take_part(&rest, ret_place->state);
    }
    free(spool);
    free(path);
}

static const struct config_tenant *choose_tenant(const struct cli_verb *verb, const struct config *config,
    const char *option, const struct place *place, int *ret_code)
{
    const struct config_tenant *tenant = NULL;
    if (option)
        tenant = config_find_tenant(config, option);
    else if (*place->tenant)
        tenant = config_find_tenant(config, place->tenant);
    else
        tenant = config->default_tenant;
    if (tenant)
        return tenant;
    if (option)
        *ret_code = cli_usage(verb, "no tenant is called %s", option);
    else if (*place->tenant)
        *ret_code =
            cli_fail(verb, EX_CONFIG, "the directory %s belongs to no tenant of %s (name one with --tenant)",
                place->tenant, config->path);
    else
        *ret_code = cli_usage(verb, "the file is not in the spool: name its tenant with --tenant");
    return NULL;
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a directory"
           : S_ISLNK(mode)  ? "a symbolic link"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISREG(mode)  ? "no longer the file that was opened"
                            : "a device";
}

// Which rule of names (spool-format/name.h) a name breaks. NULL where it is a message's.
static const char *name_problem(const char *name)
{
    size_t length = strlen(name), suffix = sizeof SPOOL_STATUS_SUFFIX - 1;
    if (spool_name_valid(name))
        return NULL;
    if (name[0] == '.')
        return "its name begins with a dot";
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F)
            return "its name has a control byte";
    if (length >= suffix && !strcmp(name + length - suffix, SPOOL_STATUS_SUFFIX))
        return "its name ends in .status, as those of status files do";
    if (spool_name_base(name) > SPOOL_NAME_MAX)
        return "its name is longer than 200 bytes";
    return "its name is none that a message may have";
}

static int open_message(const struct cli_verb *verb, const char *file, struct stat *ret_stat, int *ret_code)
{
    int fd = open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, ret_stat) == 0 && S_ISREG(ret_stat->st_mode))
        return fd;
    struct stat found;
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        *ret_code = cli_fail(verb, EX_NOPERM, "%s may not be read by user %u (run as the user outtray)", file,
            (unsigned)geteuid());
    else if (fd < 0 && (errno == ELOOP || errno == ENXIO || errno == ENODEV) && lstat(file, &found) == 0)
        *ret_code = cli_fail(
            verb, EX_NOINPUT, "%s is %s, which the agent leaves alone", file, kind_of(found.st_mode));
    else if (fd < 0)
        *ret_code = cli_fail(verb, errno == EIO ? EX_IOERR : EX_NOINPUT, "%s: %s", file, strerror(errno));
    else
        *ret_code = cli_fail(verb, EX_NOINPUT, "%s is no regular file but %s, which the agent leaves alone",
            file, kind_of(ret_stat->st_mode));
    if (fd >= 0)
        close(fd);
    return -1;
}

// The status file that counts for the message, where there is one: beside it, or left behind by a move.
static void find_status(struct explanation *explanation, const struct config *config, const char *tenant,
    const char *name, int fd)
{
    static const enum spool_state places[] = {SPOOL_DEFERRED, SPOOL_FAILED};
    struct spool_tenant *spool = NULL;
    int root = open(config->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root >= 0 && spool_tenant_open(root, tenant, NULL, false, &spool, NULL) == 0) {
        char found[SPOOL_NAME_SIZE];
        for (size_t i = 0; i < sizeof places / sizeof *places && !explanation->status; i++)
            if (spool_find_status(spool, places[i], name, fd, &explanation->status, found) == 1) {
                char file[SPOOL_STATUS_SIZE];
                spool_name_status(found, file);
                (void)fstatat(spool->dir[places[i]], file, &explanation->status_stat, AT_SYMLINK_NOFOLLOW);
            }
    }
    spool_tenant_close(spool);
    if (root >= 0)
        close(root);
}

static int explain(
    const struct cli_verb *verb, const struct config *config, const char *file, const char *option, bool json)
{
    struct place place;
    struct explanation explanation = {.config = config, .now = clock_wall()};
    int code = EX_OK;
    int fd = open_message(verb, file, &explanation.stat, &code);
    if (fd < 0)
        return code;
    find_place(config, file, &place);
    explanation.tenant = choose_tenant(verb, config, option, &place, &code);
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    if (explanation.tenant) {
        if (*place.tenant && spool_name_valid(name))
            find_status(&explanation, config, place.tenant, name, fd);
        explanation.state = place.state;
        explanation.ignored = *place.tenant ? name_problem(name) : NULL;
        explanation.result = outgoing_compose(config, explanation.tenant, name, fd, &explanation.stat,
            &explanation.outgoing, &explanation.fault);
        if (explanation.result && explanation.result != -EBADMSG)
            code = cli_fail(verb, EX_IOERR, "%s: %s", file,
                explanation.result == -EAGAIN ? "somebody is writing it" : strerror(-explanation.result));
        else if (explanation_print(&explanation, json, stdout) < 0)
            code = cli_fail(verb, EX_IOERR, "standard output takes no more");
    }
    status_free(explanation.status);
    outgoing_free(explanation.outgoing);
    close(fd);
    return code;
}

int cli_explain(int argc, char **argv)
{
    const struct cli_verb *verb = cli_find("explain");
    const char *tenant = NULL, *path;
    bool json = false;
    const struct cli_option options[] = {
        {.name = "tenant", .value = &tenant}, {.name = "json", .flag = &json}, {0}};
    int code;
    clock_poll();
    if (cli_parse(verb, &argc, argv, options, &path, &code) < 0)
        return code;
    if (argc != 2)
        return cli_usage(verb, "takes one message file");
    const struct config *config = cli_load(verb, path, false, &code);
    if (!config)
        return code;
    code = explain(verb, config, argv[1], tenant, json);
    config_unref(config);
    return code;
}
