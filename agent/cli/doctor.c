// `outtray doctor`: everything an account needs, tried one after the other.
#include "agent/cli/doctor.h"

#include "agent/base/clock.h"
#include "agent/cli/verbs.h"
#include "spool-format/address.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

const char doctor_not_reached[] = "the stages before did not come to it";
const char doctor_no_credentials[] = "there are no credentials";

// dns, tcp, tls, ehlo of the server. False where a session is not worth trying.
static bool reach(struct doctor *doctor)
{
    static const char *const stages[] = {"tcp", "tls", "ehlo"};
    struct addrinfo *list = NULL;
    int fd = -1;
    size_t done = 0;
    bool good = doctor_dns(doctor, &list);
    if (good) {
        good = doctor_tcp(doctor, list, &fd);
        done = 1;
    }
    if (good) {
        good = doctor_hello(doctor, fd);
        done = sizeof stages / sizeof *stages;
    }
    for (; done < sizeof stages / sizeof *stages; done++)
        doctor_skip(doctor, stages[done], doctor_not_reached);
    if (list)
        freeaddrinfo(list);
    return good;
}

static void examine_all(struct doctor *doctor)
{
    const struct config_account *account = doctor->account;
    struct doctor_login login = {0};
    bool sent = false, may_log_in = false;
    doctor_files(doctor);
    for (size_t i = 0; i < account->n_servers; i++) {
        doctor->server = account->servers[i];
        bool good = reach(doctor);
        if (i == 0) { // they belong to no server, but it is here that they are needed
            doctor->server = NULL;
            may_log_in = doctor_credentials(doctor, &login);
            doctor->server = account->servers[i];
        }
        if (good && may_log_in) {
            good = doctor_mail(doctor, &login);
        } else {
            doctor_skip(doctor, "auth", good ? doctor_no_credentials : doctor_not_reached);
            doctor_skip(doctor, "mail", good ? doctor_no_credentials : doctor_not_reached);
        }
        if (doctor->send && !sent && good && may_log_in) {
            doctor_send(doctor, &login);
            sent = true;
        }
    }
    doctor->server = NULL;
    if (doctor->send && !sent)
        doctor_skip(doctor, "send", doctor_not_reached);
    secret_release(&login.secret);
}

// As the user that outtray runs as.
static int examine_account(struct doctor *doctor, void (*examine)(struct doctor *doctor))
{
    int code;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(0077);
    if (service_user_become(doctor->verb, doctor->config, &doctor->user, &code) < 0)
        return code;
    (void)prctl(PR_SET_DUMPABLE, 0); // secrets must not get into core files
    doctor->exchange.account = doctor->account;
    doctor->exchange.state_fd = open(doctor->config->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return cli_fail(doctor->verb, EX_OSERR, "libcurl cannot be used");
    clock_poll();
    if (!doctor->json)
        printf("account %s: auth %s, %s\n", doctor->account->name, config_auth_name(doctor->account->auth),
            doctor->account->email);
    doctor->rows = json_array();
    examine(doctor);
    code = doctor_finish(doctor);
    json_decref(doctor->rows);
    curl_global_cleanup();
    if (doctor->exchange.state_fd >= 0)
        close(doctor->exchange.state_fd);
    return code;
}

int doctor_run(struct doctor *doctor, const char *to, bool must, void (*examine)(struct doctor *doctor),
    int argc, char **argv)
{
    const struct cli_verb *verb = doctor->verb;
    const char *path;
    const struct cli_option options[] = {
        {.name = to, .value = &doctor->send},
        {.name = "json", .flag = &doctor->json},
        {0},
    };
    int code;
    doctor->exchange.state_fd = -1;
    if (cli_parse(verb, &argc, argv, options, &path, &code) < 0)
        return code;
    if (argc != 2)
        return cli_usage(verb, argc < 2 ? "which account?" : "surplus argument behind the account");
    if (must && !doctor->send)
        return cli_usage(verb, "to whom? --%s ADDRESS", to);
    const char *problem = doctor->send ? address_problem(doctor->send) : NULL;
    if (problem)
        return cli_usage(verb, "--%s %s: %s", to, doctor->send, problem);
    doctor->config = cli_load(verb, path, false, &code);
    if (!doctor->config)
        return code;
    doctor->account = cli_find_account(verb, doctor->config, argv[1]);
    code = doctor->account ? examine_account(doctor, examine) : EX_NOINPUT;
    config_unref(doctor->config);
    return code;
}

int cli_doctor(int argc, char **argv)
{
    struct doctor doctor = {.verb = cli_find("doctor")};
    return doctor_run(&doctor, "send", false, examine_all, argc, argv);
}
