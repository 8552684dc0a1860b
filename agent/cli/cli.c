// What every verb shares: taking options apart, loading the configuration, saying what is wrong.
#include "agent/cli/cli.h"
#include "agent/cli/verbs.h"

#include "agent/observe/json.h"
#include "config/nearest.h"
#include "spool-format/address.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLI_CONFIG_DEFAULT "/etc/outtray/outtray.yaml"

static const char *mailbox_problem(const char *text)
{
    struct mailbox mailbox = {0};
    const char *problem = mailbox_parse(text, &mailbox);
    if (problem)
        return problem;
    problem = address_problem(mailbox.address);
    mailbox_release(&mailbox);
    return problem;
}

const struct config_checks cli_config_checks = {.address = address_problem, .mailbox = mailbox_problem};

// Names and words of others stand in it: nothing of them reaches the terminal but text.
static void say(const struct cli_verb *verb, const char *format, va_list arguments)
{
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    char *clean = text ? observe_clean(text, true) : NULL;
    (void)fprintf(stderr, "outtray %s: %s\n", verb->name, clean ? clean : "out of memory");
    free(clean);
    free(text);
}

int cli_usage(const struct cli_verb *verb, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(verb, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "usage: outtray %s %s%s(see outtray %s --help)\n", verb->name, verb->synopsis,
        *verb->synopsis ? " " : "", verb->name);
    return EX_USAGE;
}

int cli_fail(const struct cli_verb *verb, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(verb, format, arguments);
    va_end(arguments);
    return code;
}

static int print_help(const struct cli_verb *verb)
{
    printf("usage: outtray %s %s\n\n%s\n\n%s", verb->name, verb->synopsis, verb->summary, verb->help);
    printf("  --config FILE     the configuration (default: $OUTTRAY_CONFIG, then " CLI_CONFIG_DEFAULT ")\n"
           "  --help, --version\n\nSee outtray(8).\n");
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

// One run over the arguments: what belongs to it, so that the functions below need no long parameter lists.
struct parse {
    const struct cli_verb *verb;
    const struct cli_option *options; // the verb's
    const struct cli_option *common;  // every verb's
    char **argv;
    int argc, at, kept;
    bool failed;
};

static const struct cli_option *find_long(const struct parse *parse, const char *name, size_t length)
{
    const struct cli_option *const tables[2] = {parse->options, parse->common};
    for (size_t t = 0; t < 2; t++)
        for (const struct cli_option *option = tables[t]; option && option->name; option++)
            if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
                return option;
    return NULL;
}

static const struct cli_option *find_letter(const struct parse *parse, char letter)
{
    const struct cli_option *const tables[2] = {parse->options, parse->common};
    for (size_t t = 0; t < 2; t++)
        for (const struct cli_option *option = tables[t]; option && option->name; option++)
            if (option->letter == letter)
                return option;
    return NULL;
}

static void unknown_long(struct parse *parse, const char *name, size_t length)
{
    char word[NEAREST_WORD_MAX + 1] = "";
    if (length <= NEAREST_WORD_MAX)
        memcpy(word, name, length);
    struct nearest nearest = {.word = word};
    const struct cli_option *const tables[2] = {parse->options, parse->common};
    for (size_t t = 0; t < 2; t++)
        for (const struct cli_option *option = tables[t]; option && option->name; option++)
            nearest_offer(&nearest, option->name);
    if (nearest.best)
        cli_usage(parse->verb, "no option --%.*s; did you mean --%s?", (int)length, name, nearest.best);
    else
        cli_usage(parse->verb, "no option --%.*s", (int)length, name);
    parse->failed = true;
}

// The value of an option: what is attached to it, else the next argument.
static void take_value(
    struct parse *parse, const struct cli_option *option, const char *shown, const char *attached)
{
    if (!attached && parse->at + 1 < parse->argc)
        attached = parse->argv[++parse->at];
    if (attached) {
        *option->value = attached;
        return;
    }
    cli_usage(parse->verb, "%s needs a value", shown);
    parse->failed = true;
}

static void take_long(struct parse *parse, const char *text)
{
    size_t length = strcspn(text + 2, "=");
    const char *attached = text[2 + length] == '=' ? text + 2 + length + 1 : NULL;
    const struct cli_option *option = find_long(parse, text + 2, length);
    if (!option) {
        unknown_long(parse, text + 2, length);
    } else if (option->value && option->without) {
        *option->value = attached ? attached : option->without;
    } else if (option->value) {
        take_value(parse, option, text, attached);
    } else if (attached) {
        cli_usage(parse->verb, "--%s takes no value", option->name);
        parse->failed = true;
    } else {
        *option->flag = true;
    }
}

// "-ti" is two flags, "-fADDRESS" and "-f ADDRESS" are one option with its value.
static void take_letters(struct parse *parse, const char *text)
{
    for (const char *at = text + 1; *at && !parse->failed; at++) {
        const struct cli_option *option = find_letter(parse, *at);
        if (!option) {
            cli_usage(parse->verb, "no option -%c", *at);
            parse->failed = true;
        } else if (option->value) {
            char shown[] = {'-', *at, '\0'};
            take_value(parse, option, shown, at[1] ? at + 1 : NULL);
            return;
        } else {
            *option->flag = true;
        }
    }
}

static bool is_argument(const struct parse *parse, const char *text)
{
    if (text[0] != '-' || !text[1])
        return true;
    return parse->verb->dashes && text[1] != '-' && !find_letter(parse, text[1]);
}

static void take_all(struct parse *parse)
{
    bool options = true;
    for (parse->at = 1; parse->at < parse->argc && !parse->failed; parse->at++) {
        char *text = parse->argv[parse->at];
        if (!options || is_argument(parse, text))
            parse->argv[parse->kept++] = text;
        else if (strcmp(text, "--") == 0)
            options = false;
        else if (text[1] == '-')
            take_long(parse, text);
        else
            take_letters(parse, text);
    }
}

int cli_parse(const struct cli_verb *verb, int *argc, char **argv, const struct cli_option *options,
    const char **ret_config, int *ret_code)
{
    const char *config = NULL;
    bool help = false, version = false;
    const struct cli_option common[] = {
        {.name = "config", .letter = 'C', .value = &config}, // -C is what sendmail(8) calls it
        {.name = "help", .flag = &help}, // no -h: a sendmail -h N must not end with 0 and no mail
        {.name = "version", .flag = &version},
        {0},
    };
    struct parse parse = {verb, options, common, argv, *argc, 1, 1, false};
    take_all(&parse);
    if (parse.failed) {
        *ret_code = EX_USAGE;
        return -1;
    }
    if (help || version) {
        *ret_code = help ? print_help(verb) : cli_print_version();
        return -1;
    }
    argv[parse.kept] = NULL;
    *argc = parse.kept;
    if (!config)
        config = getenv("OUTTRAY_CONFIG");
    *ret_config = config && *config ? config : CLI_CONFIG_DEFAULT;
    return 0;
}

static int load_code(int error)
{
    switch (error) {
    case -ENOENT:
    case -ENOTDIR:
        return EX_NOINPUT;
    case -EACCES:
    case -EPERM:
        return EX_NOPERM;
    case -ENOMEM:
        return EX_TEMPFAIL;
    default:
        return EX_CONFIG;
    }
}

const struct config *cli_load(const struct cli_verb *verb, const char *path, bool warnings, int *ret_code)
{
    const struct config *config = NULL;
    struct config_findings findings = {0};
    int r = config_load(path, &cli_config_checks, &config, &findings);
    bool unread = r == -ENOENT || r == -EACCES || r == -EPERM; // said below, with the way out
    for (size_t i = 0; i < findings.n && !unread; i++)
        if (warnings || !findings.items[i].warning)
            (void)fprintf(stderr, "%s\n", findings.items[i].text);
    if (r < 0) {
        *ret_code = load_code(r);
        if (r == -ENOENT)
            cli_fail(verb, 0, "there is no configuration %s (name one with --config FILE or $OUTTRAY_CONFIG)",
                path);
        else if (r == -EACCES || r == -EPERM)
            cli_fail(verb, 0, "%s may not be read by user %u (run as the user outtray, or change its mode)",
                path, (unsigned)geteuid());
        else if (r == -EINVAL)
            cli_fail(verb, 0, "%zu error%s in %s (correct the file; `outtray check` tells when it is right)",
                findings.n_errors, findings.n_errors == 1 ? "" : "s", path);
        else
            cli_fail(verb, 0, "%s: %s", path, strerror(-r));
    }
    config_findings_release(&findings);
    return r < 0 ? NULL : config;
}

int cli_open_spool(const struct cli_verb *verb, const struct config *config, int *ret_code)
{
    int fd = open(config->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    int error = errno;
    if (error == ENOENT || error == ENOTDIR)
        *ret_code = cli_fail(verb, EX_CONFIG, "the spool %s is %s (make it with `outtray init`)",
            config->spool, error == ENOENT ? "missing" : "no directory");
    else if (error == EACCES || error == EPERM)
        *ret_code =
            cli_fail(verb, EX_NOPERM, "the spool %s may not be read by user %u (run as the user outtray)",
                config->spool, (unsigned)geteuid());
    else
        *ret_code = cli_fail(verb, EX_IOERR, "the spool %s: %s", config->spool, strerror(error));
    return -error;
}
