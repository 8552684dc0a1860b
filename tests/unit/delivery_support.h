// What the tests of the desks and of concluding share: a configuration, a spool of two tenants in a directory
// of its own, messages in it, a loop with an end.
//
// Include it after <cmocka.h>. Everything is static inline and gone after world_end.
#ifndef OUTTRAY_TESTS_UNIT_DELIVERY_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_DELIVERY_SUPPORT_H

#include "agent/base/clock.h"
#include "agent/delivery/intake.h"
#include "agent/delivery/message.h"
#include "config/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HANGS_AFTER (60 * CLOCK_SECOND)
#define PLAIN       "To: a@example.net\nSubject: hello\n\nbody\n"

struct world {
    char path[64];
    int spool_fd;
    const struct config *config;
    struct log *log;
    struct tenant *acme, *other;
    struct loop *loop;
    struct loop_timer alarm; // ends a test that hangs
    struct loop_timer tick;  // looks again at what other threads do
    bool hung;
    bool (*over)(struct world *world); // what world_run waits for
    unsigned done;                     // jobs that came back
    bool locks;                        // claims keep their locks where they can
};

static inline void world_hangs(struct loop_timer *timer)
{
    struct world *world = timer->arg;
    world->hung = true;
    loop_stop(world->loop);
}

static inline void world_tick(struct loop_timer *timer)
{
    struct world *world = timer->arg;
    assert_int_equal(loop_timer_set(world->loop, timer, clock_boot() + 2 * CLOCK_MS), 0);
}

static inline void world_look(void *arg)
{
    struct world *world = arg;
    if (world->over(world))
        loop_stop(world->loop);
}

// Runs the loop until `over`.
static inline void world_run(struct world *world, bool (*over)(struct world *world))
{
    world->over = over;
    world_tick(&world->tick);
    if (!over(world))
        assert_int_equal(loop_run(world->loop, world_look, world), 0);
    loop_timer_cancel(world->loop, &world->tick);
    assert_false(world->hung);
}

static inline void world_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

// extra is YAML at the top level: retry, retention, limits.
static inline const struct config *world_config(const struct world *world, const char *extra)
{
    char path[96], text[4096];
    struct config_findings findings = {0};
    const struct config *config = NULL;
    (void)snprintf(path, sizeof path, "%s/outtray.yaml", world->path);
    (void)snprintf(text, sizeof text,
        "version: 1\nspool: %s/spool\nstate: %s/state\ndomain: pbx.example.com\n"
        "accounts:\n"
        "  relay: {auth: none, email: noreply@example.com, server: 127.0.0.1, encryption: none,\n"
        "    limits: {recipients_per_message: 3}}\n"
        "tenants:\n"
        "  acme: {account: relay, from: \"Acme <voicemail@acme.example>\"}\n"
        "  other: {account: relay, from: other@example.com}\n%s",
        world->path, world->path, extra);
    world_write(path, text);
    int error = config_load(path, NULL, &config, &findings);
    if (error)
        fail_msg("%d: %s", error, findings.n ? findings.items[0].text : "");
    config_findings_release(&findings);
    return config;
}

static inline struct tenant *world_tenant(struct world *world, const char *name)
{
    struct spool_tenant *spool = NULL;
    struct tenant *tenant = tenant_new(name);
    assert_non_null(tenant);
    assert_int_equal(spool_tenant_open(world->spool_fd, name, "main", true, &spool, NULL), 0);
    tenant->settings = config_find_tenant(world->config, name);
    tenant->dirs = tenant_dirs_new(spool);
    assert_non_null(tenant->dirs);
    return tenant;
}

static inline void world_make(struct world *world, const char *extra)
{
    char path[96];
    memset(world, 0, sizeof *world);
    (void)snprintf(world->path, sizeof world->path, "/tmp/outtray-test-delivery-XXXXXX");
    assert_non_null(mkdtemp(world->path));
    assert_int_equal(chmod(world->path, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/spool", world->path);
    assert_int_equal(mkdir(path, 0755), 0);
    world->spool_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(world->spool_fd >= 0);
    world->config = world_config(world, extra);
    (void)snprintf(path, sizeof path, "%s/log", world->path);
    assert_int_equal(log_open(&(struct log_target){false, path, LOG_NO_SYSLOG, NULL}, &world->log), 0);
    world->acme = world_tenant(world, "acme");
    world->other = world_tenant(world, "other");
    assert_int_equal(loop_new(&world->loop), 0);
    loop_timer_init(&world->alarm, world_hangs, world);
    loop_timer_init(&world->tick, world_tick, world);
    assert_int_equal(loop_timer_set(world->loop, &world->alarm, clock_boot() + HANGS_AFTER), 0);
}

static inline int world_remove(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void world_end(struct world *world)
{
    loop_timer_cancel(world->loop, &world->alarm);
    loop_free(world->loop);
    tenant_free(world->acme);
    tenant_free(world->other);
    log_close(world->log);
    config_unref(world->config);
    close(world->spool_fd);
    assert_int_equal(nftw(world->path, world_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

// Set-up and tear-down of tests that need no more than a world.
static inline int world_set_up(void **state, const char *extra)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world_make(world, extra);
    *state = world;
    return 0;
}

static inline int world_set_up_plain(void **state)
{
    return world_set_up(state, "");
}

static inline int world_tear_down(void **state)
{
    world_end(*state);
    free(*state);
    return 0;
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up_plain, world_tear_down)

// All that was logged so far: free(3).
static inline char *world_log(const struct world *world)
{
    char path[96], *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/log", world->path);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    if (getdelim(&text, &size, '\0', file) < 0)
        text[0] = '\0';
    (void)fclose(file);
    return text;
}

static inline size_t times_in(const char *text, const char *what)
{
    size_t n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static inline int dir_of(const struct tenant *tenant, enum spool_state state)
{
    return tenant->dirs->spool->dir[state];
}

static inline ino_t put_in(
    const struct tenant *tenant, enum spool_state state, const char *name, const char *text)
{
    struct stat stat;
    int fd = openat(dir_of(tenant, state), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fstat(fd, &stat), 0);
    close(fd);
    return stat.st_ino;
}

// The inode of a name; 0 where there is none.
static inline ino_t inode_in(const struct tenant *tenant, enum spool_state state, const char *name)
{
    struct stat stat;
    return fstatat(dir_of(tenant, state), name, &stat, AT_SYMLINK_NOFOLLOW) ? 0 : stat.st_ino;
}

static inline void set_mtime(
    const struct tenant *tenant, enum spool_state state, const char *name, int64_t ns)
{
    struct timespec times[2] = {clock_timespec(ns), clock_timespec(ns)};
    assert_int_equal(utimensat(dir_of(tenant, state), name, times, AT_SYMLINK_NOFOLLOW), 0);
}

static inline size_t entries_in(const struct tenant *tenant, enum spool_state state)
{
    size_t n = 0;
    DIR *dir = fdopendir(openat(dir_of(tenant, state), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return n;
}

// A status file for a message that lies in `in`, as an earlier attempt left it. Change it through the pointer
// that status_read gives.
static inline struct status *read_status(
    const struct tenant *tenant, enum spool_state state, const char *name)
{
    struct status *status = NULL;
    int error = status_read(dir_of(tenant, state), name, &status, NULL, NULL);
    assert_true(error == 0 || error == -ENOENT);
    return status;
}

// A message about to be claimed. The entry belongs to the tenant's backlog.
static inline struct message *message_for(
    struct world *world, struct tenant *tenant, enum spool_state from, const char *name, bool sure)
{
    int64_t due = 0;
    struct backlog_entry *entry = from == SPOOL_NEW
                                      ? backlog_add_new(&tenant->backlog, name, sure, false)
                                      : backlog_add_deferred(&tenant->backlog, name, due, due, 1);
    assert_non_null(entry);
    struct message *message = message_new(world->config, tenant, entry, world->log);
    assert_non_null(message);
    return message;
}

// All steps of one claim, here and now.
static inline void claim_now(struct message *message)
{
    message->error = 0;
    message->claim = intake_examine(message);
    message->examined = clock_work();
    if (message->claim == CLAIM_READY && !message->keep_lock)
        message->claim = intake_move(message);
    if (message->claim == CLAIM_READY)
        message->claim = intake_read(message);
}

// Claims what lies in `from`; the test looks at message->claim.
static inline struct message *claim(
    struct world *world, struct tenant *tenant, enum spool_state from, const char *name, bool sure)
{
    struct message *message = message_for(world, tenant, from, name, sure);
    message->keep_lock = world->locks;
    claim_now(message);
    backlog_drop(&tenant->backlog, message->entry);
    message->entry = NULL;
    return message;
}

// Puts text into new/NAME and claims it.
static inline struct message *claimed(
    struct world *world, struct tenant *tenant, const char *name, const char *text)
{
    put_in(tenant, SPOOL_NEW, name, text);
    struct message *message = claim(world, tenant, SPOOL_NEW, name, true);
    if (message->claim != CLAIM_READY)
        fail_msg("claim of %s: %d (%d) %s", name, (int)message->claim, message->error,
            message->fault ? message->fault->detail : "");
    return message;
}

#endif
