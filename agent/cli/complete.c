// `outtray complete`: what the last word of a command line may become, for the completions of shells.
//
// The options of a verb are read from its help, so that there is one list of them; tenants and accounts come
// from the configuration, names of messages from the spool. Nothing is said on errors: a shell is waiting.
#include "agent/cli/queue.h"
#include "agent/cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES_MAX       500 // names of messages that are offered
#define OPTION_NAME_MAX 32

enum kind { // of a value or argument
    KIND_NONE,
    KIND_TEXT, // nothing to offer
    KIND_TENANT,
    KIND_ACCOUNT,
    KIND_NAME,
    KIND_TENANT_OR_NAME,
    KIND_REASON,
    KIND_EVENT,
    KIND_FILE,
    KIND_OAUTH, // a command of `outtray oauth`, then an account
    KIND_FORMAT,
};

struct completion {
    const struct cli_verb *verb;
    const struct config *config;      // NULL where it cannot be read
    const char *word;                 // being typed
    char prefix[OPTION_NAME_MAX + 4]; // put in front of each candidate: "--tenant=" or ""
    size_t offered;
};

static const struct {
    const char *option;
    enum kind kind;
} values[] = {
    {"account", KIND_ACCOUNT},
    {"config", KIND_FILE},
    {"critical", KIND_TEXT},
    {"event", KIND_EVENT},
    {"file", KIND_FILE},
    {"interval", KIND_TEXT},
    {"lines", KIND_TEXT},
    {"name", KIND_NAME},
    {"port", KIND_TEXT},
    {"reason", KIND_REASON},
    {"recipient", KIND_TEXT},
    {"send", KIND_TEXT},
    {"since", KIND_TEXT},
    {"tenant", KIND_TENANT},
    {"to", KIND_TEXT},
    {"user", KIND_TEXT},
    {"warning", KIND_TEXT},
    {"key", KIND_TEXT},
};

static const struct {
    const char *verb;
    enum kind kind;
} arguments[] = {
    {"queue", KIND_TENANT_OR_NAME},
    {"explain", KIND_FILE},
    {"oauth", KIND_OAUTH},
    {"doctor", KIND_ACCOUNT},
    {"test", KIND_ACCOUNT},
    {"pause", KIND_ACCOUNT},
    {"resume", KIND_ACCOUNT},
    {"show", KIND_NAME},
    {"retry", KIND_NAME},
    {"hold", KIND_NAME},
    {"release", KIND_NAME},
    {"drop", KIND_NAME},
};

static const char *const reasons[] = {"recipient", "policy", "size", "malformed", "expired", NULL};
static const char *const events[] = {"sent", "deferred", "failed", "expired", "returned", "ignored",
    "account_paused", "account_resumed", "flush", "reload", "spool_broken", NULL};
static const char *const oauth_commands[] = {
    "login", "get-code", "get-token", "status", "refresh", "revoke", NULL};

static void offer(struct completion *completion, const char *candidate, const char *what)
{
    if (strncmp(candidate, completion->word, strlen(completion->word)) != 0)
        return;
    printf("%s%s%s%s\n", completion->prefix, candidate, what ? "\t" : "", what ? what : "");
    completion->offered++;
}

static void offer_list(struct completion *completion, const char *const *list)
{
    for (; *list; list++)
        offer(completion, *list, NULL);
}

static void offer_verbs(struct completion *completion)
{
    for (const struct cli_verb *verb = cli_verbs; verb->name; verb++)
        if (verb->group != CLI_GROUP_SHELL)
            offer(completion, verb->name, verb->summary);
    offer(completion, "--help", "list the verbs");
    offer(completion, "--version", "say which version this is");
}

static void offer_tenants(struct completion *completion)
{
    for (size_t i = 0; completion->config && i < completion->config->n_tenants; i++)
        offer(completion, completion->config->tenants[i].name, "tenant");
}

static void offer_accounts(struct completion *completion)
{
    for (size_t i = 0; completion->config && i < completion->config->n_accounts; i++)
        offer(completion, completion->config->accounts[i].name,
            config_auth_name(completion->config->accounts[i].auth));
}

struct names {
    struct completion *completion;
    bool whole; // TENANT/NAME
};

static int offer_name(struct queue *queue, const struct queue_message *message, void *arg)
{
    const struct names *names = arg;
    char where[SPOOL_NAME_SIZE + 32], path[2 * SPOOL_NAME_SIZE];
    (void)queue;
    (void)snprintf(
        where, sizeof where, "%s/%s", message->place->tenant->name, spool_state_name(message->place->state));
    (void)snprintf(path, sizeof path, "%s/%s", message->place->tenant->name, message->name);
    offer(names->completion, names->whole ? path : message->name, where);
    return names->completion->offered >= NAMES_MAX;
}

static int offer_names_of(struct queue *queue, const struct queue_place *place, void *arg)
{
    return queue_each_message(queue, place, false, offer_name, arg);
}

// The states in which a verb finds something to do.
static unsigned states_of(const char *verb)
{
    static const struct {
        const char *verb;
        unsigned states;
    } known[] = {
        {"retry", 1u << SPOOL_DEFERRED | 1u << SPOOL_FAILED},
        {"hold", 1u << SPOOL_NEW | 1u << SPOOL_DEFERRED},
        {"release", 1u << SPOOL_HOLD},
        {"drop", 1u << SPOOL_NEW | 1u << SPOOL_DEFERRED | 1u << SPOOL_HOLD | 1u << SPOOL_FAILED},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].verb, verb) == 0)
            return known[i].states;
    return ~(1u << SPOOL_TMP | 1u << SPOOL_SENT);
}

static void offer_names(struct completion *completion)
{
    struct queue queue = {.verb = completion->verb, .config = completion->config, .spool = -1};
    struct names names = {completion, strchr(completion->word, '/') != NULL};
    unsigned states = states_of(completion->verb->name);
    if (completion->config)
        queue.spool = open(completion->config->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (queue.spool < 0)
        return;
    for (size_t i = 0; i < completion->config->n_tenants; i++)
        for (enum spool_state state = SPOOL_NEW; state < SPOOL_STATES; state++)
            if (states & 1u << state && completion->offered < NAMES_MAX)
                (void)queue_each_place(
                    &queue, &completion->config->tenants[i], state, offer_names_of, &names);
    close(queue.spool);
}

static void offer_kind(struct completion *completion, enum kind kind, bool first)
{
    switch (kind) {
    case KIND_TENANT_OR_NAME:
        offer_tenants(completion);
        offer_names(completion);
        break;
    case KIND_TENANT:
        offer_tenants(completion);
        break;
    case KIND_ACCOUNT:
        offer_accounts(completion);
        break;
    case KIND_NAME:
        offer_names(completion);
        break;
    case KIND_REASON:
        offer_list(completion, reasons);
        break;
    case KIND_EVENT:
        offer_list(completion, events);
        break;
    case KIND_OAUTH:
        if (first)
            offer_list(completion, oauth_commands);
        else
            offer_accounts(completion);
        break;
    case KIND_FILE:
        printf(":files\n"); // the shell knows them
        break;
    default:
        break;
    }
}

// The next "--option" of a help text at or after *at; its name goes to name. False where there is none.
static bool next_option(const char **at, char name[static OPTION_NAME_MAX])
{
    const char *found = *at;
    while ((found = strstr(found, "--"))) {
        size_t length = strspn(found + 2, "abcdefghijklmnopqrstuvwxyz-");
        if (length && length < OPTION_NAME_MAX && found[1 + length] != '-') {
            memcpy(name, found + 2, length);
            name[length] = '\0';
            *at = found + 2 + length;
            return true;
        }
        found += 2 + length;
    }
    return false;
}

// What a help text says of an option on its own line, for a description.
static void describe(const char *help, const char *option, char what[static 80])
{
    char line[OPTION_NAME_MAX + 8];
    (void)snprintf(line, sizeof line, "--%s", option);
    *what = '\0';
    for (const char *at = help; (at = strstr(at, line)); at += strlen(line)) {
        const char *start = at;
        while (start > help && start[-1] != '\n')
            start--;
        const char *text = strncmp(start, "  -", 3) == 0 ? strstr(at, "  ") : NULL;
        const char *end = strchrnul(at, '\n');
        if (!text || text > end)
            continue;
        while (*text == ' ')
            text++;
        (void)snprintf(what, 80, "%.*s", (int)(end - text), text);
        return;
    }
}

static void offer_option(struct completion *completion, const char *name, const char *what)
{
    char option[OPTION_NAME_MAX + 2];
    (void)snprintf(option, sizeof option, "--%s", name);
    offer(completion, option, what && *what ? what : NULL);
}

static void offer_options(struct completion *completion)
{
    const char *texts[] = {completion->verb->synopsis, completion->verb->help};
    char name[OPTION_NAME_MAX], what[80], seen[1024] = " ";
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        for (const char *at = texts[t]; next_option(&at, name);) {
            char mark[OPTION_NAME_MAX + 2];
            (void)snprintf(mark, sizeof mark, " %s ", name);
            size_t used = strlen(seen);
            if (strstr(seen, mark) || used + strlen(mark) >= sizeof seen)
                continue;
            (void)snprintf(seen + used, sizeof seen - used, "%s ", name);
            describe(completion->verb->help, name, what);
            offer_option(completion, name, what);
        }
    offer_option(completion, "config", "the configuration");
    offer_option(completion, "help", "say how the verb is used");
}

// What kind of value an option takes; KIND_NONE: none.
static enum kind value_of(const struct cli_verb *verb, const char *option)
{
    if (strcmp(option, "-C") == 0)
        return KIND_FILE;
    if (strncmp(option, "--", 2) != 0)
        return KIND_NONE;
    if (strcmp(option, "--reason") == 0 && strstr(verb->help, "--reason TEXT"))
        return KIND_TEXT;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (strcmp(option + 2, values[i].option) == 0)
            return values[i].kind;
    return KIND_NONE;
}

static enum kind argument_of(const struct cli_verb *verb)
{
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
        if (strcmp(arguments[i].verb, verb->name) == 0)
            return arguments[i].kind;
    return KIND_NONE;
}

// words[0] is the verb, words[n - 1] is being typed.
static void complete(struct completion *completion, char **words, int n)
{
    const char *before = words[n - 2];
    const char *equals = strncmp(completion->word, "--", 2) == 0 ? strchr(completion->word, '=') : NULL;
    // bash makes words of "--tenant", "=" and what follows.
    if (strcmp(completion->word, "=") == 0)
        completion->word = "";
    else if (strcmp(before, "=") == 0 && n > 3)
        before = words[n - 3];
    enum kind kind = n > 2 ? value_of(completion->verb, before) : KIND_NONE;
    if (equals && (size_t)(equals - completion->word) + 1 < sizeof completion->prefix) {
        char *prefix = completion->prefix;
        (void)snprintf(
            prefix, sizeof completion->prefix, "%.*s", (int)(equals - completion->word), completion->word);
        kind = value_of(completion->verb, prefix);
        (void)snprintf(prefix, sizeof completion->prefix, "%.*s", (int)(equals + 1 - completion->word),
            completion->word);
        completion->word = equals + 1;
        offer_kind(completion, kind, false);
    } else if (kind != KIND_NONE) {
        offer_kind(completion, kind, false);
    } else if (completion->word[0] == '-') {
        offer_options(completion);
    } else {
        int given = 0;
        for (int i = 1; i < n - 1; i++)
            given += words[i][0] != '-' && (i == 1 || value_of(completion->verb, words[i - 1]) == KIND_NONE);
        offer_kind(completion, argument_of(completion->verb), given == 0);
    }
}

// The configuration that the command line names, or the usual one; said nothing of where it cannot be read.
static const struct config *load(const char *path, char **words, int n)
{
    const struct config *config = NULL;
    struct config_findings findings = {0};
    for (int i = 1; i < n - 1; i++) {
        if ((strcmp(words[i], "--config") == 0 || strcmp(words[i], "-C") == 0) && i + 2 < n)
            path = words[i + 1];
        else if (strncmp(words[i], "--config=", 9) == 0)
            path = words[i] + 9;
    }
    if (config_load(path, &cli_config_checks, &config, &findings) < 0)
        config = NULL;
    config_findings_release(&findings);
    return config;
}

int cli_complete(int argc, char **argv)
{
    const char *path;
    const struct cli_option none[] = {{0}};
    int code, silent = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (cli_parse(cli_find("complete"), &argc, argv, none, &path, &code) < 0) {
        if (silent >= 0)
            close(silent);
        return code;
    }
    char **words = argv + 1;
    int n = argc - 1;
    struct completion completion = {.word = n ? words[n - 1] : ""};
    if (silent >= 0) { // what the walk cannot read is nobody's concern here
        (void)dup2(silent, STDERR_FILENO);
        close(silent);
    }
    if (n <= 1) {
        offer_verbs(&completion);
    } else if ((completion.verb = cli_find(words[0]))) {
        completion.config = load(path, words, n);
        complete(&completion, words, n);
        config_unref(completion.config);
    }
    return fflush(stdout) != 0 ? EX_IOERR : EX_OK;
}
