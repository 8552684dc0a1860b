// A bounded set of names with a time each: of everything offered, the earliest are kept.
#ifndef OUTTRAY_AGENT_DELIVERY_NAMES_H
#define OUTTRAY_AGENT_DELIVERY_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name_at {
    int64_t time;     // wall ns: submission, or the next attempt
    int64_t recorded; // the time as it stands in the directory, where `time` is another one
    bool high;        // X-Outtray-Priority: high
    bool open;        // fd is its open file; the set's, which closes it
    int fd;
    const char *text; // in a set: its own copy
};

struct names {
    struct name_at *items; // a heap with the latest first, until names_sort
    size_t n, max, size;
    bool left_out;         // something found no room
    int64_t left_out_time; // the earliest time of what found no room; INT64_MAX: none
};

void names_init(struct names *names, size_t max);
void names_release(struct names *names);
// Offers a copy. 0 or -ENOMEM (which counts as left out).
int names_offer(struct names *names, const char *text, int64_t time, int64_t recorded);
// The same with all there is to say. An open file is taken over, and closed where the name is not kept.
int names_offer_item(struct names *names, const struct name_at *offer);
void names_sort(struct names *names); // earliest first; nothing may be offered afterwards

#endif
