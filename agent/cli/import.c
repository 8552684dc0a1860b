// `outtray import`: see import.h.
#include "agent/cli/import.h"
#include "agent/cli/verbs.h"

#include "agent/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define QUEUE_DEFAULT "/var/spool/nullmailer"

static const struct {
    const char *name, *path; // where Debian's package has it
    int (*read)(struct import *import, const char *path);
} programs[] = {
    {"nullmailer", "/etc/nullmailer", import_nullmailer},
    {"msmtprc", "/etc/msmtprc", import_msmtprc},
    {"ssmtp", "/etc/ssmtp/ssmtp.conf", import_ssmtp},
    {"dma", "/etc/dma/dma.conf", import_dma},
    {"postfix", "/etc/postfix/main.cf", import_postfix},
};
#define PROGRAMS (sizeof programs / sizeof *programs)

void import_note(struct import *import, const char *format, ...)
{
    va_list arguments;
    char text[1024];
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7F)
            *c = '?';
    buffer_format(&import->notes, "# note: %s\n", text);
}

void import_set(char **field, const char *text)
{
    free(*field);
    *field = text && *text ? strdup(text) : NULL;
}

void import_wipe(char **field)
{
    if (*field)
        explicit_bzero(*field, strlen(*field));
    free(*field);
    *field = NULL;
}

struct import_account *import_add_account(struct import *import, const char *name)
{
    if (import->n_accounts == IMPORT_ACCOUNTS_MAX) {
        import_note(import, "there are more than %d accounts; %s and what follows is left out",
            IMPORT_ACCOUNTS_MAX, name);
        return NULL;
    }
    struct import_account *account = &import->accounts[import->n_accounts++];
    *account = (struct import_account){.encryption = "none"};
    import_set(&account->name, name);
    return account;
}

void import_add_tenant(struct import *import, const char *name, size_t account, const char *from)
{
    if (import->n_tenants == IMPORT_TENANTS_MAX) {
        import_note(import, "there are more than %d tenants; %s is left out", IMPORT_TENANTS_MAX, name);
        return;
    }
    struct import_tenant *tenant = &import->tenants[import->n_tenants++];
    tenant->account = account;
    import_set(&tenant->name, name);
    import_set(&tenant->from, from);
}

int import_read(const char *path, struct buffer *out)
{
    buffer_init(out, IMPORT_FILE_MAX); // also where there is nothing to read: the caller releases it
    buffer_make_secret(out);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = buffer_read(out, fd);
    close(fd);
    if (!r && out->data && memchr(out->data, '\0', out->length))
        r = -EBADMSG;
    return r;
}

char *import_next_line(char **text)
{
    char *line = *text;
    if (!line || !*line)
        return NULL;
    size_t length = strcspn(line, "\n");
    *text = line[length] ? line + length + 1 : line + length;
    line[length] = '\0';
    line += strspn(line, " \t\r");
    for (length = strlen(line); length && strchr(" \t\r", line[length - 1]); length--)
        line[length - 1] = '\0';
    return line;
}

char *import_read_line(const char *directory, const char *name)
{
    struct buffer text;
    char *path = NULL, *line = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return NULL;
    if (import_read(path, &text) == 0) {
        char *at = text.data;
        line = import_next_line(&at);
        line = line ? strdup(line) : NULL;
    }
    buffer_release(&text);
    free(path);
    return line ? line : strdup("");
}

void import_split_host(char *text, char **ret_host, unsigned *ret_port)
{
    char *colon = strrchr(text, ':'), *close_bracket = strchr(text, ']');
    *ret_port = 0;
    if (colon && (!close_bracket || colon > close_bracket) && (close_bracket || strchr(text, ':') == colon)) {
        unsigned long port = strtoul(colon + 1, NULL, 10);
        if (strcmp(colon + 1, "submission") == 0)
            port = 587;
        else if (strcmp(colon + 1, "smtps") == 0 || strcmp(colon + 1, "submissions") == 0)
            port = 465;
        else if (strcmp(colon + 1, "smtp") == 0)
            port = 25;
        *ret_port = port <= 65535 ? (unsigned)port : 0;
        *colon = '\0';
    }
    if (text[0] == '[' && close_bracket) {
        *close_bracket = '\0';
        text++;
    }
    *ret_host = text;
}

bool import_yes(const char *text)
{
    return !strcasecmp(text, "yes") || !strcasecmp(text, "on") || !strcasecmp(text, "true") ||
           !strcmp(text, "1");
}

static void import_release(struct import *import)
{
    for (size_t i = 0; i < import->n_accounts; i++) {
        struct import_account *account = &import->accounts[i];
        char **fields[] = {&account->name, &account->server, &account->email, &account->username,
            &account->ca_file, &account->certificate_file, &account->key_file};
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
            free(*fields[f]);
        import_wipe(&account->password);
    }
    for (size_t i = 0; i < import->n_tenants; i++) {
        free(import->tenants[i].name);
        free(import->tenants[i].from);
    }
    free(import->domain);
    buffer_release(&import->notes);
    free(import);
}

static int run(const struct cli_verb *verb, size_t program, const char *path, const char *secrets)
{
    struct import *import = calloc(1, sizeof *import);
    char *from = NULL;
    if (!import || asprintf(&from, "%s %s", programs[program].name, path) < 0) {
        free(import);
        return cli_fail(verb, EX_TEMPFAIL, "out of memory");
    }
    for (char *c = from; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7F)
            *c = '?';
    import->verb = verb;
    import->from = from;
    import->secrets = secrets;
    buffer_init(&import->notes, IMPORT_NOTES_MAX);
    int code = programs[program].read(import, path);
    if (!code && (!import->n_accounts || !import->accounts[0].server))
        code = cli_fail(
            verb, EX_DATAERR, "%s names no server to send through; there is nothing to import", path);
    if (!code)
        code = import_print(import);
    import_release(import);
    free(from);
    return code;
}

static int queue(
    const struct cli_verb *verb, const char *config_path, const char *tenant_name, const char *directory)
{
    int code;
    const struct config *config = cli_load(verb, config_path, false, &code);
    if (!config)
        return code;
    const struct config_tenant *tenant =
        tenant_name ? config_find_tenant(config, tenant_name) : config->default_tenant;
    if (!tenant && tenant_name)
        code = cli_usage(verb, "no tenant is called %s", tenant_name);
    else if (!tenant)
        code = cli_usage(verb, "there are several tenants: name one with --tenant");
    else
        code = import_queue(verb, config, tenant, directory);
    config_unref(config);
    return code;
}

int cli_import(int argc, char **argv)
{
    const struct cli_verb *verb = cli_find("import");
    const char *secrets = NULL, *waiting = NULL, *tenant = NULL, *config;
    const struct cli_option options[] = {
        {.name = "secrets", .value = &secrets},
        {.name = "queue", .value = &waiting, .without = QUEUE_DEFAULT},
        {.name = "tenant", .value = &tenant},
        {0},
    };
    int code;
    clock_poll();
    if (cli_parse(verb, &argc, argv, options, &config, &code) < 0)
        return code;
    if (argc < 2 || argc > 3)
        return cli_usage(verb, "it takes the program, and where its configuration is");
    size_t program = 0;
    while (program < PROGRAMS && strcmp(programs[program].name, argv[1]) != 0)
        program++;
    if (program == PROGRAMS)
        return cli_usage(verb, "%s is not known; nullmailer, msmtprc, ssmtp, dma and postfix are", argv[1]);
    if (waiting && strcmp(argv[1], "nullmailer") != 0)
        return cli_usage(
            verb, "--queue is for nullmailer; let %s deliver what it holds before you switch", argv[1]);
    if (waiting)
        return argc == 3 ? cli_usage(verb, "--queue=DIRECTORY says where the queue is")
                         : queue(verb, config, tenant, waiting);
    return run(verb, program, argc == 3 ? argv[2] : programs[program].path, secrets);
}
