// Which message was the first with its key (spool-format/key.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool-format/key.h"
#include "spool_support.h"

#define DIGEST "0123456789abcdef"

static struct spool_key make_key(const char *name, uint64_t inode, time_t at)
{
    struct spool_key key = {.at = {.tv_sec = at}, .inode = inode, .born = {.tv_sec = 7, .tv_nsec = 9}};
    snprintf(key.name, sizeof key.name, "%s", name);
    return key;
}

static void first_and_repeat(void **state)
{
    struct fixture *f = *state;
    struct spool_key a = make_key("a b", 1, 1000), b = make_key("b", 2, 1001), found = {0};
    assert_int_equal(spool_key_read(f->tenant, DIGEST, &found), -ENOENT);
    assert_int_equal(spool_key_claim(f->tenant, DIGEST, &a, 500, &found), 1);
    assert_int_equal(spool_key_claim(f->tenant, DIGEST, &a, 500, &found), 1); // it is itself
    assert_int_equal(spool_key_claim(f->tenant, DIGEST, &b, 500, &found), 0);
    assert_string_equal(found.name, "a b");
    assert_int_equal(found.inode, 1);
    b.inode = 1; // the same inode of a later file is another message
    b.born.tv_nsec = 8;
    assert_int_equal(spool_key_claim(f->tenant, DIGEST, &b, 500, &found), 0);
    assert_int_equal(spool_key_read(f->tenant, DIGEST, &found), 0);
    assert_int_equal(found.at.tv_sec, 1000);
    assert_int_equal(found.born.tv_nsec, 9);
}

static void old_records_count_as_none(void **state)
{
    struct fixture *f = *state;
    struct spool_key a = make_key("a", 1, 1000), b = make_key("b", 2, 3000), found = {0};
    assert_int_equal(spool_key_claim(f->tenant, DIGEST, &a, 0, &found), 1);
    assert_int_equal(spool_key_claim(f->tenant, DIGEST, &b, 1001, &found), 1);
    assert_int_equal(spool_key_read(f->tenant, DIGEST, &found), 0);
    assert_string_equal(found.name, "b");
    assert_int_equal(spool_keys_expire(f->tenant, 3000), 0);
    assert_int_equal(spool_key_read(f->tenant, DIGEST, &found), 0);
    assert_int_equal(spool_keys_expire(f->tenant, 3001), 0);
    assert_int_equal(spool_key_read(f->tenant, DIGEST, &found), -ENOENT);
}

static void damaged_records(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"", "name: a\n", "name: a\ninode: x\nat: 2026-01-01T00:00:00Z\n",
        "name: .a\ninode: 1\nat: 2026-01-01T00:00:00Z\n", "name: a\ninode: 1\nat: soon\n", "\n\n\n"};
    struct spool_key a = make_key("a", 1, 1000), found = {0};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(spool_key_claim(f->tenant, DIGEST, &a, 0, &found), 1);
        int fd = openat(f->tenant->root, SPOOL_KEYS "/" DIGEST, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_int_equal(write(fd, texts[i], strlen(texts[i])), (ssize_t)strlen(texts[i]));
        close(fd);
        assert_int_equal(spool_key_read(f->tenant, DIGEST, &found), -EBADMSG);
        a.inode++;
    }
    assert_int_equal(spool_key_claim(f->tenant, DIGEST, &a, 0, &found), 1);
    assert_int_equal(spool_key_read(f->tenant, DIGEST, &found), 0);
    assert_int_equal(found.inode, a.inode);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_and_repeat),
        TEST(old_records_count_as_none),
        TEST(damaged_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
