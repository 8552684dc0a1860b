// `outtray import`: the configuration of another program read into accounts and tenants, and printed as YAML.
//
// A reader (import_nullmailer, …) fills a struct import; import_print writes it. What cannot be carried over
// becomes a note, which is printed as a comment. Passwords are never printed: with --secrets each goes into a
// file of mode 0600, else its place is named as a step to do.
#ifndef OUTTRAY_AGENT_CLI_IMPORT_H
#define OUTTRAY_AGENT_CLI_IMPORT_H

#include "agent/base/buffer.h"
#include "agent/cli/cli.h"

#define IMPORT_FILE_MAX     (1024 * 1024)
#define IMPORT_ACCOUNTS_MAX 64
#define IMPORT_TENANTS_MAX  64
#define IMPORT_NOTES_MAX    (256 * 1024) // octets of all notes

struct import_account { // all owned; NULL: unknown
    char *name, *server, *email, *username, *password, *ca_file, *certificate_file, *key_file;
    const char *encryption; // constant: "none", "starttls", "tls"
    unsigned port;          // 0: what follows from encryption
    bool auth, no_verify;
};

struct import_tenant {
    char *name, *from;
    size_t account;
};

struct import {
    const struct cli_verb *verb;
    const char *from;    // the program and the path, for the first line
    const char *secrets; // directory, or NULL
    char *domain;
    struct import_account accounts[IMPORT_ACCOUNTS_MAX];
    struct import_tenant tenants[IMPORT_TENANTS_MAX];
    size_t n_accounts, n_tenants, default_tenant;
    long first_s, max_s, give_up_s, delay_s; // 0: the default
    unsigned long long message_size;         // 0: the default
    struct buffer notes;
};

void import_note(struct import *import, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The next free account with its defaults; NULL (and a note) where there are too many.
struct import_account *import_add_account(struct import *import, const char *name);
void import_add_tenant(struct import *import, const char *name, size_t account, const char *from);
// Replaces *field by a copy of text; NULL and "" clear it.
void import_set(char **field, const char *text);
void import_wipe(char **field); // a password
// Reads a file whole, NUL-terminated. 0 or negative errno.
int import_read(const char *path, struct buffer *out);
// The first line of DIRECTORY/NAME without blanks around it, "" where there is none. The caller frees it.
char *import_read_line(const char *directory, const char *name);
// Takes the next line off *text: no line end, no blanks around it. NULL at the end.
char *import_next_line(char **text);
// Splits "host:port" and "[host]:port" in place: *ret_port 0 where there is none.
void import_split_host(char *text, char **ret_host, unsigned *ret_port);
bool import_yes(const char *text); // yes, on, true, 1

// Readers: fill *import from path. An exit code, with words printed where it is not 0.
int import_nullmailer(struct import *import, const char *path);
int import_msmtprc(struct import *import, const char *path);
int import_ssmtp(struct import *import, const char *path);
int import_dma(struct import *import, const char *path);
int import_postfix(struct import *import, const char *path);

// Completes what is missing, writes the secrets and prints the YAML. An exit code.
int import_print(struct import *import);

// Moves the messages that wait in nullmailer's queue into the spool of a tenant. An exit code.
int import_queue(const struct cli_verb *verb, const struct config *config, const struct config_tenant *tenant,
    const char *directory);

#endif
