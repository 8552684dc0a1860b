// Status files: anything may lie there under that name. What is read can be written, and comes back the same.
#include "fuzz.h"
#include "spool-format/status_internal.h"

static char directory[] = "/tmp/outtray-fuzz-status.XXXXXX";
static int directory_fd = -1;

static void clean_up(void)
{
    (void)unlinkat(directory_fd, "m.status", 0);
    (void)rmdir(directory);
}

static void set_up(void)
{
    EXPECT(mkdtemp(directory));
    directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EXPECT(directory_fd >= 0 && atexit(clean_up) == 0);
}

static char *read_written(size_t *ret_length)
{
    int fd = openat(directory_fd, "m.status", O_RDONLY | O_CLOEXEC);
    struct stat st;
    EXPECT(fd >= 0 && fstat(fd, &st) == 0);
    char *text = fuzz_text("", 0);
    text = realloc(text, (size_t)st.st_size + 1);
    EXPECT(text && pread(fd, text, (size_t)st.st_size, 0) == st.st_size);
    close(fd);
    *ret_length = (size_t)st.st_size;
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (directory_fd < 0)
        set_up();
    struct status *status = NULL, *back = NULL;
    int fd = fuzz_file(data, size), result = status_parse(fd, &status);
    close(fd);
    EXPECT(result == 0 || result == -EBADMSG);
    char *text = fuzz_text(data, size < 60 ? size : 60);
    struct timespec time;
    if (status_time_parse(text, &time) == 0) {
        char again[STATUS_TIME_SIZE];
        struct timespec parsed;
        status_time_format(&time, 9, again);
        EXPECT(status_time_parse(again, &parsed) == 0);
        EXPECT(parsed.tv_sec == time.tv_sec && parsed.tv_nsec == time.tv_nsec);
    }
    free(text);
    if (result)
        return 0;
    (void)unlinkat(directory_fd, "m.status", 0);
    result = status_write(directory_fd, "m", status);
    EXPECT(result == 0);
    size_t first_length, second_length;
    char *first = read_written(&first_length);
    EXPECT(status_read(directory_fd, "m", &back, NULL, NULL) == 0);
    uint64_t inode, octets;
    EXPECT(status_peek(directory_fd, "m", &inode, &octets) == 0);
    EXPECT(inode == status->inode && octets == status->size);
    EXPECT(back->n_recipients == status->n_recipients && back->state == status->state);
    for (size_t i = 0; i < back->n_recipients; i++) {
        EXPECT(strcmp(back->recipients[i].address, status->recipients[i].address) == 0);
        EXPECT(back->recipients[i].state == status->recipients[i].state);
    }
    EXPECT(status_write(directory_fd, "m", back) == 0);
    char *second = read_written(&second_length);
    EXPECT(first_length == second_length && memcmp(first, second, first_length) == 0);
    free(first);
    free(second);
    status_free(status);
    status_free(back);
    return 0;
}
