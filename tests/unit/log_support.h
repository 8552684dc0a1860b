// What the tests of the log share: one in a directory of its own, and what was written to it.
//
// Include it after <cmocka.h>. Everything is static inline and gone after world_end.
#ifndef OUTTRAY_TESTS_UNIT_LOG_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_LOG_SUPPORT_H

#include "agent/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct world {
    char directory[64];
    char path[128];
    struct log *log;
};

static inline void world_make(struct world *world, bool json)
{
    *world = (struct world){.directory = "/tmp/outtray-test-log.XXXXXX"};
    assert_non_null(mkdtemp(world->directory));
    (void)snprintf(world->path, sizeof world->path, "%s/log", world->directory);
    assert_int_equal(log_open(&(struct log_target){json, world->path, LOG_NO_SYSLOG, NULL}, &world->log), 0);
}

static inline void world_end(struct world *world)
{
    log_close(world->log);
    unlink(world->path);
    assert_int_equal(rmdir(world->directory), 0);
}

// Not inline: gcc would take what it returns for a pointer to its own variable.
__attribute__((noinline)) static char *file_tail(const char *path, long from)
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

static inline char *file_text(const char *path)
{
    return file_tail(path, 0);
}

static inline char *text_of(const struct world *world)
{
    return file_text(world->path);
}

#endif
