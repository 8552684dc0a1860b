// Keys of submitted messages: see submit_key.h.
#include "agent/cli/submit_key.h"
#include "agent/cli/submit_head.h"

#include "agent/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char field_name[] = "X-Outtray-Key";

const char *submit_key_choose(struct submit_key *key, const char *given, const struct header_block *block)
{
    size_t position = 0;
    const struct header_field *field = header_find(block, field_name, &position);
    if (field)
        key->text = header_unfold(field);
    else if (given)
        key->text = strdup(given);
    else
        return NULL;
    if (!key->text)
        return submit_no_memory;
    if (field && given && strcmp(key->text, given))
        return "the message has another X-Outtray-Key";
    key->given = !field;
    const char *problem = key_problem(key->text);
    if (problem)
        return problem;
    if (strchr(" \t", key->text[0]) || strchr(" \t", key->text[strlen(key->text) - 1]))
        return "it begins or ends with a blank";
    if (key_digest(key->text, key->digest))
        return "it cannot be hashed";
    (void)snprintf(key->name, sizeof key->name, "key.%s", key->digest);
    return NULL;
}

void submit_key_release(struct submit_key *key)
{
    free(key->text);
    *key = (struct submit_key){0};
}

int submit_key_find(const struct submit_key *key, const struct config *config,
    const struct spool_tenant *spool, char ret_name[static SPOOL_NAME_SIZE], ino_t *ret_inode)
{
    struct spool_key record;
    struct stat stat;
    // In this order: what leaves new/ in between has its record then.
    if (fstatat(spool->dir[SPOOL_NEW], key->name, &stat, AT_SYMLINK_NOFOLLOW) == 0) {
        memcpy(ret_name, key->name, sizeof key->name);
        *ret_inode = stat.st_ino;
        int error = spool_sync(spool, SPOOL_NEW);
        return error ? error : 1;
    }
    int r = spool_key_read(spool, key->digest, &record);
    if (r || clock_ns(&record.at) < clock_wall() - config->dedupe_ms * CLOCK_MS)
        return r && r != -ENOENT && r != -EBADMSG ? r : 0;
    memcpy(ret_name, record.name, sizeof record.name);
    *ret_inode = (ino_t)record.inode;
    return 1;
}
