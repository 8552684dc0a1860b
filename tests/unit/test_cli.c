// The command line: options in every form, what is said and returned where it is wrong, and the table of
// verbs.
#include "agent/cli/cli.h"
#include "agent/cli/queue.h"
#include "agent/cli/verbs.h"

// cmocka.h wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16

static const struct cli_verb verb = {
    .name = "try", .synopsis = "[-ti] [ARGUMENT]...", .summary = "s", .help = ""};

// What one command line came to.
struct line {
    const char *argv[ARGUMENTS_MAX]; // as cli_parse left it
    int argc, code, result;
    bool t, i, json;
    const char *f, *tenant, *config;
};

// Parses words up to a NULL as arguments of the verb above.
static struct line parse(const char *first, ...)
{
    struct line line = {.argv = {"try"}, .argc = 1, .code = -1};
    char *argv[ARGUMENTS_MAX] = {NULL};
    const struct cli_option options[] = {
        {.name = "t", .letter = 't', .flag = &line.t},
        {.name = "i", .letter = 'i', .flag = &line.i},
        {.name = "from", .letter = 'f', .value = &line.f},
        {.name = "tenant", .value = &line.tenant},
        {.name = "json", .flag = &line.json},
        {0},
    };
    va_list words;
    va_start(words, first);
    argv[0] = (char *)(uintptr_t)line.argv[0];
    for (const char *word = first; word; word = va_arg(words, const char *))
        argv[line.argc++] = (char *)(uintptr_t)word;
    va_end(words);
    line.result = cli_parse(&verb, &line.argc, argv, options, &line.config, &line.code);
    for (int n = 0; n < ARGUMENTS_MAX; n++)
        line.argv[n] = argv[n];
    return line;
}

// Where the unit under test talks to people, so that the output of the tests stays readable.
static int quiet_stderr(void **state)
{
    int *saved = malloc(sizeof *saved);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (!saved || null < 0)
        return -1;
    *saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    (void)dup2(null, STDERR_FILENO);
    close(null);
    *state = saved;
    return 0;
}

static int loud_stderr(void **state)
{
    int *saved = *state;
    (void)dup2(*saved, STDERR_FILENO);
    close(*saved);
    free(saved);
    return 0;
}

static void options_come_in_every_form(void **state)
{
    (void)state;
    struct line line = parse("--tenant", "acme", "-f", "a@b.example", "x", "--json", "y", NULL);
    assert_int_equal(line.result, 0);
    assert_string_equal(line.tenant, "acme");
    assert_string_equal(line.f, "a@b.example");
    assert_true(line.json);
    assert_int_equal(line.argc, 3);
    assert_string_equal(line.argv[1], "x");
    assert_string_equal(line.argv[2], "y");
    assert_null(line.argv[3]);
    line = parse("--tenant=acme=b", "-fa@b.example", NULL);
    assert_string_equal(line.tenant, "acme=b");
    assert_string_equal(line.f, "a@b.example");
    line = parse("-tif", "a@b.example", NULL);
    assert_true(line.t && line.i);
    assert_string_equal(line.f, "a@b.example");
    line = parse("-f", "", "-f", "-x", NULL); // the last one counts, and a value may be anything
    assert_string_equal(line.f, "-x");
    assert_int_equal(line.argc, 1);
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    struct line line = parse("-t", "--", "-i", "--help", "--", NULL);
    assert_int_equal(line.result, 0);
    assert_true(line.t);
    assert_false(line.i);
    assert_int_equal(line.argc, 4);
    assert_string_equal(line.argv[1], "-i");
    assert_string_equal(line.argv[2], "--help");
    assert_string_equal(line.argv[3], "--");
    line = parse("-", NULL);
    assert_int_equal(line.argc, 2);
    assert_string_equal(line.argv[1], "-");
}

static void configuration_is_option_then_environment_then_default(void **state)
{
    (void)state;
    unsetenv("OUTTRAY_CONFIG");
    assert_string_equal(parse("x", NULL).config, "/etc/outtray/outtray.yaml");
    setenv("OUTTRAY_CONFIG", "/from/environment", 1);
    assert_string_equal(parse("x", NULL).config, "/from/environment");
    assert_string_equal(parse("--config", "/a", NULL).config, "/a");
    assert_string_equal(parse("--config=/b", NULL).config, "/b");
    assert_string_equal(parse("-C", "/c", NULL).config, "/c");
    setenv("OUTTRAY_CONFIG", "", 1);
    assert_string_equal(parse("x", NULL).config, "/etc/outtray/outtray.yaml");
    unsetenv("OUTTRAY_CONFIG");
}

static void wrong_options_are_usage_errors(void **state)
{
    (void)state;
    const struct line lines[] = {
        parse("--tenants", "x", NULL),
        parse("--json=yes", NULL),
        parse("--tenant", NULL),
        parse("-f", NULL),
        parse("-x", NULL),
        parse("-tx", NULL),
        parse("-h", NULL), // sendmail(8) means hops by it
        parse("--=", NULL),
    };
    for (size_t n = 0; n < sizeof lines / sizeof *lines; n++) {
        assert_int_equal(lines[n].result, -1);
        assert_int_equal(lines[n].code, EX_USAGE);
    }
}

static void help_and_version_end_well(void **state)
{
    (void)state;
    const struct line lines[] = {parse("--help", NULL), parse("x", "--version", NULL)};
    for (size_t n = 0; n < sizeof lines / sizeof *lines; n++) {
        assert_int_equal(lines[n].result, -1);
        assert_int_equal(lines[n].code, EX_OK);
    }
}

static void verbs_are_found_and_described(void **state)
{
    (void)state;
    static const char *const names[] = {"run", "init", "check", "queue", "submit", "explain"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        assert_non_null(cli_find(names[n]));
    assert_null(cli_find("no such verb"));
    assert_null(cli_find(""));
    for (const struct cli_verb *each = cli_verbs; each->name; each++) {
        assert_non_null(each->run);
        assert_ptr_equal(cli_find(each->name), each);
        size_t length = strlen(each->help);
        assert_true(length > 0 && each->help[length - 1] == '\n');
    }
}

static int run_main(const char *first, const char *second, const char *third)
{
    char *argv[] = {(char *)(uintptr_t)first, (char *)(uintptr_t)second, (char *)(uintptr_t)third, NULL};
    return cli_main(1 + (second != NULL) + (third != NULL), argv);
}

static void main_picks_the_verb(void **state)
{
    (void)state;
    assert_int_equal(run_main("outtray", NULL, NULL), EX_USAGE);
    assert_int_equal(run_main("outtray", "--help", NULL), EX_OK);
    assert_int_equal(run_main("outtray", "--version", NULL), EX_OK);
    assert_int_equal(run_main("outtray", "quue", NULL), EX_USAGE);
    assert_int_equal(run_main("outtray", "--no-such-option", NULL), EX_USAGE);
    assert_int_equal(run_main("/usr/bin/outtray", "queue", "--help"), EX_OK);
    assert_int_equal(run_main("outtray", "queue", "--no-such-option"), EX_USAGE);
}

static void mailboxes_and_addresses_are_checked(void **state)
{
    (void)state;
    assert_null(cli_config_checks.address("a@b.example"));
    assert_non_null(cli_config_checks.address("a b@c.example"));
    assert_non_null(cli_config_checks.address("A <a@b.example>"));
    assert_null(cli_config_checks.mailbox("a@b.example"));
    assert_null(cli_config_checks.mailbox("Acme Voicemail <voicemail@acme.example>"));
    assert_non_null(cli_config_checks.mailbox("nobody"));
    assert_non_null(cli_config_checks.mailbox("A <a@b.example>, C <c@d.example>"));
    assert_non_null(cli_config_checks.mailbox(""));
}

static void loading_tells_why_not_by_its_code(void **state)
{
    (void)state;
    int code = -1;
    char directory[] = "/tmp/outtray-cli-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/outtray.yaml", directory);
    assert_null(cli_load(&verb, path, true, &code));
    assert_int_equal(code, EX_NOINPUT);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs("version: 1\nspol: /x\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_null(cli_load(&verb, path, true, &code));
    assert_int_equal(code, EX_CONFIG);
    struct config config = {.spool = "/nonexistent/spool"};
    assert_true(cli_open_spool(&verb, &config, &code) < 0);
    assert_int_equal(code, EX_CONFIG);
    config.spool = path; // a file
    assert_true(cli_open_spool(&verb, &config, &code) < 0);
    assert_int_equal(code, EX_CONFIG);
    config.spool = directory;
    int fd = cli_open_spool(&verb, &config, &code);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    assert_int_equal(rmdir(directory), 0);
}

static void ages_are_short(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } rows[] = {{-5, "0s"}, {0, "0s"}, {59, "59s"}, {60, "1m"}, {3599, "59m"}, {3600, "1h00m"},
        {11100, "3h05m"}, {86400, "1d00h"}, {532800, "6d04h"}, {INT64_MAX, NULL}};
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        char text[QUEUE_AGE_SIZE];
        queue_age(rows[n].seconds, text);
        if (rows[n].text)
            assert_string_equal(text, rows[n].text);
        else
            assert_true(strlen(text) < sizeof text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_come_in_every_form),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(configuration_is_option_then_environment_then_default),
        cmocka_unit_test_setup_teardown(wrong_options_are_usage_errors, quiet_stderr, loud_stderr),
        cmocka_unit_test(help_and_version_end_well),
        cmocka_unit_test(verbs_are_found_and_described),
        cmocka_unit_test_setup_teardown(main_picks_the_verb, quiet_stderr, loud_stderr),
        cmocka_unit_test(mailboxes_and_addresses_are_checked),
        cmocka_unit_test_setup_teardown(loading_tells_why_not_by_its_code, quiet_stderr, loud_stderr),
        cmocka_unit_test(ages_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
