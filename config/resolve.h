// What more than one key decides: presets, ports, names that refer to accounts and tenants, inheritance.
#ifndef OUTTRAY_CONFIG_RESOLVE_H
#define OUTTRAY_CONFIG_RESOLVE_H

#include "read.h"

// Accounts and tenants sorted by name, to find them.
struct config_index {
    const struct config_account **accounts;
    const struct config_tenant **tenants;
};

// Completes one account; findings for what does not fit together.
void resolve_account(struct reader *reader, struct account_draft *draft);

// Completes the drafts and builds *ret_config's arrays and the index. Findings and report->error as in
// read_tree.
void resolve_config(struct reader *reader, const struct tree_node *root, struct config *ret_config,
    struct config_index *ret_index);

#endif
