// What the tests of the header block share: a block that was parsed. Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_HEADER_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_HEADER_SUPPORT_H

#include "spool-format/header.h"

#include <string.h>

#define MAX (256 * 1024)

static inline struct header_block *parse_max(const char *data, size_t length, size_t max, int expected)
{
    struct header_block *block = NULL;
    int r = header_block_parse(data, length, true, max, &block);
    if (r != expected)
        fail_msg("%d instead of %d", r, expected);
    return block;
}

static inline struct header_block *parse(const char *data)
{
    return parse_max(data, strlen(data), MAX, 0);
}

#endif
