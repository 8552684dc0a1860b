// sSMTP's ssmtp.conf(5) and dma(8)'s dma.conf: one server each (see import.h).
#include "agent/cli/import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Opens path and calls line for each line that says something. An exit code.
static int each_line(struct import *import, const char *path, bool optional,
    void (*line)(struct import *import, struct import_account *account, char *text),
    struct import_account *account)
{
    struct buffer text;
    int r = import_read(path, &text);
    char *at = r ? NULL : text.data;
    for (char *one; (one = import_next_line(&at));)
        if (*one && *one != '#')
            line(import, account, one);
    buffer_release(&text);
    if (!r || (optional && r == -ENOENT))
        return EX_OK;
    return cli_fail(import->verb, r == -EACCES ? EX_NOPERM : EX_NOINPUT, "%s: %s", path, strerror(-r));
}

static char *sibling(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *whole = NULL;
    if (asprintf(&whole, "%.*s/%s", slash ? (int)(slash - path) : 1, slash ? path : ".", name) < 0)
        return NULL;
    return whole;
}

static void set_server(struct import_account *account, char *value)
{
    char *host;
    unsigned port;
    import_split_host(value, &host, &port);
    import_set(&account->server, host);
    if (port)
        account->port = port;
}

static void ssmtp_line(struct import *import, struct import_account *account, char *line)
{
    size_t length = strcspn(line, "= \t");
    char *value = line + length + strspn(line + length, "= \t");
    line[length] = '\0';
    if (!strcasecmp(line, "mailhub"))
        set_server(account, value);
    else if (!strcasecmp(line, "hostname"))
        import_set(&import->domain, value);
    else if (!strcasecmp(line, "rewritedomain") && *value)
        import_note(
            import, "rewriteDomain %.200s: outtray gives every message its tenant's From instead", value);
    else if (!strcasecmp(line, "root") && *value)
        import_note(import,
            "root %.200s: mail to local users is not redirected; let programs name the address", value);
    else if (!strcasecmp(line, "usetls") && import_yes(value))
        account->encryption = strcmp(account->encryption, "starttls") == 0 ? "starttls" : "tls";
    else if (!strcasecmp(line, "usestarttls") && import_yes(value))
        account->encryption = "starttls";
    else if (!strcasecmp(line, "authuser"))
        import_set(&account->username, value);
    else if (!strcasecmp(line, "authpass"))
        import_set(&account->password, value);
    else if (!strcasecmp(line, "tlscert"))
        import_set(&account->certificate_file, value);
    else if (!strcasecmp(line, "tlskey"))
        import_set(&account->key_file, value);
    else if (!strcasecmp(line, "tls_ca_file"))
        import_set(&account->ca_file, value);
    else if (strcasecmp(line, "authmethod") && strcasecmp(line, "debug") &&
             strcasecmp(line, "fromlineoverride") && *value)
        import_note(import, "%.100s was not carried over", line);
}

// "local_account:outgoing_address[:mailhub]": a tenant each.
static void revalias_line(struct import *import, struct import_account *account, char *line)
{
    char *address = strchr(line, ':');
    if (!address)
        return;
    *address++ = '\0';
    char *hub = strchr(address, ':');
    if (hub)
        *hub++ = '\0';
    if (!*line || !*address) {
        import_note(import, "revaliases: a line without a user or an address is left out");
        return;
    }
    if (hub && *hub)
        import_note(import,
            "revaliases: %.100s has a mailhub of its own (%.200s); it uses that of ssmtp.conf here", line,
            hub);
    import_add_tenant(import, line, (size_t)(account - import->accounts), address);
}

int import_ssmtp(struct import *import, const char *path)
{
    struct import_account *account = import_add_account(import, "mailhub");
    char *aliases = sibling(path, "revaliases");
    if (!aliases)
        return cli_fail(import->verb, EX_TEMPFAIL, "out of memory");
    import_set(&account->server, "mail"); // what ssmtp(8) uses where nothing is said
    int code = each_line(import, path, false, ssmtp_line, account);
    account->port = account->port ? account->port : strcmp(account->encryption, "tls") == 0 ? 465 : 25;
    account->auth = account->username && account->password;
    import_add_tenant(import, "main", 0, NULL);
    if (!code)
        code = each_line(import, aliases, true, revalias_line, account);
    free(aliases);
    return code;
}

static void dma_line(struct import *import, struct import_account *account, char *line)
{
    size_t length = strcspn(line, " \t");
    char *value = line + length + strspn(line + length, " \t");
    line[length] = '\0';
    if (strcmp(line, "SMARTHOST") == 0)
        import_set(&account->server, value);
    else if (strcmp(line, "PORT") == 0)
        account->port = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(line, "AUTHPATH") == 0)
        import_set(&account->email, value); // borrowed until the end of import_dma
    else if (strcmp(line, "SECURETRANSFER") == 0)
        account->encryption = strcmp(account->encryption, "starttls") == 0 ? "starttls" : "tls";
    else if (strcmp(line, "STARTTLS") == 0)
        account->encryption = "starttls";
    else if (strcmp(line, "CERTFILE") == 0)
        import_set(&account->certificate_file, value);
    else if (strcmp(line, "MAILNAME") == 0 && value[0] != '/')
        import_set(&import->domain, value);
    else if (strcmp(line, "OPPORTUNISTIC_TLS") == 0)
        import_note(import, "OPPORTUNISTIC_TLS: here STARTTLS is always required");
    else if (strcmp(line, "FINGERPRINT") == 0)
        import_note(
            import, "FINGERPRINT is of the certificate; see tls.pinned_key, which is of its public key");
    else if (strcmp(line, "MASQUERADE") == 0)
        import_note(import, "MASQUERADE %.200s: set the tenant's from", value);
    else if (strcmp(line, "DEFER") == 0)
        import_note(import, "DEFER: run `outtray run --once` where you ran dma -q");
    else if (strcmp(line, "ALIASES") == 0)
        import_note(import, "ALIASES: mail to local users is not redirected; let programs name the address");
    else if (strcmp(line, "MAILNAME") && strcmp(line, "SPOOLDIR") && strcmp(line, "SECURE") &&
             strcmp(line, "INSECURE") && strcmp(line, "FULLBOUNCE") && strcmp(line, "NULLCLIENT"))
        import_note(import, "%.100s was not carried over", line);
}

// "user|host:password", for our server.
static void dma_auth_line(struct import *import, struct import_account *account, char *line)
{
    char *host = strchr(line, '|'), *password = host ? strchr(host, ':') : NULL;
    (void)import;
    if (!password || account->username)
        return;
    *host++ = '\0';
    *password++ = '\0';
    if (!account->server || strcasecmp(host, account->server) != 0)
        return;
    import_set(&account->username, line);
    import_set(&account->password, password);
    account->auth = true;
}

int import_dma(struct import *import, const char *path)
{
    struct import_account *account = import_add_account(import, "smarthost");
    int code = each_line(import, path, false, dma_line, account);
    char *authentication = account->email ? account->email : sibling(path, "auth.conf");
    account->email = NULL;
    if (!code && authentication)
        code = each_line(import, authentication, true, dma_auth_line, account);
    free(authentication);
    if (!code && !account->server)
        code = cli_fail(import->verb, EX_DATAERR,
            "%s names no SMARTHOST: dma delivers by itself there, and outtray needs a mail account", path);
    account->port = account->port ? account->port : 25;
    import_add_tenant(import, "main", 0, NULL);
    return code;
}
