// One value of the configuration: from a node of the tree to a member of a draft.
#ifndef OUTTRAY_CONFIG_VALUE_H
#define OUTTRAY_CONFIG_VALUE_H

#include "read.h"

struct value {
    struct reader *reader;
    const struct schema_key *key; // not a MAP or NAMED row
    const struct config_path *path;
    const struct tree_node *node;
    void *place; // where the key's type is written
};

// Checks the node against its row and writes what it means to place; after a finding place is as it was.
void value_read(const struct value *value);

#endif
