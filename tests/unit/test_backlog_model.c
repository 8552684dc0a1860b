// The read-ahead of a tenant, all of it at once, against a naive model.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backlog_support.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_does_what_a_naive_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
