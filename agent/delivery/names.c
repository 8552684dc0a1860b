// Keeping the earliest names of a directory that may hold a million.
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void names_init(struct names *names, size_t max)
{
    *names = (struct names){.max = max, .left_out_time = INT64_MAX};
}

static void name_release(struct name_at *name)
{
    free((char *)name->text);
    if (name->open)
        close(name->fd);
}

void names_release(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        name_release(&names->items[i]);
    free(names->items);
    names_init(names, names->max);
}

static void names_left_out(struct names *names, int64_t time)
{
    names->left_out = true;
    if (time < names->left_out_time)
        names->left_out_time = time;
}

static void names_down(struct names *names, size_t at)
{
    struct name_at item = names->items[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= names->n)
            break;
        if (child + 1 < names->n && names->items[child + 1].time > names->items[child].time)
            child++;
        if (names->items[child].time <= item.time)
            break;
        names->items[at] = names->items[child];
        at = child;
    }
    names->items[at] = item;
}

static void names_up(struct names *names, size_t at)
{
    struct name_at item = names->items[at];
    while (at > 0 && names->items[(at - 1) / 2].time < item.time) {
        names->items[at] = names->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    names->items[at] = item;
}

static int names_room(struct names *names)
{
    if (names->n < names->size)
        return 0;
    size_t size = names->size ? names->size * 2 : 64;
    if (size > names->max)
        size = names->max;
    struct name_at *items = realloc(names->items, size * sizeof *items);
    if (!items)
        return -ENOMEM;
    names->items = items;
    names->size = size;
    return 0;
}

int names_offer_item(struct names *names, const struct name_at *offer)
{
    bool full = names->n == names->max;
    if (full && (!names->n || names->items[0].time <= offer->time)) {
        names_left_out(names, offer->time);
        name_release(&(struct name_at){.open = offer->open, .fd = offer->fd});
        return 0;
    }
    struct name_at item = *offer;
    item.text = strdup(offer->text);
    if (!item.text || (!full && names_room(names))) {
        name_release(&item);
        names_left_out(names, offer->time);
        return -ENOMEM;
    }
    if (full) {
        names_left_out(names, names->items[0].time);
        name_release(&names->items[0]);
        names->items[0] = item;
        names_down(names, 0);
    } else {
        names->items[names->n++] = item;
        names_up(names, names->n - 1);
    }
    return 0;
}

int names_offer(struct names *names, const char *text, int64_t time, int64_t recorded)
{
    return names_offer_item(names, &(struct name_at){.text = text, .time = time, .recorded = recorded});
}

static int name_compare(const void *a, const void *b)
{
    const struct name_at *left = a, *right = b;
    if (left->time != right->time)
        return left->time < right->time ? -1 : 1;
    return strcmp(left->text, right->text);
}

void names_sort(struct names *names)
{
    if (names->n)
        qsort(names->items, names->n, sizeof *names->items, name_compare);
}
