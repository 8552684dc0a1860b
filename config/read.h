// Reads a tree by the schema table into drafts: every value checked by itself, unknown keys named, defaults
// filled in.
#ifndef OUTTRAY_CONFIG_READ_H
#define OUTTRAY_CONFIG_READ_H

#include "arena.h"
#include "findings.h"
#include "schema.h"
#include "yaml_tree.h"

struct reader {
    struct report *report;
    struct config_arena *arena; // of what is read; outlives the tree
    const struct config_checks *checks;
    struct global_draft global;
    struct account_draft *accounts;
    size_t n_accounts;
    struct tenant_draft *tenants;
    size_t n_tenants;
    unsigned n_guesses; // of resolve.c
};

// Reads the whole tree. Errors are findings; short memory is report->error. A value with an error has its
// default, and so has a key that is absent.
void read_tree(struct reader *reader, const struct tree_node *root);

// Notes that memory is short.
void read_out_of_memory(struct reader *reader);
// A copy that lives as long as what is read; "" where memory is short.
const char *read_copy_text(struct reader *reader, const char *text);

#endif
