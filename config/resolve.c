// Tenants and the file as a whole: who inherits what from whom, and whether the parts agree.
#include "resolve.h"
#include "nearest.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUESSES_MAX     100 // searches for the name that was meant, each among all names
#define CYCLE_NAMES_MAX 8   // names of a cycle that are shown

#define DELAY_WARNING_MS ((int64_t)4 * 3600 * 1000) // where no tenant on the way up says anything else

// Where the tenants' parents and accounts lead, as indexes of the drafts.
#define NOWHERE SIZE_MAX

struct links {
    size_t *parents;  // NOWHERE: none
    size_t *accounts; // NOWHERE: none of its own
    bool *broken;     // something on the way up is wrong and was reported
};

static const struct config_path tenants_path = {NULL, "tenants"};

static struct config_mark mark_of(const struct tenant_draft *draft, const char *key)
{
    const struct tree_node *node = tree_get(draft->map, key);
    return node ? node->mark : draft->key->mark;
}

static int compare_accounts(const void *left, const void *right)
{
    const struct config_account *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

static int compare_tenants(const void *left, const void *right)
{
    const struct config_tenant *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

// Index of the account or tenant called name, or NOWHERE.
static size_t find_account(const struct config *config, const struct config_index *index, const char *name)
{
    struct config_account key = {.name = name};
    const struct config_account *wanted = &key;
    const struct config_account **found = bsearch(
        &wanted, index->accounts, config->n_accounts, sizeof(struct config_account *), compare_accounts);
    return found ? (size_t)(*found - config->accounts) : NOWHERE;
}

static size_t find_tenant(const struct config *config, const struct config_index *index, const char *name)
{
    struct config_tenant key = {.name = name};
    const struct config_tenant *wanted = &key;
    const struct config_tenant **found =
        bsearch(&wanted, index->tenants, config->n_tenants, sizeof(struct config_tenant *), compare_tenants);
    return found ? (size_t)(*found - config->tenants) : NOWHERE;
}

static void report_no_such(struct reader *reader, struct config_mark mark, const struct config_path *path,
    const char *what, const char *name, const char *(*name_at)(const struct reader *, size_t), size_t n)
{
    struct nearest nearest = {.word = name};
    bool guess = report_has_room(reader->report) && reader->n_guesses++ < GUESSES_MAX;
    for (size_t i = 0; guess && i < n; i++)
        nearest_offer(&nearest, name_at(reader, i));
    if (nearest.best)
        report_error(reader->report, mark, path, "there is no %s `%.100s`; did you mean `%.100s`?", what,
            name, nearest.best);
    else
        report_error(reader->report, mark, path, "there is no %s `%.100s`", what, name);
}

static const char *account_name_at(const struct reader *reader, size_t i)
{
    return reader->accounts[i].account.name;
}

static const char *tenant_name_at(const struct reader *reader, size_t i)
{
    return reader->tenants[i].tenant.name;
}

// Turns the names in `parent` and `account` into indexes.
static void link_tenants(
    struct reader *reader, const struct config *config, const struct config_index *index, struct links *links)
{
    for (size_t i = 0; i < reader->n_tenants; i++) {
        struct tenant_draft *draft = &reader->tenants[i];
        struct config_path path = {&tenants_path, draft->tenant.name};
        links->parents[i] = *draft->parent ? find_tenant(config, index, draft->parent) : NOWHERE;
        links->accounts[i] = *draft->account ? find_account(config, index, draft->account) : NOWHERE;
        if (*draft->parent && links->parents[i] == NOWHERE) {
            report_no_such(reader, mark_of(draft, "parent"), &(struct config_path){&path, "parent"}, "tenant",
                draft->parent, tenant_name_at, reader->n_tenants);
            links->broken[i] = true;
        }
        if (*draft->account && links->accounts[i] == NOWHERE) {
            if (reader->n_accounts > 0) // else that was said already, once
                report_no_such(reader, mark_of(draft, "account"), &(struct config_path){&path, "account"},
                    "account", draft->account, account_name_at, reader->n_accounts);
            links->broken[i] = true;
        }
        if (draft->map->kind != TREE_MAP && !tree_is_null(draft->map))
            links->broken[i] = true;
    }
}

static void report_cycle(struct reader *reader, const struct links *links, size_t start)
{
    char names[FINDING_TEXT_MAX / 2] = "";
    size_t used = 0, at = start, shown = 0;
    do {
        used += (size_t)snprintf(
            names + used, sizeof(names) - used, "%.40s -> ", reader->tenants[at].tenant.name);
        at = links->parents[at];
    } while (at != start && ++shown < CYCLE_NAMES_MAX);
    struct config_path path = {&tenants_path, reader->tenants[start].tenant.name};
    report_error(reader->report, mark_of(&reader->tenants[start], "parent"),
        &(struct config_path){&path, "parent"}, "the parents form a cycle: %s%s", names,
        at == start ? reader->tenants[start].tenant.name : "...");
}

// Walks up from every tenant once; whoever meets its own walk again is in a cycle, which is cut there.
static void cut_cycles(struct reader *reader, struct links *links)
{
    for (size_t i = 0; i < reader->n_tenants; i++) {
        size_t at = i;
        while (at != NOWHERE && reader->tenants[at].walk == 0) {
            reader->tenants[at].walk = i + 1;
            at = links->parents[at];
        }
        if (at == NOWHERE || reader->tenants[at].walk != i + 1)
            continue;
        size_t first = at; // the one that stands first in the file
        for (size_t j = links->parents[at]; j != at; j = links->parents[j])
            first = j < first ? j : first;
        report_cycle(reader, links, first);
        size_t member = first;
        do {
            links->broken[member] = true;
            member = links->parents[member];
        } while (member != first);
        links->parents[first] = NOWHERE;
    }
}

static const char *format_text(struct reader *reader, const char *prefix, const char *text)
{
    size_t size = strlen(prefix) + strlen(text) + 1;
    char *copy = config_arena_alloc(reader->arena, 1, size);
    if (!copy) {
        reader->report->error = -ENOMEM;
        return "";
    }
    snprintf(copy, size, "%s%s", prefix, text);
    return copy;
}

static void resolve_from(
    struct reader *reader, const struct links *links, size_t i, struct config_tenant *tenant)
{
    const struct config *config = &reader->global.config;
    size_t at = i;
    while (config->custom_from && at != NOWHERE && !*reader->tenants[at].from)
        at = links->parents[at];
    if (config->custom_from && at != NOWHERE) {
        tenant->from = reader->tenants[at].from;
        tenant->from_rule =
            format_text(reader, at == i ? "tenant " : "parent ", reader->tenants[at].tenant.name);
        return;
    }
    tenant->from = format_text(reader, "root@", config->domain);
    tenant->from_rule = config->custom_from ? "root@domain" : "custom_from: false";
}

// Each of the three keys comes from the nearest tenant on the way up that has it.
static void resolve_notices(
    struct reader *reader, const struct links *links, size_t i, struct config_notices *ret_notices)
{
    const char *notify = "";
    struct config_notices notices = {.address = ""};
    for (size_t at = i; at != NOWHERE; at = links->parents[at]) {
        const struct tenant_draft *draft = &reader->tenants[at];
        const struct config_notices *own = &draft->tenant.on_failure;
        notify = *notify ? notify : draft->notify;
        notices.digest_ms = notices.digest_ms ? notices.digest_ms : own->digest_ms;
        notices.delay_warning_ms =
            notices.delay_warning_ms ? notices.delay_warning_ms : own->delay_warning_ms;
    }
    if (!notices.digest_ms)
        notices.digest_ms = CONFIG_NEVER;
    if (!notices.delay_warning_ms)
        notices.delay_warning_ms = DELAY_WARNING_MS;
    if (strcmp(notify, "sender") == 0) {
        notices.notify = CONFIG_NOTIFY_SENDER;
    } else if (*notify && strcmp(notify, "none") != 0) {
        notices.notify = CONFIG_NOTIFY_ADDRESS;
        notices.address = notify;
    }
    *ret_notices = notices;
}

static void resolve_tenants(struct reader *reader, const struct links *links,
    const struct config_account *accounts, struct config_tenant *tenants)
{
    for (size_t i = 0; i < reader->n_tenants; i++) {
        size_t at = i;
        bool broken = links->broken[i];
        while (links->accounts[at] == NOWHERE && links->parents[at] != NOWHERE) {
            at = links->parents[at];
            broken = broken || links->broken[at];
        }
        struct tenant_draft *draft = &reader->tenants[i];
        struct config_path path = {&tenants_path, draft->tenant.name};
        if (links->accounts[at] != NOWHERE)
            tenants[i].account = &accounts[links->accounts[at]];
        else if (!broken)
            report_error(reader->report, draft->key->mark, &path, "`account` is missing, %s",
                *draft->parent ? "here and in every parent" : "and there is no parent to inherit one from");
        tenants[i].parent = links->parents[i] == NOWHERE ? NULL : &tenants[links->parents[i]];
        resolve_from(reader, links, i, &tenants[i]);
        resolve_notices(reader, links, i, &tenants[i].on_failure);
    }
}

static void resolve_default_tenant(struct reader *reader, const struct tree_node *root, struct config *config,
    const struct config_index *index)
{
    const char *name = reader->global.default_tenant;
    const struct config_path path = {NULL, "default_tenant"};
    size_t found = *name ? find_tenant(config, index, name) : NOWHERE;
    const struct tree_node *node = tree_get(root, "default_tenant");
    if (*name && found == NOWHERE)
        report_no_such(reader, node ? node->mark : (struct config_mark){0}, &path, "tenant", name,
            tenant_name_at, reader->n_tenants);
    config->default_tenant = found != NOWHERE         ? &config->tenants[found]
                             : config->n_tenants == 1 ? &config->tenants[0]
                                                      : NULL;
}

// "/var/spool/" names what "/var/spool" names; one spelling spares everybody else the question.
static void drop_slashes(struct reader *reader, const char **path)
{
    size_t length = strlen(*path);
    while (length > 1 && (*path)[length - 1] == '/')
        length--;
    if ((*path)[length] == '\0')
        return;
    const char *copy = config_arena_copy(reader->arena, *path, length);
    if (copy)
        *path = copy;
    else
        reader->report->error = -ENOMEM;
}

// Keys of the top level that must agree with each other.
static void check_global(struct reader *reader, const struct tree_node *root)
{
    struct config *config = &reader->global.config;
    const struct tree_node *retry = tree_get(root, "retry"), *state = tree_get(root, "state");
    struct config_path path = {NULL, "retry"};
    if (config->retry.first_ms > config->retry.max_ms) {
        const struct tree_node *first = tree_get(retry, "first"), *max = tree_get(retry, "max");
        report_error(reader->report,
            first ? first->mark
            : max ? max->mark
                  : (struct config_mark){0},
            &(struct config_path){&path, first ? "first" : "max"},
            "retry.first cannot be longer than retry.max");
    }
    drop_slashes(reader, &config->spool);
    drop_slashes(reader, &config->state);
    size_t length = strlen(config->spool);
    if (strncmp(config->state, config->spool, length) == 0 &&
        (config->state[length] == '\0' || config->state[length] == '/')) {
        const struct tree_node *node = state ? state : tree_get(root, "spool");
        report_warning(reader->report, node ? node->mark : (struct config_mark){0},
            &(struct config_path){NULL, state ? "state" : "spool"},
            "the state directory lies in the spool, where every directory is taken for a tenant");
    }
}

static bool build_arrays(struct reader *reader, struct config *config, struct config_account **ret_accounts,
    struct config_tenant **ret_tenants, struct config_index *index)
{
    size_t n_accounts = reader->n_accounts, n_tenants = reader->n_tenants;
    struct config_account *accounts = config_arena_alloc(reader->arena, n_accounts, sizeof(*accounts));
    struct config_tenant *tenants = config_arena_alloc(reader->arena, n_tenants, sizeof(*tenants));
    index->accounts = config_arena_alloc(reader->arena, n_accounts, sizeof(struct config_account *));
    index->tenants = config_arena_alloc(reader->arena, n_tenants, sizeof(struct config_tenant *));
    if (!accounts || !tenants || !index->accounts || !index->tenants)
        return false;
    for (size_t i = 0; i < n_accounts; i++) {
        resolve_account(reader, &reader->accounts[i]);
        accounts[i] = reader->accounts[i].account;
        index->accounts[i] = &accounts[i];
    }
    for (size_t i = 0; i < n_tenants; i++) {
        tenants[i] = reader->tenants[i].tenant;
        index->tenants[i] = &tenants[i];
    }
    if (n_accounts > 1)
        qsort(index->accounts, n_accounts, sizeof(struct config_account *), compare_accounts);
    if (n_tenants > 1)
        qsort(index->tenants, n_tenants, sizeof(struct config_tenant *), compare_tenants);
    config->accounts = accounts;
    config->n_accounts = n_accounts;
    config->tenants = tenants;
    config->n_tenants = n_tenants;
    *ret_accounts = accounts;
    *ret_tenants = tenants;
    return true;
}

static void report_empty(struct reader *reader, const struct tree_node *root, const char *key, size_t n)
{
    const struct tree_node *node = tree_get(root, key);
    if (n == 0 && node && (tree_is_null(node) || (node->kind == TREE_MAP && node->n == 0)))
        report_error(
            reader->report, node->mark, &(struct config_path){NULL, key}, "must have at least one name");
}

void resolve_config(struct reader *reader, const struct tree_node *root, struct config *ret_config,
    struct config_index *ret_index)
{
    struct config *config = &reader->global.config;
    struct config_account *accounts;
    struct config_tenant *tenants;
    size_t n = reader->n_tenants;
    check_global(reader, root);
    report_empty(reader, root, "accounts", reader->n_accounts);
    report_empty(reader, root, "tenants", n);
    struct links links = {
        .parents = config_arena_alloc(reader->arena, n, sizeof(size_t)),
        .accounts = config_arena_alloc(reader->arena, n, sizeof(size_t)),
        .broken = config_arena_alloc(reader->arena, n, sizeof(bool)),
    };
    if (!build_arrays(reader, config, &accounts, &tenants, ret_index) || !links.parents || !links.accounts ||
        !links.broken) {
        reader->report->error = -ENOMEM;
        return;
    }
    link_tenants(reader, config, ret_index, &links);
    cut_cycles(reader, &links);
    resolve_tenants(reader, &links, accounts, tenants);
    resolve_default_tenant(reader, root, config, ret_index);
    *ret_config = *config;
}
