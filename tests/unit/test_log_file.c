// Where the log is written: lines of threads that never mix, rotation, what cannot be opened or is full, and
// standard error.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "log_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define THREADS 4
#define LINES   2000 // of each thread

struct writer {
    pthread_t thread;
    struct log *log;
    char letter;
};

static void *write_lines(void *arg)
{
    struct writer *writer = arg;
    char value[200];
    memset(value, writer->letter, sizeof value);
    struct log_lines lines;
    log_lines_init(&lines, writer->log);
    for (int i = 0; i < LINES; i++) {
        log_line_begin(&lines, 0, LOG_INFO_LEVEL, "line");
        log_line_data(&lines, "value", value, (size_t)(1 + i % 200));
        log_line_number(&lines, "n", i);
        log_line_end(&lines);
        if (i % 7 == 0)
            log_write(writer->log, &lines);
    }
    log_write(writer->log, &lines);
    log_lines_release(&lines);
    return NULL;
}

// While four threads write, the file is rotated as logrotate does it: renamed, then opened anew.
static void lines_of_threads_never_mix_and_rotation_loses_none(void **state)
{
    (void)state;
    struct world world;
    struct writer writers[THREADS];
    char names[20][160];
    world_make(&world, false);
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){.log = world.log, .letter = (char)('a' + i)};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_lines, &writers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s.%d", world.path, i);
        assert_int_equal(rename(world.path, names[i]), 0);
        assert_int_equal(
            log_reopen(world.log, &(struct log_target){false, world.path, LOG_NO_SYSLOG, NULL}), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(writers[i].thread, NULL);
    assert_int_equal(log_lost(world.log), 0);
    unsigned n = 0;
    for (int i = 0; i <= 20; i++) {
        char *text = file_text(i < 20 ? names[i] : world.path);
        for (char *line = text; *line; line = strchr(line, '\n') + 1, n++) {
            char letter;
            int number;
            assert_int_equal(sscanf(line, "time=1970-01-01T00:00:00.000Z event=line value=%c", &letter), 1);
            char *value = strstr(line, "value=") + 6;
            size_t length = strspn(value, (char[]){letter, '\0'});
            assert_int_equal(sscanf(value + length, " n=%d\n", &number), 1);
            assert_int_equal(length, 1 + number % 200);
        }
        free(text);
        if (i < 20)
            unlink(names[i]);
    }
    assert_int_equal(n, THREADS * LINES);
    world_end(&world);
}

static void a_file_that_cannot_be_opened_keeps_the_old_one(void **state)
{
    (void)state;
    struct world world;
    char link[160], missing[160];
    world_make(&world, false);
    (void)snprintf(link, sizeof link, "%s/link", world.directory);
    (void)snprintf(missing, sizeof missing, "%s/none/log", world.directory);
    assert_int_equal(symlink(world.path, link), 0);
    assert_int_equal(log_reopen(world.log, &(struct log_target){true, link, LOG_NO_SYSLOG, NULL}), -ELOOP);
    assert_int_equal(
        log_reopen(world.log, &(struct log_target){true, missing, LOG_NO_SYSLOG, NULL}), -ENOENT);
    assert_int_equal(
        log_reopen(world.log, &(struct log_target){true, world.directory, LOG_NO_SYSLOG, NULL}), -EISDIR);
    struct log *other = NULL;
    assert_int_equal(log_open(&(struct log_target){false, missing, LOG_NO_SYSLOG, NULL}, &other), -ENOENT);
    assert_null(other);
    log_event(world.log, LOG_WARNING_LEVEL, "still_here", "the old file goes on", "key", "a b", NULL);
    char *text = text_of(&world);
    assert_non_null(
        strstr(text, " event=still_here level=warning msg=\"the old file goes on\" key=\"a b\"\n"));
    free(text);
    struct stat stat_of;
    assert_int_equal(stat(world.path, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 07137, 0); // 0640 less the umask
    unlink(link);
    world_end(&world);
}

static void the_format_changes_with_a_reload(void **state)
{
    (void)state;
    struct world world;
    world_make(&world, false);
    log_event(world.log, LOG_INFO_LEVEL, "one", "m", NULL);
    assert_int_equal(log_reopen(world.log, &(struct log_target){true, world.path, LOG_NO_SYSLOG, NULL}), 0);
    log_event(world.log, LOG_INFO_LEVEL, "two", "m", NULL);
    char *text = text_of(&world);
    assert_non_null(strstr(text, " event=one level=info msg=m\n{\"time\":"));
    assert_non_null(strstr(text, ",\"event\":\"two\",\"level\":\"info\",\"msg\":\"m\"}\n"));
    free(text);
    world_end(&world);
}

// A full disk in the middle of a line (here: the file's limit): what is torn is ended before the next line.
static void what_was_torn_is_ended_before_the_next_line(void **state)
{
    (void)state;
    struct world world;
    struct rlimit old, small;
    world_make(&world, false);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 150;
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    log_event(world.log, LOG_INFO_LEVEL, "one", "whole", NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    log_event(
        world.log, LOG_INFO_LEVEL, "two", "this one is torn, since it is longer than what is left", NULL);
    log_event(world.log, LOG_INFO_LEVEL, "three", "this one is lost", NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    log_event(world.log, LOG_INFO_LEVEL, "four", "whole", NULL);
    log_event(world.log, LOG_INFO_LEVEL, "five", "whole", NULL);
    assert_int_equal(log_lost(world.log), 2);
    char *text = text_of(&world);
    assert_null(strstr(text, "three"));
    char *four = strstr(text, " event=four level=info msg=whole\n");
    assert_non_null(four);
    while (four[-1] != '\n')
        four--;
    assert_memory_equal(four, "time=", 5);
    assert_non_null(strstr(text, " event=five level=info msg=whole\n"));
    free(text);
    world_end(&world);
}

static void standard_error_is_a_copy(void **state)
{
    (void)state;
    struct world world;
    struct log *log = NULL;
    world_make(&world, false);
    int keep = dup(STDERR_FILENO), file = open(world.path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(keep >= 0 && file >= 0);
    dup2(file, STDERR_FILENO);
    assert_int_equal(log_open(&(struct log_target){false, "", LOG_NO_SYSLOG, NULL}, &log), 0);
    log_event(log, LOG_ERROR_LEVEL, "to_stderr", "m", NULL);
    log_close(log);
    ssize_t n = write(STDERR_FILENO, "still open\n", 11);
    dup2(keep, STDERR_FILENO);
    close(keep);
    close(file);
    assert_int_equal(n, 11);
    char *text = text_of(&world);
    assert_non_null(strstr(text, " event=to_stderr level=error msg=m\nstill open\n"));
    free(text);
    world_end(&world);
    log_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_threads_never_mix_and_rotation_loses_none),
        cmocka_unit_test(a_file_that_cannot_be_opened_keeps_the_old_one),
        cmocka_unit_test(the_format_changes_with_a_reload),
        cmocka_unit_test(what_was_torn_is_ended_before_the_next_line),
        cmocka_unit_test(standard_error_is_a_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
