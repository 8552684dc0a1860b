// The filing desk's work in a real spool: where each outcome ends, in which order the disk is told of it, and
// what trouble with the disk does to it.
//
// fsync(2) and renameat2(2) are this program's own here: they note what is done, fail where a test wants it,
// and hold the desk at a gate so that a batch can be filled.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

static void tap_note(enum step_kind kind, int dir, int from)
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

static void tap_gate(void)
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

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    tap_gate();
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

// What a status file is put in place with.
int renameat(int from, const char *old, int to, const char *new)
{
    pthread_mutex_lock(&tap.lock);
    if (tap.on)
        tap_note(STEP_STATUS, to, from);
    pthread_mutex_unlock(&tap.lock);
    return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

static void tap_start(void)
{
    pthread_mutex_lock(&tap.lock);
    tap.on = true;
    tap.n = 0;
    pthread_mutex_unlock(&tap.lock);
}

static void tap_fail(int sync, int sync_file, int move, unsigned work_before)
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

static int set_up(void **state)
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
    filing_init(&archive->filing, archive->world.log);
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

static int tear_down(void **state)
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

static void came_back(struct desk_job *job)
{
    assert_true(the_archive->world.done < MESSAGES_MAX);
    the_archive->messages[the_archive->world.done++] = (struct message *)job;
}

static void submit(struct archive *archive, struct message *message, enum filing_action action)
{
    message->filing = action;
    message->job.done = came_back;
    log_line_begin(&message->lines, 0, LOG_INFO_LEVEL, "filed");
    log_line_text(&message->lines, "name", message->claimed_name);
    log_line_end(&message->lines);
    desk_submit(archive->desk, &message->job);
}

static bool all_back(struct world *world)
{
    (void)world;
    return desk_pending(the_archive->desk) == 0;
}

static void file(struct archive *archive, struct message *message, enum filing_action action)
{
    submit(archive, message, action);
    world_run(&archive->world, all_back);
}

static struct message *with_status(struct message *message, enum status_state state)
{
    assert_int_equal(message_need_status(message), 0);
    message->status->state = state;
    if (state == STATUS_DEFERRED)
        message->status->next_attempt = (struct timespec){2000000000, 0};
    else
        message->status->reason = STATUS_REASON_RECIPIENT;
    return message;
}

static void logged(struct archive *archive, size_t times)
{
    char *text = world_log(&archive->world);
    assert_int_equal(times_in(text, "event=filed"), times);
    free(text);
}

static void a_delivered_message_ends_in_sent(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = claimed(&archive->world, acme, "m", PLAIN);
    ino_t inode = inode_in(acme, SPOOL_CUR, "m");
    file(archive, message, FILING_SENT);
    assert_int_equal(message->error, 0);
    assert_int_equal(message->filed_in, SPOOL_SENT);
    assert_true(inode_in(acme, SPOOL_SENT, "m") == inode);
    assert_int_equal(entries_in(acme, SPOOL_CUR), 0);
    assert_int_equal(entries_in(acme, SPOOL_SENT), 1);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 0);
    logged(archive, 1);
    assert_int_equal(message->lines.text.length, 0);
}

static void a_deferred_message_has_its_status_beside_it(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = with_status(claimed(&archive->world, acme, "m", PLAIN), STATUS_DEFERRED);
    ino_t inode = message->stat.st_ino;
    file(archive, message, FILING_DEFER);
    assert_int_equal(message->error, 0);
    assert_int_equal(message->filed_in, SPOOL_DEFERRED);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "m") == inode);
    struct stat status_stat;
    assert_int_equal(fstatat(dir_of(acme, SPOOL_DEFERRED), "m.status", &status_stat, 0), 0);
    assert_int_equal(status_stat.st_mtim.tv_sec, 2000000000);
    struct status *status = read_status(acme, SPOOL_DEFERRED, "m");
    assert_non_null(status);
    assert_true(status->inode == inode);
    assert_string_equal(status->tenant, "acme");
    assert_string_equal(status->name, "m");
    assert_int_equal(status->state, STATUS_DEFERRED);
    assert_true(status->born.tv_sec != 0); // so that a reused inode inherits nothing
    assert_int_equal(status->n_recipients, 1);
    status_free(status);
}

static void a_failed_message_says_how_to_try_it_again(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    static const struct {
        const char *name, *fix;
    } rows[] = {
        {"1764000000.M1P2.host", "mv failed/1764000000.M1P2.host new/"},
        {"a b", "mv 'failed/a b' new/"},
        {"it's $HOME", "mv 'failed/it'\\''s $HOME' new/"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message *message =
            with_status(claimed(&archive->world, acme, rows[i].name, PLAIN), STATUS_FAILED);
        file(archive, message, FILING_FAIL);
        assert_int_equal(message->filed_in, SPOOL_FAILED);
        assert_true(inode_in(acme, SPOOL_FAILED, rows[i].name) == message->stat.st_ino);
        struct status *status = read_status(acme, SPOOL_FAILED, rows[i].name);
        assert_non_null(status);
        assert_int_equal(status->state, STATUS_FAILED);
        assert_string_equal(status->fix, rows[i].fix);
        status_free(status);
    }
}

static void a_returned_message_goes_where_it_came_from(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = claimed(&archive->world, acme, "m", PLAIN);
    file(archive, message, FILING_RETURN);
    assert_int_equal(message->filed_in, SPOOL_NEW);
    assert_true(inode_in(acme, SPOOL_NEW, "m") == message->stat.st_ino);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 0);
    // And from deferred/ back to deferred/, its status untouched.
    message = with_status(claimed(&archive->world, acme, "d", PLAIN), STATUS_DEFERRED);
    file(archive, message, FILING_DEFER);
    ino_t status = inode_in(acme, SPOOL_DEFERRED, "d.status");
    message = claim(&archive->world, acme, SPOOL_DEFERRED, "d", true);
    if (message->claim == CLAIM_NOT_DUE) { // say what the backlog would know
        struct message *again = message_for(&archive->world, acme, SPOOL_DEFERRED, "d", true);
        again->recorded = message->recorded;
        message_free(message);
        message = again;
        intake_claim(&message->job);
    }
    assert_int_equal(message->claim, CLAIM_READY);
    file(archive, message, FILING_RETURN);
    assert_int_equal(message->filed_in, SPOOL_DEFERRED);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "d") == message->stat.st_ino);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "d.status") == status);
}

static void a_record_keeps_the_message_claimed(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = with_status(
        claimed(&archive->world, acme, "m", "To: a@example.net, b@example.net\n\nbody\n"), STATUS_DEFERRED);
    struct timespec at = {1, 0};
    assert_int_equal(status_set_recipient(message->status, 1, STATUS_SENT, "250 ok", &at), 0);
    tap_start();
    file(archive, message, FILING_RECORD);
    assert_int_equal(message->error, 0);
    assert_true(inode_in(acme, SPOOL_CUR, "m") == message->stat.st_ino);
    struct status *status = read_status(acme, SPOOL_DEFERRED, "m");
    assert_non_null(status);
    assert_int_equal(status->recipients[0].state, STATUS_PENDING);
    assert_int_equal(status->recipients[1].state, STATUS_SENT);
    status_free(status);
    struct stat deferred;
    assert_int_equal(fstat(dir_of(acme, SPOOL_DEFERRED), &deferred), 0);
    assert_int_equal(tap.steps[tap.n - 1].kind, STEP_SYNC_DIR); // durable before the rest is sent
    assert_true(tap.steps[tap.n - 1].dir == deferred.st_ino);
    // What is recorded is where it goes back to, so that a recovery finds both together.
    file(archive, message, FILING_RETURN);
    archive->world.done--; // came back twice
    assert_int_equal(message->filed_in, SPOOL_DEFERRED);
    assert_true(inode_in(acme, SPOOL_DEFERRED, "m") == message->stat.st_ino);
}

static void a_recorded_message_that_is_delivered_leaves_no_status(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct message *message = with_status(claimed(&archive->world, acme, "m", PLAIN), STATUS_DEFERRED);
    file(archive, message, FILING_RECORD);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 1);
    file(archive, message, FILING_SENT);
    archive->world.done--;
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 0);
    assert_int_equal(entries_in(acme, SPOOL_SENT), 1);
}

static void a_taken_name_gets_another_and_the_status_goes_with_it(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    static const enum spool_state places[] = {SPOOL_SENT, SPOOL_DEFERRED, SPOOL_FAILED};
    for (size_t i = 0; i < 3; i++) {
        enum spool_state place = places[i];
        ino_t first = put_in(acme, place, "m", "somebody else\n");
        struct message *message = claimed(&archive->world, acme, "m", PLAIN);
        if (place != SPOOL_SENT)
            with_status(message, place == SPOOL_DEFERRED ? STATUS_DEFERRED : STATUS_FAILED);
        file(archive, message,
            place == SPOOL_SENT       ? FILING_SENT
            : place == SPOOL_DEFERRED ? FILING_DEFER
                                      : FILING_FAIL);
        assert_int_equal(message->error, 0);
        assert_string_equal(message->name, "m~2");
        assert_true(inode_in(acme, place, "m") == first);
        assert_true(inode_in(acme, place, "m~2") == message->stat.st_ino);
        assert_true(inode_in(acme, place, "m.status") == 0);
        if (place == SPOOL_SENT)
            continue;
        struct status *status = read_status(acme, place, "m~2");
        assert_non_null(status);
        assert_string_equal(status->name, "m~2");
        if (place == SPOOL_FAILED)
            assert_string_equal(status->fix, "mv failed/m~2 new/");
        status_free(status);
    }
}

static void another_messages_status_counts_as_a_taken_name(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    struct status *other = status_new();
    other->inode = 1;
    other->state = STATUS_FAILED;
    assert_int_equal(status_write(dir_of(acme, SPOOL_FAILED), "m", other), 0);
    status_free(other);
    ino_t before = inode_in(acme, SPOOL_FAILED, "m.status");
    struct message *message = with_status(claimed(&archive->world, acme, "m", PLAIN), STATUS_FAILED);
    file(archive, message, FILING_FAIL);
    assert_string_equal(message->name, "m~2");
    assert_true(inode_in(acme, SPOOL_FAILED, "m.status") == before);
    assert_true(inode_in(acme, SPOOL_FAILED, "m~2") != 0);
    assert_true(inode_in(acme, SPOOL_FAILED, "m~2.status") != 0);
}

static void an_adopted_status_goes_when_the_message_was_delivered(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    static const enum filing_action actions[] = {FILING_SENT, FILING_DEFER, FILING_FAIL};
    for (size_t i = 0; i < 3; i++) {
        char name[8] = {(char)('a' + (int)i), 0}, status_name[SPOOL_STATUS_SIZE];
        spool_name_status(name, status_name);
        struct message *message = with_status(claimed(&archive->world, acme, name, PLAIN), STATUS_FAILED);
        file(archive, message, FILING_FAIL);
        // mv failed/NAME new/
        assert_int_equal(renameat(dir_of(acme, SPOOL_FAILED), name, dir_of(acme, SPOOL_NEW), name), 0);
        message = claim(&archive->world, acme, SPOOL_NEW, name, true);
        assert_int_equal(message->claim, CLAIM_READY);
        assert_int_equal(message->status_in, SPOOL_FAILED);
        if (actions[i] != FILING_SENT)
            with_status(message, actions[i] == FILING_DEFER ? STATUS_DEFERRED : STATUS_FAILED);
        file(archive, message, actions[i]);
        assert_int_equal(message->error, 0);
        assert_true((inode_in(acme, SPOOL_FAILED, status_name) != 0) == (actions[i] == FILING_FAIL));
        assert_true((inode_in(acme, SPOOL_DEFERRED, status_name) != 0) == (actions[i] == FILING_DEFER));
    }
    assert_int_equal(entries_in(acme, SPOOL_SENT), 1);
    assert_int_equal(entries_in(acme, SPOOL_DEFERRED), 2);
    assert_int_equal(entries_in(acme, SPOOL_FAILED), 2);
}

// A batch

// Holds the desk inside a message of its own; what is submitted then is one batch, which release lets begin.
static void hold_desk(struct archive *archive)
{
    struct message *plug = claimed(&archive->world, archive->world.acme, "plug", PLAIN);
    pthread_mutex_lock(&tap.lock);
    tap.gated = true;
    pthread_mutex_unlock(&tap.lock);
    submit(archive, plug, FILING_SENT);
    sem_wait(&tap.reached);
}

static void release_desk(struct archive *archive)
{
    sem_post(&tap.gate);
    world_run(&archive->world, all_back);
}

static bool same_dir(const struct step *step, const struct tenant *tenant, enum spool_state state)
{
    struct stat stat;
    assert_int_equal(fstat(dir_of(tenant, state), &stat), 0);
    return step->dir == stat.st_ino;
}

// How often a directory was synced from step `begin` on; *ret_last is the step of the last one.
static unsigned syncs_of(
    const struct tenant *tenant, enum spool_state state, unsigned begin, unsigned *ret_last)
{
    unsigned n = 0;
    for (unsigned i = begin; i < tap.n; i++)
        if (tap.steps[i].kind == STEP_SYNC_DIR && same_dir(&tap.steps[i], tenant, state)) {
            *ret_last = i;
            n++;
        }
    return n;
}

static void a_batch_syncs_each_directory_once_then_logs(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    enum { EACH = 20 };
    struct message *batch[2][3][EACH];
    for (int t = 0; t < 2; t++)
        for (int kind = 0; kind < 3; kind++)
            for (int i = 0; i < EACH; i++) {
                char name[32];
                (void)snprintf(name, sizeof name, "m%d.%d", kind, i);
                batch[t][kind][i] = claimed(world, t ? world->other : world->acme, name, PLAIN);
                if (kind)
                    with_status(batch[t][kind][i], kind == 1 ? STATUS_DEFERRED : STATUS_FAILED);
            }
    hold_desk(archive);
    for (int i = 0; i < EACH; i++)
        for (int t = 0; t < 2; t++)
            for (int kind = 0; kind < 3; kind++)
                submit(archive, batch[t][kind][i],
                    kind == 0   ? FILING_SENT
                    : kind == 1 ? FILING_DEFER
                                : FILING_FAIL);
    // The plug's own rename and syncs come first; find where the batch begins by the log: its line is
    // written.
    tap_start();
    release_desk(archive);
    assert_true(tap.n < STEPS_MAX);
    unsigned begin = 0;
    while (begin < tap.n && tap.steps[begin].logged == 0)
        begin++;
    assert_true(begin < tap.n);
    unsigned last_to = 0, first_from = UINT32_MAX, last_work = 0;
    for (int t = 0; t < 2; t++) {
        const struct tenant *tenant = t ? world->other : world->acme;
        static const enum spool_state states[] = {SPOOL_SENT, SPOOL_DEFERRED, SPOOL_FAILED, SPOOL_CUR};
        for (size_t s = 0; s < 4; s++) {
            unsigned at = 0;
            assert_int_equal(syncs_of(tenant, states[s], begin, &at), 1);
            if (states[s] != SPOOL_CUR && at > last_to)
                last_to = at;
            if (states[s] == SPOOL_CUR && at < first_from)
                first_from = at;
        }
    }
    size_t before = tap.steps[begin].logged;
    for (unsigned i = begin; i < tap.n; i++) {
        assert_true(tap.steps[i].logged == before); // not a line of the batch until all is durable
        if (tap.steps[i].kind != STEP_SYNC_DIR)
            last_work = i;
    }
    assert_true(last_work < last_to);  // what is synced is complete
    assert_true(last_to < first_from); // destinations before sources
    logged(archive, 6 * EACH + 1);
    for (unsigned i = 0; i < world->done; i++)
        assert_int_equal(archive->messages[i]->error, 0);
    for (int t = 0; t < 2; t++) {
        const struct tenant *tenant = t ? world->other : world->acme;
        assert_int_equal(entries_in(tenant, SPOOL_SENT), t ? EACH : EACH + 1);
        assert_int_equal(entries_in(tenant, SPOOL_DEFERRED), 2 * EACH);
        assert_int_equal(entries_in(tenant, SPOOL_FAILED), 2 * EACH);
        assert_int_equal(entries_in(tenant, SPOOL_CUR), 0);
    }
}

static void the_status_is_in_place_before_the_message(void **state)
{
    struct archive *archive = *state;
    struct tenant *acme = archive->world.acme;
    static const enum filing_action actions[] = {FILING_DEFER, FILING_FAIL};
    for (size_t i = 0; i < 2; i++) {
        struct message *message = with_status(
            claimed(&archive->world, acme, i ? "f" : "d", PLAIN), i ? STATUS_FAILED : STATUS_DEFERRED);
        tap_start();
        file(archive, message, actions[i]);
        int file_synced = -1, status_placed = -1, moved = -1;
        for (unsigned s = 0; s < tap.n; s++) {
            const struct step *step = &tap.steps[s];
            bool within = step->dir == step->from; // .INODE.status.tmp becomes NAME.status
            if (step->kind == STEP_SYNC_FILE)
                file_synced = (int)s;
            else if (step->kind == STEP_STATUS || (step->kind == STEP_MOVE && within))
                status_placed = (int)s;
            else if (step->kind == STEP_MOVE)
                moved = (int)s;
        }
        assert_true(file_synced >= 0);
        assert_true(file_synced < status_placed);
        assert_true(status_placed < moved);
    }
}

// Trouble

static void a_failed_sync_breaks_the_spool_and_logs_nothing(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *batch[5];
    for (int i = 0; i < 5; i++) {
        char name[8] = {(char)('a' + i), 0};
        batch[i] = claimed(world, i % 2 ? world->acme : world->other, name, PLAIN);
    }
    hold_desk(archive);
    for (int i = 0; i < 4; i++)
        submit(archive, batch[i], FILING_SENT);
    tap_fail(EIO, 0, 0, 3); // the plug's sent/ and cur/, and one of the batch
    release_desk(archive);
    assert_int_equal(atomic_load(&archive->filing.broken), -EIO);
    for (unsigned i = 0; i < world->done; i++) // the whole batch is distrusted, and nothing else
        assert_int_equal(
            archive->messages[i]->error, strcmp(archive->messages[i]->claimed_name, "plug") == 0 ? 0 : -EIO);
    logged(archive, 1);
    // The next fsync would return 0 and mean nothing: it stays broken.
    tap_fail(0, 0, 0, 0);
    tap_start();
    file(archive, batch[4], FILING_SENT);
    assert_int_equal(batch[4]->error, -EIO);
    assert_int_equal(tap.n, 0); // not touched any more
    assert_true(inode_in(world->other, SPOOL_CUR, "e") != 0);
    assert_int_equal(atomic_load(&archive->filing.broken), -EIO);
    logged(archive, 1);
}

static void a_read_only_file_system_breaks_the_spool(void **state)
{
    struct archive *archive = *state;
    struct message *message = claimed(&archive->world, archive->world.acme, "m", PLAIN);
    tap_fail(0, 0, EROFS, 0);
    file(archive, message, FILING_SENT);
    assert_int_equal(message->error, -EROFS);
    assert_int_equal(atomic_load(&archive->filing.broken), -EROFS);
    assert_int_equal(atomic_load(&archive->filing.full), 0);
    logged(archive, 0);
}

static void a_status_that_cannot_be_synced_breaks_the_spool(void **state)
{
    struct archive *archive = *state;
    struct message *message =
        with_status(claimed(&archive->world, archive->world.acme, "m", PLAIN), STATUS_DEFERRED);
    tap_fail(0, EIO, 0, 0);
    file(archive, message, FILING_DEFER);
    assert_int_equal(message->error, -EIO);
    assert_int_equal(atomic_load(&archive->filing.broken), -EIO);
    assert_true(inode_in(archive->world.acme, SPOOL_CUR, "m") != 0);
    logged(archive, 0);
}

static bool some_wait(struct world *world)
{
    (void)world;
    return atomic_load(&the_archive->filing.full) != 0;
}

static void without_space_outcomes_wait(struct archive *archive, int sync_file, int move, int expected)
{
    struct world *world = &archive->world;
    struct message *sent = claimed(world, world->acme, "sent", PLAIN);
    struct message *deferred = with_status(claimed(world, world->acme, "deferred", PLAIN), STATUS_DEFERRED);
    tap_fail(0, sync_file, move, 0);
    submit(archive, deferred, FILING_DEFER);
    world_run(world, some_wait);
    assert_int_equal(atomic_load(&archive->filing.full), expected);
    assert_int_equal(atomic_load(&archive->filing.broken), 0);
    submit(archive, sent, FILING_SENT);
    world_run(world, some_wait);
    assert_true(inode_in(world->acme, SPOOL_CUR, "deferred") == deferred->stat.st_ino);
    if (move)
        assert_int_equal(world->done, 0);
    tap_fail(0, 0, 0, 0); // there is room again: tried by itself while the desk idles
    world_run(world, all_back);
    assert_int_equal(atomic_load(&archive->filing.full), 0);
    assert_int_equal(world->done, 2);
    assert_int_equal(sent->error, 0);
    assert_int_equal(deferred->error, 0);
    assert_int_equal(entries_in(world->acme, SPOOL_CUR), 0);
    assert_true(inode_in(world->acme, SPOOL_SENT, "sent") != 0);
    assert_true(inode_in(world->acme, SPOOL_DEFERRED, "deferred.status") != 0);
    assert_int_equal(entries_in(world->acme, SPOOL_DEFERRED), 2);
    logged(archive, 2);
}

static void without_space_for_the_move_outcomes_wait(void **state)
{
    without_space_outcomes_wait(*state, 0, ENOSPC, -ENOSPC);
}

static void without_space_for_the_status_outcomes_wait(void **state)
{
    without_space_outcomes_wait(*state, EDQUOT, 0, -EDQUOT);
}

static void without_descriptors_outcomes_wait(void **state)
{
    without_space_outcomes_wait(*state, 0, EMFILE, -EMFILE);
}

static void at_the_end_nothing_is_waited_for(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *message = claimed(world, world->acme, "m", PLAIN);
    tap_fail(0, 0, ENOSPC, 0);
    submit(archive, message, FILING_SENT);
    world_run(world, some_wait);
    filing_abandon(&archive->filing);
    world_run(world, all_back);
    assert_int_equal(message->error, -ENOSPC);
    assert_true(inode_in(world->acme, SPOOL_CUR, "m") != 0); // for the next start to find
    logged(archive, 0);
}

static void an_io_error_also_ends_the_waiting(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *held = claimed(world, world->acme, "held", PLAIN);
    tap_fail(0, 0, ENOSPC, 0);
    submit(archive, held, FILING_SENT);
    world_run(world, some_wait);
    tap_fail(0, 0, EIO, 0);
    world_run(world, all_back);
    assert_int_equal(held->error, -EIO);
    assert_int_equal(atomic_load(&archive->filing.broken), -EIO);
    logged(archive, 0);
}

static void a_message_that_is_gone_is_reported_and_holds_nobody_up(void **state)
{
    struct archive *archive = *state;
    struct world *world = &archive->world;
    struct message *gone = claimed(world, world->acme, "gone", PLAIN);
    struct message *there = claimed(world, world->acme, "there", PLAIN);
    assert_int_equal(unlinkat(dir_of(world->acme, SPOOL_CUR), "gone", 0), 0);
    hold_desk(archive);
    submit(archive, gone, FILING_SENT);
    submit(archive, there, FILING_SENT);
    release_desk(archive);
    assert_int_equal(gone->error, -ENOENT);
    assert_int_equal(there->error, 0);
    assert_int_equal(atomic_load(&archive->filing.broken), 0);
    assert_int_equal(atomic_load(&archive->filing.full), 0);
    char *text = world_log(world);
    assert_null(strstr(text, "name=gone"));
    assert_non_null(strstr(text, "name=there"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_delivered_message_ends_in_sent),
        TEST(a_deferred_message_has_its_status_beside_it),
        TEST(a_failed_message_says_how_to_try_it_again),
        TEST(a_returned_message_goes_where_it_came_from),
        TEST(a_record_keeps_the_message_claimed),
        TEST(a_recorded_message_that_is_delivered_leaves_no_status),
        TEST(a_taken_name_gets_another_and_the_status_goes_with_it),
        TEST(another_messages_status_counts_as_a_taken_name),
        TEST(an_adopted_status_goes_when_the_message_was_delivered),
        TEST(a_batch_syncs_each_directory_once_then_logs),
        TEST(the_status_is_in_place_before_the_message),
        TEST(a_failed_sync_breaks_the_spool_and_logs_nothing),
        TEST(a_read_only_file_system_breaks_the_spool),
        TEST(a_status_that_cannot_be_synced_breaks_the_spool),
        TEST(without_space_for_the_move_outcomes_wait),
        TEST(without_space_for_the_status_outcomes_wait),
        TEST(without_descriptors_outcomes_wait),
        TEST(at_the_end_nothing_is_waited_for),
        TEST(an_io_error_also_ends_the_waiting),
        TEST(a_message_that_is_gone_is_reported_and_holds_nobody_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
