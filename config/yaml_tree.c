// The tree of yaml_tree.h, built from libyaml's events by recursion whose depth is bounded.
#include "yaml_tree.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct anchor {
    struct anchor *next;
    const char *name;
    const struct tree_node *node; // NULL while the anchored node is still being read
};

struct build {
    struct report *report;
    struct config_arena *arena;
    const char *text; // the whole input
    size_t length;
    yaml_parser_t parser;
    struct anchor *anchors;
    size_t n_anchors, n_nodes;
};

static int build_node(struct build *build, yaml_event_t *event, const struct config_path *path,
    unsigned depth, const struct tree_node **ret_node);

static void event_release(yaml_event_t *event)
{
    yaml_event_delete(event);
}
#define EVENT __attribute__((cleanup(event_release))) yaml_event_t

static struct config_mark mark_of(yaml_mark_t mark)
{
    return (struct config_mark){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

// The place of an octet offset: libyaml's reader errors know nothing else.
static struct config_mark mark_of_offset(const struct build *build, size_t offset)
{
    struct config_mark mark = {1, 1};
    for (size_t i = 0; i < offset && i < build->length; i++)
        if (build->text[i] == '\n')
            mark = (struct config_mark){mark.line + 1, 1};
        else if (((unsigned char)build->text[i] & 0xc0) != 0x80)
            mark.column++;
    return mark;
}

static int fail_parser(struct build *build)
{
    const yaml_parser_t *parser = &build->parser;
    const char *problem = parser->problem ? parser->problem : "cannot be read";
    if (parser->error == YAML_MEMORY_ERROR)
        return -ENOMEM;
    if (parser->error == YAML_READER_ERROR) {
        bool utf8 = strstr(problem, "UTF-8") || strstr(problem, "Unicode");
        report_error(build->report, mark_of_offset(build, parser->problem_offset), NULL,
            utf8 ? "this is not UTF-8 text" : "%s", problem);
        return -EINVAL;
    }
    struct config_mark mark = mark_of(parser->problem_mark);
    size_t at = parser->problem_mark.index, octet = 0;
    for (; octet < build->length && at > 0; at--) // marks count characters
        do
            octet++;
        while (octet < build->length && ((unsigned char)build->text[octet] & 0xc0) == 0x80);
    if (octet < build->length && build->text[octet] == '\t')
        report_error(build->report, mark, NULL, "a tab cannot indent YAML; use blanks");
    else if (parser->context)
        report_error(build->report, mark, NULL, "YAML: %s, %s that began in line %u", problem,
            strncmp(parser->context, "while ", 6) == 0 ? parser->context : "in text",
            mark_of(parser->context_mark).line);
    else
        report_error(build->report, mark, NULL, "YAML: %s", problem);
    return -EINVAL;
}

static int next_event(struct build *build, yaml_event_t *ret_event)
{
    return yaml_parser_parse(&build->parser, ret_event) ? 0 : fail_parser(build);
}

static int count_nodes(
    struct build *build, struct config_mark mark, const struct config_path *path, size_t more)
{
    if (more > TREE_NODES_MAX - build->n_nodes) {
        report_error(build->report, mark, path, "the file grows beyond %d values", TREE_NODES_MAX);
        return -EINVAL;
    }
    build->n_nodes += more;
    return 0;
}

static int build_alias(struct build *build, const yaml_event_t *event, const struct config_path *path,
    const struct tree_node **ret_node)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct config_mark mark = mark_of(event->start_mark);
    const struct anchor *anchor = build->anchors;
    while (anchor && strcmp(anchor->name, name) != 0)
        anchor = anchor->next;
    if (!anchor || !anchor->node) {
        report_error(build->report, mark, path,
            anchor ? "alias `*%.80s` stands inside of what it names"
                   : "alias `*%.80s` has no anchor `&` before it",
            name);
        return -EINVAL;
    }
    *ret_node = anchor->node;
    return count_nodes(build, mark, path, anchor->node->weight);
}

// Keeps the name of an anchored node; its node is set once it is complete.
static int add_anchor(struct build *build, const yaml_char_t *name, struct config_mark mark,
    const struct config_path *path, struct anchor **ret_anchor)
{
    *ret_anchor = NULL;
    if (!name)
        return 0;
    if (build->n_anchors++ == TREE_ANCHORS_MAX) {
        report_error(build->report, mark, path, "more than %d anchors", TREE_ANCHORS_MAX);
        return -EINVAL;
    }
    struct anchor *anchor = config_arena_alloc(build->arena, 1, sizeof(*anchor));
    if (!anchor)
        return -ENOMEM;
    anchor->name = config_arena_copy(build->arena, (const char *)name, strlen((const char *)name));
    anchor->next = build->anchors;
    build->anchors = anchor;
    *ret_anchor = anchor;
    return anchor->name ? 0 : -ENOMEM;
}

static int key_compare(const void *left, const void *right)
{
    const struct tree_pair *const *a = left, *const *b = right;
    int order = strcmp((*a)->key->text, (*b)->key->text);
    if (order != 0)
        return order;
    const struct config_mark *m = &(*a)->key->mark, *n = &(*b)->key->mark;
    return m->line != n->line      ? (m->line < n->line ? -1 : 1)
           : m->column < n->column ? -1
                                   : m->column > n->column;
}

// Reports keys given twice: sorted, since a file may hold thousands of tenants.
static int check_duplicates(struct build *build, const struct tree_node *map, const struct config_path *path)
{
    if (map->n < 2)
        return 0;
    const struct tree_pair **sorted = reallocarray(NULL, map->n, sizeof(struct tree_pair *));
    if (!sorted)
        return -ENOMEM;
    size_t n = 0;
    for (const struct tree_pair *pair = map->pairs; pair; pair = pair->next)
        sorted[n++] = pair;
    qsort(sorted, n, sizeof(struct tree_pair *), key_compare);
    for (size_t i = 1; i < n; i++)
        if (strcmp(sorted[i]->key->text, sorted[i - 1]->key->text) == 0)
            report_error(build->report, sorted[i]->key->mark,
                &(struct config_path){path, sorted[i]->key->text},
                "given twice; it stands in line %u already", sorted[i - 1]->key->mark.line);
    free(sorted);
    return 0;
}

// Reads one key. *ret_key is NULL, with a finding, for a merge key.
static int build_key(struct build *build, yaml_event_t *event, const struct config_path *path, unsigned depth,
    const struct tree_node **ret_key)
{
    struct config_mark mark = mark_of(event->start_mark);
    bool merge = event->type == YAML_SCALAR_EVENT && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
                 strcmp((const char *)event->data.scalar.value, "<<") == 0;
    int result = build_node(build, event, path, depth, ret_key);
    if (result == 0 && (*ret_key)->kind != TREE_SCALAR) {
        report_error(build->report, mark, path, "a key must be a word, not a list or a mapping");
        return -EINVAL;
    }
    if (result == 0 && merge) {
        report_error(build->report, mark, path, "merge keys (`<<`) are not supported; write the keys out");
        *ret_key = NULL;
    }
    return result;
}

// Reads what a list or a map holds, up to its end event.
static int build_children(
    struct build *build, struct tree_node *node, const struct config_path *path, unsigned depth)
{
    const struct tree_pair **link = &node->pairs;
    for (;;) {
        EVENT event = {0};
        struct tree_pair read = {0};
        int result = next_event(build, &event);
        if (result < 0)
            return result;
        if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT)
            return node->kind == TREE_MAP ? check_duplicates(build, node, path) : 0;
        if (node->kind == TREE_MAP) {
            EVENT value = {0};
            result = build_key(build, &event, path, depth, &read.key);
            if (result == 0)
                result = next_event(build, &value);
            struct config_path below = {path, read.key ? read.key->text : "<<"};
            if (result == 0)
                result = build_node(build, &value, &below, depth, &read.value);
        } else {
            result = build_node(build, &event, path, depth, &read.value);
        }
        if (result < 0)
            return result;
        if (node->kind == TREE_MAP && !read.key)
            continue;
        struct tree_pair *pair = config_arena_alloc(build->arena, 1, sizeof(*pair));
        if (!pair)
            return -ENOMEM;
        *pair = read;
        *link = pair;
        link = &pair->next;
        node->n++;
        node->weight += read.value->weight + (read.key ? 1 : 0);
    }
}

static int fill_scalar(
    struct build *build, const yaml_event_t *event, const struct config_path *path, struct tree_node *node)
{
    const char *value = (const char *)event->data.scalar.value;
    if (memchr(value, '\0', event->data.scalar.length)) {
        report_error(build->report, node->mark, path, "a NUL character cannot be used");
        return -EINVAL;
    }
    node->kind = TREE_SCALAR;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = config_arena_copy(build->arena, value, event->data.scalar.length);
    return node->text ? 0 : -ENOMEM;
}

static int build_node(struct build *build, yaml_event_t *event, const struct config_path *path,
    unsigned depth, const struct tree_node **ret_node)
{
    struct config_mark mark = mark_of(event->start_mark);
    if (event->type == YAML_ALIAS_EVENT)
        return build_alias(build, event, path, ret_node);
    const yaml_char_t *tag = event->type == YAML_SCALAR_EVENT          ? event->data.scalar.tag
                             : event->type == YAML_MAPPING_START_EVENT ? event->data.mapping_start.tag
                                                                       : event->data.sequence_start.tag;
    const yaml_char_t *name = event->type == YAML_SCALAR_EVENT          ? event->data.scalar.anchor
                              : event->type == YAML_MAPPING_START_EVENT ? event->data.mapping_start.anchor
                                                                        : event->data.sequence_start.anchor;
    if (tag) {
        report_error(build->report, mark, path, "tags such as `%.80s` are not supported", (const char *)tag);
        return -EINVAL;
    }
    if (depth == TREE_DEPTH_MAX) {
        report_error(build->report, mark, path, "nested deeper than %d levels", TREE_DEPTH_MAX);
        return -EINVAL;
    }
    struct anchor *anchor = NULL;
    int result = count_nodes(build, mark, path, 1);
    if (result == 0)
        result = add_anchor(build, name, mark, path, &anchor);
    struct tree_node *node = config_arena_alloc(build->arena, 1, sizeof(*node));
    if (result == 0 && !node)
        result = -ENOMEM;
    if (result < 0)
        return result;
    node->mark = mark;
    node->weight = 1;
    if (event->type == YAML_SCALAR_EVENT) {
        result = fill_scalar(build, event, path, node);
    } else {
        node->kind = event->type == YAML_MAPPING_START_EVENT ? TREE_MAP : TREE_LIST;
        result = build_children(build, node, path, depth + 1);
    }
    if (anchor)
        anchor->node = node;
    *ret_node = node;
    return result;
}

// The stream: at most one document.
static int build_stream(struct build *build, const struct tree_node **ret_root)
{
    const struct tree_node *root = NULL;
    for (;;) {
        EVENT event = {0};
        int result = next_event(build, &event);
        if (result < 0)
            return result;
        switch (event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (root) {
                report_error(
                    build->report, mark_of(event.start_mark), NULL, "a second document (`---`) begins here");
                return -EINVAL;
            }
            break;
        case YAML_STREAM_END_EVENT:
            *ret_root = root;
            return 0;
        default:
            result = build_node(build, &event, NULL, 0, &root);
            if (result < 0)
                return result;
        }
    }
}

int tree_parse(struct report *report, struct config_arena *arena, const char *text, size_t length,
    const struct tree_node **ret_root)
{
    struct build build = {.report = report, .arena = arena, .text = text, .length = length};
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { // a byte order mark says nothing in UTF-8
        build.text += 3;
        build.length -= 3;
    }
    if (!yaml_parser_initialize(&build.parser))
        return -ENOMEM;
    yaml_parser_set_encoding(&build.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&build.parser, (const unsigned char *)build.text, build.length);
    int result = build_stream(&build, ret_root);
    yaml_parser_delete(&build.parser);
    return result;
}

const struct tree_node *tree_get(const struct tree_node *map, const char *key)
{
    if (!map || map->kind != TREE_MAP)
        return NULL;
    for (const struct tree_pair *pair = map->pairs; pair; pair = pair->next)
        if (strcmp(pair->key->text, key) == 0)
            return pair->value;
    return NULL;
}

bool tree_is_null(const struct tree_node *node)
{
    return node->kind == TREE_SCALAR && !node->quoted &&
           (!*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}
