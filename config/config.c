// The configuration's door: reads the file, runs the stages in order, and owns what they built.
#include "config.h"
#include "resolve.h"
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A file larger than that is no configuration. Unit: octets.
#define CONFIG_FILE_MAX ((size_t)4 * 1024 * 1024)

#define CONFIG_LINE 64 // octets of a cache line, or a multiple

// What config_load hands out, and what goes with it. The config comes first, so that one pointer is both.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): the padding is the point
struct config_owner {
    struct config config;
    struct config_arena arena;
    struct config_index index;
    // Counted up and down for every message, while other threads read what is above: a cache line of its own.
    alignas(CONFIG_LINE) atomic_uint references;
};

static const struct config_owner *owner_of(const struct config *config)
{
    return (const struct config_owner *)(const void *)config;
}

// Reads at most CONFIG_FILE_MAX octets of a regular file.
static int read_file(const char *path, char **ret_text, size_t *ret_length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    struct stat status;
    size_t length = 0;
    char *text = NULL;
    int result = fstat(fd, &status) < 0 ? -errno : 0;
    if (result == 0 && !S_ISREG(status.st_mode))
        result = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
    if (result == 0 && (status.st_size < 0 || (size_t)status.st_size > CONFIG_FILE_MAX))
        result = -EFBIG;
    if (result == 0 && !(text = malloc(CONFIG_FILE_MAX + 1)))
        result = -ENOMEM;
    while (result == 0 && length <= CONFIG_FILE_MAX) { // it may grow meanwhile
        ssize_t got = read(fd, text + length, CONFIG_FILE_MAX + 1 - length);
        if (got < 0 && errno != EINTR)
            result = -errno;
        if (got == 0)
            break;
        length += got > 0 ? (size_t)got : 0;
    }
    if (result == 0 && length > CONFIG_FILE_MAX)
        result = -EFBIG;
    close(fd);
    if (result < 0) {
        free(text);
        return result;
    }
    *ret_text = text;
    *ret_length = length;
    return 0;
}

static const char *file_problem(int error)
{
    switch (error) {
    case -ENOENT:
        return "does not exist";
    case -EISDIR:
        return "is a directory, not a file";
    case -EINVAL:
        return "is not a regular file";
    case -EFBIG:
        return "is larger than 4 MB; that is no configuration";
    case -EACCES:
        return "cannot be read: permission denied";
    default:
        return NULL;
    }
}

// The stages. 0, or negative errno with the findings that say why.
static int load_text(struct config_owner *owner, struct report *report, const struct config_checks *checks,
    const char *text, size_t length)
{
    static const struct config_checks no_checks = {0};
    struct config_arena tree_arena = {0};
    const struct tree_node *root = NULL;
    struct reader reader = {.report = report, .arena = &owner->arena, .checks = checks ? checks : &no_checks};
    int result = tree_parse(report, &tree_arena, text, length, &root);
    if (result == 0 && (!root || tree_is_null(root))) {
        report_error(report, (struct config_mark){1, 1}, NULL,
            "the file is empty; version, domain, accounts and tenants are the least it needs");
    } else if (result == 0) {
        read_tree(&reader, root);
        resolve_config(&reader, root, &owner->config, &owner->index);
    }
    config_arena_release(&tree_arena);
    if (result < 0)
        return result;
    if (report->error < 0)
        return report->error;
    return report->findings->n_errors > 0 ? -EINVAL : 0;
}

int config_load(const char *path, const struct config_checks *checks, const struct config **ret_config,
    struct config_findings *findings)
{
    struct report report = {.file = path, .findings = findings};
    char *text = NULL;
    size_t length = 0;
    int result = read_file(path, &text, &length);
    if (result < 0) {
        const char *problem = file_problem(result);
        report_error(&report, (struct config_mark){0}, NULL, "%s", problem ? problem : strerror(-result));
        return result;
    }
    struct config_owner *owner = aligned_alloc(CONFIG_LINE, sizeof(*owner));
    if (owner)
        memset(owner, 0, sizeof(*owner));
    result = owner ? load_text(owner, &report, checks, text, length) : -ENOMEM;
    free(text);
    if (result == 0 && !(owner->config.path = config_arena_copy(&owner->arena, path, strlen(path))))
        result = -ENOMEM;
    if (result == -ENOMEM)
        report_error(&report, (struct config_mark){0}, NULL, "cannot be read: memory is short");
    report_sort(&report);
    if (result < 0) {
        if (owner)
            config_arena_release(&owner->arena);
        free(owner);
        return result;
    }
    atomic_init(&owner->references, 1);
    *ret_config = &owner->config;
    return 0;
}

const struct config *config_ref(const struct config *config)
{
    // Counting is the one thing that changes; whoever holds a reference may count through a const pointer.
    struct config_owner *owner = (struct config_owner *)(uintptr_t)config;
    atomic_fetch_add_explicit(&owner->references, 1, memory_order_relaxed);
    return config;
}

void config_unref(const struct config *config)
{
    struct config_owner *owner = (struct config_owner *)(uintptr_t)config;
    if (!owner || atomic_fetch_sub_explicit(&owner->references, 1, memory_order_acq_rel) != 1)
        return;
    config_arena_release(&owner->arena);
    free(owner);
}

static int compare_account(const void *name, const void *element)
{
    const struct config_account *const *account = element;
    return strcmp(name, (*account)->name);
}

static int compare_tenant(const void *name, const void *element)
{
    const struct config_tenant *const *tenant = element;
    return strcmp(name, (*tenant)->name);
}

const struct config_tenant *config_find_tenant(const struct config *config, const char *name)
{
    const struct config_tenant **found = bsearch(name, owner_of(config)->index.tenants, config->n_tenants,
        sizeof(struct config_tenant *), compare_tenant);
    return found ? *found : NULL;
}

const struct config_account *config_find_account(const struct config *config, const char *name)
{
    const struct config_account **found = bsearch(name, owner_of(config)->index.accounts, config->n_accounts,
        sizeof(struct config_account *), compare_account);
    return found ? *found : NULL;
}

const char *config_auth_name(enum config_auth auth)
{
    static const char *const names[] = {"none", "basic", "google", "microsoft"};
    return names[auth];
}

const char *config_encryption_name(enum config_encryption encryption)
{
    static const char *const names[] = {"none", "starttls", "tls"};
    return names[encryption];
}

const char *config_flow_name(enum config_flow flow)
{
    static const char *const names[] = {
        "authorization_code", "device_code", "client_credentials", "service_account"};
    return names[flow];
}
