// One refresh of one account's token: shared by keeper_flight.c (lock, request, judgement) and flight_store.c
// (the answer made durable).
#ifndef OUTTRAY_AGENT_AUTH_FLIGHT_H
#define OUTTRAY_AGENT_AUTH_FLIGHT_H

#include "agent/auth/oauth.h"
#include "agent/base/buffer.h"
#include "agent/http/request.h"
#include "keeper_private.h"

struct flight {
    struct kept *kept;
    const struct config *config; // a reference
    const struct config_account *settings;
    bool note;   // only stores that the account needs somebody
    bool open;   // an answer is on its way or not durable yet
    int lock_fd; // -1 while not locked
    int lock_error, read_error, form_error, store_error;
    struct token stored; // as read under the lock
    struct buffer form;
    int64_t started, started_wall; // the request; boot, wall
    struct http_request *request;
    struct oauth_answer answer; // its token is what STORING writes
    bool needs, needs_login;    // what STORING tells is that it needs somebody
    struct loop_timer retry;    // of STORING
    int64_t retry_wait;
    char words[OAUTH_WORDS_MAX];
};

// Ends it, and looks at what is stored again where something changed meanwhile. Frees flight.
void flight_end(struct flight *flight);

// Writes its answer (or that the account needs somebody) on the other thread, then uses it.
void flight_store(struct flight *flight);
// For the timer `retry`: the same once more.
void flight_store_again(struct loop_timer *timer);

#endif
