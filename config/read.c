// Reading by the schema table: maps walked, unknown keys named, defaults filled in, what is required asked
// for.
#include "nearest.h"
#include "value.h"
#include <errno.h>
#include <string.h>

void read_out_of_memory(struct reader *reader)
{
    reader->report->error = reader->report->error ? reader->report->error : -ENOMEM;
}

const char *read_copy_text(struct reader *reader, const char *text)
{
    const char *copy = config_arena_copy(reader->arena, text, strlen(text));
    if (!copy)
        read_out_of_memory(reader);
    return copy ? copy : "";
}

static void report_unknown(struct reader *reader, const struct schema_key *parent,
    const struct tree_node *key, const struct config_path *path)
{
    struct report *report = reader->report;
    struct nearest nearest = {.word = key->text};
    const struct schema_key *known = NULL;
    while (report_has_room(report) && (known = schema_next(parent, known)))
        nearest_offer(&nearest, schema_name(known));
    const struct schema_key *elsewhere = schema_elsewhere(key->text);
    if (nearest.best)
        report_error(
            report, key->mark, path, "unknown key `%.80s`; did you mean `%s`?", key->text, nearest.best);
    else if (elsewhere)
        report_error(
            report, key->mark, path, "unknown key `%.80s` here; there is `%s`", key->text, elsewhere->path);
    else
        report_error(report, key->mark, path, "unknown key `%.80s`", key->text);
}

static void read_map(struct reader *reader, const struct schema_key *parent, const struct tree_node *node,
    struct config_mark mark, const struct config_path *path, void *draft);

// Writes the defaults of everything below parent.
static void fill_defaults(struct reader *reader, const struct schema_key *parent, void *draft)
{
    static const char *const no_argv[] = {NULL};
    const struct schema_key *key = NULL;
    while ((key = schema_next(parent, key))) {
        void *place = (char *)draft + key->offset;
        struct tree_node node = {.kind = TREE_SCALAR, .text = key->fallback};
        if (key->type == SCHEMA_MAP)
            fill_defaults(reader, key, draft);
        else if (key->fallback)
            value_read(&(struct value){reader, key, NULL, &node, place});
        else if (key->type == SCHEMA_TEXT)
            memcpy(place, &(const char *){""}, sizeof(char *));
        else if (key->type == SCHEMA_ARGV)
            memcpy(place, &(const char *const *){no_argv}, sizeof(char *));
    }
}

// The key's name at the top is the parent of all names; each name gets a draft with its defaults.
static void read_named(struct reader *reader, const struct schema_key *key, const struct tree_node *node,
    const struct config_path *path)
{
    bool accounts = strcmp(key->path, "accounts") == 0;
    size_t size = accounts ? sizeof(struct account_draft) : sizeof(struct tenant_draft), n = 0;
    if (node->n > (size_t)key->max) {
        report_error(reader->report, node->mark, path, "has more than %d names", (int)key->max);
        return;
    }
    char *drafts = config_arena_alloc(reader->arena, node->n, size);
    if (!drafts) {
        read_out_of_memory(reader);
        return;
    }
    for (const struct tree_pair *pair = node->pairs; pair; pair = pair->next, n++) {
        struct config_path below = {path, pair->key->text};
        const char *problem = key->problem(pair->key->text, reader->checks);
        void *draft = drafts + n * size;
        if (problem)
            report_error(reader->report, pair->key->mark, &below, "%s", problem);
        fill_defaults(reader, key, draft);
        if (accounts) {
            struct account_draft *account = draft;
            account->key = pair->key;
            account->map = pair->value;
            account->account.name = read_copy_text(reader, pair->key->text);
        } else {
            struct tenant_draft *tenant = draft;
            tenant->key = pair->key;
            tenant->map = pair->value;
            tenant->tenant.name = read_copy_text(reader, pair->key->text);
        }
        read_map(reader, key, pair->value, pair->key->mark, &below, draft);
    }
    if (accounts) {
        reader->accounts = (struct account_draft *)(void *)drafts;
        reader->n_accounts = n;
    } else {
        reader->tenants = (struct tenant_draft *)(void *)drafts;
        reader->n_tenants = n;
    }
}

static void read_pair(struct reader *reader, const struct schema_key *parent, const struct tree_pair *pair,
    const struct config_path *path, void *draft)
{
    const struct schema_key *key = schema_child(parent, pair->key->text);
    struct config_path below = {path, pair->key->text};
    if (!key) {
        report_unknown(reader, parent, pair->key, &below);
        return;
    }
    if (key->type == SCHEMA_MAP || key->type == SCHEMA_NAMED) {
        if (pair->value->kind != TREE_MAP && !tree_is_null(pair->value))
            report_error(reader->report, pair->value->mark, &below, "must be a mapping of keys to values");
        else if (key->type == SCHEMA_MAP)
            read_map(reader, key, pair->value, pair->key->mark, &below, draft);
        else
            read_named(reader, key, pair->value, &below);
        return;
    }
    value_read(&(struct value){reader, key, &below, pair->value, (char *)draft + key->offset});
}

static void read_map(struct reader *reader, const struct schema_key *parent, const struct tree_node *node,
    struct config_mark mark, const struct config_path *path, void *draft)
{
    if (node->kind != TREE_MAP && !tree_is_null(node)) {
        report_error(reader->report, node->mark, path, "must be a mapping of keys to values");
        return;
    }
    for (const struct tree_pair *pair = node->pairs; pair; pair = pair->next)
        read_pair(reader, parent, pair, path, draft);
    const struct schema_key *key = NULL;
    while ((key = schema_next(parent, key)))
        if ((key->flags & SCHEMA_REQUIRED) && !tree_get(node, schema_name(key)))
            report_error(reader->report, mark, &(struct config_path){path, schema_name(key)}, "is missing");
}

void read_tree(struct reader *reader, const struct tree_node *root)
{
    fill_defaults(reader, NULL, &reader->global);
    read_map(reader, NULL, root, (struct config_mark){1, 1}, NULL, &reader->global);
}
