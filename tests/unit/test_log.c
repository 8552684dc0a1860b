// The log: lines that can be read back whatever the values hold, that never mix, and that survive rotation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS 4
#define LINES   2000 // of each thread

struct world {
    char directory[64];
    char path[128];
    struct log *log;
};

static void world_make(struct world *world, bool json)
{
    *world = (struct world){.directory = "/tmp/outtray-test-log.XXXXXX"};
    assert_non_null(mkdtemp(world->directory));
    (void)snprintf(world->path, sizeof world->path, "%s/log", world->directory);
    assert_int_equal(log_open(&(struct log_target){json, world->path, LOG_NO_SYSLOG, NULL}, &world->log), 0);
}

static void world_end(struct world *world)
{
    log_close(world->log);
    unlink(world->path);
    assert_int_equal(rmdir(world->directory), 0);
}

static char *file_tail(const char *path, long from)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fseek(file, from, SEEK_SET), 0);
    char *text = NULL;
    size_t size = 0;
    if (getdelim(&text, &size, '\0', file) < 0) { // a log holds no NUL
        free(text);
        text = strdup("");
    }
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    return text;
}

static char *file_text(const char *path)
{
    return file_tail(path, 0);
}

static char *text_of(const struct world *world)
{
    return file_text(world->path);
}

static void write_value(struct log *log, const char *value, size_t length)
{
    struct log_lines lines;
    log_lines_init(&lines, log);
    log_line_begin(&lines, 1764083046120999999, LOG_INFO_LEVEL, "sent");
    log_line_data(&lines, "value", value, length);
    log_line_number(&lines, "n", INT64_MIN);
    log_line_text(&lines, "left_out", NULL);
    log_line_text(&lines, "empty", "");
    log_line_end(&lines);
    log_write(log, &lines);
    log_lines_release(&lines);
}

static void lines_look_as_documented(void **state)
{
    (void)state;
    static const struct {
        const char *value, *logfmt, *json;
    } rows[] = {
        {"plain", "plain", "\"plain\""},
        {"", "\"\"", "\"\""},
        {"two words", "\"two words\"", "\"two words\""},
        {"a=b", "\"a=b\"", "\"a=b\""},
        {"say \"hi\" \\o/", "\"say \\\"hi\\\" \\\\o/\"", "\"say \\\"hi\\\" \\\\o/\""},
        {"a\nb\r\tc", "\"a\\nb\\r\\tc\"", "\"a\\nb\\r\\tc\""},
        {"\x1b[31m\x7f\x01", "\"\\u001b[31m\\u007f\\u0001\"", "\"\\u001b[31m\\u007f\\u0001\""},
        {"M\xc3\xbcller", "\"M\xc3\xbcller\"", "\"M\xc3\xbcller\""},
        {"\xf0\x9f\x93\xac", "\"\xf0\x9f\x93\xac\"", "\"\xf0\x9f\x93\xac\""},
        {"caf\xe9", "\"caf\\u00e9\"", "\"caf\\u00e9\""},
        {"\xc2\x85", "\"\\u00c2\\u0085\"", "\"\\u00c2\\u0085\""},                   // C1 control
        {"\xc0\x80", "\"\\u00c0\\u0080\"", "\"\\u00c0\\u0080\""},                   // overlong NUL
        {"\xed\xa0\x80", "\"\\u00ed\\u00a0\\u0080\"", "\"\\u00ed\\u00a0\\u0080\""}, // surrogate
        {"\xe2\x80\xaegnp", "\"\\u202egnp\"", "\"\\u202egnp\""},                    // right to left
        {"\xe2\x80\xa8", "\"\\u2028\"", "\"\\u2028\""},
        {"\xe2\x81\xa6", "\"\\u2066\"", "\"\\u2066\""},
        {"\xe2\x80\x9cq\xe2\x80\x9d", "\"\xe2\x80\x9cq\xe2\x80\x9d\"", "\"\xe2\x80\x9cq\xe2\x80\x9d\""},
        {"\xe2\x80", "\"\\u00e2\\u0080\"", "\"\\u00e2\\u0080\""}, // cut short
        {"%s%n", "%s%n", "\"%s%n\""},
    };
    for (int json = 0; json < 2; json++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct world world;
            char wanted[512];
            world_make(&world, json);
            write_value(world.log, rows[i].value, strlen(rows[i].value));
            (void)snprintf(wanted, sizeof wanted,
                json
                    ? "{\"time\":\"2025-11-25T15:04:06.120Z\",\"event\":\"sent\",\"value\":%s,"
                      "\"n\":-9223372036854775808,\"empty\":\"\"}\n"
                    : "time=2025-11-25T15:04:06.120Z event=sent value=%s n=-9223372036854775808 empty=\"\"\n",
                json ? rows[i].json : rows[i].logfmt);
            char *text = text_of(&world);
            assert_string_equal(text, wanted);
            free(text);
            world_end(&world);
        }
}

// Reads one logfmt value back; where it is quoted, up to the closing quote.
static size_t logfmt_unescape(const char *text, char *to)
{
    size_t n = 0;
    if (*text != '"') {
        while (*text != ' ' && *text != '\n')
            to[n++] = *text++;
        return n;
    }
    for (text++; *text != '"'; text++) {
        assert_true(*text && *text != '\n');
        unsigned code;
        if (*text != '\\') {
            to[n++] = *text;
        } else if (*++text == 'u') {
            assert_int_equal(sscanf(text + 1, "%4x", &code), 1);
            assert_true(code < 256);
            to[n++] = (char)code;
            text += 4;
        } else {
            to[n++] = *text == 'n' ? '\n' : *text == 'r' ? '\r' : *text == 't' ? '\t' : *text;
        }
    }
    return n;
}

// Random octets: one line of printable text each, from which logfmt gives back the octets and JSON parses.
static void any_octets_make_one_line_that_can_be_read_back(void **state)
{
    (void)state;
    struct world logfmt, json;
    char value[300], back[4 * sizeof value];
    long logfmt_at = 0, json_at = 0;
    srand(6);
    world_make(&logfmt, false);
    world_make(&json, true);
    for (int i = 0; i < 3000; i++) {
        size_t length = (size_t)rand() % sizeof value;
        for (size_t j = 0; j < length; j++) // U+20xx marks are escaped by their number: left out of this
            do
                value[j] = (char)(rand() % 4 ? rand() % 256 : "\"\\= \n\x1b\x80\xc3"[rand() % 8]);
            while (value[j] == '\xe2');
        write_value(logfmt.log, value, length);
        write_value(json.log, value, length);
        char *text = file_tail(logfmt.path, logfmt_at);
        logfmt_at += (long)strlen(text);
        char *at = strstr(text, " value=");
        assert_non_null(at);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        for (const char *c = text; *c != '\n'; c++)
            assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
        size_t n = logfmt_unescape(at + 7, back);
        assert_int_equal(n, length);
        assert_memory_equal(back, value, length);
        free(text);
        text = file_tail(json.path, json_at);
        json_at += (long)strlen(text);
        json_error_t error;
        json_t *line = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        if (!line)
            fail_msg("%s in %s", error.text, text);
        assert_true(json_is_string(json_object_get(line, "value")));
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        json_decref(line);
        free(text);
    }
    world_end(&logfmt);
    world_end(&json);
}

static void long_values_are_cut(void **state)
{
    (void)state;
    struct world world;
    static char value[3 * LOG_VALUE_MAX];
    memset(value, 'x', sizeof value);
    world_make(&world, false);
    write_value(world.log, value, sizeof value);
    char *text = text_of(&world);
    assert_int_equal(strspn(strstr(text, "value=") + 6, "x"), LOG_VALUE_MAX);
    free(text);
    world_end(&world);
}

static void add_line(struct log_lines *lines, const char *event, char fill, size_t values)
{
    static char value[LOG_VALUE_MAX];
    memset(value, fill, sizeof value);
    log_line_begin(lines, 0, LOG_INFO_LEVEL, event);
    for (size_t i = 0; i < values; i++)
        log_line_data(lines, "v", value, sizeof value);
    log_line_end(lines);
}

static void a_line_that_does_not_fit_is_left_out_whole(void **state)
{
    (void)state;
    struct world world;
    struct log_lines lines;
    world_make(&world, false);
    log_lines_init(&lines, world.log);
    add_line(&lines, "first", 'a', 1);
    add_line(&lines, "huge", 'b', LOG_LINES_MAX / LOG_VALUE_MAX + 1);
    add_line(&lines, "last", 'c', 1);
    log_write(world.log, &lines);
    assert_int_equal(log_lost(world.log), 1);
    add_line(&lines, "next", 'd', 1);
    log_write(world.log, &lines);
    assert_int_equal(log_lost(world.log), 1);
    log_write(world.log, &lines); // nothing there
    log_lines_release(&lines);
    char *text = text_of(&world);
    assert_null(strstr(text, "huge"));
    assert_null(strchr(text, 'b'));
    unsigned n = 0;
    for (char *line = text; *line; line = strchr(line, '\n') + 1, n++)
        assert_memory_equal(line, "time=1970-01-01T00:00:00.000Z event=", 36);
    assert_int_equal(n, 3);
    free(text);
    world_end(&world);
}

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
        cmocka_unit_test(lines_look_as_documented),
        cmocka_unit_test(any_octets_make_one_line_that_can_be_read_back),
        cmocka_unit_test(long_values_are_cut),
        cmocka_unit_test(a_line_that_does_not_fit_is_left_out_whole),
        cmocka_unit_test(lines_of_threads_never_mix_and_rotation_loses_none),
        cmocka_unit_test(a_file_that_cannot_be_opened_keeps_the_old_one),
        cmocka_unit_test(the_format_changes_with_a_reload),
        cmocka_unit_test(what_was_torn_is_ended_before_the_next_line),
        cmocka_unit_test(standard_error_is_a_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
