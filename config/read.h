// Reads a tree by the schema table into drafts: every value checked by itself, unknown keys named, defaults
// filled in.
#ifndef OUTTRAY_CONFIG_READ_H
#define OUTTRAY_CONFIG_READ_H

#include "arena.h"
#include "findings.h"
#include "schema.h"
#include "yaml_tree.h"

// A key that was given and belongs to a feature (config_visit_given).
struct given_key {
    enum config_feature feature;
    const char *path;
    const struct given_key *next;
};

struct reader {
    struct report *report;
    struct config_arena *arena; // of what is read; outlives the tree
    const struct config_checks *checks;
    struct global_draft global;
    struct account_draft *accounts;
    size_t n_accounts;
    struct tenant_draft *tenants;
    size_t n_tenants;
    const struct given_key *given;
    const struct given_key **given_end;
    unsigned n_guesses; // of resolve.c
};

// Reads the whole tree. Errors are findings; short memory is report->error. A value with an error has its
// default, and so has a key that is absent.
void read_tree(struct reader *reader, const struct tree_node *root);

// Notes that memory is short.
void read_out_of_memory(struct reader *reader);
// A copy that lives as long as what is read; "" where memory is short.
const char *read_copy_text(struct reader *reader, const char *text);

// Remembers that path was given and belongs to feature.
void read_note_given(struct reader *reader, enum config_feature feature, const struct config_path *path);

#endif
