// Every key of the configuration as one row of a table: path, type, default, limits, where its value goes.
//
// Reading (read.c), unknown keys, error texts and the tests of the man page and of example.yaml all follow
// this table; a new key is a new row. What more than one key decides (presets, inheritance) is in resolve.c.
#ifndef OUTTRAY_CONFIG_SCHEMA_H
#define OUTTRAY_CONFIG_SCHEMA_H

#include "config.h"

enum schema_type {
    SCHEMA_MAP,      // a mapping with the keys of the table
    SCHEMA_NAMED,    // a mapping whose keys the operator chooses; its rows have "*" there
    SCHEMA_VERSION,  // the number 1
    SCHEMA_TEXT,     // const char *
    SCHEMA_BOOL,     // bool
    SCHEMA_COUNT,    // unsigned
    SCHEMA_PORT,     // uint16_t
    SCHEMA_FRACTION, // double
    SCHEMA_DURATION, // int64_t, milliseconds
    SCHEMA_SIZE,     // uint64_t, octets
    SCHEMA_CHOICE,   // an enum whose values count from 0 in the order of choices
    SCHEMA_SERVERS,  // struct schema_servers: a name or a list of names
    SCHEMA_ARGV,     // const char *const *, NULL-terminated
};

enum schema_flags {
    SCHEMA_REQUIRED = 1, // must be there and not be empty
    SCHEMA_NEVER = 2,    // a duration that may be `never`
};

#define SCHEMA_SERVERS_MAX  16   // names of one account
#define SCHEMA_ARGV_MAX     64   // elements of one hook
#define SCHEMA_TEXT_MAX     4096 // octets of one text
#define SCHEMA_TENANTS_MAX  10000
#define SCHEMA_ACCOUNTS_MAX 10000

// What the rows write into: the public structs, and beside them what resolve.c turns into pointers.
struct schema_servers {
    const char *const *names;
    size_t n;
};

struct tree_node;

struct account_draft {
    struct config_account account;
    struct schema_servers servers;
    const struct tree_node *key, *map; // where it stands
};

struct tenant_draft {
    struct config_tenant tenant;
    const char *parent, *account, *from; // as the file has them; "" where absent
    const char *notify;                  // likewise; of on_failure the durations are 0 where absent
    const struct tree_node *key, *map;
    size_t walk; // of the search for cycles: which walk has been here
};

struct global_draft {
    struct config config;
    const char *default_tenant;
};

// NULL for a good text, else a constant reason. checks is never NULL, its functions may be.
typedef const char *schema_problem(const char *text, const struct config_checks *checks);

struct schema_key {
    const char *path; // "accounts.*.tls.verify"
    enum schema_type type;
    unsigned flags;
    const char *fallback;       // the default as the file would have it; NULL: none, or resolve.c knows
    int64_t min, max;           // of counts, durations (ms) and sizes (octets)
    const char *const *choices; // NULL-terminated
    schema_problem *problem;    // of a text that is not empty
    size_t offset;              // in the draft: of the account, of the tenant, or of the file
};

// All rows; a row's children stand behind it.
const struct schema_key *schema_keys(size_t *ret_n);

// The row called name below parent (NULL: the top level). Below a NAMED row are the keys of what it names:
// "accounts" has "accounts.*.auth". NULL: unknown.
const struct schema_key *schema_child(const struct schema_key *parent, const char *name);

// The rows directly below parent, one by one: the next one after previous (NULL to start), or NULL.
const struct schema_key *schema_next(const struct schema_key *parent, const struct schema_key *previous);

// The last part of the path: "verify".
const char *schema_name(const struct schema_key *key);

// Some row called name below another parent, or NULL: the right place for a key that was found elsewhere.
const struct schema_key *schema_elsewhere(const char *name);

#endif
