// Values: each type of the schema has one function that checks a node and writes what it means.
#include "value.h"
#include "nearest.h"
#include "units.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define value_error(value, ...)                                                                              \
    report_error((value)->reader->report, (value)->node->mark, (value)->path, __VA_ARGS__)

// A text that obeys its row's rule, with a finding where it does not.
static bool text_is_good(const struct value *value, const struct tree_node *node)
{
    struct report *report = value->reader->report;
    if (node->kind != TREE_SCALAR) {
        report_error(report, node->mark, value->path, "must be one text, not a %s",
            node->kind == TREE_LIST ? "list" : "mapping");
        return false;
    }
    if (strlen(node->text) > SCHEMA_TEXT_MAX) {
        report_error(report, node->mark, value->path, "is longer than %d octets", SCHEMA_TEXT_MAX);
        return false;
    }
    if (*node->text && value->key->problem) {
        const char *problem = value->key->problem(node->text, value->reader->checks);
        if (problem)
            report_error(report, node->mark, value->path, "%s", problem);
        return !problem;
    }
    return true;
}

static void read_text(const struct value *value)
{
    if (!*value->node->text && (value->key->flags & SCHEMA_REQUIRED))
        value_error(value, "cannot be empty");
    else if (text_is_good(value, value->node))
        memcpy(
            value->place, &(const char *){read_copy_text(value->reader, value->node->text)}, sizeof(char *));
}

static void read_bool(const struct value *value)
{
    const char *text = value->node->text;
    bool yes = strcmp(text, "true") == 0;
    if (value->node->quoted || (!yes && strcmp(text, "false") != 0))
        value_error(value, "must be true or false, without quotes");
    else
        memcpy(value->place, &yes, sizeof(yes));
}

static void read_choice(const struct value *value)
{
    char list[256] = "";
    size_t used = 0;
    struct nearest nearest = {.word = value->node->text};
    for (unsigned i = 0; value->key->choices[i]; i++) {
        if (strcmp(value->key->choices[i], value->node->text) == 0) {
            static_assert(sizeof(enum config_auth) == sizeof(i), "enums are stored as unsigned");
            memcpy(value->place, &i, sizeof(i));
            return;
        }
        nearest_offer(&nearest, value->key->choices[i]);
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
            i == 0                       ? ""
            : value->key->choices[i + 1] ? ", "
                                         : " or ",
            value->key->choices[i]);
    }
    if (nearest.best)
        value_error(
            value, "`%.80s` is not one of %s; did you mean `%s`?", value->node->text, list, nearest.best);
    else
        value_error(value, "`%.80s` is not one of %s", value->node->text, list);
}

static void read_number(const struct value *value)
{
    int64_t number;
    int result = value->node->quoted ? -EINVAL : units_parse_count(value->node->text, &number);
    if (result == -EINVAL) {
        value_error(value, "must be a whole number, without quotes");
    } else if (result < 0 || number < value->key->min || number > value->key->max) {
        value_error(
            value, "must be from %lld to %lld", (long long)value->key->min, (long long)value->key->max);
    } else if (value->key->type == SCHEMA_PORT) {
        memcpy(value->place, &(uint16_t){(uint16_t)number}, sizeof(uint16_t));
    } else {
        memcpy(value->place, &(unsigned){(unsigned)number}, sizeof(unsigned));
    }
}

static void read_fraction(const struct value *value)
{
    double fraction;
    int result = value->node->quoted ? -EINVAL : units_parse_fraction(value->node->text, &fraction);
    if (result == -EINVAL)
        value_error(value, "must be a number such as 0.2, without quotes");
    else if (result < 0 || fraction < (double)value->key->min || fraction > (double)value->key->max)
        value_error(value, "must be from %d to %d", (int)value->key->min, (int)value->key->max);
    else
        memcpy(value->place, &fraction, sizeof(fraction));
}

static void read_duration(const struct value *value)
{
    int64_t ms = CONFIG_NEVER;
    bool may_never = value->key->flags & SCHEMA_NEVER;
    if (strcmp(value->node->text, "never") == 0 && may_never) {
        memcpy(value->place, &ms, sizeof(ms));
        return;
    }
    int result = units_parse_duration(value->node->text, &ms);
    char min[UNITS_TEXT_SIZE], max[UNITS_TEXT_SIZE];
    units_format_duration(value->key->min, min);
    units_format_duration(value->key->max, max);
    if (result == -EINVAL)
        value_error(value, "must be a duration: a whole number with s, m, h or d, such as 30s or 4h%s",
            may_never ? ", or never" : "");
    else if (result < 0 || ms < value->key->min || ms > value->key->max)
        value_error(value, "must be from %s to %s%s", min, max, may_never ? ", or never" : "");
    else
        memcpy(value->place, &ms, sizeof(ms));
}

static void read_size(const struct value *value)
{
    int64_t octets = 0;
    int result = units_parse_size(value->node->text, &octets);
    char min[UNITS_TEXT_SIZE], max[UNITS_TEXT_SIZE];
    units_format_size(value->key->min, min);
    units_format_size(value->key->max, max);
    if (result == -EINVAL)
        value_error(value, "must be a size: a whole number with k, m or g, such as 64k or 25m");
    else if (result < 0 || octets < value->key->min || octets > value->key->max)
        value_error(value, "must be from %s to %s", min, max);
    else
        memcpy(value->place, &(uint64_t){(uint64_t)octets}, sizeof(uint64_t));
}

static void read_version(const struct value *value)
{
    int64_t version;
    if (value->node->quoted || units_parse_count(value->node->text, &version) < 0)
        value_error(value, "must be the number 1");
    else if (version != 1)
        value_error(value, "is %.20s; this program reads version 1", value->node->text);
}

// Copies a list of texts. NULL after a finding or where memory is short.
static const char **copy_list(const struct value *value)
{
    size_t n = 0, max = (size_t)value->key->max;
    bool good = true;
    if (value->node->n > max) {
        value_error(value, "has more than %zu elements", max);
        return NULL;
    }
    const char **list = config_arena_alloc(value->reader->arena, value->node->n + 1, sizeof(char *));
    if (!list)
        read_out_of_memory(value->reader);
    for (const struct tree_pair *pair = value->node->pairs; list && pair; pair = pair->next)
        if (text_is_good(value, pair->value))
            list[n++] = read_copy_text(value->reader, pair->value->text);
        else
            good = false;
    return good ? list : NULL;
}

// A server's name as libraries take it: an IPv6 address without its brackets.
static const char *bare_server(struct reader *reader, const char *name)
{
    size_t length = strlen(name);
    if (name[0] != '[' || length < 2)
        return name;
    const char *bare = config_arena_copy(reader->arena, name + 1, length - 2);
    if (!bare)
        read_out_of_memory(reader);
    return bare ? bare : "";
}

static void read_servers(const struct value *value)
{
    struct tree_pair only = {.value = value->node};
    struct tree_node list = {.kind = TREE_LIST, .mark = value->node->mark, .pairs = &only, .n = 1};
    struct value all = *value;
    if (value->node->kind == TREE_SCALAR) {
        if (!*value->node->text)
            return;
        all.node = &list;
    }
    for (const struct tree_pair *pair = all.node->pairs; pair; pair = pair->next)
        if (pair->value->kind == TREE_SCALAR && !*pair->value->text) {
            report_error(
                value->reader->report, pair->value->mark, value->path, "a server's name cannot be empty");
            return;
        }
    const char **names = copy_list(&all);
    for (size_t i = 0; names && i < all.node->n; i++)
        names[i] = bare_server(value->reader, names[i]);
    if (names && all.node->n > 0)
        memcpy(value->place, &(struct schema_servers){names, all.node->n}, sizeof(struct schema_servers));
}

static void read_argv(const struct value *value)
{
    if (value->node->kind != TREE_LIST) {
        value_error(
            value, "must be a list: the program and its arguments, such as [/usr/bin/logger, -t, outtray]");
        return;
    }
    const char **list = copy_list(value);
    if (!list)
        return;
    if (list[0] && list[0][0] != '/')
        report_error(value->reader->report, value->node->pairs->value->mark, value->path,
            "must begin with the absolute path of a program; there is no shell that would look for it");
    else
        memcpy(value->place, &list, sizeof(list));
}

// Whether the node's kind suits the row's type, with a finding where it does not.
static bool kind_is_good(const struct value *value)
{
    enum schema_type type = value->key->type;
    if (type == SCHEMA_ARGV || (type == SCHEMA_SERVERS && value->node->kind == TREE_LIST))
        return true;
    if (value->node->kind != TREE_SCALAR) {
        value_error(
            value, "must be one value, not a %s", value->node->kind == TREE_LIST ? "list" : "mapping");
        return false;
    }
    if (tree_is_null(value->node)) {
        value_error(value, "has no value; leave the key out, or write \"\" where it may be empty");
        return false;
    }
    return true;
}

void value_read(const struct value *value)
{
    static void (*const readers[])(const struct value *) = {
        [SCHEMA_VERSION] = read_version,
        [SCHEMA_TEXT] = read_text,
        [SCHEMA_BOOL] = read_bool,
        [SCHEMA_COUNT] = read_number,
        [SCHEMA_PORT] = read_number,
        [SCHEMA_FRACTION] = read_fraction,
        [SCHEMA_DURATION] = read_duration,
        [SCHEMA_SIZE] = read_size,
        [SCHEMA_CHOICE] = read_choice,
        [SCHEMA_SERVERS] = read_servers,
        [SCHEMA_ARGV] = read_argv,
    };
    if (kind_is_good(value))
        readers[value->key->type](value);
}
