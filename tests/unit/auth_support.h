// What the tests of agent/auth share: accounts, a temporary state directory, keys, answers of a provider.
//
// Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_AUTH_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_AUTH_SUPPORT_H

#include "agent/auth/base64url.h"
#include "agent/auth/oauth.h"
#include "agent/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW ((int64_t)1790000000 * CLOCK_SECOND)

static inline struct config_account account_google(void)
{
    return (struct config_account){
        .name = "office",
        .auth = CONFIG_AUTH_GOOGLE,
        .email = "pbx@example.com",
        .oauth = {.client_id = "client-1",
            .client_secret_file = "",
            .tenant = "",
            .flow = CONFIG_FLOW_AUTHORIZATION_CODE,
            .certificate_file = "",
            .key_file = "",
            .login = "",
            .authorize_url = "https://accounts.google.com/o/oauth2/v2/auth",
            .token_url = "https://oauth2.googleapis.com/token",
            .device_url = "",
            .revoke_url = "https://oauth2.googleapis.com/revoke",
            .scope = "https://mail.google.com/ openid email"},
    };
}

static inline struct config_account account_microsoft(void)
{
    struct config_account account = account_google();
    account.auth = CONFIG_AUTH_MICROSOFT;
    account.oauth.tenant = "common";
    account.oauth.authorize_url = "https://login.microsoftonline.com/common/oauth2/v2.0/authorize";
    account.oauth.token_url = "https://login.microsoftonline.com/common/oauth2/v2.0/token";
    account.oauth.device_url = "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode";
    account.oauth.revoke_url = "";
    account.oauth.scope = "https://outlook.office.com/SMTP.Send offline_access openid email";
    return account;
}

struct place { // a temporary state directory
    char path[64];
    int fd;
};

static inline void place_make(struct place *place)
{
    *place = (struct place){.path = "/tmp/outtray-test-auth.XXXXXX"};
    assert_non_null(mkdtemp(place->path));
    place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(place->fd >= 0);
}

static inline void place_empty(int dir)
{
    DIR *entries = fdopendir(dup(dir));
    rewinddir(entries);
    for (const struct dirent *entry; (entry = readdir(entries));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dir, entry->d_name, 0) == 0)
            continue;
        int sub = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0) {
            place_empty(sub);
            close(sub);
        }
        (void)unlinkat(dir, entry->d_name, AT_REMOVEDIR);
    }
    closedir(entries);
}

static inline void place_remove(struct place *place)
{
    place_empty(place->fd);
    close(place->fd);
    assert_int_equal(rmdir(place->path), 0);
}

// Writes PATH/name; returns its path, valid until the next call but three.
static inline const char *place_write(
    const struct place *place, const char *name, const char *text, mode_t mode)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)unlinkat(place->fd, name, 0);
    int fd = openat(place->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    (void)snprintf(path, sizeof paths[0], "%s/%s", place->path, name);
    return path;
}

// Text of a PEM, free(3).
static inline char *key_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    char *data;
    long length = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)length);
    BIO_free(bio);
    return text;
}

// A self-signed certificate of that key as PEM, free(3).
static inline char *certificate_pem(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(
        X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)"outtray", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    char *data;
    long length = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)length);
    BIO_free(bio);
    X509_free(certificate);
    return text;
}

// HEADER.CLAIMS.SIGNATURE with these claims; free(3).
static inline char *id_token(const char *claims)
{
    struct buffer text;
    buffer_init(&text, 65536);
    assert_int_equal(base64url_append(&text, "{\"alg\":\"none\"}", 14), 0);
    assert_int_equal(buffer_text(&text, "."), 0);
    assert_int_equal(base64url_append(&text, claims, strlen(claims)), 0);
    assert_int_equal(buffer_text(&text, ".c2lnbmF0dXJl"), 0);
    return buffer_detach(&text, NULL);
}

static inline struct http_response answer_of(int status, const char *body)
{
    return (struct http_response){.status = status,
        .body = body,
        .length = strlen(body),
        .content_type = "application/json",
        .retry_after_s = -1};
}

static inline void secret_put(struct secret *secret, const char *text)
{
    assert_int_equal(secret_set(secret, text, strlen(text)), 0);
}

#endif
