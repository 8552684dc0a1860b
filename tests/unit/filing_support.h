// What the tests of the filing desk share: a desk at work on a real spool, and a tap on its calls.
//
// fsync(2) and renameat2(2) are this program's own here: they note what is done, fail where a test wants it,
// and hold the desk at a gate so that a batch can be filled. Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_FILING_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_FILING_SUPPORT_H

#include "agent/delivery/filing.h"
#include "delivery_support.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>

#define STEPS_MAX    4096
#define MESSAGES_MAX 300

enum step_kind { STEP_SYNC_DIR, STEP_SYNC_FILE, STEP_MOVE, STEP_STATUS };

struct step {
    enum step_kind kind;
    ino_t dir; // SYNC_DIR: which one; MOVE, STATUS: the destination
    ino_t from;
    size_t logged; // octets in the log at that time
};

// What the desk's thread did since tap_clear; read by the test while the desk has nothing to do.
static struct {
    pthread_mutex_t lock;
    bool on;
    struct step steps[STEPS_MAX];
    unsigned n;
    int log;                                  // fd
    int fail_sync, fail_sync_file, fail_move; // errno
    unsigned syncs_left, moves_left;          // that work before fail_sync and fail_move count
    bool gated;
    sem_t gate, reached;
} tap = {.lock = PTHREAD_MUTEX_INITIALIZER, .log = -1};

int fsync(int fd);

static inline void tap_note(enum step_kind kind, int dir, int from)
{
    struct stat to_stat = {0}, from_stat = {0}, log_stat = {0};
    (void)fstat(dir, &to_stat);
    if (from >= 0)
        (void)fstat(from, &from_stat);
    if (tap.log >= 0)
        (void)fstat(tap.log, &log_stat);
    if (tap.n < STEPS_MAX)
        tap.steps[tap.n++] = (struct step){kind, to_stat.st_ino, from_stat.st_ino, (size_t)log_stat.st_size};
}

static inline void tap_gate(void)
{
    pthread_mutex_lock(&tap.lock);
    bool gated = tap.gated;
    tap.gated = false;
    pthread_mutex_unlock(&tap.lock);
    if (gated) {
        sem_post(&tap.reached);
        sem_wait(&tap.gate);
    }
}

int fsync(int fd)
{
    struct stat stat = {0};
    (void)fstat(fd, &stat);
    tap_gate();
    pthread_mutex_lock(&tap.lock);
    if (tap.on)
        tap_note(S_ISDIR(stat.st_mode) ? STEP_SYNC_DIR : STEP_SYNC_FILE, fd, -1);
    int fail = !tap.on ? 0 : S_ISDIR(stat.st_mode) ? tap.fail_sync : tap.fail_sync_file;
    if (tap.on && tap.fail_sync && tap.syncs_left && S_ISDIR(stat.st_mode)) {
        tap.syncs_left--;
        fail = 0;
    }
    pthread_mutex_unlock(&tap.lock);
    if (fail) {
        errno = fail;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

// What a test wants done right before the next rename, while all is as its caller has seen it.
static void (*before_rename)(void);

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    if (before_rename)
        before_rename();
    pthread_mutex_lock(&tap.lock);
    int fail = tap.on && tap.fail_move && tap.moves_left == 0 ? tap.fail_move : 0;
    if (tap.on && tap.moves_left)
        tap.moves_left--;
    if (tap.on && !fail)
        tap_note(STEP_MOVE, to, from);
    pthread_mutex_unlock(&tap.lock);
    if (fail) {
        errno = fail;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from, old, to, new, flags);
}

static inline void tap_start(void)
{
    pthread_mutex_lock(&tap.lock);
    tap.on = true;
    tap.n = 0;
    pthread_mutex_unlock(&tap.lock);
}

static inline void tap_fail(int sync, int sync_file, int move, unsigned work_before)
{
    pthread_mutex_lock(&tap.lock);
    tap.on = true;
    tap.fail_sync = sync;
    tap.fail_sync_file = sync_file;
    tap.fail_move = move;
    tap.syncs_left = tap.moves_left = work_before;
    pthread_mutex_unlock(&tap.lock);
}

struct archive {
    struct world world; // first
    struct filing filing;
    struct desk *desk;
    struct message *messages[MESSAGES_MAX]; // in the order they came back
};

static struct archive *the_archive; // jobs carry no pointer of their own

static inline int set_up(void **state)
{
    struct archive *archive = calloc(1, sizeof *archive);
    char path[96];
    world_make(&archive->world, "");
    (void)snprintf(path, sizeof path, "%s/log", archive->world.path);
    tap.log = open(path, O_RDONLY | O_CLOEXEC);
    tap_fail(0, 0, 0, 0);
    tap.on = false;
    tap.gated = false;
    sem_init(&tap.gate, 0, 0);
    sem_init(&tap.reached, 0, 0);
    filing_init(&archive->filing, archive->world.log, NULL);
    struct desk_params params = {.name = "filing",
        .loop = archive->world.loop,
        .batch = filing_batch,
        .idle = filing_idle,
        .idle_ms = 2,
        .arg = &archive->filing};
    assert_int_equal(desk_start(&params, &archive->desk), 0);
    *state = the_archive = archive;
    return 0;
}

static inline int tear_down(void **state)
{
    struct archive *archive = *state;
    filing_abandon(&archive->filing);
    desk_stop(archive->desk);
    assert_null(archive->filing.held);
    for (unsigned i = 0; i < archive->world.done; i++)
        message_free(archive->messages[i]);
    close(tap.log);
    sem_destroy(&tap.gate);
    sem_destroy(&tap.reached);
    world_end(&archive->world);
    free(archive);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline void came_back(struct desk_job *job)
{
    assert_true(the_archive->world.done < MESSAGES_MAX);
    the_archive->messages[the_archive->world.done++] = (struct message *)job;
}

static inline void submit(struct archive *archive, struct message *message, enum filing_action action)
{
    message->filing = action;
    message->job.done = came_back;
    log_line_begin(&message->lines, 0, LOG_INFO_LEVEL, "filed");
    log_line_text(&message->lines, "name", message->claimed_name);
    log_line_end(&message->lines);
    desk_submit(archive->desk, &message->job);
}

static inline bool all_back(struct world *world)
{
    (void)world;
    return desk_pending(the_archive->desk) == 0;
}

static inline void file(struct archive *archive, struct message *message, enum filing_action action)
{
    submit(archive, message, action);
    world_run(&archive->world, all_back);
}

static inline struct message *with_status(struct message *message, enum status_state state)
{
    assert_int_equal(message_need_status(message), 0);
    message->status->state = state;
    if (state == STATUS_DEFERRED)
        message->status->next_attempt = (struct timespec){2000000000, 0};
    else
        message->status->reason = STATUS_REASON_RECIPIENT;
    return message;
}

static inline void logged(struct archive *archive, size_t times)
{
    char *text = world_log(&archive->world);
    assert_int_equal(times_in(text, "event=filed"), times);
    free(text);
}

// Holds the desk inside a message of its own; what is submitted then is one batch, which release lets begin.
static inline void hold_desk(struct archive *archive)
{
    struct message *plug = claimed(&archive->world, archive->world.acme, "plug", PLAIN);
    pthread_mutex_lock(&tap.lock);
    tap.gated = true;
    pthread_mutex_unlock(&tap.lock);
    submit(archive, plug, FILING_SENT);
    sem_wait(&tap.reached);
}

static inline void release_desk(struct archive *archive)
{
    sem_post(&tap.gate);
    world_run(&archive->world, all_back);
}

#endif
