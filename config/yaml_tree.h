// A YAML document as a tree of nodes with their places in the file: what libyaml's events say, bounded.
//
// The subset is on purpose small: one document of UTF-8 text, keys that are scalars, no tags, no merge keys.
// Aliases are taken, and what they repeat counts against TREE_NODES_MAX as if it were written out, so that a
// few lines cannot become a billion nodes. Nodes live in the arena and are never changed.
#ifndef OUTTRAY_CONFIG_YAML_TREE_H
#define OUTTRAY_CONFIG_YAML_TREE_H

#include "arena.h"
#include "findings.h"

#define TREE_DEPTH_MAX   16     // of nested mappings and lists; the schema needs 4
#define TREE_NODES_MAX   500000 // with everything that aliases repeat
#define TREE_ANCHORS_MAX 1000

enum tree_kind { TREE_SCALAR, TREE_LIST, TREE_MAP };

struct tree_node {
    enum tree_kind kind;
    struct config_mark mark;
    const char *text;              // of a scalar; may hold no NUL
    bool quoted;                   // in quotes or a block scalar: text, whatever it looks like
    const struct tree_pair *pairs; // of a list or a map, in the order of the file
    size_t n;                      // of them
    size_t weight;                 // nodes below and with this one, aliases written out
};

struct tree_pair {
    const struct tree_node *key; // NULL in a list
    const struct tree_node *value;
    const struct tree_pair *next;
};

// Parses length octets. 0 and *ret_root (NULL for an empty document), -EINVAL with a finding where the text
// cannot be read on, -ENOMEM. Findings that do not stop the reading (a key given twice, a merge key) are
// added as well: the pair is left out then.
int tree_parse(struct report *report, struct config_arena *arena, const char *text, size_t length,
    const struct tree_node **ret_root);

// The value of key in a map (NULL: no map), or NULL.
const struct tree_node *tree_get(const struct tree_node *map, const char *key);

// Whether a node says nothing: the value left out, `~` or `null`.
bool tree_is_null(const struct tree_node *node);

#endif
