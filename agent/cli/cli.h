// What every verb shares: options, configuration, exit codes.
//
// A verb is one file with one function `int cli_VERB(int argc, char **argv)`; argv[0] is the verb's name. It
// returns the exit code. Errors go to standard error as "outtray VERB: what (the way out)", data to standard
// output.
#ifndef OUTTRAY_AGENT_CLI_CLI_H
#define OUTTRAY_AGENT_CLI_CLI_H

#include "config/config.h"
#include <stdbool.h>
#include <stdio.h>
#include <sysexits.h>

struct json_t;

#define CLI_FINDINGS 1 // the exit code that says: ran well, found something

enum cli_group { // headings of the list of verbs
    CLI_GROUP_AGENT,
    CLI_GROUP_MAIL,
    CLI_GROUP_LOOK,
    CLI_GROUP_ACT,
    CLI_GROUP_ACCOUNTS,
    CLI_GROUP_SHELL,
    CLI_GROUPS
};

struct cli_verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *synopsis; // "[--json] [TENANT | NAME]"; behind "outtray NAME "
    const char *summary;  // one line for the list of verbs
    const char *help;     // the rest of `--help`: options and examples, ends with a line end
    enum cli_group group;
    bool dashes; // an argument may begin with a dash: codes of OAuth do; what is no option is one
};
extern const struct cli_verb cli_verbs[];          // ends with a NULL name
const struct cli_verb *cli_find(const char *name); // NULL where there is none

// Options of the command line, each "--name", with or without a value ("--name=V" or "--name V"), or short
// ("-n").
struct cli_option {
    const char *name;   // without dashes; NULL ends the table
    char letter;        // 0 where there is none
    const char **value; // where to put the value; NULL: a flag
    bool *flag;         // set to true where the option stands; NULL with a value
    const char
        *without; // the value where the option stands without one: it can only be given as --name=V then
};

// Takes options out of argv (they may stand between arguments; "--" ends them), leaves the arguments in
// argv[1 … *argc - 1]. Handles --config (-C, as sendmail(8) calls it), --help and --version itself; the
// verb's own options come first where they share a letter. 0: go on; -1: done, the exit code is in *ret_code
// (help 0, usage 64). *ret_config is the path of the configuration: --config, else $OUTTRAY_CONFIG, else
// /etc/outtray/outtray.yaml.
int cli_parse(const struct cli_verb *verb, int *argc, char **argv, const struct cli_option *options,
    const char **ret_config, int *ret_code);

// Prints "outtray VERB: …" and how to get help; returns EX_USAGE.
int cli_usage(const struct cli_verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Prints "outtray VERB: …"; returns code.
int cli_fail(const struct cli_verb *verb, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The account or tenant called name, or words printed (with the nearest name there is) and NULL: EX_NOINPUT.
const struct config_account *cli_find_account(
    const struct cli_verb *verb, const struct config *config, const char *name);
const struct config_tenant *cli_find_tenant(
    const struct cli_verb *verb, const struct config *config, const char *name);

// Whether this negative errno is a matter of permissions, and what to put behind its words then: who may;
// else
// "".
bool cli_is_denied(int error);
const char *cli_denied_hint(int error);
// Says that the verb could not read everything, and who can.
void cli_note_left_out(const struct cli_verb *verb);

// Whether $NO_COLOR (no-color.org) asks for none.
bool cli_wants_no_colour(void);

// Prints the value, indented, on standard output. 0, or negative errno where memory is short, also where json
// is NULL; what could not be written is cli_end's to tell.
int cli_print_json(const struct json_t *json);
// The last call of a verb: code, or words printed and EX_IOERR where all was well but its output is lost.
int cli_end(const struct cli_verb *verb, int code);

// Loads the configuration with the address checks of spool-format; prints errors (and warnings where asked).
// NULL with EX_CONFIG, EX_NOINPUT or EX_NOPERM in *ret_code.
const struct config *cli_load(const struct cli_verb *verb, const char *path, bool warnings, int *ret_code);
// The checks cli_load uses; for a reload.
extern const struct config_checks cli_config_checks;

// Opens config->spool as an O_DIRECTORY fd; negative and *ret_code (78 missing, 77 no permission, 74) with
// words printed.
int cli_open_spool(const struct cli_verb *verb, const struct config *config, int *ret_code);

#endif
