// `outtray test`: one message by an account, with the whole dialogue for everybody to read.
//
// It is doctor's message over doctor's session, which is the agent's.
#include "agent/cli/dialogue.h"
#include "agent/cli/doctor.h"
#include "agent/cli/verbs.h"

#include "spool-format/address.h"

#include <errno.h>
#include <string.h>

// The server that answers first carries it.
static void examine(struct doctor *doctor)
{
    struct doctor_login login = {0};
    struct dialogue dialogue;
    if (!doctor_credentials(doctor, &login)) {
        doctor_skip(doctor, "send", "there are no credentials");
        secret_release(&login.secret);
        return;
    }
    if (dialogue_init(&dialogue, &login, doctor->json) < 0)
        doctor->json = false;
    *doctor->dialogue = dialogue;
    for (size_t i = 0; i < doctor->account->n_servers; i++) {
        doctor->failed = NULL;
        doctor->server = doctor->account->servers[i];
        doctor_send(doctor, &login);
        if (!doctor->failed)
            break;
    }
    doctor->server = NULL;
    dialogue_end(doctor->dialogue);
    secret_release(&login.secret);
}

int cli_test(int argc, char **argv)
{
    struct dialogue dialogue = {0};
    struct doctor doctor = {.verb = cli_find("test"), .exchange = {.state_fd = -1}, .dialogue = &dialogue};
    const char *path;
    const struct cli_option options[] = {
        {.name = "to", .value = &doctor.send},
        {.name = "json", .flag = &doctor.json},
        {0},
    };
    int code;
    if (cli_parse(doctor.verb, &argc, argv, options, &path, &code) < 0)
        return code;
    if (argc != 2)
        return cli_usage(doctor.verb, argc < 2 ? "which account?" : "surplus argument behind the account");
    if (!doctor.send)
        return cli_usage(doctor.verb, "to whom? --to ADDRESS");
    const char *problem = address_problem(doctor.send);
    if (problem)
        return cli_usage(doctor.verb, "--to %s: %s", doctor.send, problem);
    doctor.config = cli_load(doctor.verb, path, false, &code);
    if (!doctor.config)
        return code;
    code = doctor_find_account(&doctor, argv[1]);
    if (code == EX_OK)
        code = doctor_examine(&doctor, examine);
    json_decref(dialogue.lines);
    config_unref(doctor.config);
    return code;
}
