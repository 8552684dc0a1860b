// What the tests of config/ share: a configuration written to a temporary file, loaded, its findings
// compared.
//
// Include it after <cmocka.h>. Every path in findings begins with "F" here instead of the temporary file's
// name.
#ifndef OUTTRAY_TESTS_UNIT_CONFIG_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_CONFIG_SUPPORT_H

#include "config/config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct loaded {
    char path[64];
    int result;
    const struct config *config; // NULL where it did not load
    struct config_findings findings;
    char *text; // the findings, a line each
};

// Stand-ins for spool-format's checks, so that a fault there does not show here: an address has one @ inside,
// a mailbox may have it in < >.
static inline const char *support_address(const char *text)
{
    const char *at = strchr(text, '@');
    return at && at != text && at[1] && !strpbrk(text, " <>") ? NULL : "is no address";
}

static inline const char *support_mailbox(const char *text)
{
    const char *open = strchr(text, '<');
    if (!open)
        return support_address(text);
    const char *close = strchr(open, '>');
    return strchr(open, '@') && close && !close[1] ? NULL : "is no mailbox";
}

static inline void load_bytes(struct loaded *loaded, const char *text, size_t length)
{
    static const struct config_checks checks = {.address = support_address, .mailbox = support_mailbox};
    *loaded = (struct loaded){.path = "/tmp/outtray-test-config.XXXXXX"};
    int fd = mkstemp(loaded->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, length), (ssize_t)length);
    close(fd);
    loaded->result = config_load(loaded->path, &checks, &loaded->config, &loaded->findings);
    unlink(loaded->path);
    size_t size = 1;
    FILE *out = open_memstream(&loaded->text, &size);
    for (size_t i = 0; i < loaded->findings.n; i++) {
        const char *line = loaded->findings.items[i].text;
        assert_memory_equal(line, loaded->path, strlen(loaded->path));
        fprintf(out, "F%s\n", line + strlen(loaded->path));
    }
    fclose(out);
    assert_true((loaded->result == 0) == (loaded->config != NULL));
    assert_true((loaded->result == 0) == (loaded->findings.n_errors == 0));
}

static inline void load_text(struct loaded *loaded, const char *text)
{
    load_bytes(loaded, text, strlen(text));
}

// Loads text, which is right; findings are the warnings expected.
static inline void load_good(struct loaded *loaded, const char *text, const char *findings)
{
    load_text(loaded, text);
    if (loaded->result != 0 || strcmp(loaded->text, findings) != 0)
        fail_msg("result %d, findings:\n%s", loaded->result, loaded->text);
}

static inline void loaded_release(struct loaded *loaded)
{
    config_unref(loaded->config);
    config_findings_release(&loaded->findings);
    free(loaded->text);
}

// Loads text and compares all its findings. Says what differs and returns 1 where something does, so that one
// run shows every row that fails; the caller asserts that the sum is 0.
static inline int findings_differ(const char *text, const char *findings)
{
    struct loaded loaded;
    load_text(&loaded, text);
    int differ = strcmp(loaded.text, findings) != 0;
    if (differ)
        print_error("of:\n%s\nexpected:\n%s\ngot:\n%s\n", text, findings, loaded.text);
    loaded_release(&loaded);
    return differ;
}

#endif
