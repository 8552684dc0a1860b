// The read-ahead of a tenant: identity, bounds, order, times, and all of it at once against a naive model.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/backlog.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW 1000

static int set_up(void **state)
{
    struct backlog *backlog = malloc(sizeof *backlog);
    backlog_init(backlog);
    *state = backlog;
    return 0;
}

static int tear_down(void **state)
{
    backlog_release(*state);
    free(*state);
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static struct backlog_entry *add_new(struct backlog *backlog, const char *name)
{
    return backlog_add_new(backlog, name, true, false);
}

static void next_is(struct backlog *backlog, int64_t now, const char *name)
{
    struct backlog_entry *entry = backlog_next(backlog, now);
    if (!name) {
        assert_null(entry);
        return;
    }
    assert_non_null(entry);
    assert_string_equal(entry->name, name);
    assert_int_equal(entry->state, BACKLOG_BUSY);
}

static void an_empty_one_has_nothing(void **state)
{
    struct backlog *backlog = *state;
    next_is(backlog, NOW, NULL);
    assert_false(backlog_has_waiting(backlog, NOW));
    assert_false(backlog_settling(backlog));
    assert_true(backlog_next_due(backlog) == INT64_MAX);
    assert_true(backlog->left_out_due == INT64_MAX);
    assert_false(backlog->more_new);
    backlog_release_deferred(backlog);
    backlog_raise(backlog, "nobody");
    backlog_forget(backlog);
    next_is(backlog, NOW, NULL);
}

static void a_name_is_one_entry_in_each_directory(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *fresh = add_new(backlog, "m");
    struct backlog_entry *deferred = backlog_add_deferred(backlog, "m", 5, NOW, NOW);
    assert_ptr_not_equal(fresh, deferred);
    assert_ptr_equal(add_new(backlog, "m"), fresh);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 5, NOW, NOW), deferred);
    assert_int_equal(fresh->from, SPOOL_NEW);
    assert_int_equal(deferred->from, SPOOL_DEFERRED);
    assert_int_equal(backlog->n_new, 1);
    assert_int_equal(backlog->n_deferred, 1);
    assert_non_null(backlog_next(backlog, NOW));
    assert_non_null(backlog_next(backlog, NOW));
    next_is(backlog, NOW, NULL); // each is handed out once
    assert_ptr_equal(add_new(backlog, "m"), fresh);
    assert_int_equal(fresh->state, BACKLOG_BUSY);
    next_is(backlog, NOW, NULL); // a busy one is not handed out again
    backlog_drop(backlog, fresh);
    assert_int_equal(backlog->n_new, 0);
    add_new(backlog, "m");
    next_is(backlog, NOW, "m");
}

static void names_of_new_are_bounded(void **state)
{
    struct backlog *backlog = *state;
    char name[32];
    for (unsigned i = 0; i < BACKLOG_NEW_MAX; i++) {
        (void)snprintf(name, sizeof name, "m%u", i);
        assert_non_null(add_new(backlog, name));
    }
    assert_false(backlog->more_new);
    assert_null(add_new(backlog, "one too many"));
    assert_true(backlog->more_new);
    assert_int_equal(backlog->n_new, BACKLOG_NEW_MAX);
    assert_non_null(add_new(backlog, "m7")); // known names are still found
    // What is busy counts until it is dropped.
    struct backlog_entry *first = backlog_next(backlog, NOW);
    assert_null(add_new(backlog, "one too many"));
    backlog_drop(backlog, first);
    assert_non_null(add_new(backlog, "one too many"));
    // The bound of one directory is not the other's.
    assert_non_null(backlog_add_deferred(backlog, "d", 1, 1, NOW));
}

static void names_of_deferred_are_bounded_and_the_earliest_left_out_is_told(void **state)
{
    struct backlog *backlog = *state;
    char name[32];
    for (unsigned i = 0; i < BACKLOG_DEFERRED_MAX; i++) {
        (void)snprintf(name, sizeof name, "m%u", i);
        assert_non_null(backlog_add_deferred(backlog, name, 1, NOW + 1 + i % 7, NOW));
    }
    assert_true(backlog->left_out_due == INT64_MAX);
    assert_null(backlog_add_deferred(backlog, "x", 1, NOW + 500, NOW));
    assert_true(backlog->left_out_due == NOW + 500);
    assert_null(backlog_add_deferred(backlog, "y", 1, NOW + 300, NOW));
    assert_null(backlog_add_deferred(backlog, "z", 1, NOW + 400, NOW));
    assert_true(backlog->left_out_due == NOW + 300);
    assert_int_equal(backlog->n_deferred, BACKLOG_DEFERRED_MAX);
    assert_non_null(backlog_add_deferred(backlog, "m3", 1, NOW, NOW));
    assert_non_null(add_new(backlog, "n"));
    backlog_forget(backlog);
    assert_true(backlog->left_out_due == INT64_MAX);
    assert_non_null(backlog_add_deferred(backlog, "x", 1, NOW + 500, NOW));
}

static void new_names_keep_their_order(void **state)
{
    struct backlog *backlog = *state;
    add_new(backlog, "c");
    add_new(backlog, "a");
    add_new(backlog, "b");
    add_new(backlog, "c");
    assert_true(backlog_has_waiting(backlog, NOW));
    next_is(backlog, NOW, "c");
    next_is(backlog, NOW, "a");
    next_is(backlog, NOW, "b");
    assert_false(backlog_has_waiting(backlog, NOW));
}

static void high_priority_goes_first(void **state)
{
    struct backlog *backlog = *state;
    add_new(backlog, "low1");
    backlog_add_deferred(backlog, "due", 1, 1, NOW);
    backlog_add_new(backlog, "high1", true, true);
    add_new(backlog, "low2");
    backlog_add_new(backlog, "high2", true, true);
    backlog_raise(backlog, "low2");
    backlog_raise(backlog, "low2");
    backlog_raise(backlog, "due"); // no name of new/
    next_is(backlog, NOW, "high1");
    next_is(backlog, NOW, "high2");
    next_is(backlog, NOW, "low2");
    assert_non_null(backlog_next(backlog, NOW));
    assert_non_null(backlog_next(backlog, NOW));
    next_is(backlog, NOW, NULL);
}

static void what_was_raised_while_it_waited_for_its_time_is_high_afterwards(void **state)
{
    struct backlog *backlog = *state;
    backlog_put_off(backlog, add_new(backlog, "h"), NOW + 10);
    add_new(backlog, "other");
    backlog_raise(backlog, "h");
    next_is(backlog, NOW + 10, "h");
    next_is(backlog, NOW + 10, "other");
}

static void due_and_new_come_in_turn(void **state)
{
    struct backlog *backlog = *state;
    char name[16];
    for (char c = 'a'; c < 'f'; c++) {
        (void)snprintf(name, sizeof name, "n%c", c);
        add_new(backlog, name);
        (void)snprintf(name, sizeof name, "d%c", c);
        backlog_add_deferred(backlog, name, 1, c, NOW);
    }
    char last = 0;
    for (unsigned i = 0; i < 10; i++) {
        struct backlog_entry *entry = backlog_next(backlog, NOW);
        assert_non_null(entry);
        assert_int_not_equal(entry->name[0], last);
        assert_int_equal(entry->name[1], 'a' + (int)i / 2);
        last = entry->name[0];
    }
    next_is(backlog, NOW, NULL);
}

static void a_deferred_name_comes_at_its_time(void **state)
{
    struct backlog *backlog = *state;
    backlog_add_deferred(backlog, "late", 30, NOW + 30, NOW);
    backlog_add_deferred(backlog, "early", 10, NOW + 10, NOW);
    assert_false(backlog_has_waiting(backlog, NOW));
    assert_true(backlog_next_due(backlog) == NOW + 10);
    next_is(backlog, NOW + 9, NULL);
    assert_true(backlog_has_waiting(backlog, NOW + 10));
    next_is(backlog, NOW + 10, "early");
    assert_true(backlog_next_due(backlog) == NOW + 30);
    next_is(backlog, NOW + 29, NULL);
    next_is(backlog, NOW + 100, "late");
    assert_true(backlog_next_due(backlog) == INT64_MAX);
}

static void what_became_due_together_comes_earliest_first(void **state)
{
    struct backlog *backlog = *state;
    static const int times[] = {5, 1, 9, 3, 7, 2, 8, 4, 6};
    char name[16];
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        (void)snprintf(name, sizeof name, "%d", times[i]);
        backlog_add_deferred(backlog, name, times[i], NOW + times[i], NOW);
    }
    for (int i = 1; i <= 9; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        next_is(backlog, NOW + 100, name);
    }
}

static void another_time_in_the_directory_moves_an_entry_either_way(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *entry = backlog_add_deferred(backlog, "m", 1, NOW + 50, NOW);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 2, NOW + 80, NOW), entry); // deferred again
    assert_true(backlog_next_due(backlog) == NOW + 80);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 3, NOW + 20, NOW), entry);
    assert_true(backlog_next_due(backlog) == NOW + 20);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 4, NOW, NOW), entry); // touched
    assert_int_equal(entry->state, BACKLOG_WAITING);
    assert_true(backlog_next_due(backlog) == INT64_MAX);
    assert_ptr_equal(backlog_add_deferred(backlog, "m", 5, NOW + 70, NOW), entry); // put off by hand
    next_is(backlog, NOW + 69, NULL);
    next_is(backlog, NOW + 70, "m");
}

static void the_same_recorded_time_never_slides(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *entry = backlog_add_deferred(backlog, "m", 999999, NOW + 50, NOW);
    // Every survey clamps the far deadline to its own now + 50.
    for (int64_t now = NOW; now < NOW + 50; now += 7) {
        assert_ptr_equal(backlog_add_deferred(backlog, "m", 999999, now + 50, now), entry);
        assert_true(backlog_next_due(backlog) == NOW + 50);
        next_is(backlog, now, NULL);
    }
    backlog_add_deferred(backlog, "m", 999999, NOW + 40, NOW); // nearer is fine
    assert_true(backlog_next_due(backlog) == NOW + 40);
    assert_true(backlog_has_waiting(backlog, NOW + 40));
    // It is waiting: still the same recorded time, so it may not be pushed away again.
    backlog_add_deferred(backlog, "m", 999999, NOW + 90, NOW + 40);
    next_is(backlog, NOW + 40, "m");
}

static void released_mail_stays_released(void **state)
{
    struct backlog *backlog = *state;
    backlog_add_deferred(backlog, "m", NOW + 50, NOW + 50, NOW);
    backlog_release_deferred(backlog);
    backlog_add_deferred(backlog, "m", NOW + 50, NOW + 50, NOW); // a survey sees the same file
    next_is(backlog, NOW, "m");
}

static void a_release_makes_deferred_mail_due_and_nothing_else(void **state)
{
    struct backlog *backlog = *state;
    char name[16];
    struct backlog_entry *busy = backlog_add_deferred(backlog, "busy", 1, 1, NOW);
    next_is(backlog, NOW, "busy");
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "d%d", i);
        backlog_add_deferred(backlog, name, 1, NOW + 100 - i, NOW);
        (void)snprintf(name, sizeof name, "n%d", i);
        backlog_put_off(backlog, add_new(backlog, name), NOW + 30 + i * 3);
    }
    backlog_release_deferred(backlog);
    assert_int_equal(busy->state, BACKLOG_BUSY);
    for (int i = 0; i < 40; i++) {
        struct backlog_entry *entry = backlog_next(backlog, NOW);
        assert_non_null(entry);
        assert_int_equal(entry->from, SPOOL_DEFERRED);
    }
    next_is(backlog, NOW, NULL);
    for (int i = 0; i < 40; i++) { // the heap is still one
        assert_true(backlog_next_due(backlog) == NOW + 30 + i * 3);
        (void)snprintf(name, sizeof name, "n%d", i);
        next_is(backlog, NOW + 30 + i * 3, name);
    }
}

static void a_file_that_may_still_be_written_to_is_put_off(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *entry = backlog_add_new(backlog, "m", false, false);
    assert_false(entry->sure);
    assert_int_equal(entry->size, -1);
    assert_int_equal(entry->mtime, -1);
    next_is(backlog, NOW, "m");
    entry->size = 5;
    backlog_put_off(backlog, entry, NOW + 20);
    assert_int_equal(entry->state, BACKLOG_LATER);
    assert_true(backlog_settling(backlog));
    assert_ptr_equal(backlog_add_new(backlog, "m", false, false), entry); // seen again: knows nothing new
    assert_int_equal(entry->state, BACKLOG_LATER);
    next_is(backlog, NOW + 19, NULL);
    assert_ptr_equal(add_new(backlog, "m"), entry); // closed
    assert_true(entry->sure);
    assert_false(backlog_settling(backlog));
    next_is(backlog, NOW, "m");
    assert_ptr_equal(backlog_add_new(backlog, "m", false, false), entry);
    assert_true(entry->sure); // never less than before
}

static void settling_ends_after_a_few_looks(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *entry = backlog_add_new(backlog, "m", false, false);
    backlog_put_off(backlog, entry, NOW + 1);
    entry->settles = BACKLOG_SETTLES_MAX;
    assert_false(backlog_settling(backlog));
    backlog_add_deferred(backlog, "d", 1, NOW + 5, NOW); // a deferred one does not settle
    assert_false(backlog_settling(backlog));
    backlog_put_off(backlog, backlog_add_new(backlog, "m2", false, false), NOW + 1);
    assert_true(backlog_settling(backlog));
}

static void an_entry_is_forgotten_in_any_state(void **state)
{
    struct backlog *backlog = *state;
    add_new(backlog, "w1");
    struct backlog_entry *waiting = add_new(backlog, "w2");
    add_new(backlog, "w3");
    struct backlog_entry *later = backlog_add_deferred(backlog, "l1", 1, NOW + 1, NOW);
    backlog_add_deferred(backlog, "l2", 1, NOW + 2, NOW);
    backlog_drop(backlog, waiting);
    backlog_drop(backlog, later);
    assert_true(backlog_next_due(backlog) == NOW + 2);
    next_is(backlog, NOW, "w1");
    next_is(backlog, NOW, "w3");
    next_is(backlog, NOW, NULL);
    next_is(backlog, NOW + 2, "l2");
}

static void forgetting_leaves_what_is_busy(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_entry *busy = add_new(backlog, "busy");
    next_is(backlog, NOW, "busy");
    add_new(backlog, "waiting");
    backlog_add_deferred(backlog, "later", 1, NOW + 1, NOW);
    backlog->more_new = true;
    backlog_forget(backlog);
    assert_int_equal(backlog->n_new, 1);
    assert_int_equal(backlog->n_deferred, 0);
    assert_false(backlog->more_new);
    assert_true(backlog_next_due(backlog) == INT64_MAX);
    next_is(backlog, NOW + 10, NULL);
    assert_ptr_equal(add_new(backlog, "busy"), busy);
    backlog_drop(backlog, busy);
    assert_int_equal(backlog->n_new, 0);
}

// The model: an array that is searched from end to end. `order` is when an entry began to wait.
#define MODEL_NAMES 24
struct model_entry {
    bool known, high, sure;
    enum backlog_state state;
    int64_t due, recorded;
    uint64_t order;
    struct backlog_entry *entry;
};
struct model {
    struct backlog backlog;
    struct model_entry entries[2][MODEL_NAMES]; // new, deferred
    int64_t now;
    uint64_t order;
    int last_kind; // of the last choice between both kinds: 0 new, 1 deferred, -1 none
    uint64_t seed;
};

static unsigned model_random(struct model *model, unsigned below)
{
    model->seed = model->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(model->seed >> 33) % below;
}

static void model_wait(struct model *model, struct model_entry *entry)
{
    entry->state = BACKLOG_WAITING;
    entry->order = model->order++;
}

// What has become due waits, earliest first. Times are made distinct below, so this order is the only one.
static void model_ripen(struct model *model)
{
    for (;;) {
        struct model_entry *first = NULL;
        for (unsigned i = 0; i < 2 * MODEL_NAMES; i++) {
            struct model_entry *entry = &model->entries[i / MODEL_NAMES][i % MODEL_NAMES];
            if (entry->known && entry->state == BACKLOG_LATER && entry->due <= model->now &&
                (!first || entry->due < first->due))
                first = entry;
        }
        if (!first)
            return;
        model_wait(model, first);
    }
}

static struct model_entry *model_first(struct model *model, int kind, bool high)
{
    struct model_entry *first = NULL;
    for (unsigned k = 0; k < 2; k++)
        for (unsigned i = 0; i < MODEL_NAMES; i++) {
            struct model_entry *entry = &model->entries[k][i];
            if (entry->known && entry->state == BACKLOG_WAITING && entry->high == high &&
                (high || (int)k == kind) && (!first || entry->order < first->order))
                first = entry;
        }
    return first;
}

static void model_next(struct model *model)
{
    model_ripen(model);
    struct model_entry *high = model_first(model, 0, true), *expected = high;
    struct model_entry *fresh = model_first(model, 0, false), *due = model_first(model, 1, false);
    struct backlog_entry *got = backlog_next(&model->backlog, model->now);
    if (!high && fresh && due) { // either at first, then in turn
        assert_true(got == fresh->entry || got == due->entry);
        int kind = got == due->entry;
        assert_int_not_equal(kind, model->last_kind);
        model->last_kind = kind;
        expected = kind ? due : fresh;
    } else if (!high) {
        expected = fresh ? fresh : due;
        model->last_kind = -1;
    }
    assert_ptr_equal(got, expected ? expected->entry : NULL);
    if (expected)
        expected->state = BACKLOG_BUSY;
}

static void model_add_new(struct model *model, unsigned i, const char *name)
{
    struct model_entry *entry = &model->entries[0][i];
    bool sure = model_random(model, 2), high = model_random(model, 5) == 0;
    struct backlog_entry *got = backlog_add_new(&model->backlog, name, sure, high);
    if (!entry->known) {
        *entry = (struct model_entry){.known = true, .high = high, .sure = sure, .entry = got};
        model_wait(model, entry);
    } else if (sure && !entry->sure) {
        entry->sure = true;
        if (entry->state == BACKLOG_LATER)
            model_wait(model, entry);
    }
    assert_ptr_equal(got, entry->entry);
}

static void model_add_deferred(struct model *model, unsigned i, const char *name)
{
    struct model_entry *entry = &model->entries[1][i];
    int64_t recorded = model_random(model, 3);
    // Distinct from all others: the low digits are the name's.
    int64_t due = (model->now / 100 + (int64_t)model_random(model, 20) - 5) * 100 + 50 + i;
    struct backlog_entry *got = backlog_add_deferred(&model->backlog, name, recorded, due, model->now);
    bool same = entry->known && entry->recorded == recorded;
    if (!entry->known) {
        *entry = (struct model_entry){.known = true, .entry = got, .state = BACKLOG_LATER, .due = INT64_MAX};
    } else if (entry->state == BACKLOG_BUSY) {
        assert_ptr_equal(got, entry->entry);
        return;
    }
    assert_ptr_equal(got, entry->entry);
    entry->recorded = recorded;
    if (entry->state == BACKLOG_WAITING) {
        if (due > model->now && !same) {
            entry->state = BACKLOG_LATER;
            entry->due = due;
        }
        return;
    }
    if (!same || due < entry->due)
        entry->due = due;
    if (entry->due <= model->now)
        model_wait(model, entry);
}

static void model_release(struct model *model)
{
    model_ripen(model); // the order among those that are released early is not promised: none of them waits
    backlog_has_waiting(&model->backlog, model->now);
    for (unsigned i = 0; i < MODEL_NAMES; i++) {
        struct model_entry *entry = &model->entries[1][i];
        if (entry->known && entry->state == BACKLOG_LATER) {
            backlog_release_deferred(&model->backlog);
            assert_int_equal(entry->entry->state, BACKLOG_WAITING);
        }
    }
    for (struct backlog_entry *e = model->backlog.due.first; e; e = e->next)
        for (unsigned i = 0; i < MODEL_NAMES; i++)
            if (model->entries[1][i].known && model->entries[1][i].entry == e &&
                model->entries[1][i].state == BACKLOG_LATER)
                model_wait(model, &model->entries[1][i]);
}

static void model_change(struct model *model, struct model_entry *entry, unsigned i)
{
    bool is_new = entry == &model->entries[0][i];
    switch (model_random(model, 3)) {
    case 0:
        backlog_drop(&model->backlog, entry->entry);
        *entry = (struct model_entry){0};
        break;
    case 1:
        if (is_new && entry->state == BACKLOG_BUSY) {
            entry->due = (model->now / 100 + (int64_t)model_random(model, 9)) * 100 + i;
            entry->state = BACKLOG_LATER;
            backlog_put_off(&model->backlog, entry->entry, entry->due);
        }
        break;
    default:
        if (is_new) {
            backlog_raise(&model->backlog, entry->entry->name);
            if (!entry->high && entry->state == BACKLOG_WAITING)
                entry->order = model->order++;
            entry->high = true;
        }
    }
}

static void model_agrees(struct model *model)
{
    size_t n[2] = {0, 0};
    int64_t earliest = INT64_MAX;
    for (unsigned k = 0; k < 2; k++)
        for (unsigned i = 0; i < MODEL_NAMES; i++) {
            const struct model_entry *entry = &model->entries[k][i];
            n[k] += entry->known;
            if (!entry->known)
                continue;
            assert_int_equal(entry->entry->state, entry->state);
            if (entry->state == BACKLOG_LATER && entry->due < earliest)
                earliest = entry->due;
        }
    assert_int_equal(model->backlog.n_new, n[0]);
    assert_int_equal(model->backlog.n_deferred, n[1]);
    assert_true(backlog_next_due(&model->backlog) == earliest);
}

static void it_does_what_a_naive_model_does(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct model model = {.now = 10000, .last_kind = -1, .seed = seed};
        backlog_init(&model.backlog);
        for (unsigned step = 0; step < 1500; step++) {
            unsigned i = model_random(&model, MODEL_NAMES);
            char name[16];
            (void)snprintf(name, sizeof name, "m%u", i);
            unsigned kind = model_random(&model, 2);
            switch (model_random(&model, 12)) {
            case 0:
            case 1:
            case 2:
                model_add_new(&model, i, name);
                break;
            case 3:
            case 4:
            case 5:
                model_add_deferred(&model, i, name);
                break;
            case 6:
            case 7:
            case 8:
                model_next(&model);
                break;
            case 9:
                if (model.entries[kind][i].known)
                    model_change(&model, &model.entries[kind][i], i);
                break;
            case 10:
                model.now += model_random(&model, 300);
                break;
            default:
                if (model_random(&model, 10) == 0)
                    model_release(&model);
            }
            model_agrees(&model);
        }
        backlog_release(&model.backlog);
    }
}

static void add_many(struct backlog *backlog, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "m%u", i);
        (void)add_new(backlog, name);
    }
}

static void all_together_are_bounded_and_each_keeps_its_least_share(void **state)
{
    enum { N = BACKLOG_ALL_MAX / BACKLOG_NEW_MAX + 4 };
    struct backlog_total all = {0};
    struct backlog *many = calloc(N, sizeof *many);
    (void)state;
    for (size_t i = 0; i < N; i++) {
        backlog_init(&many[i]);
        backlog_count_in(&many[i], &all);
        add_many(&many[i], BACKLOG_NEW_MAX + 1);
        assert_true(many[i].more_new);
    }
    assert_int_equal(many[0].n_new, BACKLOG_NEW_MAX);
    assert_int_equal(many[N - 1].n_new, BACKLOG_LEAST);
    assert_in_range(all.names, BACKLOG_ALL_MAX, BACKLOG_ALL_MAX + N * BACKLOG_LEAST);
    for (size_t i = 0; i < 100; i++) // who has its least share gets no more until others have less
        backlog_drop(&many[0], backlog_next(&many[0], NOW));
    assert_true(backlog_new_room(&many[N - 1]) > 0);
    for (size_t i = 0; i < N; i++)
        backlog_release(&many[i]);
    assert_int_equal(all.names, 0);
    free(many);
}

static void an_open_file_is_closed_unless_it_is_taken(void **state)
{
    struct backlog *backlog = *state;
    struct backlog_total all = {0};
    backlog_count_in(backlog, &all);
    int taken = open("/dev/null", O_RDONLY | O_CLOEXEC), dropped = dup(taken), left = dup(taken),
        second = dup(taken);
    struct backlog_entry *a = add_new(backlog, "a"), *b = add_new(backlog, "b"), *c = add_new(backlog, "c");
    backlog_hold(backlog, a, taken);
    backlog_hold(backlog, a, second); // has one: this one is closed
    assert_int_equal(fcntl(second, F_GETFD), -1);
    backlog_hold(backlog, b, dropped);
    backlog_hold(backlog, c, left);
    assert_int_equal(all.held, 3);
    assert_int_equal(backlog_take_file(backlog, a), taken);
    assert_int_equal(backlog_take_file(backlog, a), -1);
    backlog_drop(backlog, b);
    assert_int_equal(fcntl(dropped, F_GETFD), -1);
    assert_int_equal(all.held, 1);
    backlog_release(backlog);
    assert_int_equal(fcntl(left, F_GETFD), -1);
    assert_int_equal(all.held, 0);
    assert_int_equal(close(taken), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_one_has_nothing),
        TEST(a_name_is_one_entry_in_each_directory),
        TEST(names_of_new_are_bounded),
        TEST(names_of_deferred_are_bounded_and_the_earliest_left_out_is_told),
        TEST(new_names_keep_their_order),
        TEST(high_priority_goes_first),
        TEST(what_was_raised_while_it_waited_for_its_time_is_high_afterwards),
        TEST(due_and_new_come_in_turn),
        TEST(a_deferred_name_comes_at_its_time),
        TEST(what_became_due_together_comes_earliest_first),
        TEST(another_time_in_the_directory_moves_an_entry_either_way),
        TEST(the_same_recorded_time_never_slides),
        TEST(released_mail_stays_released),
        TEST(a_release_makes_deferred_mail_due_and_nothing_else),
        TEST(a_file_that_may_still_be_written_to_is_put_off),
        TEST(settling_ends_after_a_few_looks),
        TEST(an_entry_is_forgotten_in_any_state),
        TEST(forgetting_leaves_what_is_busy),
        TEST(all_together_are_bounded_and_each_keeps_its_least_share),
        TEST(an_open_file_is_closed_unless_it_is_taken),
        cmocka_unit_test(it_does_what_a_naive_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
