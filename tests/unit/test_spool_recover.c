// Recovery after a crash, agents that compete, and their locks (spool-format/spool.h). Each row of the crash
// table in SPOOL.md is one of these tests.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool_support.h"
#include <pthread.h>
#include <sys/wait.h>

static void hard_link(
    const struct fixture *f, enum spool_state from, const char *name, enum spool_state to, const char *as)
{
    assert_int_equal(linkat(directory(f, from), name, directory(f, to), as, 0), 0);
}

static unsigned recover(const struct fixture *f)
{
    unsigned returned = 1000;
    assert_int_equal(spool_recover(f->tenant, &returned), 0);
    return returned;
}

static void test_nothing(void **state)
{
    assert_int_equal(recover(*state), 0);
    assert_int_equal(recover(*state), 0);
}

static void test_back_to_new(void **state)
{
    struct fixture *f = *state;
    ino_t a = put(f, SPOOL_CUR, "a", "text"), b = put(f, SPOOL_CUR, "b", "text");
    ino_t other = put(f, SPOOL_NEW, "b", "another");
    assert_int_equal(recover(f), 2);
    assert_int_equal(at(f, SPOOL_NEW, "a"), a);
    assert_int_equal(at(f, SPOOL_NEW, "b"), other);
    assert_int_equal(at(f, SPOOL_NEW, "b~2"), b);
    assert_int_equal(at(f, SPOOL_CUR, "a"), 0);
    assert_int_equal(recover(f), 0);
}

static void test_back_to_deferred(void **state)
{
    struct fixture *f = *state;
    ino_t inode = put(f, SPOOL_CUR, "m", "text");
    put_status(f, SPOOL_DEFERRED, "m", inode, 4);
    ino_t grown = put(f, SPOOL_CUR, "grown", "text");
    put_status(f, SPOOL_DEFERRED, "grown", grown, 3); // not of this file
    assert_int_equal(recover(f), 2);
    assert_int_equal(at(f, SPOOL_DEFERRED, "m"), inode);
    assert_int_equal(at(f, SPOOL_NEW, "grown"), grown);
    assert_true(at(f, SPOOL_DEFERRED, "m.status") != 0);
}

// The rank: sent, failed > deferred > cur > new. The lower name goes, the higher one stays as it is.
static void test_rank(void **state)
{
    struct fixture *f = *state;
    static const enum spool_state higher[] = {SPOOL_SENT, SPOOL_FAILED, SPOOL_DEFERRED};
    static const char *const names[] = {
        "m", "m~2", "m~3", "m~900"}; // the last is out of reach of a claim's search
    for (size_t i = 0; i < sizeof higher / sizeof *higher; i++) {
        for (size_t j = 0; j < sizeof names / sizeof *names; j++) {
            ino_t inode = put(f, SPOOL_CUR, "m", "text");
            hard_link(f, SPOOL_CUR, "m", higher[i], names[j]);
            put(f, SPOOL_CUR, "other", "text");
            put_status(f, SPOOL_DEFERRED, "m", inode, 4);
            assert_int_equal(recover(f), 1);
            assert_int_equal(at(f, SPOOL_CUR, "m"), 0);
            assert_int_equal(at(f, SPOOL_NEW, "m"), 0);
            assert_int_equal(at(f, higher[i], names[j]), inode);
            assert_int_equal(
                at(f, SPOOL_DEFERRED, "m.status") != 0, higher[i] == SPOOL_DEFERRED); // goes with its message
            assert_int_equal(unlinkat(directory(f, higher[i]), names[j], 0), 0);
            unlinkat(directory(f, SPOOL_DEFERRED), "m.status", 0);
            unlinkat(directory(f, SPOOL_NEW), "other", 0);
        }
    }
}

// new/ has the inode too (a claim that was committed in one directory only): one name is left.
static void test_new_and_cur(void **state)
{
    struct fixture *f = *state;
    ino_t inode = put(f, SPOOL_CUR, "m", "text");
    hard_link(f, SPOOL_CUR, "m", SPOOL_NEW, "m");
    recover(f);
    assert_int_equal(at(f, SPOOL_CUR, "m"), 0);
    assert_int_equal(at(f, SPOOL_NEW, "m"), inode);
    struct stat st;
    assert_int_equal(fstatat(directory(f, SPOOL_NEW), "m", &st, 0), 0);
    assert_int_equal(st.st_nlink, 1);
}

// Another message of the same name further on is no reason to drop this one.
static void test_same_name_other_inode(void **state)
{
    struct fixture *f = *state;
    ino_t inode = put(f, SPOOL_CUR, "m", "text");
    hard_link(f, SPOOL_CUR, "m", SPOOL_TMP, "m"); // so that recovery looks
    put(f, SPOOL_SENT, "m", "another");
    put(f, SPOOL_FAILED, "m", "another");
    put(f, SPOOL_DEFERRED, "m", "another");
    hard_link(f, SPOOL_CUR, "m", SPOOL_SENT, "n"); // another name
    assert_int_equal(recover(f), 1);
    assert_int_equal(at(f, SPOOL_NEW, "m"), inode);
}

static void test_temporaries(void **state)
{
    struct fixture *f = *state;
    char name[64];
    ino_t inode = put(f, SPOOL_CUR, "m", "text");
    snprintf(name, sizeof name, ".%lu.status.tmp", (unsigned long)inode);
    put(f, SPOOL_DEFERRED, name, "half a sta");
    put(f, SPOOL_FAILED, name, "half a sta");
    put(f, SPOOL_DEFERRED, ".1.status.tmp", "of another agent, which is writing it");
    assert_int_equal(recover(f), 1);
    assert_int_equal(at(f, SPOOL_DEFERRED, name), 0);
    assert_int_equal(at(f, SPOOL_FAILED, name), 0);
    assert_true(at(f, SPOOL_DEFERRED, ".1.status.tmp") != 0);
}

static void test_not_messages(void **state)
{
    struct fixture *f = *state;
    int cur = directory(f, SPOOL_CUR);
    assert_int_equal(mkdirat(cur, "directory", 0700), 0);
    assert_int_equal(symlinkat("directory", cur, "link"), 0);
    assert_int_equal(mkfifoat(cur, "fifo", 0600), 0);
    put(f, SPOOL_CUR, ".hidden", "x");
    put(f, SPOOL_CUR, "x.status", "x");
    assert_int_equal(recover(f), 0);
    assert_true(at(f, SPOOL_CUR, "directory") != 0);
    assert_true(at(f, SPOOL_CUR, "link") != 0);
    assert_true(at(f, SPOOL_CUR, "fifo") != 0);
    assert_true(at(f, SPOOL_CUR, ".hidden") != 0);
    assert_true(at(f, SPOOL_CUR, "x.status") != 0);
}

// More than one batch, and other agents' claims are left alone.
static void test_many(void **state)
{
    struct fixture *f = *state;
    struct spool_tenant *other, *reader;
    unsigned returned;
    assert_int_equal(spool_tenant_open(f->spool, "acme", "other", true, &other, NULL), 0);
    struct fixture theirs = {.tenant = other};
    ino_t their = put(&theirs, SPOOL_CUR, "theirs", "text");
    for (int i = 0; i < 9000; i++) {
        char name[32];
        snprintf(name, sizeof name, "m%d", i);
        put(f, SPOOL_CUR, name, "");
    }
    assert_int_equal(recover(f), 9000);
    assert_int_equal(at(&theirs, SPOOL_CUR, "theirs"), their);
    spool_tenant_close(other);
    assert_int_equal(spool_tenant_open(f->spool, "acme", NULL, false, &reader, NULL), 0);
    assert_int_equal(spool_recover(reader, &returned), -EINVAL); // a reader claims nothing
    spool_tenant_close(reader);
}

struct claimer {
    const struct spool_tenant *tenant;
    unsigned claimed, lost, failed;
};

#define COMPETE 2000

static void *claim_all(void *arg)
{
    struct claimer *claimer = arg;
    for (int i = 0; i < COMPETE; i++) {
        char name[SPOOL_NAME_SIZE];
        snprintf(name, sizeof name, "m%d", i);
        int r = spool_move(claimer->tenant, SPOOL_NEW, name, 0, SPOOL_CUR, name);
        claimer->claimed += r == 0;
        claimer->lost += r == -ENOENT;
        claimer->failed += r != 0 && r != -ENOENT;
    }
    return NULL;
}

// Two agents and two threads each: every message is claimed once, and losing is -ENOENT.
static void test_competition(void **state)
{
    struct fixture *f = *state;
    struct spool_tenant *other;
    assert_int_equal(spool_tenant_open(f->spool, "acme", "other", true, &other, NULL), 0);
    for (int i = 0; i < COMPETE; i++) {
        char name[32];
        snprintf(name, sizeof name, "m%d", i);
        put(f, SPOOL_NEW, name, "");
    }
    struct claimer claimers[4] = {
        {.tenant = f->tenant}, {.tenant = other}, {.tenant = f->tenant}, {.tenant = other}};
    pthread_t threads[4];
    unsigned claimed = 0, lost = 0;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, claim_all, &claimers[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(claimers[i].failed, 0);
        claimed += claimers[i].claimed;
        lost += claimers[i].lost;
    }
    assert_int_equal(claimed, COMPETE);
    assert_int_equal(lost, 3 * COMPETE);
    struct fixture theirs = {.tenant = other};
    unsigned returned = 0;
    assert_int_equal(spool_recover(other, &returned), 0);
    assert_int_equal(returned + recover(f), COMPETE);
    (void)theirs;
    spool_tenant_close(other);
}

static int note(const char *agent, void *arg)
{
    char *names = arg;
    size_t length = strlen(names);
    snprintf(names + length, 200 - length, "%s ", agent);
    return strcmp(agent, "stop") == 0 ? 77 : 0;
}

static void test_lock(void **state)
{
    struct fixture *f = *state;
    int fd = -1, again = -1;
    assert_int_equal(spool_agent_running(f->spool, NULL), 0); // without .agents
    assert_int_equal(spool_agents_visit(f->spool, note, NULL), 0);
    assert_int_equal(spool_agent_lock(f->spool, "main", &fd), 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(
        spool_agent_lock(f->spool, "main", &again), -EAGAIN); // another descriptor, the same process
    assert_int_equal(again, -1);
    assert_int_equal(spool_agent_running(f->spool, "main"), 1);
    assert_int_equal(spool_agent_running(f->spool, NULL), 1);
    assert_int_equal(spool_agent_running(f->spool, "other"), 0);
    assert_int_equal(spool_agent_lock(f->spool, "other", &again), 0);
    close(again);
    assert_int_equal(spool_agent_running(f->spool, "other"), 0);
    static const char *const bad[] = {"", ".x", "a/b", "../x", "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(spool_agent_lock(f->spool, bad[i], &again), -EINVAL);
        assert_int_equal(spool_agent_running(f->spool, bad[i]), -EINVAL);
    }
    close(fd);
    assert_int_equal(spool_agent_running(f->spool, "main"), 0);
    assert_int_equal(spool_agent_lock(f->spool, "main", &fd), 0); // a lock that was let go
    close(fd);
}

// The lock goes with its process, however that ends.
static void test_lock_dies(void **state)
{
    struct fixture *f = *state;
    int ready[2], fd, status;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        char done = spool_agent_lock(f->spool, "main", &fd) == 0 ? 'y' : 'n';
        (void)!write(ready[1], &done, 1);
        for (;;)
            pause();
    }
    char done = 0;
    assert_int_equal(read(ready[0], &done, 1), 1);
    assert_int_equal(done, 'y');
    assert_int_equal(spool_agent_lock(f->spool, "main", &fd), -EAGAIN);
    assert_int_equal(spool_agent_running(f->spool, "main"), 1);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(spool_agent_lock(f->spool, "main", &fd), 0);
    close(fd);
    close(ready[0]);
    close(ready[1]);
}

static void test_visit(void **state)
{
    struct fixture *f = *state;
    char names[200] = "";
    int fd;
    assert_int_equal(spool_agent_lock(f->spool, "one", &fd), 0);
    close(fd);
    assert_int_equal(spool_agents_visit(f->spool, note, names), 0);
    assert_string_equal(names, "one ");
    int agents = openat(f->spool, ".agents", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static const char *const others[] = {"x", ".lock", "x.lock.old", "..lock", "lock"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        close(openat(agents, others[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    *names = 0;
    assert_int_equal(spool_agents_visit(f->spool, note, names), 0);
    assert_string_equal(names, "one ");
    assert_int_equal(spool_agent_lock(f->spool, "stop", &fd), 0);
    close(fd);
    assert_int_equal(spool_agents_visit(f->spool, note, names), 77);
    assert_int_equal(symlinkat("/etc/passwd", agents, "evil.lock"), 0);
    close(agents);
    assert_int_equal(spool_agent_lock(f->spool, "evil", &fd), -ELOOP);
}

// A producer may not open the lock file, and still learns whether an agent runs.
static void test_running_unprivileged(void **state)
{
    struct fixture *f = *state;
    int fd, status;
    if (getuid() != 0) {
        skip();
        return;
    }
    assert_int_equal(chmod(f->path, 0755), 0);
    mode_t before = umask(0077);
    assert_int_equal(spool_agent_lock(f->spool, "main", &fd), 0);
    umask(before);
    for (int held = 1; held >= 0; held--) {
        pid_t child = fork();
        if (child == 0) {
            if (held == 1)
                close(fd); // the parent's lock stays
            if (setgid(65534) != 0 || setuid(65534) != 0)
                _exit(100);
            _exit(spool_agent_running(f->spool, "main") == held && spool_agent_running(f->spool, NULL) == held
                      ? 0
                      : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        if (held == 1)
            close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing),
        TEST(test_back_to_new),
        TEST(test_back_to_deferred),
        TEST(test_rank),
        TEST(test_new_and_cur),
        TEST(test_same_name_other_inode),
        TEST(test_temporaries),
        TEST(test_not_messages),
        TEST(test_many),
        TEST(test_competition),
        TEST(test_lock),
        TEST(test_lock_dies),
        TEST(test_visit),
        TEST(test_running_unprivileged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
