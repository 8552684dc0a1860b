// How many renames per second a file system makes durable in groups: the ceiling of a delivery agent that
// moves every message once and gives nothing out before the move is durable.
//
//   commit DIRECTORY FILES BATCH
//
// Makes FILES empty files in DIRECTORY/from, syncs them, then moves them to DIRECTORY/to in batches of BATCH
// renames, each followed by an fsync of the destination and of the source. One line of JSON on standard
// output. The two directories are removed at the end.
#include "tool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int directory(int in, const char *name)
{
    if (mkdirat(in, name, 0700))
        die(name);
    int fd = openat(in, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        die(name);
    return fd;
}

// Names as long as those of a maildir.
static void file_name(char name[static 40], unsigned number)
{
    (void)snprintf(name, 40, "%u.M%uP1.bench", 1764000000 + number, number);
}

static int compare(const void *a, const void *b)
{
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static void sync_directory(int fd)
{
    if (fsync(fd))
        die("fsync");
}

int main(int argc, char **argv)
{
    char name[40];
    unsigned files = argc == 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    unsigned batch = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0,
             batches = batch ? files / batch : 0;
    if (!batches) {
        fprintf(stderr, "usage: commit DIRECTORY FILES BATCH\n");
        return 64;
    }
    int in = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (in < 0)
        die(argv[1]);
    int from = directory(in, "from"), to = directory(in, "to");
    for (unsigned i = 0; i < files; i++) {
        file_name(name, i);
        int fd = openat(from, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            die(name);
        close(fd);
    }
    sync();
    double *syncs = calloc(batches, sizeof *syncs);
    if (!syncs)
        die("calloc");
    double begin = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < batches * batch; i++) {
        file_name(name, i);
        if (renameat2(from, name, to, name, RENAME_NOREPLACE))
            die(name);
        if (i % batch != batch - 1)
            continue;
        double start = seconds_of(CLOCK_MONOTONIC);
        sync_directory(to);
        sync_directory(from);
        syncs[i / batch] = seconds_of(CLOCK_MONOTONIC) - start;
    }
    double seconds = seconds_of(CLOCK_MONOTONIC) - begin;
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    qsort(syncs, batches, sizeof *syncs, compare);
    printf(
        "{\"renames\": %u, \"batch\": %u, \"seconds\": %.6f, \"renames_per_s\": %.0f, \"cpu_us_per_rename\": "
        "%.2f, \"sync_ms_median\": %.3f, \"sync_ms_p95\": %.3f}\n",
        batches * batch, batch, seconds, batches * batch / seconds, cpu * 1e6 / (batches * batch),
        syncs[batches / 2] * 1e3, syncs[batches - 1 - batches / 20] * 1e3);
    for (unsigned i = 0; i < files; i++) {
        file_name(name, i);
        (void)unlinkat(from, name, 0);
        (void)unlinkat(to, name, 0);
    }
    if (unlinkat(in, "from", AT_REMOVEDIR) || unlinkat(in, "to", AT_REMOVEDIR))
        die(argv[1]);
    free(syncs);
    return 0;
}
