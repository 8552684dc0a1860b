// `outtray check`: whether the configuration is right, what it comes to for every tenant, and whether the
// files it names are there for the user who asks.
#include "agent/cli/check.h"
#include "agent/base/sandbox.h"
#include "agent/cli/cli.h"
#include "agent/cli/verbs.h"

#include "config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
    const struct config *config;
    FILE *out;
    size_t n_errors;
};

__attribute__((format(printf, 4, 5))) static void say(
    struct check *check, bool warning, const char *path, const char *format, ...)
{
    va_list arguments;
    (void)fprintf(check->out, "%s: %s%s: ", check->config->path, warning ? "warning: " : "", path);
    va_start(arguments, format);
    (void)vfprintf(check->out, format, arguments);
    va_end(arguments);
    (void)fputc('\n', check->out);
    check->n_errors += !warning;
}

// "accounts.NAME.KEY"; names are at most 100 octets.
static const char *account_path(
    char *buffer, size_t size, const struct config_account *account, const char *key)
{
    (void)snprintf(buffer, size, "accounts.%s.%s", account->name, key);
    return buffer;
}

static void check_secret(
    struct check *check, const struct config_account *account, const char *key, const char *file)
{
    char path[192];
    int r = *file ? secret_check_file(file) : 0;
    if (r < 0)
        say(check, false, account_path(path, sizeof path, account, key), "%s %s", file, secret_problem(r));
}

static void check_readable(
    struct check *check, const struct config_account *account, const char *key, const char *file)
{
    char path[192];
    int fd = *file ? open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
    if (fd >= 0)
        close(fd);
    else if (*file)
        say(check, false, account_path(path, sizeof path, account, key), "%s cannot be read: %s", file,
            strerror(errno));
}

static void check_account(struct check *check, const struct config_account *account)
{
    check_secret(
        check, account, "password_file", account->auth == CONFIG_AUTH_BASIC ? account->password_file : "");
    check_secret(check, account, "oauth.client_secret_file", account->oauth.client_secret_file);
    check_secret(check, account, "oauth.key_file", account->oauth.key_file);
    check_secret(check, account, "tls.key_file", account->tls.key_file);
    check_readable(check, account, "oauth.certificate_file", account->oauth.certificate_file);
    check_readable(check, account, "tls.certificate_file", account->tls.certificate_file);
    check_readable(check, account, "tls.ca_file", account->tls.ca_file);
    for (size_t i = 0; i < check->config->n_tenants; i++)
        if (check->config->tenants[i].account == account)
            return;
    char path[192];
    (void)snprintf(path, sizeof path, "accounts.%s", account->name);
    say(check, true, path, "no tenant uses this account");
}

static void check_directory(struct check *check, const char *key, const char *path, const char *way_out)
{
    struct stat status;
    if (stat(path, &status) < 0)
        say(check, true, key, "%s: %s (%s)", path, strerror(errno), way_out);
    else if (!S_ISDIR(status.st_mode))
        say(check, false, key, "%s is not a directory (name another one)", path);
}

static void check_group(struct check *check, const struct config_tenant *tenant)
{
    char path[192];
    if (!*tenant->group || getgrnam(tenant->group))
        return;
    (void)snprintf(path, sizeof path, "tenants.%s.group", tenant->name);
    say(check, true, path, "there is no group %s on this machine (make it with groupadd)", tenant->group);
}

// A hook that cannot be run is found out when it matters, else.
static void check_hook(struct check *check, const char *key, const char *const *argv)
{
    char path[64];
    struct stat status;
    if (!argv[0])
        return;
    (void)snprintf(path, sizeof path, "hooks.%s", key);
    if (stat(argv[0], &status) || faccessat(AT_FDCWD, argv[0], X_OK, AT_EACCESS))
        say(check, true, path, "%s cannot be run: %s", argv[0], strerror(errno));
    else if (!S_ISREG(status.st_mode))
        say(check, true, path, "%s is no program", argv[0]);
}

static void check_hooks(struct check *check)
{
    const struct config_hooks *hooks = &check->config->hooks;
    check_hook(check, "sent", hooks->sent);
    check_hook(check, "deferred", hooks->deferred);
    check_hook(check, "failed", hooks->failed);
    check_hook(check, "backlog", hooks->backlog);
    check_hook(check, "account_paused", hooks->account_paused);
    check_hook(check, "account_resumed", hooks->account_resumed);
    check_hook(check, "spool_broken", hooks->spool_broken);
}

size_t check_report(const struct config *config, FILE *out)
{
    struct check check = {.config = config, .out = out};
    check_directory(&check, "spool", config->spool, "make it with `outtray init`");
    check_directory(&check, "state", config->state, "make it with `outtray init`");
    for (size_t i = 0; i < config->n_accounts; i++)
        check_account(&check, &config->accounts[i]);
    for (size_t i = 0; i < config->n_tenants; i++)
        check_group(&check, &config->tenants[i]);
    check_hooks(&check);
    if (!config->sandbox)
        say(&check, true, "sandbox", "nothing keeps the agent from what its user may do");
    return check.n_errors;
}

static void print_servers(const struct config_account *account, FILE *out)
{
    (void)fprintf(out, "  server: ");
    for (size_t i = 0; i < account->n_servers; i++) {
        bool v6 = strchr(account->servers[i], ':') != NULL;
        (void)fprintf(out, "%s%s%s%s:%u", i > 0 ? ", " : "", v6 ? "[" : "", account->servers[i],
            v6 ? "]" : "", (unsigned)account->port);
    }
    (void)fputc('\n', out);
}

static void print_limits(const struct config_limits *limits, FILE *out)
{
    const struct {
        const char *name;
        unsigned value;
    } rows[] = {
        {"connections", limits->connections},
        {"window", limits->window},
        {"messages_per_connection", limits->messages_per_connection},
        {"messages_per_minute", limits->messages_per_minute},
        {"messages_per_day", limits->messages_per_day},
        {"recipients_per_message", limits->recipients_per_message},
        {"recipients_per_day", limits->recipients_per_day},
    };
    const char *separator = "  limits: ";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].value == 0)
            continue;
        (void)fprintf(out, "%s%s %u", separator, rows[i].name, rows[i].value);
        separator = ", ";
    }
    (void)fputc('\n', out);
}

static void print_tenant(const struct config_tenant *tenant, FILE *out)
{
    const struct config_account *account = tenant->account;
    (void)fprintf(out, "tenant: %s\n", tenant->name);
    if (tenant->parent)
        (void)fprintf(out, "  parent: %s\n", tenant->parent->name);
    (void)fprintf(out, "  account: %s\n", account->name);
    print_servers(account, out);
    (void)fprintf(out, "  encryption: %s\n", config_encryption_name(account->encryption));
    (void)fprintf(out, "  auth: %s\n", config_auth_name(account->auth));
    (void)fprintf(out, "  from: %s (%s)\n", tenant->from, tenant->from_rule);
    (void)fprintf(out, "  envelope from: %s\n",
        account->envelope_from == CONFIG_ENVELOPE_ACCOUNT ? account->email : "as the message says");
    if (account->auth == CONFIG_AUTH_BASIC) {
        (void)fprintf(out, "  username: %s\n", account->username);
        (void)fprintf(out, "  password file: %s %s\n", account->password_file,
            secret_problem(secret_check_file(account->password_file)));
    } else if (account->auth != CONFIG_AUTH_NONE) {
        (void)fprintf(out, "  sign-in: %s as %s\n", config_flow_name(account->oauth.flow),
            *account->oauth.login ? account->oauth.login : account->email);
    }
    print_limits(&account->limits, out);
}

int check_print(const struct config *config, FILE *out)
{
    for (size_t i = 0; i < config->n_tenants; i++)
        print_tenant(&config->tenants[i], out);
    if (config->default_tenant)
        (void)fprintf(out, "default tenant: %s\n", config->default_tenant->name);
    return fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
}

// What the kernel here would give to the agent; of no interest to those who only ask about the file.
static void print_sandbox(const struct config *config, FILE *out)
{
    char words[128] = "off";
    struct sandbox_state walls;
    sandbox_probe(&walls);
    if (config->sandbox)
        sandbox_words(&walls, words, sizeof words);
    (void)fprintf(out, "sandbox: %s\n", words);
}

int cli_check(int argc, char **argv)
{
    const struct cli_verb *verb = cli_find("check");
    const struct cli_option none[] = {{0}};
    const char *path;
    int code;
    if (cli_parse(verb, &argc, argv, none, &path, &code) < 0)
        return code;
    if (argc > 1)
        return cli_usage(verb, "takes no arguments, but there is `%s`", argv[1]);
    const struct config *config = cli_load(verb, path, true, &code);
    if (!config) // for this verb errors in the file are what it looked for; a file it cannot read is a
                 // failure
        return code == EX_CONFIG ? CLI_FINDINGS : code;
    size_t n_errors = check_report(config, stderr);
    code = n_errors > 0 ? CLI_FINDINGS : EX_OK;
    print_sandbox(config, stdout);
    if (check_print(config, stdout) < 0)
        code = cli_fail(verb, EX_IOERR, "standard output takes no more");
    else if (n_errors > 0)
        (void)cli_fail(verb, code, "%zu error%s (see above)", n_errors, n_errors == 1 ? "" : "s");
    config_unref(config);
    return code;
}
