// The table of verbs and the choice among them.
#include "agent/cli/verbs.h"
#include "agent/cli/cli.h"

#include "config/nearest.h"

#include <stdio.h>
#include <string.h>

const struct cli_verb cli_verbs[] = {
    {
        .name = "run",
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
        .run = cli_check,
        .synopsis = "",
        .summary = "Check the configuration and show what every tenant resolves to",
        .help = "Prints account, server, encryption, authentication and From of every tenant; errors and\n"
                "warnings go to standard error. The exit code is 1 where there is any error.\n\n",
    },
    {
        .name = "queue",
        .run = cli_queue,
        .synopsis = "[--json] [TENANT | NAME]...",
        .summary = "Show what lies in the spool: counts, or each message of a tenant or name",
        .help = "Reads directories and status files, changes nothing and needs no agent.\n"
                "With a TENANT or a message NAME: From, recipients, attempts, next attempt, last reply.\n\n"
                "  --json            as in status.json; with names a list with the keys of NAME.status\n",
    },
    {
        .name = "submit",
        .run = cli_submit,
        .synopsis = "[--tenant TENANT] [--key KEY] [--wait[=TIME]] [-t] [-i] [-f ADDRESS] [-F NAME] "
                    "[RECIPIENT]...",
        .summary = "Put a message from standard input into the spool, as sendmail(8) does",
        .help =
            "Ends with 0 when the message is safe on the disk. Without RECIPIENT the header fields tell.\n"
            "The program called by the name sendmail does the same.\n\n"
            "  --tenant TENANT   whose spool; default: default_tenant, or the only tenant\n"
            "  --key KEY         a second message with this key is not queued (see dedupe in "
            "outtray.yaml(5))\n"
            "  --wait[=TIME]     wait up to TIME (30s) and end by the outcome: 0 sent; 75 deferred, expired "
            "or\n"
            "                    not sent yet; 65 malformed or too large; 68 recipient refused; 77 policy\n"
            "  -t                recipients from To, Cc and Bcc, besides those given\n"
            "  -i, -oi           a line with a lone dot does not end the message\n"
            "  -f, -r ADDRESS    the envelope sender, where the account takes it from the message\n"
            "  -F NAME           the display name of a From that is missing\n"
            "  -o..., -bm, -B, -G, -m, -n, -U, -v\n"
            "                    taken for sendmail's sake and without meaning here\n",
    },
    {
        .name = "explain",
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
        .run = cli_oauth,
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
        .name = "doctor",
        .run = cli_doctor,
        .synopsis = "[--send ADDRESS] [--json] ACCOUNT",
        .summary = "Try everything an account needs, one stage after the other, as the agent's user",
        .help = "Files, DNS, TCP, TLS, EHLO, credentials, AUTH, MAIL FROM and RSET: each with its time, the\n"
                "other side's words and what to do next. Nothing is sent. 1 where a stage failed.\n\n"
                "  --send ADDRESS    also send one test message there\n"
                "  --json            the same as one JSON object\n",
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

static void print_verbs(FILE *out)
{
    (void)fprintf(out, "usage: outtray VERB [--config FILE] [OPTION]... [ARGUMENT]...\n\n");
    for (const struct cli_verb *verb = cli_verbs; verb->name; verb++)
        (void)fprintf(out, "  %-8s %s\n", verb->name, verb->summary);
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

// sendmail(8) and its relatives are told by the name they are called with.
static bool called_as_sendmail(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    const char *base = slash ? slash + 1 : path;
    return base && strcmp(base, "sendmail") == 0;
}

int cli_main(int argc, char **argv)
{
    if (argc > 0 && called_as_sendmail(argv[0])) {
        const struct cli_verb *submit = cli_find("submit");
        char name[] = "submit";
        argv[0] = name;
        return submit ? submit->run(argc, argv) : unknown_verb("submit");
    }
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
