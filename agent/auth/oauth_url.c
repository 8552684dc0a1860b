// The consent page's URL, and what comes back from it.
#include "form.h"
#include "oauth.h"
#include "pkce.h"
#include "words.h"

#include <errno.h>
#include <string.h>

#define PASTE_MAX (32 * 1024) // octets; Microsoft's codes reach 2 kB

const char *oauth_login(const struct config_account *account)
{
    return *account->oauth.login ? account->oauth.login : account->email;
}

int oauth_authorize_url(
    const struct config_account *account, const struct oauth_pending *pending, struct buffer *out)
{
    char challenge[PKCE_SIZE];
    int error = pkce_challenge(pending->verifier, challenge);
    if (error)
        return error;
    (void)buffer_text(out, account->oauth.authorize_url);
    (void)buffer_text(out, strchr(account->oauth.authorize_url, '?') ? "&" : "?");
    form_text(out, "client_id", account->oauth.client_id);
    form_text(out, "response_type", "code");
    form_text(out, "redirect_uri", pending->redirect_uri);
    form_text(out, "scope", account->oauth.scope);
    form_text(out, "state", pending->state);
    form_text(out, "code_challenge", challenge);
    form_text(out, "code_challenge_method", "S256");
    form_text(out, "login_hint", oauth_login(account));
    if (account->auth == CONFIG_AUTH_GOOGLE) { // else there is a refresh token the first time only
        form_text(out, "access_type", "offline");
        form_text(out, "prompt", "consent");
    }
    return buffer_error(out);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int paste_refuse(char words[static OAUTH_WORDS_MAX], const char *text)
{
    words_set(words, "%s", text);
    return -EBADMSG;
}

// A code is visible ASCII: anything else was not copied whole, or is no code.
static int paste_take(const struct buffer *code, struct secret *ret_code, char words[static OAUTH_WORDS_MAX])
{
    for (size_t i = 0; i < code->length; i++)
        if (code->data[i] <= ' ' || code->data[i] > '~')
            return paste_refuse(
                words, "that is no authorization code: it has blanks or odd characters in it");
    if (!code->length)
        return paste_refuse(words, "nothing was pasted");
    return secret_set(ret_code, code->data, code->length);
}

// "error=access_denied&error_description=…"; 0 where the query tells no error.
static int paste_check_error(const char *query, size_t length, char words[static OAUTH_WORDS_MAX])
{
    struct buffer error, description;
    buffer_init(&error, 256);
    buffer_init(&description, OAUTH_WORDS_MAX);
    int found = form_find(query, length, "error", &error);
    if (found != -ENOENT) {
        (void)form_find(query, length, "error_description", &description); // what fits of it
        words_set(words, "the provider refused: %s%s%s", error.length ? error.data : "unknown error",
            description.length ? ": " : "", description.length ? description.data : "");
    }
    buffer_release(&error);
    buffer_release(&description);
    return found == -ENOENT ? 0 : -EBADMSG;
}

static int paste_query(const char *query, size_t length, const struct oauth_pending *pending,
    struct secret *ret_code, char words[static OAUTH_WORDS_MAX])
{
    struct buffer state, code;
    buffer_init(&state, 1024);
    buffer_init(&code, PASTE_MAX);
    buffer_make_secret(&code);
    int error = form_find(query, length, "state", &state);
    bool matches = error == -ENOENT || (!error && state.length == strlen(pending->state) &&
                                           memcmp(state.data, pending->state, state.length) == 0);
    if (!matches)
        error = paste_refuse(words,
            "the state in the URL is not the one asked for: it belongs to another, or an older, attempt");
    else
        error = paste_check_error(query, length, words);
    if (!error && form_find(query, length, "code", &code))
        error = paste_refuse(words, "there is no code in that URL: copy the whole address of the last page");
    if (!error)
        error = paste_take(&code, ret_code, words);
    buffer_release(&state);
    buffer_release(&code);
    return error;
}

// A bare code; copied out of a URL it may still be percent-encoded, which codes themselves never are.
static int paste_bare(
    const char *text, size_t length, struct secret *ret_code, char words[static OAUTH_WORDS_MAX])
{
    struct buffer code;
    buffer_init(&code, PASTE_MAX);
    buffer_make_secret(&code);
    int error = -EBADMSG;
    if (memchr(text, '%', length) && !memchr(text, '+', length))
        error = form_decode(text, length, &code);
    if (error) {
        buffer_clear(&code);
        error = buffer_append(&code, text, length);
    }
    if (!error)
        error = paste_take(&code, ret_code, words);
    buffer_release(&code);
    return error;
}

int oauth_parse_paste(const char *pasted, const struct oauth_pending *pending, struct secret *ret_code,
    char words[static OAUTH_WORDS_MAX])
{
    while (is_blank(*pasted))
        pasted++;
    size_t length = strnlen(pasted, PASTE_MAX + 1);
    while (length && is_blank(pasted[length - 1]))
        length--;
    if (length > PASTE_MAX)
        return paste_refuse(words, "that is too long to be an authorization code");
    const char *query = memchr(pasted, '?', length), *end = pasted + length;
    if (!query && !memmem(pasted, length, "code=", 5) && !memmem(pasted, length, "error=", 6))
        return memmem(pasted, length, "://", 3)
                   ? paste_refuse(
                         words, "there is no code in that URL: copy the whole address of the last page")
                   : paste_bare(pasted, length, ret_code, words);
    query = query ? query + 1 : pasted;
    const char *fragment = memchr(query, '#', (size_t)(end - query));
    return paste_query(query, (size_t)((fragment ? fragment : end) - query), pending, ret_code, words);
}
