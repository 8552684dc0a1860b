// Keys read from their files, and what is signed with them.
#include "assertion.h"
#include "agent/base/clock.h"
#include "json.h"
#include "jwt.h"
#include "pkce.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CERTIFICATE_FILE_MAX (64 * 1024) // octets

struct keys {
    EVP_PKEY *key;
    X509 *certificate;
};

static void keys_release(struct keys *keys)
{
    EVP_PKEY_free(keys->key);
    X509_free(keys->certificate);
}
#define KEYS   __attribute__((cleanup(keys_release))) struct keys
#define SECRET __attribute__((cleanup(secret_release))) struct secret

static int certificate_read(const struct config_account *account, X509 **ret_certificate)
{
    struct buffer text;
    buffer_init(&text, CERTIFICATE_FILE_MAX);
    int fd = opener_open(account->opener, account->oauth.certificate_file,
        O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, NULL);
    int error = fd < 0 ? fd : buffer_read(&text, fd);
    if (fd >= 0)
        close(fd);
    if (!error)
        error = jwt_read_certificate(text.data ? text.data : "", text.length, ret_certificate);
    buffer_release(&text);
    return error;
}

static int keys_read(
    const struct config_account *account, struct keys *keys, char words[static OAUTH_WORDS_MAX])
{
    const struct config_oauth *oauth = &account->oauth;
    SECRET pem = {0};
    int error = secret_read_file(&pem, oauth->key_file, account->opener);
    if (error) {
        words_set(words, "key file %s %s", oauth->key_file, secret_problem(error));
        return error;
    }
    error = jwt_read_key(&pem, &keys->key);
    if (error) {
        words_set(words, "key file %s holds no private key in PEM without a passphrase", oauth->key_file);
        return error;
    }
    error = certificate_read(account, &keys->certificate);
    if (error == -EBADMSG || error == -E2BIG)
        words_set(words, "certificate file %s holds no certificate in PEM", oauth->certificate_file);
    else if (error)
        words_set(words, "certificate file %s: %s", oauth->certificate_file, strerror(-error));
    if (error)
        return error;
    if (X509_check_private_key(keys->certificate, keys->key) != 1) {
        words_set(
            words, "%s is not the key of the certificate in %s", oauth->key_file, oauth->certificate_file);
        return -EKEYREJECTED;
    }
    return 0;
}

static int sign(enum jwt_algorithm algorithm, json_t *header, const json_t *claims, EVP_PKEY *key,
    const struct config_oauth *oauth, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    int error = header && claims ? jwt_sign(algorithm, header, claims, key, out) : -ENOMEM;
    if (error == -EINVAL)
        words_set(
            words, "the key in %s is no RSA key of at least %d bits", oauth->key_file, JWT_KEY_BITS_MIN);
    else if (error)
        words_set(words, "the assertion could not be signed: %s", strerror(-error));
    return error;
}

int assertion_client(
    const struct config_account *account, int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    const struct config_oauth *oauth = &account->oauth;
    KEYS keys = {0};
    char thumbprint[PKCE_SIZE], id[PKCE_SIZE];
    int error = keys_read(account, &keys, words);
    if (error)
        return error;
    if (jwt_thumbprint(keys.certificate, thumbprint) || pkce_random(id)) {
        words_set(words, "OpenSSL failed to make the assertion");
        return -EIO;
    }
    json_int_t second = now / CLOCK_SECOND;
    JSON_SECRET *header = json_pack("{s:s}", "x5t#S256", thumbprint);
    JSON_SECRET *claims =
        json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I}", "iss", oauth->client_id, "sub", oauth->client_id, "aud",
            oauth->token_url, "jti", id, "nbf", second, "iat", second, "exp", second + ASSERTION_CLIENT_S);
    return sign(JWT_PS256, header, claims, keys.key, oauth, out, words);
}

// The JSON key file that Google's console gives out.
static int service_read(
    const struct config_account *account, json_t **ret_json, char words[static OAUTH_WORDS_MAX])
{
    const char *path = account->oauth.key_file;
    SECRET text = {0};
    int error = secret_read_file(&text, path, account->opener);
    if (error) {
        words_set(words, "key file %s %s", path, secret_problem(error));
        return error;
    }
    JSON_SECRET *json = json_secret_parse(text.text, text.length);
    const char *type = json_secret_text(json, "type");
    if (!type || strcmp(type, "service_account") != 0 || !json_secret_text(json, "client_email") ||
        !json_secret_text(json, "private_key")) {
        words_set(words,
            "key file %s is not the JSON key of a service account (type, client_email and private_key)",
            path);
        return -EBADMSG;
    }
    *ret_json = json_incref(json);
    return 0;
}

int assertion_service_account(
    const struct config_account *account, int64_t now, struct buffer *out, char words[static OAUTH_WORDS_MAX])
{
    const struct config_oauth *oauth = &account->oauth;
    JSON_SECRET *file = NULL;
    KEYS keys = {0};
    SECRET pem = {0};
    int error = service_read(account, &file, words);
    if (error)
        return error;
    const char *text = json_secret_text(file, "private_key"), *id = json_secret_text(file, "private_key_id");
    error = secret_set(&pem, text, strlen(text));
    if (!error)
        error = jwt_read_key(&pem, &keys.key);
    if (error) {
        words_set(words, "the private_key in %s is no private key in PEM", oauth->key_file);
        return error;
    }
    json_int_t second = now / CLOCK_SECOND;
    JSON_SECRET *header = json_object();
    if (id)
        json_object_set_new(header, "kid", json_string(id));
    JSON_SECRET *claims = json_pack("{s:s,s:s,s:s,s:s,s:I,s:I}", "iss",
        json_secret_text(file, "client_email"), "sub", account->email, "scope", oauth->scope, "aud",
        oauth->token_url, "iat", second, "exp", second + ASSERTION_SERVICE_S);
    return sign(JWT_RS256, header, claims, keys.key, oauth, out, words);
}
