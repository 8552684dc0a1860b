// Stage `files`: what the user that outtray runs as must be able to read and write, and cannot.
#include "agent/base/sandbox.h"
#include "agent/cli/doctor.h"

#include "spool-format/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

// What the producers own is tmp/ and new/; the agent moves messages between all of these.
static const enum spool_state moved[] = {SPOOL_NEW, SPOOL_CUR, SPOOL_DEFERRED, SPOOL_SENT, SPOOL_FAILED};

// Who was just found to lack a right.
static const char *caller_of(const struct doctor *doctor, char name[static SERVICE_USER_NAME_MAX + 1])
{
    if (!doctor->user.other)
        return doctor->user.name;
    service_user_name(geteuid(), name);
    return name;
}

static void check(struct doctor *doctor, const char *what, const char *path, int mode)
{
    if (!*path || faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0)
        return;
    int error = errno;
    char caller[SERVICE_USER_NAME_MAX + 1];
    doctor_worsen(doctor, DOCTOR_FAILED);
    doctor_detail(doctor, "user %s cannot %s %s %s: %s", caller_of(doctor, caller),
        mode & W_OK ? "write" : "read", what, path, strerror(error));
}

static void check_secret(struct doctor *doctor, const char *what, const char *path)
{
    int error = *path ? secret_check_file(path) : 0;
    if (!error)
        return;
    char caller[SERVICE_USER_NAME_MAX + 1];
    doctor_worsen(doctor, DOCTOR_FAILED);
    doctor_detail(doctor, "user %s cannot use %s %s: it %s", caller_of(doctor, caller), what, path,
        secret_problem(error));
}

static void check_tenants(struct doctor *doctor)
{
    const struct config *config = doctor->config;
    char path[PATH_MAX];
    for (size_t i = 0; i < config->n_tenants; i++) {
        if (config->tenants[i].account != doctor->account)
            continue;
        for (size_t k = 0; k < sizeof moved / sizeof *moved; k++) {
            (void)snprintf(path, sizeof path, "%s/%s/%s", config->spool, config->tenants[i].name,
                spool_state_name(moved[k]));
            check(doctor, "the directory", path, R_OK | W_OK | X_OK);
        }
    }
}

void doctor_files(struct doctor *doctor)
{
    const struct config_account *account = doctor->account;
    const struct config_oauth *oauth = &account->oauth;
    doctor_begin(doctor, "files");
    if (!doctor->user.other)
        doctor_detail(doctor, "as user %s, who owns %s", doctor->user.name, doctor->config->state);
    if (doctor->user.other) {
        char caller[SERVICE_USER_NAME_MAX + 1];
        doctor_detail(doctor,
            "you are %s: this shows what you may do, not the agent (run it as root or as %s)",
            caller_of(doctor, caller), doctor->user.name);
        doctor_worsen(doctor, DOCTOR_WARNING);
    }
    char words[128] = "off (`sandbox: false`)";
    struct sandbox_state walls;
    sandbox_probe(&walls);
    if (doctor->config->sandbox)
        sandbox_words(&walls, words, sizeof words);
    doctor_detail(doctor, "sandbox of the agent: %s", words);
    check(doctor, "the configuration", doctor->config->path, R_OK);
    check(doctor, "the state directory", doctor->config->state, R_OK | W_OK | X_OK);
    check(doctor, "the spool", doctor->config->spool, R_OK | X_OK);
    check_tenants(doctor);
    check(doctor, "tls.ca_file", account->tls.ca_file, R_OK);
    check(doctor, "tls.certificate_file", account->tls.certificate_file, R_OK);
    check(doctor, "tls.key_file", account->tls.key_file, R_OK);
    if (account->auth == CONFIG_AUTH_BASIC)
        check_secret(doctor, "the password file", account->password_file);
    check_secret(doctor, "oauth.client_secret_file", oauth->client_secret_file);
    check(doctor, "oauth.certificate_file", oauth->certificate_file, R_OK);
    check_secret(doctor, "oauth.key_file", oauth->key_file);
    (void)doctor_end(
        doctor, doctor->row.state == DOCTOR_FAILED
                    ? "correct owners and modes (`outtray init` does it for spool and state), or the paths"
                    : NULL);
}
