// Fills a spool with messages quickly: real files with bodies of their own, no links.
//
//   fill SPOOL TENANTS MESSAGES SIZE new [FIRST]
//     straight into tenantN/new/, for an agent that is not running
//   fill SPOOL TENANTS MESSAGES SIZE arrive [FIRST]
//     into tenantN/tmp/; after a line on standard input all are renamed into new/ without a pause
//   fill SPOOL TENANTS MESSAGES SIZE deferred DUE
//     into tenantN/deferred/ with a status file each, of which every (MESSAGES / DUE)th is due, the others in
//     an hour
//
// Message i belongs to tenant i % TENANTS; their numbers begin with FIRST (default: 0), so that two fills do
// not meet. The file system is synced once at the end of the writing. One line of JSON on standard output:
// the seconds that took, and for `arrive` when (CLOCK_MONOTONIC, ns) the first rename began and the last
// ended.
#include "tool.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_SIZE  64
#define SIZE_MOST  (64u << 20)
#define HOUR       3600
#define HEAD_LEAST 512 // room for the header block

struct filling {
    int spool;
    unsigned tenants, messages, size, first, due;
    const char *state;
    char *text;
};

static void name_of(char name[static NAME_SIZE], unsigned number)
{
    (void)snprintf(name, NAME_SIZE, "%u.M%uP1.bench", 1764000000 + number, number);
}

static int directory(const struct filling *filling, unsigned tenant, const char *state)
{
    char path[NAME_SIZE];
    (void)snprintf(path, sizeof path, "tenant%u/%s", tenant, state);
    int fd = openat(filling->spool, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        die(path);
    return fd;
}

static void put(int in, const char *name, const char *text, size_t length, struct stat *ret_stat)
{
    int fd = openat(in, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (fd < 0)
        die(name);
    for (size_t n = 0; n < length;) {
        ssize_t written = write(fd, text + n, length - n);
        if (written < 0)
            die(name);
        n += (size_t)written;
    }
    if (ret_stat && fstat(fd, ret_stat))
        die(name);
    close(fd);
}

// The text is the same but for its header block, which is written anew over lines that fill it up.
static void message(const struct filling *filling, int in, unsigned number, struct stat *ret_stat)
{
    char name[NAME_SIZE], head[HEAD_LEAST];
    int n = snprintf(head, sizeof head,
        "From: bench <bench@example.com>\nTo: sink%u@example.net\nSubject: message %u\n"
        "Date: Mon, 23 Nov 2026 15:04:05 +0000\nMessage-ID: <bench.%u@example.com>\n\n",
        number % 100, number, number);
    memcpy(filling->text, head, (size_t)n);
    name_of(name, number);
    put(in, name, filling->text, filling->size, ret_stat);
}

static void wait_for_retry(
    const struct filling *filling, int in, unsigned number, const struct stat *stat, bool due)
{
    char name[NAME_SIZE], text[2048], at[32];
    time_t now = time(NULL), next = due ? now - 1 : now + HOUR;
    struct tm utc;
    name_of(name, number);
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    int n = snprintf(text, sizeof text,
        "version: 1\ntenant: tenant%u\nname: %s\ninode: %ju\nsize: %ju\nsubmitted: %s\n"
        "message_id: <bench.%u@example.com>\nstate: deferred\nnext_attempt: %s\nrecipients:\n"
        "  - {address: sink%u@example.net, state: pending, reply: \"451 4.3.0 try later\", at: "
        "%s}\nattempts:\n"
        "  - {at: %s, account: sink, relay: \"127.0.0.1:25\", stage: rcpt, reply: \"451 4.3.0 try later\"}\n",
        number % filling->tenants, name, (uintmax_t)stat->st_ino, (uintmax_t)stat->st_size, at, number, at,
        number % 100, at, at);
    strncat(name, ".status", sizeof name - strlen(name) - 1);
    put(in, name, text, (size_t)n, NULL);
    if (utimensat(in, name, (struct timespec[]){{.tv_sec = next}, {.tv_sec = next}}, 0))
        die(name);
}

static void fill(const struct filling *filling)
{
    bool deferred = strcmp(filling->state, "deferred") == 0;
    unsigned every = filling->due ? filling->messages / filling->due : 0;
    for (unsigned tenant = 0; tenant < filling->tenants; tenant++) {
        int in = directory(filling, tenant, strcmp(filling->state, "arrive") == 0 ? "tmp" : filling->state);
        for (unsigned i = tenant; i < filling->messages; i += filling->tenants) {
            struct stat stat;
            message(filling, in, filling->first + i, deferred ? &stat : NULL);
            if (deferred)
                wait_for_retry(filling, in, i, &stat, every && i % every == 0);
        }
        close(in);
    }
    if (syncfs(filling->spool))
        die("syncfs");
}

static void arrive(const struct filling *filling, int64_t *ret_begin, int64_t *ret_end)
{
    int *from = calloc(filling->tenants, sizeof *from), *to = calloc(filling->tenants, sizeof *to);
    if (!from || !to)
        die("calloc");
    for (unsigned i = 0; i < filling->tenants; i++) {
        from[i] = directory(filling, i, "tmp");
        to[i] = directory(filling, i, "new");
    }
    *ret_begin = now_ns();
    for (unsigned i = 0; i < filling->messages; i++) {
        char name[NAME_SIZE];
        name_of(name, filling->first + i);
        if (renameat(from[i % filling->tenants], name, to[i % filling->tenants], name))
            die(name);
    }
    *ret_end = now_ns();
    free(from);
    free(to);
}

int main(int argc, char **argv)
{
    static const char line[] = "The quick brown fox jumps over the lazy dog, then rests a while.\n";
    if (argc < 6 || argc > 7) {
        fprintf(stderr, "usage: fill SPOOL TENANTS MESSAGES SIZE new|arrive|deferred [FIRST or DUE]\n");
        return 64;
    }
    struct filling filling = {.spool = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        .tenants = number(argv[2], 1, 100000),
        .messages = number(argv[3], 1, 100000000),
        .size = number(argv[4], HEAD_LEAST, SIZE_MOST),
        .state = argv[5]};
    unsigned last = argc > 6 ? number(argv[6], 0, 100000000) : 0;
    if (filling.spool < 0)
        die(argv[1]);
    filling.text = malloc(filling.size);
    if (!filling.text)
        die("malloc");
    for (unsigned i = 0; i < filling.size; i++)
        filling.text[i] = line[(i + 1) % (sizeof line - 1)];
    filling.text[filling.size - 1] = '\n';
    *(strcmp(filling.state, "deferred") == 0 ? &filling.due : &filling.first) = last;
    int64_t begin = now_ns();
    fill(&filling);
    double seconds = (double)(now_ns() - begin) / 1e9;
    int64_t renamed = 0, end = 0;
    if (strcmp(filling.state, "arrive") == 0) {
        printf("ready\n");
        fflush(stdout);
        if (getchar() == EOF)
            return 1;
        arrive(&filling, &renamed, &end);
    }
    printf("{\"seconds\": %.6f, \"rename_begin_ns\": %jd, \"rename_end_ns\": %jd}\n", seconds,
        (intmax_t)renamed, (intmax_t)end);
    free(filling.text);
    return 0;
}
