// status.json: the snapshot for programs and for people with an editor.
#include "agent/observe/json.h"

#include <errno.h>

static json_t *account_json(const struct observe_account *account)
{
    json_t *expires = account->token_expires_s == INT64_MIN
                          ? json_null()
                          : json_integer((json_int_t)account->token_expires_s);
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:b}", // in the order of outtray(8)
        "breaker", observe_json_text(account->breaker),                         //
        "reason", observe_json_text(account->reason),                           //
        "fix", observe_json_text(account->fix),                                 //
        "probe_at", observe_json_time(account->probe_at, 0),                    //
        "sessions", (json_int_t)account->sessions,                              //
        "window", (json_int_t)account->window,                                  //
        "in_flight", (json_int_t)account->in_flight,                            //
        "sent_total", (json_int_t)account->sent_total,                          //
        "logins_total", (json_int_t)account->logins_total,                      //
        "token_expires_s", expires,                                             //
        "paused", (int)account->paused);
}

static json_t *accounts_json(const struct snapshot *snapshot)
{
    json_t *object = json_object();
    for (size_t i = 0; object && i < snapshot->n_accounts; i++)
        if (observe_json_set(object, snapshot->accounts[i].name, account_json(&snapshot->accounts[i])) < 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

int observe_status_json(const struct snapshot *snapshot, struct buffer *out)
{
    json_t *root = json_pack(
        "{s:i, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:i, s:b}, s:b, s:o}", // in the order of outtray(8)
        "version", 1,                                                            //
        "time", observe_json_time(snapshot->time, 3),                            //
        "pid", snapshot->pid,                                                    //
        "agent", observe_json_text(snapshot->agent),                             //
        "started", observe_json_time(snapshot->started, 3),                      //
        "config", observe_json_text(snapshot->config_path),                      //
        "spool", observe_json_text(snapshot->spool),                             //
        "tenants", observe_json_tenants(snapshot->tenants, snapshot->n_tenants), //
        "accounts", accounts_json(snapshot),                                     //
        "sandbox", "landlock", snapshot->landlock, "seccomp", (int)snapshot->seccomp, //
        "healthy", (int)snapshot->healthy, "health", observe_json_text(snapshot->health));
    int r = observe_json_print(root, out);
    json_decref(root);
    return r;
}
