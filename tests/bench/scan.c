// Reads a directory as whoever looks for due mail has to: every name, and the times of every status file.
// What a scan costs, as a measure for an agent with much deferred mail.
//
//   scan [--both] DIRECTORY
//
// --both: the times of the messages as well, since touching either file asks for a retry. One line of JSON on
// standard output; "statuses" and "messages" are those whose times were read.
#include "tool.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

static bool is_status(const char *name)
{
    static const char suffix[] = ".status";
    size_t length = strlen(name);
    return length >= sizeof suffix && strcmp(name + length + 1 - sizeof suffix, suffix) == 0;
}

int main(int argc, char **argv)
{
    uintmax_t names = 0, statuses = 0, messages = 0;
    bool both = argc == 3 && strcmp(argv[1], "--both") == 0;
    if (argc != 2 + both) {
        fprintf(stderr, "usage: scan [--both] DIRECTORY\n");
        return 64;
    }
    double begin = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    DIR *directory = opendir(argv[1 + both]);
    if (!directory)
        die(argv[1 + both]);
    for (const struct dirent *entry; (errno = 0, entry = readdir(directory)); names++) {
        struct stat stat;
        bool status = is_status(entry->d_name);
        if (!status && (!both || entry->d_name[0] == '.'))
            continue;
        if (fstatat(dirfd(directory), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW))
            die(entry->d_name);
        *(status ? &statuses : &messages) += 1;
    }
    if (errno)
        die(argv[1 + both]);
    closedir(directory);
    printf(
        "{\"names\": %ju, \"statuses\": %ju, \"messages\": %ju, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n",
        names, statuses, messages, seconds_of(CLOCK_MONOTONIC) - begin,
        seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}
