// Refills and looks: which names of new/ are read ahead, in which order, and what an event was about.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/scan.h"
#include "delivery_support.h"

static struct refill *refill_holding(struct world *world, size_t room, long position, size_t hold)
{
    struct refill *refill = refill_new(NULL, world->acme, room, position, NULL);
    assert_non_null(refill);
    refill->hold = hold;
    for (unsigned slices = 1; !refill->job.slice(&refill->job); slices++)
        assert_true(slices < 10000);
    assert_int_equal(refill->error, 0);
    return refill;
}

static struct refill *refill_at(struct world *world, size_t room, long position)
{
    return refill_holding(world, room, position, 0);
}

static void put_status(struct world *world, const char *name, int64_t next_attempt)
{
    struct status *status = status_new();
    status->inode = inode_in(world->acme, SPOOL_DEFERRED, name);
    status->next_attempt = clock_timespec(next_attempt);
    assert_int_equal(status_write(dir_of(world->acme, SPOOL_DEFERRED), name, status), 0);
    status_free(status);
}

static void an_empty_directory_gives_nothing(void **state)
{
    struct refill *refill = refill_at(*state, BACKLOG_NEW_MAX, 0);
    assert_int_equal(refill->names.n, 0);
    assert_int_equal(refill->ignored.n, 0);
    assert_true(refill->complete);
    assert_int_equal(refill->position, 0);
    refill_free(refill);
    refill_free(NULL);
}

static void names_come_oldest_first_with_their_priority(void **state)
{
    struct world *world = *state;
    static const char *const names[] = {"third", "first", "second"};
    static const int64_t times[] = {300, 100, 200};
    for (int i = 0; i < 3; i++) {
        put_in(world->acme, SPOOL_NEW, names[i], i == 2 ? "X-Outtray-Priority: high\n" PLAIN : PLAIN);
        set_mtime(world->acme, SPOOL_NEW, names[i], times[i] * CLOCK_SECOND);
    }
    for (size_t hold = 0; hold <= 3; hold++) { // whether files stay open or not
        struct refill *refill = refill_holding(world, BACKLOG_NEW_MAX, 0, hold);
        assert_true(refill->complete);
        assert_int_equal(refill->names.n, 3);
        assert_string_equal(refill->names.items[0].text, "first");
        assert_string_equal(refill->names.items[1].text, "second");
        assert_string_equal(refill->names.items[2].text, "third");
        assert_true(refill->names.items[0].time == 100 * CLOCK_SECOND);
        assert_false(refill->names.items[0].high);
        assert_true(refill->names.items[1].high);
        assert_false(refill->names.items[2].high);
        size_t open = 0;
        for (size_t i = 0; i < 3; i++)
            open += refill->names.items[i].open;
        assert_int_equal(open, hold);
        refill_free(refill);
    }
}

// Else it would be begun again at once, from there, and without end.
static void a_directory_that_cannot_be_opened_is_read_from_its_start(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    struct refill *refill = refill_new(NULL, world->acme, 10, 4711, NULL);
    int *dir = &world->acme->dirs->spool->dir[SPOOL_NEW], kept = *dir;
    *dir = -1;
    assert_true(refill->job.slice(&refill->job));
    *dir = kept;
    assert_int_equal(refill->error, -EBADF);
    assert_int_equal(refill->position, 0);
    assert_false(refill->complete);
    refill_free(refill);
}

// More than a slice of them, with one behind the first slice that is urgent.
static void priorities_of_many_open_files_are_known(void **state)
{
    struct world *world = *state;
    char name[32];
    for (int i = 0; i < 3 * SCAN_REFILL_SLICE; i++) {
        (void)snprintf(name, sizeof name, "m%03d", i);
        put_in(world->acme, SPOOL_NEW, name, i % 50 == 49 ? "X-Outtray-Priority: high\n" PLAIN : PLAIN);
        set_mtime(world->acme, SPOOL_NEW, name, (100 + i) * CLOCK_SECOND);
    }
    struct refill *refill = refill_holding(world, BACKLOG_NEW_MAX, 0, 100);
    assert_int_equal(refill->names.n, 3 * SCAN_REFILL_SLICE);
    for (size_t i = 0; i < refill->names.n; i++)
        assert_int_equal(refill->names.items[i].high, i % 50 == 49);
    refill_free(refill);
}

static void what_is_no_message_is_named_apart(void **state)
{
    struct world *world = *state;
    int dir = dir_of(world->acme, SPOOL_NEW);
    put_in(world->acme, SPOOL_NEW, "m", PLAIN);
    put_in(world->acme, SPOOL_NEW, "m.status", PLAIN);
    put_in(world->acme, SPOOL_NEW, "new\nline", PLAIN);
    put_in(world->acme, SPOOL_NEW, ".hidden", PLAIN);
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    assert_int_equal(mkdirat(dir, "directory", 0700), 0);
    assert_int_equal(symlinkat("m", dir, "link"), 0);
    struct refill *refill = refill_at(world, BACKLOG_NEW_MAX, 0);
    assert_int_equal(refill->names.n, 1);
    assert_string_equal(refill->names.items[0].text, "m");
    assert_int_equal(refill->ignored.n, 5); // but for the hidden one, which is nobody's message
    assert_true(refill->complete);
    refill_free(refill);
    assert_int_equal(entries_in(world->acme, SPOOL_NEW), 7);
}

static void many_put(struct world *world, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%05u", i);
        int fd = openat(dir_of(world->acme, SPOOL_NEW), name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        struct timespec times[2] = {
            {1700000000 + (int)(i * 7919 % n), 0}, {1700000000 + (int)(i * 7919 % n), 0}};
        assert_int_equal(futimens(fd, times), 0);
        close(fd);
    }
}

static void names_are_sorted(const struct refill *refill)
{
    for (size_t i = 1; i < refill->names.n; i++)
        assert_true(refill->names.items[i - 1].time <= refill->names.items[i].time);
}

static void it_reads_as_many_as_there_is_room_for(void **state)
{
    struct world *world = *state;
    many_put(world, 500);
    static const size_t rooms[] = {1, 63, 64, 65, 499};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        struct refill *refill = refill_at(world, rooms[i], 0);
        assert_int_equal(refill->names.n, rooms[i]);
        assert_false(refill->complete);
        names_are_sorted(refill);
        refill_free(refill);
    }
    struct refill *refill = refill_at(world, 501, 0);
    assert_int_equal(refill->names.n, 500);
    assert_true(refill->complete);
    names_are_sorted(refill);
    refill_free(refill);
}

static void claims_wait_for_a_slice_of_it_at_most(void **state)
{
    struct world *world = *state;
    many_put(world, SCAN_REFILL_SLICE * 4);
    struct refill *refill = refill_new(NULL, world->acme, BACKLOG_NEW_MAX, 0, NULL);
    unsigned slices = 1;
    while (!refill->job.slice(&refill->job))
        slices++;
    assert_true(slices >= 4);
    refill_free(refill);
    // One that is dropped in the middle leaves nothing open (the sanitizer would tell).
    refill = refill_new(NULL, world->acme, BACKLOG_NEW_MAX, 0, NULL);
    assert_false(refill->job.slice(&refill->job));
    refill_free(refill);
}

// Each refill hands over what the last one did not, while what was handed over is claimed and gone, or stays.
static void no_name_starves(struct world *world, bool claimed_in_between)
{
    enum { N = BACKLOG_NEW_MAX * 3 + 500 };
    static bool seen[N];
    memset(seen, 0, sizeof seen);
    many_put(world, N);
    long position = 0;
    unsigned refills = 0, n_seen = 0;
    do {
        struct refill *refill = refill_at(world, BACKLOG_NEW_MAX, position);
        position = refill->position;
        assert_true(refill->names.n <= BACKLOG_NEW_MAX);
        names_are_sorted(refill);
        for (size_t i = 0; i < refill->names.n; i++) {
            unsigned number = (unsigned)strtoul(refill->names.items[i].text + 1, NULL, 10);
            assert_false(seen[number]);
            seen[number] = true;
            n_seen++;
            if (claimed_in_between)
                assert_int_equal(unlinkat(dir_of(world->acme, SPOOL_NEW), refill->names.items[i].text, 0), 0);
        }
        refill_free(refill);
        assert_true(++refills < 100);
    } while (n_seen < N);
}

static void no_name_starves_in_a_large_directory(void **state)
{
    struct world *world = *state;
    no_name_starves(world, true);
    assert_int_equal(entries_in(world->acme, SPOOL_NEW), 0);
    struct refill *refill = refill_at(world, BACKLOG_NEW_MAX, 0);
    assert_true(refill->complete);
    refill_free(refill);
}

static void no_name_starves_behind_names_that_stay(void **state)
{
    no_name_starves(*state, false);
}

static void due_is(struct world *world, const char *name, int64_t expected)
{
    int64_t due = -1;
    assert_int_equal(scan_due(world->acme->dirs->spool, name, &due, NULL), 0);
    assert_true(due == expected);
}

static void a_deferred_message_is_due_when_its_status_says(void **state)
{
    struct world *world = *state;
    int64_t later = 2100000000 * CLOCK_SECOND, due;
    put_in(world->acme, SPOOL_DEFERRED, "m", PLAIN);
    set_mtime(world->acme, SPOOL_DEFERRED, "m", 1700000000 * CLOCK_SECOND);
    due_is(world, "m", 0); // without a status: now
    put_status(world, "m", later);
    due_is(world, "m", later);
    struct timespec ctime = {0};
    assert_int_equal(scan_due(world->acme->dirs->spool, "m", &due, &ctime), 0);
    assert_true(ctime.tv_sec > 1700000000);
    set_mtime(world->acme, SPOOL_DEFERRED, "m.status", 1800000000 * CLOCK_SECOND); // touch -d
    due_is(world, "m", 1800000000 * CLOCK_SECOND);
    assert_int_equal(scan_due(world->acme->dirs->spool, "gone", &due, NULL), -ENOENT);
}

static void a_touched_message_is_due_now(void **state)
{
    struct world *world = *state;
    struct timespec written;
    int64_t due;
    put_in(world->acme, SPOOL_DEFERRED, "m", PLAIN);
    put_status(world, "m", 2100000000 * CLOCK_SECOND);
    assert_int_equal(scan_due(world->acme->dirs->spool, "m", &due, &written), 0);
    set_mtime(world->acme, SPOOL_DEFERRED, "m", clock_ns(&written) + 1);
    due_is(world, "m", 0);
    set_mtime(world->acme, SPOOL_DEFERRED, "m", clock_wall() + 3600 * CLOCK_SECOND); // no touch, or not yet
    due_is(world, "m", 2100000000 * CLOCK_SECOND);
    put_status(world, "m", 2100000000 * CLOCK_SECOND);
    set_mtime(world->acme, SPOOL_DEFERRED, "m", 1700000000 * CLOCK_SECOND);
    due_is(world, "m", 2100000000 * CLOCK_SECOND);
}

static void what_is_no_file_in_deferred_has_no_time(void **state)
{
    struct world *world = *state;
    int64_t due = 77;
    assert_int_equal(mkdirat(dir_of(world->acme, SPOOL_DEFERRED), "d", 0700), 0);
    assert_true(scan_due(world->acme->dirs->spool, "d", &due, NULL) < 0);
}

static void a_look_answers_for_each_name(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "high", "X-Outtray-Priority: high\n" PLAIN);
    put_in(world->acme, SPOOL_NEW, "low", PLAIN);
    put_in(world->acme, SPOOL_DEFERRED, "m", PLAIN);
    set_mtime(world->acme, SPOOL_DEFERRED, "m", 1700000000 * CLOCK_SECOND);
    put_status(world, "m", 2100000000 * CLOCK_SECOND);
    struct look *look = look_new(NULL, world->acme, NULL);
    assert_non_null(look);
    static const struct {
        enum look_kind kind;
        const char *name;
    } rows[] = {{LOOK_PRIORITY, "high"}, {LOOK_PRIORITY, "low"}, {LOOK_PRIORITY, "gone"}, {LOOK_DUE, "m"},
        {LOOK_DUE, "gone"}};
    for (size_t i = 0; i < 5; i++) {
        look->items[i] = (struct look_item){.kind = rows[i].kind};
        (void)snprintf(look->items[i].name, sizeof look->items[i].name, "%s", rows[i].name);
    }
    look->n = 5;
    look->job.run(&look->job);
    assert_true(look->items[0].high);
    assert_false(look->items[1].high);
    assert_false(look->items[2].high);
    assert_true(look->items[3].found);
    assert_true(look->items[3].due == 2100000000 * CLOCK_SECOND);
    assert_false(look->items[4].found);
    look_free(look);
    look_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(an_empty_directory_gives_nothing),
        WORLD_TEST(names_come_oldest_first_with_their_priority),
        WORLD_TEST(a_directory_that_cannot_be_opened_is_read_from_its_start),
        WORLD_TEST(priorities_of_many_open_files_are_known),
        WORLD_TEST(what_is_no_message_is_named_apart),
        WORLD_TEST(it_reads_as_many_as_there_is_room_for),
        WORLD_TEST(claims_wait_for_a_slice_of_it_at_most),
        WORLD_TEST(no_name_starves_in_a_large_directory),
        WORLD_TEST(no_name_starves_behind_names_that_stay),
        WORLD_TEST(a_deferred_message_is_due_when_its_status_says),
        WORLD_TEST(a_touched_message_is_due_now),
        WORLD_TEST(what_is_no_file_in_deferred_has_no_time),
        WORLD_TEST(a_look_answers_for_each_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
