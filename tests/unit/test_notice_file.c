// What a crash or an error left of a notice on its way into new/: it goes on where it stopped, once.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/notice_file.h"
#include "spool_support.h"
#include <inttypes.h>

#define NOW    (INT64_C(1764000000) * 1000000000)
#define NOTICE "notice.1764000000.0123456789abcdef"
#define OTHER  "notice.1764000001.0123456789abcdef"

static bool exists(int dir, const char *name)
{
    return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void write_file(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

// The directory of an agent, made where it is missing.
static int notices_of(const struct fixture *f, const char *agent)
{
    char path[64];
    (void)mkdirat(f->tenant->root, NOTICES_DIRECTORY, 0700);
    snprintf(path, sizeof path, NOTICES_DIRECTORY "/%s", agent);
    (void)mkdirat(f->tenant->root, path, 0700);
    int fd = openat(f->tenant->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

// A notice that is complete, about one message that is late and not marked.
static void leave_notice(int dir, const char *notice, ino_t inode, const char *about)
{
    char list[SPOOL_NAME_SIZE + 8], line[SPOOL_NAME_SIZE + 64];
    snprintf(list, sizeof list, "%s.list", notice);
    snprintf(line, sizeof line, "delayed %" PRIu64 " %s\n", (uint64_t)inode, about);
    write_file(dir, list, line);
    write_file(dir, notice, "From: a@example.com\n\nlate\n");
}

// The message, too; its inode.
static ino_t leave_late(const struct fixture *f, int dir, const char *notice, const char *name)
{
    ino_t inode = put(f, SPOOL_DEFERRED, name, "text");
    put_status(f, SPOOL_DEFERRED, name, inode, 4);
    leave_notice(dir, notice, inode, name);
    return inode;
}

static int64_t warned(const struct fixture *f, const char *name)
{
    struct status *status = NULL;
    assert_int_equal(status_read(directory(f, SPOOL_DEFERRED), name, &status, NULL, NULL), 0);
    int64_t second = status->delay_warned.tv_sec;
    status_free(status);
    return second;
}

static void goes_on_after_a_crash(void **state)
{
    struct fixture *f = *state;
    struct notice_submitted submitted = {0};
    int dir = notices_of(f, "main");
    leave_late(f, dir, NOTICE, "late");
    assert_int_equal(notice_file_recover(f->tenant, false, NOW, &submitted), 0);
    assert_int_equal(submitted.n, 1);
    assert_string_equal(submitted.names[0], NOTICE);
    assert_true(exists(directory(f, SPOOL_NEW), NOTICE));
    assert_true(exists(directory(f, SPOOL_DEFERRED), "late"));
    assert_int_equal(warned(f, "late"), NOW / 1000000000);
    assert_false(exists(dir, NOTICE) || exists(dir, NOTICE ".list"));
    notice_submitted_release(&submitted);
    assert_int_equal(notice_file_recover(f->tenant, false, NOW, &submitted), 0);
    assert_int_equal(submitted.n, 0);
    close(dir);
}

// While it is under way it cannot be marked, and its next failure would be told of once more.
static void waits_for_a_message_under_way(void **state)
{
    struct fixture *f = *state;
    struct notice_submitted submitted = {0};
    char name[SPOOL_NAME_SIZE];
    int dir = notices_of(f, "main");
    ino_t inode = leave_late(f, dir, NOTICE, "late");
    leave_late(f, dir, OTHER, "ready");
    assert_int_equal(spool_move(f->tenant, SPOOL_DEFERRED, "late", inode, SPOOL_CUR, name), 0);
    assert_int_equal(notice_file_recover(f->tenant, false, NOW, &submitted), -EBUSY);
    assert_int_equal(submitted.n, 1); // the other one need not wait
    assert_string_equal(submitted.names[0], OTHER);
    assert_true(exists(dir, NOTICE) && exists(dir, NOTICE ".list"));
    assert_int_equal(warned(f, "late"), 0);
    assert_int_equal(spool_move(f->tenant, SPOOL_CUR, name, inode, SPOOL_DEFERRED, name), 0);
    assert_int_equal(notice_file_recover(f->tenant, false, NOW, &submitted), 0);
    assert_int_equal(submitted.n, 2);
    assert_int_equal(warned(f, "late"), NOW / 1000000000);
    notice_submitted_release(&submitted);
    close(dir);
}

// What a dead agent had claimed is marked where it lies, before anybody can take it.
static void marks_what_a_dead_agent_had_claimed(void **state)
{
    struct fixture *f = *state;
    struct notice_submitted submitted = {0};
    char name[SPOOL_NAME_SIZE];
    int dir = notices_of(f, "main");
    ino_t inode = leave_late(f, dir, NOTICE, "late");
    assert_int_equal(spool_move(f->tenant, SPOOL_DEFERRED, "late", inode, SPOOL_CUR, name), 0);
    assert_int_equal(notice_file_recover(f->tenant, true, NOW, &submitted), 0);
    assert_int_equal(submitted.n, 1);
    assert_int_equal(warned(f, "late"), NOW / 1000000000);
    assert_true(exists(directory(f, SPOOL_CUR), "late"));
    notice_submitted_release(&submitted);
    close(dir);
}

static void waits_for_another_agent(void **state)
{
    struct fixture *f = *state;
    struct notice_submitted submitted = {0};
    struct spool_tenant *other;
    char name[SPOOL_NAME_SIZE];
    int dir = notices_of(f, "main");
    ino_t inode = leave_late(f, dir, NOTICE, "late");
    assert_int_equal(spool_tenant_open(f->spool, "acme", "other", true, &other, NULL), 0);
    assert_int_equal(spool_move(other, SPOOL_DEFERRED, "late", inode, SPOOL_CUR, name), 0);
    assert_int_equal(notice_file_recover(f->tenant, true, NOW, &submitted), -EBUSY);
    assert_int_equal(submitted.n, 0);
    assert_int_equal(warned(f, "late"), 0);
    assert_int_equal(spool_move(other, SPOOL_CUR, name, inode, SPOOL_DEFERRED, name), 0);
    assert_int_equal(notice_file_recover(f->tenant, true, NOW, &submitted), 0);
    assert_int_equal(submitted.n, 1);
    assert_int_equal(warned(f, "late"), NOW / 1000000000);
    notice_submitted_release(&submitted);
    spool_tenant_close(other);
    close(dir);
}

static void is_told_where_the_message_has_gone(void **state)
{
    struct fixture *f = *state;
    struct notice_submitted submitted = {0};
    int dir = notices_of(f, "main");
    leave_notice(dir, NOTICE, put(f, SPOOL_SENT, "late", "text"), "late");
    assert_int_equal(notice_file_recover(f->tenant, false, NOW, &submitted), 0);
    assert_int_equal(submitted.n, 1);
    notice_submitted_release(&submitted);
    close(dir);
}

static void what_was_never_complete_goes(void **state)
{
    struct fixture *f = *state;
    struct notice_submitted submitted = {0};
    int dir = notices_of(f, "main");
    write_file(dir, NOTICE ".list", "failed 1 gone\n");
    write_file(dir, "." NOTICE ".tmp", "half");
    assert_int_equal(notice_file_recover(f->tenant, false, NOW, &submitted), 0);
    assert_int_equal(submitted.n, 0);
    assert_false(exists(dir, NOTICE ".list") || exists(dir, "." NOTICE ".tmp"));
    close(dir);
}

// Another agent of this spool may be between its list and its notice at this moment.
static void leaves_other_agents_alone(void **state)
{
    struct fixture *f = *state;
    struct notice_submitted submitted = {0};
    int dir = notices_of(f, "other");
    write_file(dir, NOTICE ".list", "failed 1 gone\n");
    write_file(dir, "." NOTICE ".tmp", "half");
    leave_notice(dir, OTHER, put(f, SPOOL_DEFERRED, "late", "text"), "late");
    assert_int_equal(notice_file_recover(f->tenant, false, NOW, &submitted), 0);
    assert_int_equal(submitted.n, 0);
    assert_true(exists(dir, NOTICE ".list") && exists(dir, "." NOTICE ".tmp") && exists(dir, OTHER));
    close(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(goes_on_after_a_crash),
        TEST(waits_for_a_message_under_way),
        TEST(marks_what_a_dead_agent_had_claimed),
        TEST(waits_for_another_agent),
        TEST(is_told_where_the_message_has_gone),
        TEST(what_was_never_complete_goes),
        TEST(leaves_other_agents_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
