// The file of an authorization request in the making.
#include "pending.h"
#include "agent/base/clock.h"
#include "json.h"
#include "pkce.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PENDING_SUFFIX  ".pending"
#define PENDING_VERSION 1
#define PENDING_SLACK_S 60 // a clock may be set back that far in between

_Static_assert(PKCE_SIZE == OAUTH_STATE_SIZE, "state and verifier are such texts");

int pending_make(const char *redirect_uri, int64_t now, struct oauth_pending *ret_pending)
{
    struct oauth_pending pending = {.created = now};
    if (strlen(redirect_uri) >= sizeof pending.redirect_uri)
        return -E2BIG;
    (void)snprintf(pending.redirect_uri, sizeof pending.redirect_uri, "%s", redirect_uri);
    int error = pkce_random(pending.state);
    if (!error)
        error = pkce_random(pending.verifier);
    if (!error)
        *ret_pending = pending;
    pending_release(&pending);
    return error;
}

void pending_release(struct oauth_pending *pending)
{
    explicit_bzero(pending, sizeof *pending);
}

int pending_write(int state_fd, const char *account, const struct oauth_pending *pending)
{
    JSON_SECRET *json = json_pack("{s:i,s:s,s:s,s:s,s:I}", "version", PENDING_VERSION, "state",
        pending->state, "verifier", pending->verifier, "redirect_uri", pending->redirect_uri, "created_ns",
        (json_int_t)pending->created);
    struct buffer text;
    buffer_init(&text, PENDING_FILE_MAX);
    int error = json_secret_print(json, JSON_INDENT(1), &text);
    if (!error)
        error = store_write(state_fd, account, PENDING_SUFFIX, text.data, text.length);
    buffer_release(&text);
    return error;
}

static int pending_decode(const struct buffer *text, int64_t now, struct oauth_pending *pending)
{
    JSON_SECRET *json = json_secret_parse(text->data ? text->data : "", text->length);
    const char *state = json_secret_text(json, "state"), *verifier = json_secret_text(json, "verifier");
    const char *redirect_uri = json_secret_text(json, "redirect_uri");
    if (json_integer_value(json_object_get(json, "version")) != PENDING_VERSION || !state || !verifier ||
        !redirect_uri || strlen(state) != PKCE_SIZE - 1 || strlen(verifier) != PKCE_SIZE - 1 ||
        strlen(redirect_uri) >= sizeof pending->redirect_uri)
        return -EBADMSG;
    int64_t created = json_integer_value(json_object_get(json, "created_ns"));
    if (created < now - PENDING_LIFE_S * CLOCK_SECOND || created > now + PENDING_SLACK_S * CLOCK_SECOND)
        return -ETIME;
    memcpy(pending->state, state, PKCE_SIZE);
    memcpy(pending->verifier, verifier, PKCE_SIZE);
    memcpy(pending->redirect_uri, redirect_uri, strlen(redirect_uri) + 1);
    pending->created = created;
    return 0;
}

int pending_read(int state_fd, const char *account, int64_t now, struct oauth_pending *ret_pending)
{
    struct buffer text;
    buffer_init(&text, PENDING_FILE_MAX);
    int error = store_read(state_fd, account, PENDING_SUFFIX, &text);
    if (error == -E2BIG)
        error = -EBADMSG;
    if (!error)
        error = pending_decode(&text, now, ret_pending);
    buffer_release(&text);
    return error;
}

int pending_remove(int state_fd, const char *account)
{
    int error = store_remove(state_fd, account, PENDING_SUFFIX);
    return error == -ENOENT ? 0 : error;
}
