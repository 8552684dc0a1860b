// inotify on spool directories: what each way to put a file there is reported as, and what is when events are
// lost.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/watch.h"
#include "delivery_support.h"
#include <sys/inotify.h>
#include <sys/resource.h>

#define EVENTS_MAX 64

struct seen {
    int watch;
    enum watch_what what;
    char name[64];
};

struct view {
    struct world world; // first
    struct watch *watch;
    int on_new, on_deferred; // descriptors
    struct seen seen[EVENTS_MAX];
    unsigned n, lost;
};

static void view_event(int watch, enum watch_what what, const char *name, void *arg)
{
    struct view *view = arg;
    if (view->n < EVENTS_MAX) {
        struct seen *seen = &view->seen[view->n];
        *seen = (struct seen){.watch = watch, .what = what};
        (void)snprintf(seen->name, sizeof seen->name, "%s", name);
    }
    view->n++;
}

static void view_lost(void *arg)
{
    struct view *view = arg;
    view->lost++;
}

static const struct watch_events view_events = {.event = view_event, .lost = view_lost};

static int set_up(void **state)
{
    struct view *view = calloc(1, sizeof *view);
    int error = 1;
    world_make(&view->world, "");
    assert_int_equal(watch_new(view->world.loop, &view_events, view, &view->watch, &error), 0);
    assert_int_equal(error, 0);
    view->on_new = watch_add(view->watch, dir_of(view->world.acme, SPOOL_NEW), false);
    view->on_deferred = watch_add(view->watch, dir_of(view->world.acme, SPOOL_DEFERRED), true);
    assert_true(view->on_new >= 0);
    assert_true(view->on_deferred >= 0);
    assert_int_not_equal(view->on_new, view->on_deferred);
    *state = view;
    return 0;
}

static int tear_down(void **state)
{
    struct view *view = *state;
    watch_free(view->watch);
    world_end(&view->world);
    free(view);
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static bool has_marker(struct world *world)
{
    const struct view *view = (struct view *)world;
    return view->n && view->n <= EVENTS_MAX && strcmp(view->seen[view->n - 1].name, "marker") == 0 &&
           view->seen[view->n - 1].what == WATCH_ARRIVED;
}

// Waits until everything before this call was reported: events keep their order, so a last one says so.
static void settle(struct view *view)
{
    put_in(view->world.acme, SPOOL_HOLD, "marker", "");
    assert_int_equal(renameat(dir_of(view->world.acme, SPOOL_HOLD), "marker",
                         dir_of(view->world.acme, SPOOL_DEFERRED), "marker"),
        0);
    world_run(&view->world, has_marker);
    assert_int_equal(unlinkat(dir_of(view->world.acme, SPOOL_DEFERRED), "marker", 0), 0);
    view->n--;
}

static unsigned seen_as(const struct view *view, int watch, enum watch_what what, const char *name)
{
    unsigned n = 0;
    for (unsigned i = 0; i < view->n; i++)
        n += view->seen[i].watch == watch && view->seen[i].what == what &&
             strcmp(view->seen[i].name, name) == 0;
    return n;
}

static void a_renamed_file_has_arrived(void **state)
{
    struct view *view = *state;
    const struct tenant *acme = view->world.acme;
    put_in(acme, SPOOL_TMP, "m", PLAIN);
    assert_int_equal(renameat(dir_of(acme, SPOOL_TMP), "m", dir_of(acme, SPOOL_NEW), "m"), 0);
    settle(view);
    assert_int_equal(view->n, 1);
    assert_int_equal(seen_as(view, view->on_new, WATCH_ARRIVED, "m"), 1);
    assert_int_equal(view->lost, 0);
}

static void a_linked_file_was_created(void **state)
{
    struct view *view = *state;
    const struct tenant *acme = view->world.acme;
    put_in(acme, SPOOL_TMP, "m", PLAIN);
    assert_int_equal(linkat(dir_of(acme, SPOOL_TMP), "m", dir_of(acme, SPOOL_NEW), "m", 0), 0);
    settle(view);
    assert_int_equal(view->n, 1);
    assert_int_equal(seen_as(view, view->on_new, WATCH_CREATED, "m"), 1);
}

static void a_written_file_is_created_and_arrives_when_it_is_closed(void **state)
{
    struct view *view = *state;
    const struct tenant *acme = view->world.acme;
    int fd = openat(dir_of(acme, SPOOL_NEW), "m", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "x", 1), 1);
    settle(view);
    assert_int_equal(view->n, 1);
    assert_int_equal(seen_as(view, view->on_new, WATCH_CREATED, "m"), 1);
    close(fd);
    settle(view);
    assert_int_equal(view->n, 2);
    assert_int_equal(seen_as(view, view->on_new, WATCH_ARRIVED, "m"), 1);
}

static void a_touch_is_told_where_it_is_asked_for(void **state)
{
    struct view *view = *state;
    const struct tenant *acme = view->world.acme;
    put_in(acme, SPOOL_NEW, "m", PLAIN);
    put_in(acme, SPOOL_DEFERRED, "m.status", PLAIN);
    settle(view);
    view->n = 0;
    set_mtime(acme, SPOOL_NEW, "m", clock_wall());
    set_mtime(acme, SPOOL_DEFERRED, "m.status", clock_wall());
    settle(view);
    assert_int_equal(seen_as(view, view->on_new, WATCH_TOUCHED, "m"), 0);
    assert_true(seen_as(view, view->on_deferred, WATCH_TOUCHED, "m.status") >= 1);
}

static void what_leaves_a_directory_is_no_event(void **state)
{
    struct view *view = *state;
    const struct tenant *acme = view->world.acme;
    put_in(acme, SPOOL_NEW, "m", PLAIN);
    put_in(acme, SPOOL_NEW, "n", PLAIN);
    settle(view);
    view->n = 0;
    assert_int_equal(renameat(dir_of(acme, SPOOL_NEW), "m", dir_of(acme, SPOOL_CUR), "m"), 0);
    assert_int_equal(unlinkat(dir_of(acme, SPOOL_NEW), "n", 0), 0);
    settle(view);
    assert_int_equal(view->n, 0);
}

static bool has_moved(struct world *world)
{
    const struct view *view = (struct view *)world;
    return seen_as(view, view->on_new, WATCH_MOVED, "") > 0;
}

static void a_renamed_directory_is_told_of_itself(void **state)
{
    struct view *view = *state;
    int root = view->world.acme->dirs->spool->root;
    assert_int_equal(renameat(root, "new", root, "elsewhere"), 0);
    world_run(&view->world, has_moved);
    assert_int_equal(seen_as(view, view->on_deferred, WATCH_MOVED, ""), 0);
}

static void a_removed_directory_is_told_of_itself(void **state)
{
    struct view *view = *state;
    struct tenant *acme = view->world.acme;
    assert_int_equal(unlinkat(acme->dirs->spool->root, "new", AT_REMOVEDIR), 0);
    // The watch is on the inode, which lives as long as it is open.
    tenant_dirs_unref(acme->dirs);
    acme->dirs = NULL;
    world_run(&view->world, has_moved);
}

static void the_watch_is_on_the_inode_and_not_on_the_name(void **state)
{
    struct view *view = *state;
    struct tenant *acme = view->world.acme;
    int root = acme->dirs->spool->root;
    assert_int_equal(renameat(root, "new", root, "elsewhere"), 0);
    assert_int_equal(mkdirat(root, "new", 0700), 0);
    int fd = openat(root, "new/m", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    put_in(acme, SPOOL_NEW, "in the old one", PLAIN);
    settle(view);
    assert_int_equal(seen_as(view, view->on_new, WATCH_ARRIVED, "m"), 0);
    assert_int_equal(seen_as(view, view->on_new, WATCH_ARRIVED, "in the old one"), 1);
}

static void a_removed_watch_tells_of_no_more_files(void **state)
{
    struct view *view = *state;
    watch_remove(view->watch, view->on_new);
    put_in(view->world.acme, SPOOL_NEW, "m", PLAIN);
    settle(view);
    for (unsigned i = 0; i < view->n; i++)
        assert_int_not_equal(strcmp(view->seen[i].name, "m"), 0);
    watch_remove(view->watch, -1);
}

static bool has_lost(struct world *world)
{
    return ((struct view *)world)->lost > 0;
}

static void lost_events_are_told(void **state)
{
    struct view *view = *state;
    unsigned long queued = 16384;
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    if (file) {
        assert_int_equal(fscanf(file, "%lu", &queued), 1);
        (void)fclose(file);
    }
    if (queued > 100000)
        skip(); // would take too long
    put_in(view->world.acme, SPOOL_TMP, "a", PLAIN);
    int from = dir_of(view->world.acme, SPOOL_TMP), to = dir_of(view->world.acme, SPOOL_NEW);
    char name[32], before[32] = "a";
    for (unsigned long i = 0; i < queued + 100; i++) { // equal events in a row would be merged
        (void)snprintf(name, sizeof name, "m%lu", i);
        assert_int_equal(renameat(from, before, to, name), 0);
        memcpy(before, name, sizeof before);
        from = to;
    }
    world_run(&view->world, has_lost); // what was queued comes first
    assert_true(view->n >= queued / 2);
    unsigned lost = view->lost;
    view->n = 0;
    settle(view); // and afterwards it goes on
    assert_int_equal(view->lost, lost);
}

static void without_inotify_it_says_why(void **state)
{
    struct world *world = *state;
    struct watch *watch = NULL;
    struct rlimit before, none;
    int error = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int r = watch_new(world->loop, &view_events, NULL, &watch, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(r, 0); // never fails for that
    assert_int_equal(error, -EMFILE);
    assert_int_equal(watch_add(watch, dir_of(world->acme, SPOOL_NEW), true), -EMFILE);
    watch_remove(watch, 1);
    watch_free(watch);
    watch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_renamed_file_has_arrived),
        TEST(a_linked_file_was_created),
        TEST(a_written_file_is_created_and_arrives_when_it_is_closed),
        TEST(a_touch_is_told_where_it_is_asked_for),
        TEST(what_leaves_a_directory_is_no_event),
        TEST(a_renamed_directory_is_told_of_itself),
        TEST(a_removed_directory_is_told_of_itself),
        TEST(the_watch_is_on_the_inode_and_not_on_the_name),
        TEST(a_removed_watch_tells_of_no_more_files),
        TEST(lost_events_are_told),
        TEST(without_inotify_it_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
