// The id_token's claims.
//
// Its signature is not checked: it comes straight from the token endpoint over TLS, whose certificate is, and
// OpenID Connect Core 1.0 section 3.1.3.7 lets that stand in for the signature. It is never taken from
// anywhere else: not from the redirect, not from a file. The access token is not looked into at all: it is
// made for the mail server, in whatever form provider and server agreed on.
#include "identity.h"
#include "base64url.h"
#include "json.h"
#include "words.h"

#include <string.h>
#include <strings.h>

// The second of three parts, decoded; NULL where there is none.
static json_t *identity_claims(const char *id_token)
{
    size_t length = strnlen(id_token, IDENTITY_TOKEN_MAX + 1);
    const char *start = memchr(id_token, '.', length);
    const char *end = start ? strchr(start + 1, '.') : NULL;
    if (!end || length > IDENTITY_TOKEN_MAX)
        return NULL;
    struct buffer text;
    buffer_init(&text, IDENTITY_TOKEN_MAX);
    buffer_make_secret(&text);
    json_t *claims = base64url_decode(start + 1, (size_t)(end - start - 1), &text) || !text.length
                         ? NULL
                         : json_secret_parse(text.data, text.length);
    buffer_release(&text);
    return claims;
}

// A text, or an array that holds it.
static bool audience_holds(const json_t *audience, const char *client_id)
{
    if (json_is_string(audience))
        return strcmp(json_string_value(audience), client_id) == 0;
    for (size_t i = 0; i < json_array_size(audience); i++) {
        const char *text = json_string_value(json_array_get(audience, i));
        if (text && strcmp(text, client_id) == 0)
            return true;
    }
    return false;
}

enum oauth_verdict identity_check(
    const struct config_account *account, const char *id_token, char words[static OAUTH_WORDS_MAX])
{
    const char *expected = oauth_login(account);
    JSON_SECRET *claims = id_token ? identity_claims(id_token) : NULL;
    if (!claims) {
        words_set(words,
            "the provider sent no readable id_token, so that it is %s who signed in is not proved", expected);
        return OAUTH_MISCONFIGURED;
    }
    const json_t *audience = json_object_get(claims, "aud");
    if (audience && !audience_holds(audience, account->oauth.client_id)) {
        words_set(words, "the provider sent an id_token that is meant for another client than %s",
            account->oauth.client_id);
        return OAUTH_MISCONFIGURED;
    }
    const char *mailbox = json_secret_text(claims, "email");
    if (!mailbox || !*mailbox)
        mailbox = json_secret_text(claims, "preferred_username");
    if (!mailbox || !*mailbox) {
        words_set(words,
            "the provider's id_token names no mailbox, so that it is %s who signed in is not proved",
            expected);
        return OAUTH_MISCONFIGURED;
    }
    if (strcasecmp(mailbox, expected) == 0)
        return OAUTH_OK;
    words_set(words, "%s signed in, but account %s is for %s; nothing was stored", mailbox, account->name,
        expected);
    return OAUTH_WRONG_MAILBOX;
}
