// Reads a directory as whoever looks for due mail has to: every name, and the times of every status file.
// What a scan costs, as a measure for an agent with much deferred mail.
//
//   scan DIRECTORY
//
// One line of JSON on standard output.
#include "tool.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
    static const char suffix[] = ".status";
    uintmax_t names = 0, statuses = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: scan DIRECTORY\n");
        return 64;
    }
    double begin = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    DIR *directory = opendir(argv[1]);
    if (!directory)
        die(argv[1]);
    for (const struct dirent *entry; (errno = 0, entry = readdir(directory)); names++) {
        size_t length = strlen(entry->d_name);
        struct stat stat;
        if (length < sizeof suffix || strcmp(entry->d_name + length + 1 - sizeof suffix, suffix) != 0)
            continue;
        if (fstatat(dirfd(directory), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW))
            die(entry->d_name);
        statuses++;
    }
    if (errno)
        die(argv[1]);
    closedir(directory);
    printf("{\"names\": %ju, \"statuses\": %ju, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", names, statuses,
        seconds_of(CLOCK_MONOTONIC) - begin, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}
