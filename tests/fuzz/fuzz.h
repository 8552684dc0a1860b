// What the fuzz targets share: expectations that end the run, and files made of the input.
#ifndef OUTTRAY_TESTS_FUZZ_FUZZ_H
#define OUTTRAY_TESTS_FUZZ_FUZZ_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// A broken promise is a finding as a crash is: libFuzzer keeps the input.
#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                    \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// An unnamed file with these octets; the caller closes it.
static inline int fuzz_file(const void *data, size_t size)
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    EXPECT(fd >= 0);
    EXPECT(size == 0 || pwrite(fd, data, size, 0) == (ssize_t)size);
    return fd;
}

// A NUL-terminated copy in memory of exactly that size, so that reading on is found.
static inline char *fuzz_text(const void *data, size_t size)
{
    char *text = malloc(size + 1);
    EXPECT(text);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

// Whether every CR and LF is part of a CRLF.
static inline bool fuzz_crlf_only(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' && (i + 1 == length || text[i + 1] != '\n'))
            return false;
        if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r'))
            return false;
    }
    return true;
}

#endif
