// Runs a program and tells what it cost: one line of JSON with its exit code, wall and CPU seconds and peak
// RSS.
//
//   measure FILE PROGRAM [ARGUMENTS]
//
// A small program of its own, because the peak of a child counts that of whoever forked it until the exec.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    struct timespec begin, end;
    struct rusage usage;
    int status;
    if (argc < 3) {
        fprintf(stderr, "usage: measure FILE PROGRAM [ARGUMENTS]\n");
        return 64;
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // who ends this one must not leave what it measures behind
        execvp(argv[2], argv + 2);
        fprintf(stderr, "measure: %s: %s\n", argv[2], strerror(errno));
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror("measure");
        return 71;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    FILE *out = fopen(argv[1], "w");
    if (!out) {
        perror(argv[1]);
        return 73;
    }
    fprintf(out,
        "{\"exit\": %d, \"wall_s\": %.6f, \"user_s\": %.6f, \"system_s\": %.6f, \"rss_peak_kib\": %ld}\n",
        code, (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9,
        seconds(&usage.ru_utime), seconds(&usage.ru_stime), usage.ru_maxrss);
    return fclose(out) ? 74 : code;
}
