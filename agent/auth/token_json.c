// The text of a token file: one JSON object, times in ns of the wall clock.
#include "json.h"
#include "token.h"

#include <errno.h>
#include <string.h>

#define TOKEN_VERSION 1

// NULL and empty ones are left out.
static int put_text(json_t *json, const char *key, const char *text)
{
    if (!text || !*text)
        return 0;
    json_t *value = json_string(text); // NULL where it is not UTF-8
    return value ? json_object_set_new(json, key, value) : -1;
}

int token_encode(const struct token *token, struct buffer *out)
{
    JSON_SECRET *json = json_pack("{s:i,s:I,s:I,s:I,s:I,s:b}", "version", TOKEN_VERSION, "obtained_ns",
        (json_int_t)token->obtained, "expires_ns", (json_int_t)token->expires, "authorized_ns",
        (json_int_t)token->authorized, "refresh_used_ns", (json_int_t)token->refresh_used, "needs_login",
        (int)token->needs_login);
    if (!json)
        return -ENOMEM;
    if (put_text(json, "access_token", token->access.text) ||
        put_text(json, "refresh_token", token->refresh.text) || put_text(json, "scope", token->scope) ||
        put_text(json, "mailbox", token->mailbox) || put_text(json, "flow", token->flow) ||
        put_text(json, "client_id", token->client_id) || put_text(json, "needs", token->needs))
        return -EINVAL;
    int error = json_secret_print(json, JSON_INDENT(1) | JSON_SORT_KEYS, out);
    return error ? error : buffer_text(out, "\n");
}

static int get_secret(const json_t *json, const char *key, struct secret *secret)
{
    const json_t *value = json_object_get(json, key);
    if (!value)
        return 0;
    if (!json_is_string(value))
        return -EBADMSG;
    int error = secret_set(secret, json_string_value(value), json_string_length(value));
    return error == -E2BIG ? -EBADMSG : error;
}

static int get_text(const json_t *json, const char *key, char **member)
{
    const json_t *value = json_object_get(json, key);
    if (!value)
        return 0;
    if (!json_is_string(value) || json_string_length(value) > TOKEN_TEXT_MAX)
        return -EBADMSG;
    return token_set_text(member, json_string_value(value));
}

static int get_time(const json_t *json, const char *key, int64_t *member)
{
    const json_t *value = json_object_get(json, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return -EBADMSG;
    *member = json_integer_value(value);
    return 0;
}

int token_decode(const char *text, size_t length, struct token *ret_token)
{
    struct token token = {0};
    JSON_SECRET *json = json_secret_parse(text, length);
    int error = 0;
    if (json_integer_value(json_object_get(json, "version")) != TOKEN_VERSION)
        return -EBADMSG;
    token.needs_login = json_is_true(json_object_get(json, "needs_login"));
    if ((error = get_time(json, "obtained_ns", &token.obtained)) ||
        (error = get_time(json, "expires_ns", &token.expires)) ||
        (error = get_time(json, "authorized_ns", &token.authorized)) ||
        (error = get_time(json, "refresh_used_ns", &token.refresh_used)) ||
        (error = get_secret(json, "access_token", &token.access)) ||
        (error = get_secret(json, "refresh_token", &token.refresh)) ||
        (error = get_text(json, "scope", &token.scope)) ||
        (error = get_text(json, "mailbox", &token.mailbox)) ||
        (error = get_text(json, "flow", &token.flow)) ||
        (error = get_text(json, "client_id", &token.client_id)) ||
        (error = get_text(json, "needs", &token.needs))) {
        token_release(&token);
        return error;
    }
    *ret_token = token;
    return 0;
}
