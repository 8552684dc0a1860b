// The read-ahead of one tenant: a hash table for identity, lists for order, a heap for time.
#include "backlog.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG_SLOTS_FIRST 64

void backlog_init(struct backlog *backlog)
{
    *backlog = (struct backlog){.left_out_due = INT64_MAX};
}

static void entry_free(struct backlog *backlog, struct backlog_entry *entry)
{
    int fd = backlog_take_file(backlog, entry);
    if (fd >= 0)
        close(fd);
    if (backlog->all)
        backlog->all->names--;
    free(entry);
}

void backlog_release(struct backlog *backlog)
{
    for (size_t i = 0; i < backlog->n_slots; i++)
        for (struct backlog_entry *entry = backlog->slots[i], *next; entry; entry = next) {
            next = entry->chain;
            entry_free(backlog, entry);
        }
    free(backlog->slots);
    free(backlog->heap);
    backlog_init(backlog);
}

void backlog_count_in(struct backlog *backlog, struct backlog_total *all)
{
    backlog->all = all;
    all->names += backlog->n_new + backlog->n_deferred;
}

void backlog_hold(struct backlog *backlog, struct backlog_entry *entry, int fd)
{
    if (entry->open || !backlog->all) {
        close(fd);
        return;
    }
    entry->open = true;
    entry->fd = fd;
    backlog->all->held++;
}

int backlog_take_file(struct backlog *backlog, struct backlog_entry *entry)
{
    if (!entry->open)
        return -1;
    entry->open = false;
    backlog->all->held--;
    return entry->fd;
}

// How many of `most` names a backlog that has n of a kind may still get.
static size_t backlog_room(const struct backlog *backlog, size_t n, size_t most)
{
    size_t all = backlog->all ? backlog->all->names : 0;
    size_t left = all < BACKLOG_ALL_MAX ? BACKLOG_ALL_MAX - all : 0;
    size_t least = n < BACKLOG_LEAST ? BACKLOG_LEAST - n : 0;
    size_t room = n < most ? most - n : 0;
    left = left > least ? left : least;
    return room < left ? room : left;
}

size_t backlog_new_room(const struct backlog *backlog)
{
    return backlog_room(backlog, backlog->n_new, BACKLOG_NEW_MAX);
}

// FNV-1a: names are short and come from producers of the same machine.
static size_t backlog_hash(const char *name, enum spool_state from)
{
    uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)from;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return (size_t)(hash ^ hash >> 32);
}

static struct backlog_entry *backlog_find(
    const struct backlog *backlog, const char *name, enum spool_state from)
{
    if (!backlog->n_slots)
        return NULL;
    struct backlog_entry *entry = backlog->slots[backlog_hash(name, from) & (backlog->n_slots - 1)];
    while (entry && (entry->from != from || strcmp(entry->name, name) != 0))
        entry = entry->chain;
    return entry;
}

static bool backlog_grow(struct backlog *backlog)
{
    if (backlog->n_new + backlog->n_claimed + backlog->n_deferred < backlog->n_slots)
        return true;
    size_t n = backlog->n_slots ? backlog->n_slots * 2 : BACKLOG_SLOTS_FIRST;
    struct backlog_entry **slots = calloc(n, sizeof(struct backlog_entry *));
    if (!slots)
        return backlog->n_slots > 0; // longer chains still work
    for (size_t i = 0; i < backlog->n_slots; i++)
        for (struct backlog_entry *entry = backlog->slots[i], *next; entry; entry = next) {
            next = entry->chain;
            size_t slot = backlog_hash(entry->name, entry->from) & (n - 1);
            entry->chain = slots[slot];
            slots[slot] = entry;
        }
    free(backlog->slots);
    backlog->slots = slots;
    backlog->n_slots = n;
    return true;
}

static struct backlog_list *backlog_list_of(struct backlog *backlog, const struct backlog_entry *entry)
{
    return entry->high ? &backlog->high : entry->from == SPOOL_DEFERRED ? &backlog->due : &backlog->fresh;
}

static void list_append(struct backlog *backlog, struct backlog_entry *entry)
{
    struct backlog_list *list = backlog_list_of(backlog, entry);
    entry->state = BACKLOG_WAITING;
    entry->next = NULL;
    entry->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = entry;
    list->last = entry;
    backlog->n_waiting++;
}

static void list_remove(struct backlog *backlog, struct backlog_entry *entry)
{
    struct backlog_list *list = backlog_list_of(backlog, entry);
    *(entry->previous ? &entry->previous->next : &list->first) = entry->next;
    *(entry->next ? &entry->next->previous : &list->last) = entry->previous;
    entry->next = entry->previous = NULL;
    backlog->n_waiting--;
}

static void heap_put(struct backlog *backlog, size_t at, struct backlog_entry *entry)
{
    backlog->heap[at] = entry;
    entry->slot = at + 1;
}

static void heap_sift(struct backlog *backlog, size_t at, struct backlog_entry *entry)
{
    while (at > 0 && backlog->heap[(at - 1) / 2]->due > entry->due) {
        heap_put(backlog, at, backlog->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= backlog->n_heap)
            break;
        if (child + 1 < backlog->n_heap && backlog->heap[child + 1]->due < backlog->heap[child]->due)
            child++;
        if (backlog->heap[child]->due >= entry->due)
            break;
        heap_put(backlog, at, backlog->heap[child]);
        at = child;
    }
    heap_put(backlog, at, entry);
}

static void heap_remove(struct backlog *backlog, struct backlog_entry *entry)
{
    size_t at = entry->slot - 1;
    entry->slot = 0;
    struct backlog_entry *last = backlog->heap[--backlog->n_heap];
    if (last != entry)
        heap_sift(backlog, at, last);
}

// Without memory for the heap the entry is simply due now: too early is better than never.
static void heap_add(struct backlog *backlog, struct backlog_entry *entry, int64_t due)
{
    if (backlog->n_heap == backlog->heap_size) {
        size_t size = backlog->heap_size ? backlog->heap_size * 2 : 64;
        struct backlog_entry **heap = realloc(backlog->heap, size * sizeof(struct backlog_entry *));
        if (!heap) {
            list_append(backlog, entry);
            return;
        }
        backlog->heap = heap;
        backlog->heap_size = size;
    }
    entry->state = BACKLOG_LATER;
    entry->due = due;
    heap_sift(backlog, backlog->n_heap++, entry);
}

static void backlog_unlink(struct backlog *backlog, struct backlog_entry *entry)
{
    if (entry->state == BACKLOG_WAITING)
        list_remove(backlog, entry);
    else if (entry->state == BACKLOG_LATER)
        heap_remove(backlog, entry);
    entry->state = BACKLOG_BUSY;
}

void backlog_drop(struct backlog *backlog, struct backlog_entry *entry)
{
    backlog_unlink(backlog, entry);
    struct backlog_entry **at =
        &backlog->slots[backlog_hash(entry->name, entry->from) & (backlog->n_slots - 1)];
    while (*at != entry)
        at = &(*at)->chain;
    *at = entry->chain;
    *(entry->claimed               ? &backlog->n_claimed
        : entry->from == SPOOL_NEW ? &backlog->n_new
                                   : &backlog->n_deferred) -= 1;
    entry_free(backlog, entry);
}

void backlog_claimed(struct backlog *backlog, struct backlog_entry *entry)
{
    entry->claimed = true;
    entry->again = false;
    backlog->n_new--;
    backlog->n_claimed++;
}

void backlog_unclaim(struct backlog *backlog, struct backlog_entry *entry, bool high)
{
    entry->claimed = false;
    entry->sure = true;
    entry->high = high;
    backlog->n_claimed--;
    backlog->n_new++;
    list_append(backlog, entry);
}

bool backlog_end_claim(struct backlog *backlog, struct backlog_entry *entry)
{
    if (!entry->again) {
        backlog_drop(backlog, entry);
        return false;
    }
    entry->regular = entry->troubled = false;
    entry->settles = entry->unreadable = 0;
    entry->size = entry->mtime = -1;
    backlog_unclaim(backlog, entry, false);
    return true;
}

void backlog_forget(struct backlog *backlog)
{
    for (size_t i = 0; i < backlog->n_slots; i++)
        for (struct backlog_entry *entry = backlog->slots[i], *next; entry; entry = next) {
            next = entry->chain;
            if (entry->state != BACKLOG_BUSY)
                backlog_drop(backlog, entry);
        }
    backlog->more_new = false;
    backlog->left_out_due = INT64_MAX;
}

static struct backlog_entry *backlog_insert(struct backlog *backlog, const char *name, enum spool_state from)
{
    size_t length = strlen(name);
    struct backlog_entry *entry = backlog_grow(backlog) ? malloc(sizeof *entry + length + 1) : NULL;
    if (!entry)
        return NULL;
    *entry = (struct backlog_entry){.from = from, .state = BACKLOG_BUSY, .size = -1, .mtime = -1};
    memcpy(entry->name, name, length + 1);
    size_t slot = backlog_hash(name, from) & (backlog->n_slots - 1);
    entry->chain = backlog->slots[slot];
    backlog->slots[slot] = entry;
    *(from == SPOOL_NEW ? &backlog->n_new : &backlog->n_deferred) += 1;
    if (backlog->all)
        backlog->all->names++;
    return entry;
}

struct backlog_entry *backlog_add_new(struct backlog *backlog, const char *name, bool sure, bool high)
{
    struct backlog_entry *entry = backlog_find(backlog, name, SPOOL_NEW);
    if (entry) {
        entry->again |= entry->claimed && sure;
        if (sure && !entry->sure) {
            entry->sure = true;
            if (entry->state == BACKLOG_LATER) {
                heap_remove(backlog, entry);
                list_append(backlog, entry);
            }
        }
        return entry;
    }
    if (!backlog_new_room(backlog) || !(entry = backlog_insert(backlog, name, SPOOL_NEW))) {
        backlog->more_new = true;
        return NULL;
    }
    entry->sure = sure;
    entry->high = high;
    list_append(backlog, entry);
    return entry;
}

struct backlog_entry *backlog_add_deferred(
    struct backlog *backlog, const char *name, int64_t recorded, int64_t due, int64_t now)
{
    struct backlog_entry *entry = backlog_find(backlog, name, SPOOL_DEFERRED);
    if (entry && entry->state == BACKLOG_BUSY)
        return entry; // its claim is under way and will tell
    if (!entry) {
        if (!backlog_room(backlog, backlog->n_deferred, BACKLOG_DEFERRED_MAX) ||
            !(entry = backlog_insert(backlog, name, SPOOL_DEFERRED))) {
            if (due < backlog->left_out_due)
                backlog->left_out_due = due;
            return NULL;
        }
        entry->sure = true;
    }
    if (entry->state == BACKLOG_LATER && entry->recorded == recorded && entry->due < due)
        due = entry->due;
    // What waits has come to its time, or was released: the same recorded time does not push it away again.
    if (entry->state == BACKLOG_WAITING && (due <= now || entry->recorded == recorded)) {
        entry->recorded = recorded;
        return entry;
    }
    entry->recorded = recorded;
    backlog_unlink(backlog, entry);
    if (due <= now)
        list_append(backlog, entry);
    else
        heap_add(backlog, entry, due);
    return entry;
}

void backlog_put_off(struct backlog *backlog, struct backlog_entry *entry, int64_t due)
{
    backlog_unlink(backlog, entry);
    heap_add(backlog, entry, due);
}

static void backlog_ripen(struct backlog *backlog, int64_t now)
{
    while (backlog->n_heap && backlog->heap[0]->due <= now) {
        struct backlog_entry *entry = backlog->heap[0];
        heap_remove(backlog, entry);
        list_append(backlog, entry);
    }
}

bool backlog_has_waiting(struct backlog *backlog, int64_t now)
{
    backlog_ripen(backlog, now);
    return backlog->n_waiting > 0;
}

struct backlog_entry *backlog_next(struct backlog *backlog, int64_t now)
{
    backlog_ripen(backlog, now);
    struct backlog_entry *entry = backlog->high.first;
    if (!entry) {
        struct backlog_entry *due = backlog->due.first, *fresh = backlog->fresh.first;
        entry = !fresh || (due && backlog->turn) ? due : fresh;
        backlog->turn = !backlog->turn;
    }
    if (entry)
        backlog_unlink(backlog, entry);
    return entry;
}

void backlog_raise(struct backlog *backlog, const char *name)
{
    struct backlog_entry *entry = backlog_find(backlog, name, SPOOL_NEW);
    if (!entry || entry->high)
        return;
    bool waiting = entry->state == BACKLOG_WAITING;
    if (waiting)
        list_remove(backlog, entry);
    entry->high = true;
    if (waiting)
        list_append(backlog, entry);
}

bool backlog_settling(const struct backlog *backlog)
{
    for (size_t i = 0; i < backlog->n_heap; i++)
        if (backlog->heap[i]->from == SPOOL_NEW && backlog->heap[i]->settles < BACKLOG_SETTLES_MAX)
            return true;
    return false;
}

bool backlog_troubled(const struct backlog *backlog)
{
    for (size_t i = 0; i < backlog->n_heap; i++)
        if (backlog->heap[i]->troubled)
            return true;
    return false;
}

int64_t backlog_next_due(const struct backlog *backlog)
{
    return backlog->n_heap ? backlog->heap[0]->due : INT64_MAX;
}

void backlog_release_deferred(struct backlog *backlog)
{
    size_t n = backlog->n_heap;
    backlog->n_heap = 0;
    // The heap is built anew in place: what is kept never lands behind the place being read.
    for (size_t i = 0; i < n; i++) {
        struct backlog_entry *entry = backlog->heap[i];
        entry->slot = 0;
        if (entry->from == SPOOL_DEFERRED)
            list_append(backlog, entry);
        else
            heap_sift(backlog, backlog->n_heap++, entry);
    }
}

void backlog_forget_later(struct backlog *backlog, int64_t due)
{
    size_t n = backlog->n_heap;
    backlog->n_heap = 0; // built anew in place, as above
    for (size_t i = 0; i < n; i++) {
        struct backlog_entry *entry = backlog->heap[i];
        entry->slot = 0;
        if (entry->from == SPOOL_DEFERRED && entry->due > due && !entry->settles) {
            entry->state = BACKLOG_BUSY; // in no list
            backlog_drop(backlog, entry);
        } else {
            heap_sift(backlog, backlog->n_heap++, entry);
        }
    }
}
