// Collecting what is needed, and shutting the door.
#include "sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

void sandbox_init(struct sandbox *sandbox)
{
    *sandbox = (struct sandbox){0};
}

void sandbox_release(struct sandbox *sandbox)
{
    for (size_t i = 0; i < sandbox->n_paths; i++)
        free(sandbox->paths[i].path);
    free(sandbox->paths);
    free(sandbox->connect);
    free(sandbox->bind);
    *sandbox = (struct sandbox){0};
}

void sandbox_add_path(struct sandbox *sandbox, enum sandbox_access access, const char *path)
{
    if (!path || !*path || sandbox->error)
        return;
    for (size_t i = 0; i < sandbox->n_paths; i++)
        if (sandbox->paths[i].access == access && strcmp(sandbox->paths[i].path, path) == 0)
            return;
    struct sandbox_path *paths = sandbox->n_paths < SANDBOX_PATHS_MAX
                                     ? realloc(sandbox->paths, (sandbox->n_paths + 1) * sizeof *paths)
                                     : NULL;
    char *copy = paths ? strdup(path) : NULL;
    if (paths)
        sandbox->paths = paths;
    if (copy)
        paths[sandbox->n_paths++] = (struct sandbox_path){access, copy};
    else
        sandbox->error = -ENOMEM;
}

static bool has_port(const uint16_t *ports, size_t n, uint16_t port)
{
    for (size_t i = 0; i < n; i++)
        if (ports[i] == port)
            return true;
    return false;
}

static void add_port(struct sandbox *sandbox, uint16_t **ports, size_t *n, uint16_t port)
{
    if (!port || has_port(*ports, *n, port))
        return;
    uint16_t *more = *n < SANDBOX_PORTS_MAX ? realloc(*ports, (*n + 1) * sizeof **ports) : NULL;
    if (!more) {
        sandbox->error = -ENOMEM;
        return;
    }
    *ports = more;
    more[(*n)++] = port;
}

void sandbox_add_connect(struct sandbox *sandbox, uint16_t port)
{
    add_port(sandbox, &sandbox->connect, &sandbox->n_connect, port);
}

void sandbox_add_bind(struct sandbox *sandbox, uint16_t port)
{
    add_port(sandbox, &sandbox->bind, &sandbox->n_bind, port);
}

void sandbox_probe(struct sandbox_state *ret_state)
{
    int abi = landlock_abi();
    *ret_state = (struct sandbox_state){
        .landlock = abi, .tcp = abi >= SANDBOX_LANDLOCK_TCP, .seccomp = seccomp_is_there()};
}

void sandbox_words(const struct sandbox_state *state, char *words, size_t size)
{
    char landlock[64] = "no Landlock";
    if (state->landlock)
        (void)snprintf(landlock, sizeof landlock, "Landlock %d (files%s)", state->landlock,
            state->tcp ? " and TCP ports" : "; this kernel cannot hold TCP ports");
    (void)snprintf(words, size, "%s, %s", landlock, state->seccomp ? "seccomp" : "no seccomp");
}

int sandbox_enter(const struct sandbox *sandbox, struct sandbox_state *ret_state)
{
    *ret_state = (struct sandbox_state){0};
    if (sandbox->error)
        return sandbox->error;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -errno;
    int abi = landlock_abi();
    int error = abi ? landlock_enter(sandbox, abi) : 0;
    if (!error && abi) {
        ret_state->landlock = abi;
        ret_state->tcp = abi >= SANDBOX_LANDLOCK_TCP;
    }
    int second = seccomp_is_there() ? seccomp_enter() : 0;
    ret_state->seccomp = !second && seccomp_is_there();
    return error ? error : second;
}

// Whether `path` is `root` or lies below it.
static bool is_below(const char *path, const char *root)
{
    size_t n = strlen(root);
    if (n > 0 && root[n - 1] == '/')
        n--;
    return strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool covers_path(const struct sandbox *entered, const struct sandbox_path *wanted)
{
    for (size_t i = 0; i < entered->n_paths; i++) {
        const struct sandbox_path *have = &entered->paths[i];
        if ((have->access == wanted->access || have->access == SANDBOX_WRITE) &&
            is_below(wanted->path, have->path))
            return true;
    }
    return false;
}

bool sandbox_connects(const struct sandbox *entered, const struct sandbox_state *state, uint16_t port)
{
    return !state->tcp || has_port(entered->connect, entered->n_connect, port);
}

bool sandbox_writes(const struct sandbox *sandbox, const char *path)
{
    char *real = realpath(path, NULL);
    bool found = false;
    for (size_t i = 0; !found && i < sandbox->n_paths; i++) {
        if (sandbox->paths[i].access == SANDBOX_READ)
            continue;
        char *root = realpath(sandbox->paths[i].path, NULL);
        found = is_below(path, sandbox->paths[i].path) || (real && root && is_below(real, root));
        free(root);
    }
    free(real);
    return found;
}

bool sandbox_covers(const struct sandbox *entered, const struct sandbox_state *state,
    const struct sandbox *wanted, bool broker, char *words, size_t size)
{
    for (size_t i = 0; state->landlock && i < wanted->n_paths; i++)
        if (!covers_path(entered, &wanted->paths[i]) &&
            !(broker && wanted->paths[i].access != SANDBOX_WRITE)) {
            (void)snprintf(words, size, "the sandbox was entered without %s", wanted->paths[i].path);
            return false;
        }
    for (size_t i = 0; !broker && i < wanted->n_connect; i++)
        if (!sandbox_connects(entered, state, wanted->connect[i])) {
            (void)snprintf(words, size, "the sandbox was entered without port %u", wanted->connect[i]);
            return false;
        }
    for (size_t i = 0; state->tcp && i < wanted->n_bind; i++)
        if (!has_port(entered->bind, entered->n_bind, wanted->bind[i])) {
            (void)snprintf(
                words, size, "the sandbox was entered without listening on port %u", wanted->bind[i]);
            return false;
        }
    return true;
}
