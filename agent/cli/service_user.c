// Becoming the service user.
#include "agent/cli/service_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void service_user_name(uid_t uid, char name[static SERVICE_USER_NAME_MAX + 1])
{
    const struct passwd *entry = getpwuid(uid);
    if (entry)
        (void)snprintf(name, SERVICE_USER_NAME_MAX + 1, "%s", entry->pw_name);
    else
        (void)snprintf(name, SERVICE_USER_NAME_MAX + 1, "%u", (unsigned)uid);
}

// Groups first: afterwards there is no right to change them any more.
static int become(const struct stat *owner)
{
    const struct passwd *entry = getpwuid(owner->st_uid);
    gid_t gid = entry ? entry->pw_gid : owner->st_gid;
    int r = entry ? initgroups(entry->pw_name, gid) : setgroups(1, &gid);
    if (r || setgid(gid) || setuid(owner->st_uid))
        return -errno;
    return setuid(0) == 0 ? -EPERM : 0; // for good, or not at all
}

int service_user_become(
    const struct cli_verb *verb, const struct config *config, struct service_user *ret_user, int *ret_code)
{
    struct stat owner;
    if (stat(config->state, &owner) || !S_ISDIR(owner.st_mode)) {
        int error = errno;
        bool denied = error == EACCES || error == EPERM;
        *ret_code =
            denied ? cli_fail(verb, EX_NOPERM,
                         "the state directory %s may not be looked at by user %u (run as root, or as "
                         "the user outtray)",
                         config->state, (unsigned)geteuid())
                   : cli_fail(verb, EX_CONFIG,
                         "the state directory %s is missing (make it with `outtray init`)", config->state);
        return -1;
    }
    ret_user->uid = owner.st_uid;
    ret_user->other = geteuid() != 0 && geteuid() != owner.st_uid;
    service_user_name(owner.st_uid, ret_user->name);
    int r = geteuid() == 0 && owner.st_uid != 0 ? become(&owner) : 0;
    if (r < 0) {
        *ret_code = cli_fail(verb, EX_OSERR, "cannot become the user %s, who owns %s: %s", ret_user->name,
            config->state, strerror(-r));
        return -1;
    }
    return 0;
}
