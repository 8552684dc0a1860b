// Files that are no configuration: broken YAML, hostile YAML, wrong encodings, things that are no files. Each
// gives a reason with a place, in bounded time and memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_support.h"
#include <errno.h>
#include <sys/stat.h>

#define HEAD "version: 1\ndomain: d.example\naccounts: {a: {auth: none, server: s.example}}\n"
#define GOOD HEAD "tenants: {t: {account: a}}\n"

static const struct {
    const char *text, *findings;
} rows[] = {
    {"", "F:1:1: the file is empty; version, domain, accounts and tenants are the least it needs\n"},
    {"# only a comment\n",
        "F:1:1: the file is empty; version, domain, accounts and tenants are the least it needs\n"},
    {"---\n...\n",
        "F:1:1: the file is empty; version, domain, accounts and tenants are the least it needs\n"},
    {"just text\n", "F:1:1: must be a mapping of keys to values\n"},
    {"- a\n- b\n", "F:1:1: must be a mapping of keys to values\n"},
    {GOOD "retry:\n\tfirst: 1m\n", "F:6:1: a tab cannot indent YAML; use blanks\n"},
    {GOOD "log: {format: json\nmetrics: {}\n",
        "F:6:8: YAML: did not find expected ',' or '}', while parsing a flow mapping that began in line 5\n"},
    {GOOD "log: \"abc\n",
        "F:6:1: YAML: found unexpected end of stream, while scanning a quoted scalar that began in line 5\n"},
    {GOOD "log:\n  format: json\n file: /x\n",
        "F:7:2: YAML: did not find expected key, while parsing a block mapping that began in line 1\n"},
    {GOOD "@x: 1\n",
        "F:5:1: YAML: found character that cannot start any token, while scanning for the next token that "
        "began in line 5\n"},
    {GOOD "---\nversion: 1\n", "F:5:1: a second document (`---`) begins here\n"},
    {GOOD "agent: \xff\n", "F:5:8: this is not UTF-8 text\n"},
    {GOOD "agent: \xc0\xaf\n", "F:5:8: this is not UTF-8 text\n"},
    {GOOD "agent: M\xc3\xbcnchen \xed\xa0\x80\n", "F:5:16: this is not UTF-8 text\n"},
    {GOOD "agent: a\x01z\n", "F:5:9: control characters are not allowed\n"},
    {"\xff\xfev\0e\0", "F:1:1: this is not UTF-8 text\n"}, // UTF-16
    {GOOD "agent: !!str x\n", "F:5:8: agent: tags such as `tag:yaml.org,2002:str` are not supported\n"},
    {GOOD "agent: !x {}\n", "F:5:8: agent: tags such as `!x` are not supported\n"},
    {GOOD "? [a, b]\n: c\n", "F:5:3: a key must be a word, not a list or a mapping\n"},
    {GOOD "agent: *nowhere\n", "F:5:8: agent: alias `*nowhere` has no anchor `&` before it\n"},
    {GOOD "log: &l {format: json, file: *l}\n",
        "F:5:30: log.file: alias `*l` stands inside of what it names\n"},
    {HEAD "tenants:\n  t: &t {account: a}\n  u: {<<: *t, weight: 2}\n",
        "F:6:3: tenants.u: `account` is missing, and there is no parent to inherit one from\n"
        "F:6:7: tenants.u: merge keys (`<<`) are not supported; write the keys out\n"},
    {GOOD "log: {{{{{{{{{{{{{{{{{{{{{{{{{{{{{{", "F:5:21: log: nested deeper than 16 levels\n"},
    {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "F:1:17: nested deeper than 16 levels\n"},
    {GOOD "\"ag\\0ent\": x\n", "F:5:1: a NUL character cannot be used\n"},
    {GOOD "\"\\e[31m\": x\n", "F:5:1: \\x1b[31m: unknown key `\\x1b[31m`\n"},
    {GOOD "retry: {jitter: \xd9\xa1}\n",
        "F:5:17: retry.jitter: must be a number such as 0.2, without quotes\n"},
};

static void texts(void **state)
{
    (void)state;
    int differ = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        differ += findings_differ(rows[i].text, rows[i].findings);
    assert_int_equal(differ, 0);
}

// A prefix, a piece many times, a suffix.
static char *repeat(
    const char *prefix, const char *piece, size_t times, const char *suffix, size_t *ret_length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_length);
    fputs(prefix, out);
    for (size_t i = 0; i < times; i++)
        fputs(piece, out);
    fputs(suffix, out);
    fclose(out);
    return text;
}

static void expect_of_bytes(char *text, size_t length, const char *findings)
{
    struct loaded loaded;
    load_bytes(&loaded, text, length);
    if (strcmp(loaded.text, findings) != 0)
        fail_msg("expected:\n%s\ngot:\n%.2000s", findings, loaded.text);
    loaded_release(&loaded);
    free(text);
}

static void nul_octets(void **state)
{
    (void)state;
    size_t length = sizeof(GOOD) + 3;
    char *text = malloc(length);
    assert_non_null(text);
    memcpy(text, GOOD "\0ab", length);
    expect_of_bytes(text, length, "F:5:1: control characters are not allowed\n");
}

static void too_large(void **state)
{
    (void)state;
    size_t length;
    char *text = repeat(GOOD, "# 4567890123456\n", (4 << 20) / 16 + 1, "", &length);
    struct loaded loaded;
    load_bytes(&loaded, text, length);
    assert_int_equal(loaded.result, -EFBIG);
    assert_string_equal(loaded.text, "F: is larger than 4 MB; that is no configuration\n");
    loaded_release(&loaded);
    text[4 << 20] = '\0';
    load_bytes(&loaded, text, 4 << 20); // that much may be
    assert_int_equal(loaded.result, 0);
    loaded_release(&loaded);
    free(text);
}

static void billion_laughs(void **state)
{
    (void)state;
    char text[4096] = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
    for (char c = 'b'; c <= 'm'; c++) {
        size_t used = strlen(text);
        int p = c - 1;
        snprintf(text + used, sizeof(text) - used,
            "%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, p, p, p, p, p, p, p, p, p,
            p);
    }
    struct loaded loaded;
    load_text(&loaded, text);
    assert_int_equal(loaded.result, -EINVAL);
    assert_non_null(strstr(loaded.text, ": the file grows beyond 500000 values\n"));
    loaded_release(&loaded);
}

static void too_many_of_everything(void **state)
{
    (void)state;
    size_t length;
    char *text = repeat("x: [", "1,", 600000, "]\n", &length);
    // The mapping, its key and the list count as well: the 499,998th element is the first too many.
    expect_of_bytes(text, length, "F:1:999999: x: the file grows beyond 500000 values\n");
    text = repeat("x:\n", "- &a 1\n", 1001, "\n", &length);
    expect_of_bytes(text, length, "F:1002:3: x: more than 1000 anchors\n");
    text = repeat(GOOD "hooks: {failed: [/x", ", y", 64, "]}\n", &length);
    expect_of_bytes(text, length, "F:5:17: hooks.failed: has more than 64 elements\n");
    text = repeat(GOOD "log: {file: /", "x", 4096, "}\n", &length);
    expect_of_bytes(text, length, "F:5:13: log.file: is longer than 4096 octets\n");
    char *names = NULL;
    FILE *out = open_memstream(&names, &length);
    fputs(HEAD "tenants:\n", out);
    for (int i = 0; i <= 10000; i++)
        fprintf(out, "  t%d: {account: a}\n", i);
    fclose(out);
    expect_of_bytes(names, length, "F:5:3: tenants: has more than 10000 names\n");
}

// A file of one line many times, with its number in place of '#'.
static char *repeat_numbered(
    const char *prefix, const char *line, int times, const char *suffix, size_t *ret_length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_length);
    fputs(prefix, out);
    for (int i = 0; i < times; i++)
        for (const char *at = line; *at; at++)
            if (*at == '#')
                fprintf(out, "%d", i);
            else
                fputc(*at, out);
    fputs(suffix, out);
    fclose(out);
    return text;
}

// The list of findings is bounded and says so; the count of errors stays above 0.
static void too_many_findings(void **state)
{
    (void)state;
    size_t length;
    char *text = repeat_numbered(GOOD, "unknown#: x\n", 100000, "", &length);
    struct loaded loaded;
    load_bytes(&loaded, text, length);
    assert_int_equal(loaded.result, -EINVAL);
    assert_int_equal(loaded.findings.n, 1001);
    assert_int_equal(loaded.findings.items[0].line, 5);
    assert_int_equal(loaded.findings.items[1000].line, 0);
    assert_string_equal(
        loaded.findings.items[1000].text + strlen(loaded.path), ": more follow; these are the first");
    loaded_release(&loaded);
    free(text);
}

// However many warnings there are, the file loads; and they hide no error.
static void too_many_warnings(void **state)
{
    (void)state;
    static const char head[] = "version: 1\ndomain: d.example\naccounts:\n";
    static const char line[] = "  a#: {auth: none, server: s.example, port: 465}\n";
    size_t length;
    char *text = repeat_numbered(head, line, 3000, "tenants: {t: {account: a0}}\n", &length);
    struct loaded loaded;
    load_bytes(&loaded, text, length);
    assert_int_equal(loaded.result, 0);
    assert_int_equal(loaded.findings.n, 1001);
    assert_int_equal(loaded.findings.n_errors, 0);
    loaded_release(&loaded);
    free(text);
    text = repeat_numbered(head, line, 3000, "tenants: {t: {account: a0}, u: {account: nobody}}\n", &length);
    load_bytes(&loaded, text, length);
    assert_int_equal(loaded.result, -EINVAL);
    assert_int_equal(loaded.findings.n_errors, 1);
    assert_non_null(strstr(loaded.text, "tenants.u.account: there is no account `nobody`\n"));
    loaded_release(&loaded);
    free(text);
}

// A key of a megabyte is cut in the message, at a whole character.
static void long_names(void **state)
{
    (void)state;
    size_t length;
    char *text = repeat(GOOD "? \"", "\xc3\xbc", 1 << 19, "\"\n: x\n", &length);
    struct loaded loaded;
    load_bytes(&loaded, text, length);
    assert_int_equal(loaded.result, -EINVAL);
    assert_int_equal(loaded.findings.n, 1);
    assert_true(strlen(loaded.text) < 1024);
    for (const unsigned char *at = (const unsigned char *)loaded.text; *at; at++)
        assert_true(*at >= 0x20 || *at == '\n');
    loaded_release(&loaded);
    free(text);
}

static void expect_unread(const char *path, int result, const char *problem)
{
    const struct config *config = (const void *)&config;
    struct config_findings findings = {0};
    char expected[256];
    snprintf(expected, sizeof(expected), "%s: %s", path, problem);
    assert_int_equal(config_load(path, NULL, &config, &findings), result);
    assert_ptr_equal(config, &config); // untouched
    assert_int_equal(findings.n, 1);
    assert_int_equal(findings.n_errors, 1);
    assert_int_equal(findings.items[0].line, 0);
    assert_string_equal(findings.items[0].text, expected);
    config_findings_release(&findings);
    assert_int_equal(findings.n, 0);
    config_findings_release(&findings);
}

static void no_files(void **state)
{
    (void)state;
    char path[] = "/tmp/outtray-test-config.XXXXXX", inside[64];
    assert_non_null(mkdtemp(path));
    snprintf(inside, sizeof(inside), "%s/x", path);
    expect_unread(path, -EISDIR, "is a directory, not a file");
    expect_unread(inside, -ENOENT, "does not exist");
    assert_int_equal(mkfifo(inside, 0600), 0);
    expect_unread(inside, -EINVAL, "is not a regular file"); // at once, although nobody writes
    unlink(inside);
    assert_int_equal(symlink("x", inside), 0);
    expect_unread(inside, -ELOOP, strerror(ELOOP));
    unlink(inside);
    expect_unread("/dev/zero", -EINVAL, "is not a regular file");
    FILE *out = fopen(inside, "we");
    assert_non_null(out);
    fputs(GOOD, out);
    fclose(out);
    chmod(path, 0711);
    chmod(inside, 0);
    if (geteuid() == 0) {
        assert_int_equal(seteuid(12345), 0);
        expect_unread(inside, -EACCES, "cannot be read: permission denied");
        assert_int_equal(seteuid(0), 0);
    } else {
        expect_unread(inside, -EACCES, "cannot be read: permission denied");
    }
    unlink(inside);
    rmdir(path);
}

// Without the rooms above nothing is known of addresses, and everything but control characters is taken.
static void without_checks(void **state)
{
    (void)state;
    char path[] = "/tmp/outtray-test-config.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char text[] = HEAD "tenants: {t: {account: a, from: whatever}}\n";
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    const struct config *config = NULL;
    struct config_findings findings = {0};
    assert_int_equal(config_load(path, NULL, &config, &findings), 0);
    assert_string_equal(config->tenants[0].from, "whatever");
    config_findings_release(&findings);
    config_unref(config);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(nul_octets),
        cmocka_unit_test(too_large),
        cmocka_unit_test(billion_laughs),
        cmocka_unit_test(too_many_of_everything),
        cmocka_unit_test(too_many_findings),
        cmocka_unit_test(too_many_warnings),
        cmocka_unit_test(long_names),
        cmocka_unit_test(no_files),
        cmocka_unit_test(without_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
