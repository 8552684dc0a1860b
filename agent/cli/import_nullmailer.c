// nullmailer's /etc/nullmailer, as nullmailer-send(8) describes it (see import.h).
#include "agent/cli/import.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64 // of one line of `remotes`

// Splits a line by shell quoting, in place. Returns how many words.
static size_t split_words(char *line, char *words[static WORDS_MAX])
{
    size_t n = 0;
    char *from = line;
    while (n < WORDS_MAX) {
        from += strspn(from, " \t");
        if (!*from)
            break;
        char *to = from, quote = '\0';
        words[n++] = to;
        for (; *from && (quote || !strchr(" \t", *from)); from++) {
            if (!quote && (*from == '\'' || *from == '"'))
                quote = *from;
            else if (quote && *from == quote)
                quote = '\0';
            else if (*from == '\\' && quote != '\'' && from[1])
                *to++ = *++from;
            else
                *to++ = *from;
        }
        if (*from)
            from++;
        *to = '\0';
    }
    return n;
}

static const char *after(const char *option, const char *name)
{
    size_t length = strlen(name);
    return strncmp(option, name, length) == 0 && option[length] == '=' ? option + length + 1 : NULL;
}

static void read_option(struct import *import, struct import_account *account, const char *option)
{
    const char *value;
    if (strncmp(option, "--", 2) == 0)
        option += 2;
    if ((value = after(option, "port")))
        account->port = (unsigned)strtoul(value, NULL, 10);
    else if ((value = after(option, "user")))
        import_set(&account->username, value);
    else if ((value = after(option, "pass")))
        import_set(&account->password, value);
    else if (strcmp(option, "tls") == 0 || strcmp(option, "ssl") == 0)
        account->encryption = "tls";
    else if (strcmp(option, "starttls") == 0)
        account->encryption = "starttls";
    else if (strcmp(option, "insecure") == 0)
        account->no_verify = true;
    else if ((value = after(option, "x509cafile")))
        import_set(&account->ca_file, value);
    else if ((value = after(option, "x509certfile")))
        import_set(&account->certificate_file, value);
    else if ((value = after(option, "x509keyfile")))
        import_set(&account->key_file, value);
    else if (strcmp(option, "auth-login") != 0) // the server's offer is taken
        import_note(import, "%s: the option %.*s was not carried over", account->name,
            (int)strcspn(option, "="), option);
}

static void read_remote(struct import *import, char *line)
{
    char *words[WORDS_MAX], name[32];
    size_t n = split_words(line, words);
    if (!n)
        return;
    size_t first = n > 1 && (strcmp(words[1], "smtp") == 0 || strcmp(words[1], "qmqp") == 0) ? 2 : 1;
    if (first == 2 && strcmp(words[1], "qmqp") == 0) {
        import_note(import, "remote %.200s: QMQP is not spoken here", words[0]);
        return;
    }
    (void)snprintf(name, sizeof name, "remote%zu", import->n_accounts + 1);
    struct import_account *account = import_add_account(import, name);
    if (!account)
        return;
    import_set(&account->server, words[0]);
    for (size_t i = first; i < n; i++)
        read_option(import, account, words[i]);
    account->auth = account->username || account->password;
    for (size_t i = 0; i < n; i++)
        explicit_bzero(words[i], strlen(words[i]));
}

static long read_number(const char *directory, const char *name)
{
    char *line = import_read_line(directory, name);
    long number = line ? strtol(line, NULL, 10) : 0;
    free(line);
    return number > 0 && number < INT_MAX ? number : 0;
}

// The name of the machine: the first of these files that says one. Debian's nullmailer takes /etc/mailname
// in place of its own `me`.
static void read_domain(struct import *import, const char *directory)
{
    static const char *const files[] = {"defaulthost", "../mailname", "me", "helohost"};
    for (size_t i = 0; i < sizeof files / sizeof *files && !import->domain; i++) {
        char *line = import_read_line(directory, files[i]);
        import_set(&import->domain, line);
        free(line);
    }
    char *domain = import_read_line(directory, "defaultdomain");
    char *whole = NULL;
    if (import->domain && domain && *domain && !strchr(import->domain, '.') &&
        asprintf(&whole, "%s.%s", import->domain, domain) > 0) {
        import_set(&import->domain, whole);
        free(whole);
    }
    free(domain);
}

static void note_file(struct import *import, const char *directory, const char *name, const char *words)
{
    char *line = import_read_line(directory, name);
    if (line && *line)
        import_note(import, "%s (%.200s): %s", name, line, words);
    free(line);
}

int import_nullmailer(struct import *import, const char *path)
{
    struct buffer text;
    char *remotes = NULL;
    if (asprintf(&remotes, "%s/remotes", path) < 0)
        return cli_fail(import->verb, EX_TEMPFAIL, "out of memory");
    int r = import_read(remotes, &text);
    int code =
        r ? cli_fail(import->verb, r == -EACCES ? EX_NOPERM : EX_NOINPUT, "%s: %s", remotes, strerror(-r))
          : EX_OK;
    free(remotes);
    if (r) {
        buffer_release(&text);
        return code;
    }
    char *at = text.data;
    for (char *line; (line = import_next_line(&at));)
        if (*line && *line != '#')
            read_remote(import, line);
    buffer_release(&text);
    read_domain(import, path);
    import->first_s = read_number(path, "pausetime");
    import->max_s = read_number(path, "maxpause");
    import->give_up_s = read_number(path, "queuelifetime");
    if (import->n_accounts)
        import_add_tenant(import, "main", 0, NULL);
    if (import->n_accounts > 1)
        import_note(import, "nullmailer tries its remotes one after the other; here a tenant has one "
                            "account. The tenant main uses "
                            "remote1. Servers with the same login may be listed: server: [a, b]");
    note_file(
        import, path, "adminaddr", "mail to local users is not redirected; let programs name the address");
    note_file(import, path, "doublebounceto", "see on_failure.notify");
    note_file(import, path, "allmailfrom",
        "it became the From and is the envelope sender with envelope_from: account");
    char *from = import_read_line(path, "allmailfrom");
    if (from && *from && import->n_tenants)
        import_set(&import->tenants[0].from, from);
    free(from);
    return EX_OK;
}
