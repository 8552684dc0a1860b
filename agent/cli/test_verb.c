// `outtray test`: one message by an account, with the whole dialogue for everybody to read.
//
// It is doctor's message over doctor's session, which is the agent's.
#include "agent/cli/dialogue.h"
#include "agent/cli/doctor.h"
#include "agent/cli/operator.h"
#include "agent/cli/verbs.h"

// The server that answers first carries it.
static void examine(struct doctor *doctor)
{
    struct doctor_login login = {0};
    operator_note_account(
        doctor->verb, doctor->config, doctor->account->name); // this message goes all the same
    if (!doctor_credentials(doctor, &login)) {
        doctor_skip(doctor, "send", doctor_no_credentials);
        secret_release(&login.secret);
        return;
    }
    if (dialogue_init(doctor->dialogue, &login, doctor->json) < 0)
        doctor->json = false;
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
    struct doctor doctor = {.verb = cli_find("test"), .dialogue = &dialogue};
    int code = doctor_run(&doctor, "to", true, examine, argc, argv);
    json_decref(dialogue.lines);
    return code;
}
