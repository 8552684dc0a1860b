// `outtray top`: a live screen over what overview.h knows. Reads status.json and directories only; what a key
// asks for is done by the verb of that name, in a process of its own.
#ifndef OUTTRAY_AGENT_CLI_TOP_H
#define OUTTRAY_AGENT_CLI_TOP_H

#include "agent/base/buffer.h"
#include "agent/cli/overview.h"

#define TOP_COLUMNS_MIN 40
#define TOP_LINES_MIN   10
#define TOP_MESSAGE_MAX 256
#define TOP_OUTPUT_MAX  (256 * 1024) // octets of a verb's output that are shown

enum top_section { TOP_ACCOUNTS, TOP_TENANTS, TOP_FAILURES, TOP_SECTIONS };

struct top_rate { // messages a minute
    uint64_t sent;
    int64_t at; // wall ns, of status.json; 0: not seen yet
    double per_minute;
};

struct top {
    struct overview overview;
    const char *config_path;
    struct top_rate *tenant_rates, *account_rates, total;
    enum top_section section;      // the one with the cursor
    size_t selected[TOP_SECTIONS]; // row
    size_t first[TOP_SECTIONS];    // row shown at the top
    char message[TOP_MESSAGE_MAX]; // in the last line; "" for the keys
    bool colours, quit;
};

// top_draw.c: the whole screen; lines that fill the screen from `first` on, with a title.
void top_draw(struct top *top);
void top_draw_lines(const char *title, const char *const *lines, size_t n, size_t first);
size_t top_rows(const struct top *top, enum top_section section);
void top_colours(struct top *top);

// top_act.c: what a key asks for.
void top_key(struct top *top, int key);
void top_help(void);

#endif
