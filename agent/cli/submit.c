// `outtray submit`, and the program when it is called sendmail: standard input into a spool, durable before
// exit 0.
//
// Runs as any user who may write to the tenant's new/, and reads no secret. The message is composed once as
// the agent would compose it, so that what could only end in failed/ is refused here, with the reason.
#include "agent/cli/cli.h"
#include "agent/cli/operator.h"
#include "agent/cli/submit_file.h"
#include "agent/cli/submit_head.h"
#include "agent/cli/submit_input.h"
#include "agent/cli/submit_key.h"
#include "agent/cli/submit_wait.h"
#include "agent/cli/verbs.h"

#include "agent/base/clock.h"
#include "agent/compose/envelope_line.h"
#include "agent/compose/outgoing.h"
#include "config/units.h"
#include "spool-format/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD_EXTRA (1024 * 1024) // octets for the lines of the command line

struct options {
    const char *tenant, *sender, *full_name, *config, *key, *wait;
    const char *notify, *ret, *envid;
    bool from_headers, ignore_dots;
};

struct submission {
    const struct cli_verb *verb;
    const struct config *config;
    struct submit_envelope envelope;
    struct submit_input input;
    struct submit_file file;
    int message; // the file as queued (O_PATH), where an outcome is waited for; -1
    struct submit_key key;
    struct spool_tenant *spool; // as a reader sees it, where a key or an outcome is looked for; else NULL
    int64_t wait_ms;            // 0: no waiting
    struct buffer start;        // of the input: its header block and what was read with it
    struct header_block *block; // of `start`
    bool at_end;                // `start` is all of the input
    char chunk[SUBMIT_READ_SIZE + 2];
};

// The exit code for a step that failed on the machine's side.
static int fail_errno(const struct submission *s, const char *what, int error)
{
    const struct cli_verb *verb = s->verb;
    const char *tenant = s->envelope.tenant->name;
    switch (-error) {
    case EINTR:
        return cli_fail(verb, EX_TEMPFAIL, "interrupted; nothing was queued");
    case EACCES:
    case EPERM:
        return cli_fail(verb, EX_NOPERM,
            "%s: user %u may not write to the spool of %s (become a member of its group)", what,
            (unsigned)geteuid(), tenant);
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
        return cli_fail(verb, EX_CANTCREAT,
            "%s: the spool of %s is missing or damaged: %s (make it with `outtray init`)", what, tenant,
            strerror(-error));
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
        return cli_fail(
            verb, EX_TEMPFAIL, "%s: %s (nothing was queued; try again later)", what, strerror(-error));
    default:
        return cli_fail(verb, EX_IOERR, "%s: %s (nothing was queued)", what, strerror(-error));
    }
}

static int fail_words(const struct submission *s, const char *what, const char *problem)
{
    if (problem == submit_no_memory)
        return fail_errno(s, what, -ENOMEM);
    return cli_fail(s->verb, EX_DATAERR, "%s: %s", what, problem);
}

// Reads until the header block is known: what is put in front of the message depends on it.
static int read_start(struct submission *s)
{
    size_t max = (size_t)s->config->limits.header_size;
    buffer_init(&s->start, max + sizeof s->chunk + 1);
    for (;;) {
        ssize_t n = submit_input_read(&s->input, s->chunk);
        if (n < 0)
            return fail_errno(s, "standard input", (int)n);
        s->at_end = n == 0;
        if (buffer_append(&s->start, s->chunk, (size_t)n) == -ENOMEM)
            return fail_errno(s, "standard input", -ENOMEM);
        if (s->at_end && !s->start.length)
            return cli_fail(s->verb, EX_DATAERR, "there is no message on standard input");
        int r = buffer_error(&s->start);
        if (!r)
            r = header_block_parse(s->start.data, s->start.length, s->at_end, max, &s->block);
        if (r == -E2BIG)
            return cli_fail(
                s->verb, EX_DATAERR, "the header block is longer than limits.header_size (%zu)", max);
        if (r != -EAGAIN)
            return r ? fail_errno(s, "header block", r) : EX_OK;
    }
}

static int write_piece(struct submission *s, const char *data, size_t length)
{
    uint64_t max = s->config->limits.message_size;
    if (memchr(data, '\0', length))
        return cli_fail(s->verb, EX_DATAERR, "the message has a NUL octet, which no mail may have");
    if (length > max || s->file.length > max - length)
        return cli_fail(
            s->verb, EX_DATAERR, "the message is larger than limits.message_size (%" PRIu64 ")", max);
    int r = submit_file_write(&s->file, data, length);
    return r ? fail_errno(s, "writing", r) : EX_OK;
}

static int write_message(struct submission *s)
{
    struct buffer head;
    buffer_init(&head, s->start.length + HEAD_EXTRA);
    const char *problem = submit_head_append(&s->envelope, s->block, s->start.data, s->start.length, &head);
    int code = problem ? fail_words(s, "recipients", problem) : write_piece(s, head.data, head.length);
    buffer_release(&head);
    while (!code && !s->at_end) {
        ssize_t n = submit_input_read(&s->input, s->chunk);
        s->at_end = n == 0;
        code = n < 0 ? fail_errno(s, "standard input", (int)n) : write_piece(s, s->chunk, (size_t)n);
    }
    return code;
}

// Composes the file as the agent will. What cannot be a message is said now, while somebody listens.
static int check_message(struct submission *s)
{
    struct stat stat;
    struct outgoing *outgoing = NULL;
    struct outgoing_fault fault;
    if (fstat(s->file.fd, &stat) < 0)
        return fail_errno(s, "checking", -errno);
    int r =
        outgoing_compose(s->config, s->envelope.tenant, s->file.name, s->file.fd, &stat, &outgoing, &fault);
    outgoing_free(outgoing);
    if (r == -EBADMSG)
        return cli_fail(s->verb, EX_DATAERR, "%s", fault.detail);
    return r ? fail_errno(s, "checking", r) : EX_OK;
}

// Waits for what becomes of the message, where that is asked for.
static int finish(struct submission *s, const char *name, ino_t inode)
{
    if (!s->wait_ms)
        return EX_OK;
    if (!s->spool)
        return cli_fail(s->verb, EX_TEMPFAIL,
            "queued as %s; user %u cannot look into all of the spool of %s and see what becomes of it", name,
            (unsigned)geteuid(), s->envelope.tenant->name);
    struct submit_wait wait = {.verb = s->verb,
        .spool = s->spool,
        .inode = inode,
        .message = s->message,
        .wait_ms = s->wait_ms,
        .waiting = &s->input.waiting};
    (void)snprintf(wait.name, sizeof wait.name, "%s", name);
    memcpy(wait.digest, s->key.digest, sizeof wait.digest);
    int code = submit_wait(&wait);
    if (code == EX_TEMPFAIL) // a reason that no status file tells
        operator_note_account(s->verb, s->config, s->envelope.tenant->account->name);
    return code;
}

// The message is there already. The rest of the input is read all the same: its writer did nothing wrong.
static int repeat(struct submission *s, const char *name, ino_t inode)
{
    while (!s->at_end) {
        ssize_t n = submit_input_read(&s->input, s->chunk);
        if (n < 0)
            return fail_errno(s, "standard input", (int)n);
        s->at_end = n == 0;
    }
    cli_fail(
        s->verb, EX_OK, "a message with this key was submitted already, as %s; nothing was queued", name);
    return finish(s, name, inode);
}

// The same file, not open for anything.
static int open_path(int fd)
{
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_PATH | O_CLOEXEC);
}

static int queue_file(struct submission *s, int spool_fd)
{
    struct stat stat;
    char name[SPOOL_NAME_SIZE];
    ino_t inode;
    int r = fstat(s->file.fd, &stat) < 0 ? -errno : submit_file_commit(&s->file);
    if (r == -EEXIST && s->spool && submit_key_find(&s->key, s->config, s->spool, name, &inode) == 1)
        return repeat(s, name, inode); // somebody was faster
    if (r)
        return fail_errno(s, "queueing", r);
    if (s->wait_ms)
        s->message = open_path(s->file.fd);
    close(s->file.fd); // an agent waits for writers that have the file open
    s->file.fd = -1;
    if (spool_agent_running(spool_fd, NULL) == 0)
        cli_fail(s->verb, EX_OK, "queued; no agent is running (start one with `outtray run`)");
    return finish(s, s->file.name, stat.st_ino);
}

static int queue_message(struct submission *s, int spool_fd, const char *given_key)
{
    enum submit_step step;
    char name[SPOOL_NAME_SIZE];
    ino_t inode;
    int code = read_start(s);
    if (code)
        return code;
    const char *problem = submit_key_choose(&s->key, given_key, s->block);
    if (problem)
        return fail_words(s, "the key", problem);
    if (s->key.text || s->wait_ms)
        (void)spool_tenant_open(spool_fd, s->envelope.tenant->name, NULL, false, &s->spool, NULL);
    if (s->key.text && s->spool && submit_key_find(&s->key, s->config, s->spool, name, &inode) == 1)
        return repeat(s, name, inode);
    s->envelope.key = s->key.given ? s->key.text : NULL;
    int r = submit_file_create(&s->file, spool_fd, s->envelope.tenant->name, &step);
    if (r)
        return fail_errno(s, step == SUBMIT_STEP_OPEN ? "opening" : "creating", r);
    s->file.wanted = s->key.text ? s->key.name : NULL;
    code = write_message(s);
    if (!code)
        code = check_message(s);
    return code ? code : queue_file(s, spool_fd);
}

static const struct config_tenant *choose_tenant(
    const struct cli_verb *verb, const struct config *config, const char *name, int *ret_code)
{
    const struct config_tenant *tenant = name ? config_find_tenant(config, name) : config->default_tenant;
    if (!tenant && name)
        *ret_code = cli_usage(verb, "no tenant is called %s", name);
    else if (!tenant)
        *ret_code = cli_usage(verb,
            "there are several tenants: name one with --tenant, or set default_tenant in %s", config->path);
    return tenant;
}

static int read_wait(struct submission *s, const char *text)
{
    if (text && (units_parse_duration(text, &s->wait_ms) || s->wait_ms < 1))
        return cli_usage(s->verb, "--wait takes a duration such as 30s or 10m, not %s", text);
    return EX_OK;
}

// -N, -R and -V, which are RFC 3461's NOTIFY, RET and ENVID.
static int read_parameters(struct submission *s, const struct options *options)
{
    const struct {
        char letter;
        const char *key, *value;
    } all[] = {{'N', "NOTIFY", options->notify}, {'R', "RET", options->ret}, {'V', "ENVID", options->envid}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *problem = all[i].value ? envelope_parameter_problem(all[i].key, all[i].value) : NULL;
        if (problem)
            return cli_usage(s->verb, "-%c %s: %s", all[i].letter, all[i].value, problem);
        if (all[i].value && !s->envelope.tenant->envelope_headers)
            return cli_fail(s->verb, EX_CONFIG,
                "-%c needs X-Sender and X-Receiver lines, and tenant %s has envelope_headers: false",
                all[i].letter, s->envelope.tenant->name);
    }
    s->envelope.notify = options->notify;
    s->envelope.ret = options->ret;
    s->envelope.envid = options->envid;
    return EX_OK;
}

static int read_envelope(struct submission *s, const struct options *options, int argc, char **argv)
{
    struct submit_envelope *envelope = &s->envelope;
    envelope->from_headers = options->from_headers;
    envelope->full_name = options->full_name && options->full_name[strspn(options->full_name, " \t")]
                              ? options->full_name
                              : NULL;
    if (argc > 1 && !envelope->tenant->envelope_headers)
        return cli_fail(s->verb, EX_CONFIG,
            "recipients as arguments need X-Receiver lines, and tenant %s has envelope_headers: false (use "
            "-t)",
            envelope->tenant->name);
    const char *problem = options->sender ? submit_set_sender(envelope, options->sender) : NULL;
    if (problem)
        return fail_words(s, "the sender of -f", problem);
    for (int i = 1; i < argc; i++)
        if ((problem = submit_add_recipients(envelope, argv[i])))
            return fail_words(s, "a recipient of the command line", problem);
    return read_parameters(s, options);
}

static int submit(const struct cli_verb *verb, const struct config *config, const struct options *options,
    int argc, char **argv)
{
    int code = EX_OK;
    const struct config_tenant *tenant = choose_tenant(verb, config, options->tenant, &code);
    if (!tenant)
        return code;
    struct submission *s = calloc(1, sizeof *s);
    if (!s)
        return cli_fail(verb, EX_TEMPFAIL, "out of memory");
    s->verb = verb;
    s->config = config;
    s->envelope = (struct submit_envelope){.config = config, .tenant = tenant};
    s->file = (struct submit_file){.tmp = -1, .new = -1, .fd = -1};
    s->message = -1;
    int spool_fd = -1;
    code = read_wait(s, options->wait);
    if (!code)
        code = read_envelope(s, options, argc, argv);
    if (!code)
        spool_fd = cli_open_spool(verb, config, &code);
    if (spool_fd >= 0) {
        submit_input_init(&s->input, STDIN_FILENO, options->ignore_dots);
        code = queue_message(s, spool_fd, options->key);
        close(spool_fd);
    }
    submit_file_release(&s->file);
    if (s->message >= 0)
        close(s->message);
    submit_key_release(&s->key);
    spool_tenant_close(s->spool);
    header_block_free(s->block);
    buffer_release(&s->start);
    submit_envelope_release(&s->envelope);
    free(s);
    return code;
}

// sendmail's -oX, -bX and -qX: "-oi" is -i and "-bm" is what we do; other -o settings (error and delivery
// modes) have no meaning here and are read over; other -b modes and -q are not offered.
static int take_sendmail_options(const struct cli_verb *verb, int *argc, char **argv, bool *ret_ignore_dots)
{
    int kept = 1, i = 1;
    for (; i < *argc && strcmp(argv[i], "--"); i++) {
        const char *text = argv[i];
        if (!strcmp(text, "-oi"))
            *ret_ignore_dots = true;
        else if (!strncmp(text, "-q", 2))
            return cli_usage(
                verb, "%s runs a queue and takes no message; `outtray flush` makes all mail due", text);
        else if (!strncmp(text, "-b", 2) && strcmp(text, "-bm"))
            return cli_usage(verb, "%s is not offered: only standard input is submitted", text);
        else if (strncmp(text, "-o", 2) && strcmp(text, "-bm"))
            argv[kept++] = argv[i];
    }
    for (; i < *argc; i++)
        argv[kept++] = argv[i];
    argv[kept] = NULL;
    *argc = kept;
    return EX_OK;
}

int cli_submit(int argc, char **argv)
{
    const struct cli_verb *verb = cli_find("submit");
    static const char wait_default[] = "30s";
    struct options given = {0};
    const char *unused = NULL;
    bool quiet = false;
    const struct cli_option options[] = {
        {.name = "tenant", .value = &given.tenant},
        {.name = "key", .value = &given.key},
        {.name = "wait", .value = &given.wait, .without = wait_default},
        {.name = "read-recipients", .letter = 't', .flag = &given.from_headers},
        {.name = "ignore-dots", .letter = 'i', .flag = &given.ignore_dots},
        {.name = "sender", .letter = 'f', .value = &given.sender},
        {.name = "sender", .letter = 'r', .value = &given.sender},
        {.name = "full-name", .letter = 'F', .value = &given.full_name},
        {.name = "notify", .letter = 'N', .value = &given.notify},
        {.name = "return", .letter = 'R', .value = &given.ret},
        {.name = "envelope-id", .letter = 'V', .value = &given.envid},
        {.name = "body-type", .letter = 'B', .value = &unused}, // the body itself tells
        {.name = "hops", .letter = 'h', .value = &unused},
        {.name = "log-tag", .letter = 'L', .value = &unused},
        {.name = "protocol", .letter = 'p', .value = &unused},
        {.name = "setting", .letter = 'O', .value = &unused},
        {.name = "error-mode", .letter = 'e', .value = &unused},
        {.name = "which-config", .letter = 'A', .value = &unused},
        {.name = "verbose", .letter = 'v', .flag = &quiet},
        {.name = "gateway", .letter = 'G', .flag = &quiet},
        {.name = "initial", .letter = 'U', .flag = &quiet},
        {.name = "no-alias", .letter = 'n', .flag = &quiet},
        {.name = "me-too", .letter = 'm', .flag = &quiet},
        {0},
    };
    int code = take_sendmail_options(verb, &argc, argv, &given.ignore_dots);
    clock_poll();
    if (code || cli_parse(verb, &argc, argv, options, &given.config, &code) < 0)
        return code;
    int64_t span;
    if (given.wait == wait_default && argc > 1 && units_parse_duration(argv[1], &span) == 0)
        return cli_usage(verb, "%s is no recipient; say --wait=%s to wait for so long", argv[1], argv[1]);
    const struct config *config = cli_load(verb, given.config, false, &code);
    if (!config)
        return code;
    code = submit(verb, config, &given, argc, argv);
    config_unref(config);
    return code;
}
