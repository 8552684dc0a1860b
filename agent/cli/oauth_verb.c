// `outtray oauth`: picks the command, and what all commands share.
#include "agent/cli/oauth_verb.h"

#include "agent/base/clock.h"
#include "agent/cli/service_user.h"
#include "agent/cli/verbs.h"
#include "config/nearest.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct command {
    const char *name;
    int (*run)(struct oauth_verb *run);
    bool account_needed, takes_code;
    bool device, no_browser, port, json, yes; // which options it takes
};

static const struct command commands[] = {
    {.name = "get-code", .run = oauth_get_code, .account_needed = true, .port = true},
    {.name = "get-token", .run = oauth_get_token, .account_needed = true, .takes_code = true},
    {.name = "login",
        .run = oauth_sign_in,
        .account_needed = true,
        .device = true,
        .no_browser = true,
        .port = true},
    {.name = "status", .run = oauth_show_status, .json = true},
    {.name = "refresh", .run = oauth_refresh, .account_needed = true},
    {.name = "revoke", .run = oauth_revoke, .account_needed = true, .yes = true},
};

static const struct command *command_find(const struct cli_verb *verb, const char *name, int *ret_code)
{
    struct nearest nearest = {.word = name};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
        nearest_offer(&nearest, commands[i].name);
    }
    *ret_code = nearest.best ? cli_usage(verb, "no command %s; did you mean %s?", name, nearest.best)
                             : cli_usage(verb, "no command %s", name);
    return NULL;
}

static const char *surplus_option(const struct command *command, const struct oauth_verb *run)
{
    return run->device && !command->device           ? "--device"
           : run->no_browser && !command->no_browser ? "--no-browser"
           : run->port && !command->port             ? "--port"
           : run->json && !command->json             ? "--json"
           : run->yes && !command->yes               ? "--yes"
                                                     : NULL;
}

void oauth_time(int64_t wall, char text[static OAUTH_TIME_SIZE])
{
    struct timespec time = clock_timespec(wall);
    struct tm parts;
    if (!gmtime_r(&time.tv_sec, &parts) || strftime(text, OAUTH_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        (void)snprintf(text, OAUTH_TIME_SIZE, "?");
}

int oauth_tell(const struct oauth_verb *run, int code)
{
    const struct exchange *exchange = &run->exchange;
    if (code == EX_OK)
        return code;
    return *exchange->fix ? cli_fail(run->verb, code, "%s (%s)", exchange->words, exchange->fix)
                          : cli_fail(run->verb, code, "%s", exchange->words);
}

int oauth_tell_stored(const struct oauth_verb *run, const struct token *token)
{
    const struct config_account *account = run->exchange.account;
    const char *mailbox = token->mailbox ? token->mailbox : account->email;
    char until[OAUTH_TIME_SIZE];
    oauth_time(token->expires, until);
    printf("token stored for %s, valid until %s\n", mailbox, until);
    if (strcasecmp(mailbox, account->email) != 0)
        printf("it sends as %s\n", account->email);
    return cli_end(run->verb, EX_OK);
}

int oauth_read_line(struct buffer *line)
{
    char octet = '\0';
    buffer_make_secret(line);
    for (;;) { // octet by octet: what follows the line is somebody else's
        ssize_t n = read(STDIN_FILENO, &octet, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return line->length ? EX_OK : EX_NOINPUT;
        if (octet == '\n')
            return EX_OK;
        if (buffer_append(line, &octet, 1))
            return EX_DATAERR;
    }
}

static int find_account(struct oauth_verb *run, const char *name)
{
    const struct config_account *account = cli_find_account(run->verb, run->config, name);
    if (!account)
        return EX_NOINPUT;
    if (account->auth != CONFIG_AUTH_GOOGLE && account->auth != CONFIG_AUTH_MICROSOFT)
        return cli_usage(run->verb, "account %s has auth: %s; OAuth is for auth: google and auth: microsoft",
            name, config_auth_name(account->auth));
    run->exchange.account = account;
    return EX_OK;
}

static bool wants_browser(const struct command *command, const struct oauth_verb *run)
{
    const struct config_account *account = run->exchange.account;
    return command->run == oauth_sign_in && !run->no_browser && !run->device &&
           account->oauth.flow == CONFIG_FLOW_AUTHORIZATION_CODE && browser_has_display();
}

// As the service user, with the state directory open.
static int run_command(const struct command *command, struct oauth_verb *run)
{
    struct service_user user;
    int code;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(0077);
    if (wants_browser(command, run))
        (void)browser_prepare(&run->browser);
    if (service_user_become(run->verb, run->config, &user, &code) < 0)
        return code;
    (void)prctl(PR_SET_DUMPABLE, 0); // secrets must not get into core files
    run->exchange.state_fd = open(run->config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run->exchange.state_fd < 0)
        return cli_fail(run->verb, errno == EACCES ? EX_NOPERM : EX_CONFIG,
            "the state directory %s: %s (run as root, or as the user %s)", run->config->state,
            strerror(errno), user.name);
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return cli_fail(run->verb, EX_OSERR, "libcurl cannot be used");
    clock_poll();
    code = command->run(run);
    curl_global_cleanup();
    return code;
}

// What ps(1) shows of us need not hold the code for longer than we need it.
static int take_code(struct oauth_verb *run, char *text)
{
    if (strcmp(text, "-") == 0)
        return EX_OK;
    size_t length = strlen(text);
    int error = length > OAUTH_PASTE_MAX ? -E2BIG : secret_set(&run->code, text, length);
    explicit_bzero(text, length);
    return error ? cli_usage(run->verb, "that is no authorization code") : EX_OK;
}

static int take_arguments(const struct command *command, struct oauth_verb *run, int argc, char **argv)
{
    const char *surplus = surplus_option(command, run);
    if (surplus)
        return cli_usage(run->verb, "%s takes no %s", command->name, surplus);
    if (argc < 3 && command->account_needed)
        return cli_usage(run->verb, "%s needs the name of an account", command->name);
    if (argc > (command->takes_code ? 4 : 3))
        return cli_usage(run->verb, "surplus argument behind `%s`", command->name);
    if (argc > 3) {
        int code = take_code(run, argv[3]);
        if (code != EX_OK)
            return code;
    }
    return argc > 2 ? find_account(run, argv[2]) : EX_OK;
}

static bool take_port(const char *text, uint16_t *ret_port)
{
    char *end;
    errno = 0;
    unsigned long port = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || port < 1 || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

int cli_oauth(int argc, char **argv)
{
    struct oauth_verb run = {.verb = cli_find("oauth"), .exchange = {.state_fd = -1}, .browser = {.fd = -1}};
    const char *path, *port = NULL;
    const struct cli_option options[] = {
        {.name = "device", .flag = &run.device},
        {.name = "no-browser", .flag = &run.no_browser},
        {.name = "port", .value = &port},
        {.name = "json", .flag = &run.json},
        {.name = "yes", .flag = &run.yes},
        {0},
    };
    int code;
    if (cli_parse(run.verb, &argc, argv, options, &path, &code) < 0)
        return code;
    if (argc < 2)
        return cli_usage(run.verb, "which command?");
    if (port && !take_port(port, &run.port))
        return cli_usage(run.verb, "%s is no port number", port);
    const struct command *command = command_find(run.verb, argv[1], &code);
    if (!command)
        return code;
    run.config = cli_load(run.verb, path, false, &code);
    if (!run.config)
        return code;
    code = take_arguments(command, &run, argc, argv);
    if (code == EX_OK)
        code = run_command(command, &run);
    browser_release(&run.browser);
    secret_release(&run.code);
    if (run.exchange.state_fd >= 0)
        close(run.exchange.state_fd);
    config_unref(run.config);
    return code;
}
