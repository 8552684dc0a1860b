// A producer that submits one message at a time and says exactly when: what latency is measured with.
//
//   trickle DIRECTORY MESSAGES INTERVAL_US FILE [SIZE]
//
// DIRECTORY is a tenant's. All messages are written to tmp/ and synced first; then one after the other is
// renamed into new/, after a random pause of half to one and a half INTERVAL_US, so that nothing falls into
// step with it. FILE gets a line "MESSAGE-ID NS NS" for each: CLOCK_MONOTONIC right before its rename and
// right after it. The Message-IDs begin with SINK_STAMP_ID.
#include "sink/dialogue.h"
#include "tool.h"

#include <fcntl.h>
#include <unistd.h>

#define NAME_SIZE   64
#define MESSAGE_MAX (64u << 20)

static void name_of(char name[static NAME_SIZE], unsigned number)
{
    (void)snprintf(name, NAME_SIZE, "%u.L%uP%d.bench", 1764000000 + number, number, (int)getpid());
}

static void write_message(int tmp, unsigned number, size_t size)
{
    char name[NAME_SIZE], line[] = "The quick brown fox jumps over the lazy dog, then rests a while.\n";
    name_of(name, number);
    int fd = openat(tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!out)
        die(name);
    int head = fprintf(out,
        "From: bench <bench@example.com>\nTo: sink@example.net\nSubject: message %u\nDate: Mon, 23 Nov 2026 "
        "15:04:05 "
        "+0000\nMessage-ID: %s%d.%u@example.com>\n\n",
        number, SINK_STAMP_ID, (int)getpid(), number);
    for (size_t n = (size_t)head; n + sizeof line - 1 <= size; n += sizeof line - 1)
        fputs(line, out);
    if (fflush(out) || fsync(fd) || fclose(out))
        die(name);
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc > 6) {
        fprintf(stderr, "usage: trickle DIRECTORY MESSAGES INTERVAL_US FILE [SIZE]\n");
        return 64;
    }
    unsigned messages = (unsigned)number(argv[2], 1, 1000000);
    long interval = (long)number(argv[3], 1, 10000000);
    size_t size = argc > 5 ? number(argv[5], 512, MESSAGE_MAX) : 4096;
    int directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int tmp = directory < 0 ? -1 : openat(directory, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int new = directory < 0 ? -1 : openat(directory, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tmp < 0 || new < 0)
        die(argv[1]);
    FILE *out = fopen(argv[4], "w");
    if (!out)
        die(argv[4]);
    for (unsigned i = 0; i < messages; i++)
        write_message(tmp, i, size);
    srandom((unsigned)getpid());
    for (unsigned i = 0; i < messages; i++) {
        char name[NAME_SIZE];
        long pause = interval / 2 + random() % interval;
        struct timespec time = {.tv_sec = pause / 1000000, .tv_nsec = pause % 1000000 * 1000};
        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
            continue;
        name_of(name, i);
        int64_t before = now_ns();
        if (renameat(tmp, name, new, name))
            die(name);
        fprintf(out, "%s%d.%u@example.com> %jd %jd\n", SINK_STAMP_ID, (int)getpid(), i, (intmax_t)before,
            (intmax_t)now_ns());
    }
    if (fclose(out))
        die(argv[4]);
    return 0;
}
