// The schema table beside what people read: every key stands in the man page with its default, and in
// example.yaml; and example.yaml loads without a word. Run from the root of the source tree.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/schema.h"
#include "config/yaml_tree.h"
#include "config_support.h"

#define MAN_PAGE "docs/outtray.yaml.5"
#define EXAMPLE  "config/example.yaml"

static char *read_source(const char *path, size_t *ret_length)
{
    char *text = NULL, buffer[4096];
    FILE *in = fopen(path, "re"), *out = open_memstream(&text, ret_length);
    if (!in)
        fail_msg("%s is missing; run this test from the root of the source tree", path);
    for (size_t n; (n = fread(buffer, 1, sizeof(buffer), in)) > 0;)
        fwrite(buffer, 1, n, out);
    fclose(in);
    fclose(out);
    return text;
}

static bool is_section(const struct schema_key *key)
{
    return key->type == SCHEMA_MAP || key->type == SCHEMA_NAMED;
}

static void man_page_has_every_key(void **state)
{
    (void)state;
    size_t length, n;
    char *page = read_source(MAN_PAGE, &length);
    const struct schema_key *keys = schema_keys(&n);
    int missing = 0;
    for (size_t i = 0; i < n; i++) {
        const char *star = strchr(keys[i].path, '*');
        char item[256], fallback[128] = "";
        snprintf(item, sizeof(item), "\n.It Cm %.*s%s%s ", star ? (int)(star - keys[i].path) : 0,
            keys[i].path, star ? "NAME" : "", star ? star + 1 : keys[i].path);
        if (keys[i].fallback)
            snprintf(fallback, sizeof(fallback), " ; default Cm %s\n", keys[i].fallback);
        const char *found = strstr(page, item);
        const char *end = found ? strchr(found + 1, '\n') : NULL;
        const char *said = found ? strstr(found, " ; default Cm ") : NULL;
        bool says_default = said && end && said < end;
        bool right = found && says_default == (keys[i].fallback != NULL) &&
                     (!says_default || strncmp(said, fallback, strlen(fallback)) == 0);
        if (!is_section(&keys[i]) && !right) {
            print_error("%s: no item%s %s", MAN_PAGE, item, keys[i].fallback ? fallback : "\n");
            missing++;
        }
    }
    free(page);
    assert_int_equal(missing, 0);
}

// Whether some account or tenant, or the file itself, has the key.
static bool example_has(const struct tree_node *node, const char *path)
{
    size_t length = strcspn(path, ".");
    char part[64];
    snprintf(part, sizeof(part), "%.*s", (int)length, path);
    if (strcmp(part, "*") == 0) {
        for (const struct tree_pair *pair = node->pairs; pair; pair = pair->next)
            if (example_has(pair->value, path + 2))
                return true;
        return false;
    }
    const struct tree_node *value = tree_get(node, part);
    return value && (!path[length] || example_has(value, path + length + 1));
}

static void example_has_every_key(void **state)
{
    (void)state;
    size_t length, n;
    char *text = read_source(EXAMPLE, &length);
    struct config_findings findings = {0};
    struct report report = {.file = EXAMPLE, .findings = &findings};
    struct config_arena arena = {0};
    const struct tree_node *root = NULL;
    assert_int_equal(tree_parse(&report, &arena, text, length, &root), 0);
    const struct schema_key *keys = schema_keys(&n);
    int missing = 0;
    for (size_t i = 0; i < n; i++)
        if (!example_has(root, keys[i].path)) {
            print_error("%s has no %s\n", EXAMPLE, keys[i].path);
            missing++;
        }
    config_arena_release(&arena);
    config_findings_release(&findings);
    free(text);
    assert_int_equal(missing, 0);
}

static void example_loads(void **state)
{
    (void)state;
    size_t length;
    char *text = read_source(EXAMPLE, &length);
    struct loaded loaded;
    load_text(&loaded, text);
    assert_string_equal(loaded.text, "");
    assert_int_equal(loaded.result, 0);
    const struct config_tenant *acme = config_find_tenant(loaded.config, "acme");
    assert_string_equal(acme->account->name, "office");
    assert_string_equal(acme->account->servers[0], "smtp.office365.com");
    assert_string_equal(acme->from, "Acme Voicemail <voicemail@acme.example>");
    loaded_release(&loaded);
    free(text);
}

// The literal blocks of the man page that are whole configurations load as well.
static void man_page_examples_load(void **state)
{
    (void)state;
    size_t length;
    char *page = read_source(MAN_PAGE, &length);
    int blocks = 0;
    for (const char *at = page; (at = strstr(at, ".Bd -literal -offset indent\n"));) {
        at = strchr(at, '\n') + 1;
        const char *end = strstr(at, "\n.Ed\n");
        assert_non_null(end);
        char text[2048];
        // A block that shows accounts only gets what a file needs around it.
        bool whole = strncmp(at, "version:", 8) == 0;
        bool office = !whole && strstr(at, "  office:") && strstr(at, "  office:") < end;
        snprintf(text, sizeof(text), "%s%.*s\n%s", whole ? "" : "version: 1\ndomain: d.example\n",
            (int)(end - at), at,
            whole    ? ""
            : office ? "tenants: {t: {account: office}}\n"
                     : "tenants: {t: {account: internal}}\n");
        struct loaded loaded;
        load_text(&loaded, text);
        assert_string_equal(loaded.text, "");
        loaded_release(&loaded);
        blocks++;
    }
    assert_int_equal(blocks, 3);
    free(page);
}

// Rows of the table are what reading relies on: a section before its keys, defaults that read.
static void table_is_sound(void **state)
{
    (void)state;
    size_t n;
    const struct schema_key *keys = schema_keys(&n);
    for (size_t i = 0; i < n; i++) {
        const char *name = schema_name(&keys[i]);
        assert_non_null(schema_elsewhere(name));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(keys[i].path, keys[j].path);
        const char *dot = strrchr(keys[i].path, '.');
        if (!dot)
            continue;
        size_t length = (size_t)(dot - keys[i].path);
        if (length > 2 && strncmp(dot - 2, ".*", 2) == 0)
            length -= 2;
        size_t parent = 0;
        while (parent < i &&
               (strlen(keys[parent].path) != length || strncmp(keys[parent].path, keys[i].path, length) != 0))
            parent++;
        assert_true(parent < i);
        assert_ptr_equal(schema_child(&keys[parent], name), &keys[i]);
    }
    assert_null(schema_child(NULL, "port"));
    assert_null(schema_child(NULL, "*"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(man_page_has_every_key),
        cmocka_unit_test(example_has_every_key),
        cmocka_unit_test(example_loads),
        cmocka_unit_test(man_page_examples_load),
        cmocka_unit_test(table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
