// Printing what was imported (see import.h).
#include "agent/base/file.h"
#include "agent/cli/import.h"

#include "agent/compose/encoded_word.h"
#include "spool-format/address.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A double-quoted YAML scalar. Octets that are no UTF-8 become the characters of their numbers.
static void print_quoted(struct buffer *out, const char *text)
{
    bool utf8 = text_is_utf8(text, strlen(text));
    buffer_text(out, "\"");
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            buffer_format(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ' || *text == 0x7F || (!utf8 && (unsigned char)*text >= 0x80))
            buffer_format(out, "\\x%02X", (unsigned)(unsigned char)*text);
        else
            buffer_append(out, text, 1);
    buffer_text(out, "\"");
}

static void print_text(struct buffer *out, const char *key, const char *text)
{
    if (!text)
        return;
    buffer_format(out, "%s: ", key);
    print_quoted(out, text);
    buffer_text(out, "\n");
}

// "  NAME:" on a line of its own.
static void print_name(struct buffer *out, const char *name)
{
    buffer_text(out, "  ");
    print_quoted(out, name);
    buffer_text(out, ":\n");
}

static bool is_domain(const char *text)
{
    return *text && strlen(text) <= 253 && text[0] != '-' && text[0] != '.' && !strstr(text, "..") &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")] == '\0';
}

static void complete_domain(struct import *import)
{
    char host[256] = "";
    if (import->domain && is_domain(import->domain))
        return;
    if (import->domain)
        import_note(import, "%.200s is no host name", import->domain);
    char *mailname = import_read_line("/etc", "mailname");
    import_set(&import->domain, mailname);
    free(mailname);
    if (import->domain && is_domain(import->domain))
        return;
    if (gethostname(host, sizeof host - 1) < 0 || !is_domain(host))
        (void)snprintf(host, sizeof host, "localhost.localdomain");
    import_set(&import->domain, host);
    import_note(
        import, "domain is this machine's name; mail comes from root@DOMAIN where a tenant has no from");
}

// The account's address: its own, else its login, else root at our domain.
static void complete_account(struct import *import, struct import_account *account)
{
    char address[512];
    if (account->email && address_problem(account->email)) {
        import_note(import, "account %s: %.200s is no address", account->name, account->email);
        import_set(&account->email, NULL);
    }
    if (!account->email && account->username && !address_problem(account->username))
        import_set(&account->email, account->username);
    if (!account->email) {
        (void)snprintf(address, sizeof address, "root@%s", import->domain);
        import_set(&account->email, address);
    }
}

static int write_secret(const struct import *import, const char *path, const char *password)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return cli_fail(import->verb, EX_CANTCREAT, "%s: %s%s", path, strerror(errno),
            errno == EEXIST ? " (it is not overwritten; remove it first)" : "");
    struct buffer text;
    buffer_init(&text, strlen(password) + 2);
    buffer_make_secret(&text);
    buffer_format(&text, "%s\n", password);
    int error = -file_write(fd, text.data, text.length);
    if (!error && fsync(fd) < 0)
        error = errno;
    buffer_release(&text);
    if (close(fd) < 0 && !error)
        error = errno;
    if (error)
        (void)unlink(path);
    return error ? cli_fail(import->verb, EX_IOERR, "%s: %s", path, strerror(error)) : EX_OK;
}

static int print_password(struct import *import, const struct import_account *account, struct buffer *out)
{
    char directory[PATH_MAX] = "/etc/outtray", *path = NULL;
    int code = EX_OK;
    if (import->secrets && !realpath(import->secrets, directory))
        return cli_fail(
            import->verb, EX_CANTCREAT, "%s: %s (make it first)", import->secrets, strerror(errno));
    if (asprintf(&path, "%s/%s.password", directory, account->name) < 0)
        return cli_fail(import->verb, EX_TEMPFAIL, "out of memory");
    if (import->secrets && account->password)
        code = write_secret(import, path, account->password);
    else
        buffer_text(
            out, "    # step: write its password into this file, owned by outtray's user, mode 0600\n");
    print_text(out, "    password_file", path);
    free(path);
    return code;
}

static int print_account(struct import *import, const struct import_account *account, struct buffer *out)
{
    print_name(out, account->name);
    buffer_format(out, "    auth: %s\n", account->auth ? "basic" : "none");
    print_text(out, "    email", account->email);
    buffer_text(out, "    envelope_from: message\n");
    print_text(out, "    server", account->server);
    buffer_format(out, "    encryption: %s\n", account->encryption);
    if (account->port)
        buffer_format(out, "    port: %u\n", account->port);
    if (account->auth)
        print_text(out, "    username", account->username);
    int code = account->auth ? print_password(import, account, out) : EX_OK;
    if (account->ca_file || account->certificate_file || account->no_verify) {
        buffer_text(out, "    tls:\n");
        print_text(out, "      ca_file", account->ca_file);
        if (account->no_verify)
            buffer_text(out, "      verify: false\n");
        print_text(out, "      certificate_file", account->certificate_file);
        print_text(out, "      key_file",
            account->certificate_file && !account->key_file ? account->certificate_file : account->key_file);
    }
    return code;
}

static void print_tenants(const struct import *import, struct buffer *out)
{
    buffer_text(out, "\ntenants:\n");
    for (size_t i = 0; i < import->n_tenants; i++) {
        const struct import_tenant *tenant = &import->tenants[i];
        print_name(out, tenant->name);
        print_text(out, "    account", import->accounts[tenant->account].name);
        buffer_text(
            out, "    # outtray gives every message this From; the author's own display name is kept\n");
        print_text(out, "    from", tenant->from ? tenant->from : import->accounts[tenant->account].email);
        if (import->delay_s)
            buffer_format(out, "    on_failure: {notify: sender, delay_warning: %lds}\n", import->delay_s);
    }
}

static void print_rest(const struct import *import, struct buffer *out)
{
    if (import->first_s || import->max_s || import->give_up_s) {
        buffer_text(out, "\nretry:\n");
        if (import->first_s)
            buffer_format(out, "  first: %lds\n", import->first_s);
        if (import->max_s)
            buffer_format(out, "  max: %lds\n", import->max_s);
        if (import->give_up_s)
            buffer_format(out, "  give_up_after: %lds\n", import->give_up_s);
    }
    if (import->message_size)
        buffer_format(out, "\nlimits: {message_size: %lluk}\n", (import->message_size + 1023) / 1024);
}

int import_print(struct import *import)
{
    struct buffer accounts, out;
    int code = EX_OK;
    complete_domain(import);
    for (size_t i = 0; i < import->n_accounts; i++)
        complete_account(import, &import->accounts[i]);
    buffer_init(&accounts, IMPORT_FILE_MAX);
    buffer_init(&out, 4 * IMPORT_FILE_MAX);
    for (size_t i = 0; i < import->n_accounts && !code; i++)
        code = print_account(import, &import->accounts[i], &accounts);
    if (import->n_tenants == 0)
        import_add_tenant(import, "main", 0, NULL);
    buffer_format(&out, "# Imported from %s. See outtray.yaml(5) for what else there is.\n", import->from);
    if (import->notes.length)
        buffer_append(&out, import->notes.data, import->notes.length);
    buffer_text(&out, "version: 1\n");
    print_text(&out, "domain", import->domain);
    if (import->n_tenants > 1)
        print_text(&out, "default_tenant", import->tenants[import->default_tenant].name);
    buffer_text(&out, "\naccounts:\n");
    buffer_append(&out, accounts.data ? accounts.data : "", accounts.length);
    print_tenants(import, &out);
    print_rest(import, &out);
    if (!code && (buffer_error(&out) || buffer_error(&accounts)))
        code = cli_fail(import->verb, EX_TEMPFAIL, "out of memory");
    if (!code && (fwrite(out.data, 1, out.length, stdout) != out.length || fflush(stdout)))
        code = cli_fail(import->verb, EX_IOERR, "standard output: %s", strerror(errno));
    buffer_release(&accounts);
    buffer_release(&out);
    return code;
}
