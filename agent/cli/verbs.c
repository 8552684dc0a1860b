// The table of verbs and the choice among them.
#include "agent/cli/verbs.h"
#include "agent/cli/cli.h"

#include "config/nearest.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

const struct cli_verb cli_verbs[] = {
    {
        .name = "run",
        .group = CLI_GROUP_AGENT,
        .run = cli_run,
        .synopsis = "[--once]",
        .summary = "Deliver what the spool holds, now and whenever something arrives",
        .help =
            "Stays in the foreground and logs to standard error, or to the file of the configuration.\n"
            "SIGTERM finishes what is in flight and ends with 0; SIGHUP reads the configuration again and\n"
            "reopens the log.\n\n"
            "  --once            deliver what is due, then end: 0, or 1 where due mail could not go out\n",
    },
    {
        .name = "init",
        .group = CLI_GROUP_AGENT,
        .run = cli_init,
        .synopsis = "[--user USER]",
        .summary = "Make the spool tree and the state directory, with owners and modes",
        .help =
            "What is there already stays as it is, but for owners and modes; each change is said.\n"
            "As root, everything belongs to the user outtray (or USER) and to the group of the tenant.\n\n"
            "  --user USER       the user the agent runs as\n",
    },
    {
        .name = "check",
        .group = CLI_GROUP_AGENT,
        .run = cli_check,
        .synopsis = "",
        .summary = "Check the configuration and show what every tenant resolves to",
        .help = "Prints account, server, encryption, authentication and From of every tenant; errors and\n"
                "warnings go to standard error. The exit code is 1 where there is any error.\n\n",
    },
    {
        .name = "queue",
        .group = CLI_GROUP_LOOK,
        .run = cli_queue,
        .synopsis = "[--json] [TENANT | NAME]...",
        .summary = "Show what lies in the spool: counts, or each message of a tenant or name",
        .help = "Reads directories and status files, changes nothing and needs no agent.\n"
                "With a TENANT or a message NAME: From, recipients, attempts, next attempt, last reply.\n\n"
                "  --json            as in status.json; with names a list with the keys of NAME.status\n",
    },
    {
        .name = "submit",
        .group = CLI_GROUP_MAIL,
        .run = cli_submit,
        .synopsis = "[--tenant TENANT] [--key KEY] [--wait[=TIME]] [-t] [-i] [-f ADDRESS] [-F NAME] "
                    "[-N LIST] [-R full|hdrs] [-V ENVID] [RECIPIENT]...",
        .summary = "Put a message from standard input into the spool, as sendmail(8) does",
        .help =
            "Ends with 0 when the message is safe on the disk. Without RECIPIENT the header fields tell.\n"
            "The program called by the name sendmail does the same.\n\n"
            "  --tenant TENANT   whose spool; default: default_tenant, or the only tenant\n"
            "  --key KEY         a second message with this key is not queued (see dedupe in "
            "outtray.yaml(5))\n"
            "  --wait[=TIME]     wait up to TIME (30s) and end by the outcome: 0 sent; 75 deferred, expired "
            "or\n"
            "                    not sent yet; 65 malformed or too large; 66 removed; 68 recipient refused;\n"
            "                    77 policy\n"
            "  -t                recipients from To, Cc and Bcc, besides those given\n"
            "  -i, -oi           a line with a lone dot does not end the message\n"
            "  -f, -r ADDRESS    the envelope sender, where the account takes it from the message\n"
            "  -F NAME           the display name of a From that is missing\n"
            "  -N LIST           whom to tell of what: never, or some of success,failure,delay\n"
            "  -R full|hdrs      how much of the message such a notice returns\n"
            "  -V ENVID          what it calls the message (xtext, RFC 3461)\n"
            "  -o..., -bm, -B, -G, -m, -n, -U, -v\n"
            "                    taken for sendmail's sake and without meaning here\n",
    },
    {
        .name = "explain",
        .group = CLI_GROUP_LOOK,
        .run = cli_explain,
        .synopsis = "[--tenant TENANT] [--json] FILE",
        .summary = "Say what would be done with a message, and why, without sending it",
        .help = "Tenant, account, server, From, envelope, recipients, what changes in the header, and what "
                "comes\n"
                "next. FILE lies in the spool, or anywhere with --tenant.\n\n"
                "  --tenant TENANT   as if it lay in this tenant's spool\n"
                "  --json            the same as one JSON object\n",
    },
    {
        .name = "oauth",
        .group = CLI_GROUP_ACCOUNTS,
        .run = cli_oauth,
        .dashes = true,
        .synopsis = "COMMAND [OPTION]... [ACCOUNT] [CODE | URL | -]",
        .summary = "Authorize accounts at Google and Microsoft, and look after their tokens",
        .help =
            "  login ACCOUNT [--device] [--no-browser] [--port N]\n"
            "                    sign in and store the token: by a browser, by pasting what it shows, or\n"
            "                    (--device, Microsoft) by a code that is entered on another device\n"
            "  get-code ACCOUNT [--port N]\n"
            "                    only print the address of the consent page\n"
            "  get-token ACCOUNT [CODE | URL | -]\n"
            "                    take what the last page's address holds; - or nothing: standard input.\n"
            "                    With client_credentials and service_account: fetch a token\n"
            "  status [ACCOUNT] [--json]\n"
            "                    what is stored; 1 where something needs a person\n"
            "  refresh ACCOUNT   fetch a new access token now\n"
            "  revoke ACCOUNT [--yes]\n"
            "                    revoke the token at the provider and remove it here\n\n"
            "See outtray-oauth(8).\n",
    },
    {
        .name = "import",
        .group = CLI_GROUP_AGENT,
        .run = cli_import,
        .synopsis = "[--secrets DIRECTORY] [--queue[=DIRECTORY]] [--tenant TENANT] PROGRAM [PATH]",
        .summary = "Print the configuration of another program as outtray's",
        .help =
            "PROGRAM is nullmailer (a directory), msmtprc, ssmtp, dma or postfix (a file); without PATH\n"
            "it is read where Debian's package has it. What cannot be carried over becomes a comment.\n\n"
            "  --secrets DIRECTORY\n"
            "                    write each password into DIRECTORY/ACCOUNT.password, mode 0600; without\n"
            "                    this they are left to do. They are never printed\n"
            "  --queue[=DIRECTORY]\n"
            "                    nullmailer: move the mail that waits in its queue (/var/spool/nullmailer)\n"
            "                    into the spool of a tenant, instead of printing\n"
            "  --tenant TENANT   which one; default: default_tenant, or the only tenant\n",
    },
    {
        .name = "doctor",
        .group = CLI_GROUP_ACCOUNTS,
        .run = cli_doctor,
        .synopsis = "[--send ADDRESS] [--json] ACCOUNT",
        .summary = "Try everything an account needs, one stage after the other, as the agent's user",
        .help = "Files, DNS, TCP, TLS, EHLO, credentials, AUTH, MAIL FROM and RSET: each with its time, the\n"
                "other side's words and what to do next. Nothing is sent. 1 where a stage failed.\n\n"
                "  --send ADDRESS    also send one test message there\n"
                "  --json            the same as one JSON object\n",
    },
    {
        .name = "show",
        .group = CLI_GROUP_LOOK,
        .run = cli_show,
        .synopsis = "[--tenant TENANT] [--json] NAME...",
        .summary = "Tell all of a message: header, envelope, every attempt, what comes next",
        .help = "Of every message that is called so, whosever it is and in whatever state. NAME is also\n"
                "TENANT/NAME, TENANT/STATE/NAME or the path of the file.\n\n"
                "  --tenant TENANT   only of this tenant\n"
                "  --json            a list with the keys of NAME.status and more\n",
    },
    {
        .name = "retry",
        .group = CLI_GROUP_ACT,
        .run = cli_retry,
        .synopsis = "[--json] NAME... | --tenant T | --account A | --all [--failed | --reason R]",
        .summary = "Try deferred mail now, or failed mail again",
        .help =
            "NAME is also TENANT/NAME or TENANT/STATE/NAME. Who has a message already does not get it "
            "again.\n\n"
            "  --tenant, --account, --all\n"
            "                    all deferred mail of a tenant, of an account, or of everybody\n"
            "  --failed          and all failed mail of them\n"
            "  --reason REASON   only failed mail, with this reason: recipient, policy, size, malformed,\n"
            "                    expired\n"
            "  --json            what became of each as a list\n",
    },
    {
        .name = "hold",
        .group = CLI_GROUP_ACT,
        .run = cli_hold,
        .synopsis = "[--json] NAME... | --tenant T | --account A | --all",
        .summary = "Keep mail back until it is released",
        .help =
            "Moves it to hold/, where no agent looks. What is being delivered in this moment is said so.\n\n"
            "  --tenant, --account, --all\n"
            "                    all that waits, of a tenant, of an account, or of everybody\n"
            "  --json            what became of each as a list\n",
    },
    {
        .name = "release",
        .group = CLI_GROUP_ACT,
        .run = cli_release,
        .synopsis = "[--json] NAME... | --tenant T | --account A | --all",
        .summary = "Let held mail go",
        .help =
            "It returns to where it was: new mail to new/, deferred mail to deferred/ with its history.\n\n"
            "  --tenant, --account, --all\n"
            "                    all held mail of a tenant, of an account, or of everybody\n"
            "  --json            what became of each as a list\n",
    },
    {
        .name = "drop",
        .group = CLI_GROUP_ACT,
        .run = cli_drop,
        .synopsis = "[--delete [--failed]] [--yes] [--json] NAME... | --tenant T | --account A | --all",
        .summary = "Give mail up: move it to failed/, or delete it",
        .help = "Asks on a terminal. The status file in failed/ says who dropped it; `outtray retry` undoes "
                "it.\n\n"
                "  --delete          delete the message and its status file instead, for good\n"
                "  --failed          with --delete: what lies in failed/, instead of what waits\n"
                "  --yes, -y         do not ask\n"
                "  --tenant, --account, --all\n"
                "                    all that waits or is held, of a tenant, of an account, or of everybody\n"
                "  --json            what became of each as a list\n",
    },
    {
        .name = "pause",
        .group = CLI_GROUP_ACT,
        .run = cli_pause,
        .synopsis = "[--reason TEXT] ACCOUNT",
        .summary = "Let an account rest: its mail waits where it is, also after a restart",
        .help = "What is on the wire is finished. Nothing of other accounts is touched.\n\n"
                "  --reason TEXT     why; shown by status, top and the log\n",
    },
    {
        .name = "resume",
        .group = CLI_GROUP_ACT,
        .run = cli_resume,
        .synopsis = "[--reason TEXT] ACCOUNT",
        .summary = "Let a paused account go on; try one in trouble now",
        .help = "  --reason TEXT     why; goes into the log\n",
    },
    {
        .name = "flush",
        .group = CLI_GROUP_ACT,
        .run = cli_flush,
        .synopsis = "",
        .summary = "Make all deferred mail due now, and try accounts in trouble",
        .help = "Paused accounts stay paused, and an account over its quota waits for its time.\n\n",
    },
    {
        .name = "test",
        .group = CLI_GROUP_ACCOUNTS,
        .run = cli_test,
        .synopsis = "--to ADDRESS [--json] ACCOUNT",
        .summary = "Send one message by an account and print the whole SMTP dialogue",
        .help = "Credentials in the dialogue are blanked. 1 where the message was not taken.\n\n"
                "  --to ADDRESS      who gets it\n"
                "  --json            the same as one JSON object\n",
    },
    {
        .name = "status",
        .group = CLI_GROUP_LOOK,
        .run = cli_status,
        .synopsis = "[--json | --nagios [--warning AGE] [--critical AGE]]",
        .summary = "One screen: agent, tenants, accounts, oldest mail, last failures",
        .help = "Reads status.json and the directories; works without an agent, too.\n\n"
                "  --json            the same as one JSON object\n"
                "  --nagios          one line with performance data, and exit 0, 1, 2 or 3 as Nagios plugins "
                "do:\n"
                "                    critical without an agent, with a broken spool or refused credentials;\n"
                "                    warning where an account is paused or in other trouble\n"
                "  --warning AGE     warning where mail in new/ is older (default 15m)\n"
                "  --critical AGE    critical where it is older (default 1h)\n",
    },
    {
        .name = "log",
        .group = CLI_GROUP_LOOK,
        .run = cli_log,
        .synopsis = "[-f] [-n COUNT] [--since TIME] [--tenant T] [--account A] [--event E[,E]...]\n"
                    "       [--name NAME] [--recipient ADDRESS] [--json] [--file FILE]",
        .summary = "Show the log, filtered, and follow it",
        .help =
            "Lines that fit all that is asked for, as they stand in the log file.\n\n"
            "  -f, --follow      go on with what is added, also after a rotation; shows the last 10 first\n"
            "  -n, --lines COUNT only the last COUNT lines that fit\n"
            "  --since TIME      not older than a duration (90s, 15m, 2h, 7d) or a time\n"
            "                    (2026-11-23T15:04:05Z, 2026-11-23)\n"
            "  --tenant, --account, --event, --name\n"
            "                    these values of the line; several events with commas\n"
            "  --recipient ADDRESS\n"
            "                    among the recipients of the line, or a part of one (@example.net)\n"
            "  --json            each line as a JSON object\n"
            "  --file FILE       another file than log.file of the configuration; - is standard input\n",
    },
    {
        .name = "top",
        .group = CLI_GROUP_LOOK,
        .run = cli_top,
        .synopsis = "[--interval SECONDS]",
        .summary = "Watch tenants, accounts, rates and failures live; pause, resume and retry by a key",
        .help = "Press ? for the keys. Needs a terminal of at least 40 columns and 10 lines.\n\n"
                "  --interval SECONDS\n"
                "                    between two looks, 1 to 60 (default 2)\n",
    },
    {
        .name = "complete",
        .group = CLI_GROUP_SHELL,
        .run = cli_complete,
        .synopsis = "[--] [WORD]...",
        .summary = "Print what the last WORD of a command line may become (for shell completions)",
        .help = "One candidate a line; behind a tab what it is. WORDs are those behind `outtray`; the last "
                "one is\n"
                "being typed and may be empty.\n\n",
    },
    {0},
};

const struct cli_verb *cli_find(const char *name)
{
    for (const struct cli_verb *verb = cli_verbs; verb->name; verb++)
        if (strcmp(verb->name, name) == 0)
            return verb;
    return NULL;
}

int cli_print_version(void)
{
    printf("outtray %s\n", OUTTRAY_VERSION);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static const char *const group_titles[CLI_GROUPS] = {
    [CLI_GROUP_AGENT] = "The agent and its configuration",
    [CLI_GROUP_MAIL] = "Mail into the spool",
    [CLI_GROUP_LOOK] = "Look at what is going on",
    [CLI_GROUP_ACT] = "Act on mail and accounts",
    [CLI_GROUP_SHELL] = "For shells",
    [CLI_GROUP_ACCOUNTS] = "Accounts: sign in and examine",
};

static void print_verbs(FILE *out)
{
    (void)fprintf(out, "usage: outtray VERB [--config FILE] [OPTION]... [ARGUMENT]...\n");
    for (enum cli_group group = 0; group < CLI_GROUPS; group++) {
        (void)fprintf(out, "\n%s\n", group_titles[group]);
        for (const struct cli_verb *verb = cli_verbs; verb->name; verb++)
            if (verb->group == group)
                (void)fprintf(out, "  %-8s %s\n", verb->name, verb->summary);
    }
    (void)fprintf(out,
        "\n`outtray VERB --help` tells more; so do outtray(8), outtray.yaml(5), outtray-spool(5) and "
        "outtray-log(5).\n");
}

static int unknown_verb(const char *name)
{
    struct nearest nearest = {.word = name};
    for (const struct cli_verb *verb = cli_verbs; verb->name; verb++)
        nearest_offer(&nearest, verb->name);
    if (nearest.best)
        (void)fprintf(stderr, "outtray: no verb \"%s\"; did you mean `outtray %s`?\n", name, nearest.best);
    else
        (void)fprintf(stderr, "outtray: no verb \"%s\" (`outtray --help` lists them)\n", name);
    return EX_USAGE;
}

// Whether sendmail shall run its queue: -q with an interval or a choice behind it, and nothing of a message.
static bool runs_queue(int argc, char **argv)
{
    static const char *const taken[] = {"-q", "-v", "-o"};
    bool any = false;
    for (int i = 1; i < argc; i++) {
        size_t option = 0;
        while (option < sizeof taken / sizeof *taken && strncmp(argv[i], taken[option], 2) != 0)
            option++;
        if (option == sizeof taken / sizeof *taken)
            return false;
        any |= option == 0;
    }
    return any;
}

// The verb that sendmail(8) and its relatives, told by the name they are called with, stand for; NULL for
// other names. "newaliases" has nothing to do, as there are no aliases; nor has -q, as an agent runs the
// queue.
static const char *called_as(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *base = slash ? slash + 1 : argv[0];
    if (strcmp(base, "mailq") == 0)
        return "queue";
    if (strcmp(base, "newaliases") == 0)
        return "newaliases";
    if (strcmp(base, "sendmail") != 0)
        return NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "-bp") == 0 || strcmp(argv[i], "-bi") == 0) {
            const char *verb = argv[i][2] == 'p' ? "queue" : "newaliases";
            memmove(&argv[i], &argv[i + 1], sizeof *argv * (size_t)(argc - i)); // with the NULL at its end
            return verb;
        }
    return runs_queue(argc, argv) ? "newaliases" : "submit";
}

static int run_as(const char *name, int argc, char **argv)
{
    const struct cli_verb *verb = cli_find(name);
    while (argc > 0 && !argv[argc - 1]) // what called_as took out
        argc--;
    if (!verb) // newaliases
        return EX_OK;
    argv[0] = (char *)(uintptr_t)verb->name; // verbs do not write to it
    return verb->run(argc, argv);
}

int cli_main(int argc, char **argv)
{
    const char *name = argc > 0 ? called_as(argc, argv) : NULL;
    if (name)
        return run_as(name, argc, argv);
    if (argc < 2) {
        print_verbs(stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_verbs(stdout);
        return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
    }
    if (strcmp(argv[1], "--version") == 0)
        return cli_print_version();
    const struct cli_verb *verb = cli_find(argv[1]);
    return verb ? verb->run(argc - 1, argv + 1) : unknown_verb(argv[1]);
}
