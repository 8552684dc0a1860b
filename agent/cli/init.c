// `outtray init`: makes the spool tree and the state directory, with owners and modes, and may be repeated at
// any time.
//
// Below the spool root nothing is followed that a producer could have put there: every directory is opened by
// one name relative to its parent with O_NOFOLLOW, and owner and mode are set on the open directory.
#include "agent/cli/cli.h"
#include "agent/cli/verbs.h"

#include "spool-format/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INIT_AGENT_USER     "outtray"
#define INIT_MODE_PRODUCERS 02770 // tmp and new: the tenant's group writes here
#define INIT_MODE_AGENT     02750 // the rest: the group may look
#define INIT_MODE_ROOT      0755  // the spool root: producers pass through it
#define INIT_MODE_STATE     0750
#define INIT_KEEP_MODE      ((mode_t)-1) // a directory that was there keeps its mode

struct init {
    const struct cli_verb *verb;
    const struct config *config;
    uid_t uid; // who shall own everything
    gid_t gid; // its group where a tenant has none
    unsigned changes;
    int code; // the worst so far
};

// One directory as it shall be.
struct place {
    const char *shown; // its whole path
    mode_t mode;
    mode_t mode_found; // for one that is there already, or INIT_KEEP_MODE
    gid_t gid;
    bool keep_group; // nothing asks for this group: one that is there already may have another
};

static int init_failed(struct init *init, const char *what, const char *path, int error)
{
    bool denied = error == EACCES || error == EPERM;
    init->code = cli_fail(init->verb, denied ? EX_NOPERM : EX_CANTCREAT, "cannot %s %s: %s%s", what, path,
        strerror(error), denied ? " (run as root, or as its owner)" : "");
    return -error;
}

static int set_owner(
    struct init *init, const struct place *place, int fd, const struct stat *found, bool made)
{
    gid_t gid = place->keep_group && !made ? found->st_gid : place->gid;
    if (found->st_uid == init->uid && found->st_gid == gid)
        return 0;
    if (fchown(fd, init->uid, gid) < 0)
        return init_failed(init, "set the owner of", place->shown, errno);
    if (!made) {
        printf("owner of %s: %u:%u, was %u:%u\n", place->shown, (unsigned)init->uid, (unsigned)gid,
            (unsigned)found->st_uid, (unsigned)found->st_gid);
        init->changes++;
    }
    return 0;
}

static int set_mode(struct init *init, const struct place *place, int fd, const struct stat *found, bool made)
{
    mode_t mode = made ? place->mode : place->mode_found, was = found->st_mode & 07777;
    if (mode == INIT_KEEP_MODE || was == mode)
        return 0;
    if (fchmod(fd, mode) < 0)
        return init_failed(init, "set the mode of", place->shown, errno);
    if (!made) {
        printf("mode of %s: %04o, was %04o\n", place->shown, (unsigned)mode, (unsigned)was);
        init->changes++;
    }
    return 0;
}

// Makes name below parent where it is missing, gives it owner and mode, and returns it open.
static int ensure(struct init *init, int parent, const char *name, const struct place *place)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    bool made = mkdirat(parent, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return init_failed(init, "make", place->shown, errno);
    int fd = openat(parent, name, flags);
    if (fd < 0)
        return init_failed(init, "open", place->shown, errno);
    struct stat found;
    int r = fstat(fd, &found) < 0 ? -errno : 0;
    if (r == 0)
        r = set_owner(init, place, fd, &found, made);
    if (r == 0)
        r = set_mode(init, place, fd, &found, made);
    if (r == 0 && made) {
        r = fsync(parent) < 0 ? init_failed(init, "sync the parent of", place->shown, errno) : 0;
        printf("made %s (%04o, %u:%u)\n", place->shown, (unsigned)place->mode, (unsigned)init->uid,
            (unsigned)place->gid);
        init->changes++;
    }
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

// Makes the parents of path that are missing, like mkdir -p. Symlinks there are the operator's and are
// followed.
static int make_parents(struct init *init, const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof part)
        return init_failed(init, "make", path, ENAMETOOLONG);
    memcpy(part, path, length + 1);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) == 0) {
            printf("made %s\n", part);
            init->changes++;
        } else if (errno != EEXIST) {
            return init_failed(init, "make", part, errno);
        }
        *slash = '/';
    }
    return 0;
}

static bool is_ours(const struct config *config, const char *name)
{
    static const char *const known[] = {
        ".", "..", ".agents", "status.json", "metrics.prom", "accounts.json", "tokens", "paused", "flush"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    return config_find_tenant(config, name) != NULL;
}

// Whether a directory that belongs to somebody else holds nothing but what outtray puts there: a
// configuration that names /var/spool by mistake must not take that from its owner.
static bool may_take_over(const struct init *init, int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_uid == init->uid)
        return true;
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (!list) {
        if (copy >= 0)
            close(copy);
        return false;
    }
    bool ours = true;
    for (const struct dirent *entry; ours && (entry = readdir(list));)
        ours = is_ours(init->config, entry->d_name);
    closedir(list);
    return ours;
}

// Makes the spool root or the state directory below its parent, which is there.
static int ensure_below_parent(struct init *init, const char *path, const struct place *place)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = (size_t)(slash - path) + (slash == path);
    memcpy(parent, path, length); // make_parents has seen that it fits
    parent[length] = '\0';
    int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return init_failed(init, "open", parent, errno);
    int fd = ensure(init, dir, slash + 1, place);
    close(dir);
    return fd;
}

// The spool root or the state directory: an absolute path. One that is there keeps its mode and group.
static int ensure_path(struct init *init, const char *path, mode_t mode)
{
    struct place place = {
        .shown = path, .mode = mode, .mode_found = INIT_KEEP_MODE, .gid = init->gid, .keep_group = true};
    if (make_parents(init, path) < 0)
        return -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ensure_below_parent(init, path, &place);
    if (fd < 0)
        return init_failed(init, "open", path, errno);
    bool ours = may_take_over(init, fd);
    if (!ours)
        init->code = cli_fail(init->verb, EX_CANTCREAT,
            "%s belongs to another user and holds other files (name a directory of its own in the "
            "configuration, or "
            "chown it)",
            path);
    struct stat found;
    if (!ours || fstat(fd, &found) < 0 || set_owner(init, &place, fd, &found, false) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

// One state directory, and for cur the agent's own below it.
static void ensure_state(
    struct init *init, int root, const struct config_tenant *tenant, enum spool_state state, gid_t gid)
{
    char shown[PATH_MAX];
    bool producers = state == SPOOL_TMP || state == SPOOL_NEW;
    mode_t mode = producers ? INIT_MODE_PRODUCERS : INIT_MODE_AGENT;
    struct place place = {
        .shown = shown, .mode = mode, .mode_found = mode, .gid = gid, .keep_group = !*tenant->group};
    const char *name = spool_state_name(state);
    (void)snprintf(shown, sizeof shown, "%s/%s/%s", init->config->spool, tenant->name, name);
    int fd = ensure(init, root, name, &place);
    if (fd >= 0 && state == SPOOL_CUR) {
        (void)snprintf(
            shown, sizeof shown, "%s/%s/%s/%s", init->config->spool, tenant->name, name, init->config->agent);
        int agent = ensure(init, fd, init->config->agent, &place);
        if (agent >= 0)
            close(agent);
    }
    if (fd >= 0)
        close(fd);
}

static void ensure_tenant(struct init *init, int spool, const struct config_tenant *tenant)
{
    char shown[PATH_MAX];
    const struct group *group = *tenant->group ? getgrnam(tenant->group) : NULL;
    gid_t gid = group ? group->gr_gid : init->gid;
    struct place place = {.shown = shown,
        .mode = INIT_MODE_AGENT,
        .mode_found = INIT_MODE_AGENT,
        .gid = gid,
        .keep_group = !group};
    (void)snprintf(shown, sizeof shown, "%s/%s", init->config->spool, tenant->name);
    int root = ensure(init, spool, tenant->name, &place);
    if (root < 0)
        return;
    for (enum spool_state state = 0; state < SPOOL_STATES; state++)
        ensure_state(init, root, tenant, state, gid);
    close(root);
}

// Who shall own the tree. Asked for by name: that user; root: the user outtray where there is one; else the
// caller.
static int choose_user(struct init *init, const char *user)
{
    init->uid = geteuid();
    init->gid = getegid();
    if (!user && init->uid != 0)
        return 0;
    errno = 0;
    const struct passwd *entry = getpwnam(user ? user : INIT_AGENT_USER);
    if (!entry && user)
        return cli_fail(
            init->verb, EX_USAGE, "there is no user %s (make one: adduser --system --group %s)", user, user);
    if (!entry) {
        (void)fprintf(stderr, "outtray init: warning: there is no user " INIT_AGENT_USER
                              ", so everything belongs to root (make one: "
                              "adduser --system --group " INIT_AGENT_USER ", or name another with --user)\n");
        return 0;
    }
    if (init->uid != 0 && entry->pw_uid != init->uid)
        return cli_fail(init->verb, EX_NOPERM, "only root can make a spool for another user");
    init->uid = entry->pw_uid;
    init->gid = entry->pw_gid;
    return 0;
}

static int check_groups(const struct init *init)
{
    for (size_t i = 0; i < init->config->n_tenants; i++) {
        const struct config_tenant *tenant = &init->config->tenants[i];
        if (*tenant->group && !getgrnam(tenant->group))
            return cli_fail(init->verb, EX_CONFIG,
                "tenants.%s.group: there is no group %s (make it: groupadd --system %s)", tenant->name,
                tenant->group, tenant->group);
    }
    return 0;
}

int cli_init(int argc, char **argv)
{
    struct init init = {.verb = cli_find("init")};
    const char *path, *user = NULL;
    const struct cli_option options[] = {{.name = "user", .value = &user}, {0}};
    if (cli_parse(init.verb, &argc, argv, options, &path, &init.code) < 0)
        return init.code;
    if (argc > 1)
        return cli_usage(init.verb, "takes no arguments, but there is `%s`", argv[1]);
    init.config = cli_load(init.verb, path, false, &init.code);
    if (!init.config)
        return init.code;
    init.code = choose_user(&init, user);
    if (init.code == 0)
        init.code = check_groups(&init);
    if (init.code == 0) {
        int spool = ensure_path(&init, init.config->spool, INIT_MODE_ROOT);
        for (size_t i = 0; spool >= 0 && i < init.config->n_tenants; i++)
            ensure_tenant(&init, spool, &init.config->tenants[i]);
        if (spool >= 0)
            close(spool);
        int state = ensure_path(&init, init.config->state, INIT_MODE_STATE);
        if (state >= 0)
            close(state);
        if (init.code == 0 && init.changes == 0)
            printf("everything is in place below %s and %s\n", init.config->spool, init.config->state);
    }
    config_unref(init.config);
    return cli_end(init.verb, init.code);
}
