// Signed assertions: verified here by OpenSSL's other half, with the claims that the providers ask for.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/auth/assertion.h"
#include "agent/auth/json.h"
#include "agent/auth/jwt.h"
#include "auth_support.h"

struct signed_text {
    struct buffer text;
    json_t *header, *claims;
    struct buffer signature;
    size_t signed_length;
};

static void take_apart(struct signed_text *taken)
{
    const char *first = strchr(taken->text.data, '.'), *last = strrchr(taken->text.data, '.');
    struct buffer part;
    assert_true(first && last && first != last);
    taken->signed_length = (size_t)(last - taken->text.data);
    buffer_init(&part, 65536);
    assert_int_equal(base64url_decode(taken->text.data, (size_t)(first - taken->text.data), &part), 0);
    taken->header = json_secret_parse(part.data, part.length);
    buffer_clear(&part);
    assert_int_equal(base64url_decode(first + 1, (size_t)(last - first - 1), &part), 0);
    taken->claims = json_secret_parse(part.data, part.length);
    buffer_release(&part);
    buffer_init(&taken->signature, 4096);
    assert_int_equal(base64url_decode(last + 1, strlen(last + 1), &taken->signature), 0);
    assert_non_null(taken->header);
    assert_non_null(taken->claims);
}

static void signed_release(struct signed_text *taken)
{
    buffer_release(&taken->text);
    buffer_release(&taken->signature);
    json_decref(taken->header);
    json_decref(taken->claims);
}

static int verify(const struct signed_text *taken, EVP_PKEY *key, int padding)
{
    EVP_PKEY_CTX *pkey;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(context, &pkey, EVP_sha256(), NULL, key), 1);
    assert_true(EVP_PKEY_CTX_set_rsa_padding(pkey, padding) > 0);
    if (padding == RSA_PKCS1_PSS_PADDING)
        assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey, RSA_PSS_SALTLEN_DIGEST) > 0);
    int result = EVP_DigestVerify(context, (const unsigned char *)taken->signature.data,
        taken->signature.length, (const unsigned char *)taken->text.data, taken->signed_length);
    EVP_MD_CTX_free(context);
    return result;
}

static void signatures_verify(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);
    static const struct {
        enum jwt_algorithm algorithm;
        const char *name;
        int padding, wrong;
    } rows[] = {
        {JWT_RS256, "RS256", RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING},
        {JWT_PS256, "PS256", RSA_PKCS1_PSS_PADDING, RSA_PKCS1_PADDING},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct signed_text taken = {0};
        JSON_SECRET *header = json_pack("{s:s}", "kid", "k1");
        JSON_SECRET *claims = json_pack("{s:s,s:i}", "iss", "me", "exp", 7);
        buffer_init(&taken.text, 65536);
        assert_int_equal(jwt_sign(rows[i].algorithm, header, claims, key, &taken.text), 0);
        take_apart(&taken);
        assert_string_equal(json_secret_text(taken.header, "alg"), rows[i].name);
        assert_string_equal(json_secret_text(taken.header, "typ"), "JWT");
        assert_string_equal(json_secret_text(taken.header, "kid"), "k1");
        assert_string_equal(json_secret_text(taken.claims, "iss"), "me");
        assert_int_equal(verify(&taken, key, rows[i].padding), 1);
        assert_int_not_equal(verify(&taken, key, rows[i].wrong), 1);
        assert_int_not_equal(verify(&taken, other, rows[i].padding), 1);
        signed_release(&taken);
    }
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static void weak_and_other_keys_are_refused(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {EVP_RSA_gen(1024), EVP_EC_gen("P-256")};
    for (size_t i = 0; i < 2; i++) {
        JSON_SECRET *header = json_object();
        JSON_SECRET *claims = json_object();
        struct buffer out;
        buffer_init(&out, 65536);
        assert_int_equal(jwt_sign(JWT_RS256, header, claims, keys[i], &out), -EINVAL);
        buffer_release(&out);
        EVP_PKEY_free(keys[i]);
    }
}

static void a_certificate_proves_the_client(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    EVP_PKEY *key = EVP_RSA_gen(2048);
    char *key_text = key_pem(key), *certificate_text = certificate_pem(key);
    struct config_account account = account_microsoft();
    char words[OAUTH_WORDS_MAX] = "";
    account.oauth.flow = CONFIG_FLOW_CLIENT_CREDENTIALS;
    account.oauth.key_file = place_write(&place, "key.pem", key_text, 0600);
    account.oauth.certificate_file = place_write(&place, "certificate.pem", certificate_text, 0644);
    struct signed_text taken = {0}, again = {0};
    buffer_init(&taken.text, ASSERTION_MAX);
    buffer_init(&again.text, ASSERTION_MAX);
    assert_int_equal(assertion_client(&account, NOW, &taken.text, words), 0);
    assert_int_equal(assertion_client(&account, NOW, &again.text, words), 0);
    take_apart(&taken);
    take_apart(&again);
    assert_int_equal(verify(&taken, key, RSA_PKCS1_PSS_PADDING), 1);
    assert_string_equal(json_secret_text(taken.header, "alg"), "PS256");
    X509 *certificate;
    assert_int_equal(jwt_read_certificate(certificate_text, strlen(certificate_text), &certificate), 0);
    unsigned char *der = NULL, digest[32];
    int length = i2d_X509(certificate, &der);
    assert_int_equal(EVP_Digest(der, (size_t)length, digest, NULL, EVP_sha256(), NULL), 1);
    char thumbprint[44];
    base64url_encode(digest, sizeof digest, thumbprint);
    assert_string_equal(json_secret_text(taken.header, "x5t#S256"), thumbprint);
    assert_string_equal(json_secret_text(taken.claims, "iss"), "client-1");
    assert_string_equal(json_secret_text(taken.claims, "sub"), "client-1");
    assert_string_equal(json_secret_text(taken.claims, "aud"), account.oauth.token_url);
    assert_int_equal(json_integer_value(json_object_get(taken.claims, "nbf")), NOW / CLOCK_SECOND);
    json_int_t life = json_integer_value(json_object_get(taken.claims, "exp")) - NOW / CLOCK_SECOND;
    assert_in_range(life, 300, 600);
    assert_string_not_equal(json_secret_text(taken.claims, "jti"), json_secret_text(again.claims, "jti"));
    OPENSSL_free(der);
    X509_free(certificate);
    signed_release(&taken);
    signed_release(&again);
    free(key_text);
    free(certificate_text);
    EVP_PKEY_free(key);
    place_remove(&place);
}

static void assert_refused(const struct config_account *account, int result, const char *told)
{
    struct buffer out;
    char words[OAUTH_WORDS_MAX] = "";
    buffer_init(&out, ASSERTION_MAX);
    int error = account->oauth.flow == CONFIG_FLOW_SERVICE_ACCOUNT
                    ? assertion_service_account(account, NOW, &out, words)
                    : assertion_client(account, NOW, &out, words);
    assert_int_equal(error, result);
    if (!strstr(words, told))
        fail_msg("\"%s\" is not in: %s", told, words);
    assert_null(strstr(words, "PRIVATE KEY"));
    buffer_release(&out);
}

static void unusable_key_files_are_told_in_words(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    EVP_PKEY *key = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);
    char *key_text = key_pem(key), *certificate_text = certificate_pem(other);
    struct config_account account = account_microsoft();
    account.oauth.flow = CONFIG_FLOW_CLIENT_CREDENTIALS;
    account.oauth.key_file = "/nonexistent/key.pem";
    assert_refused(&account, -ENOENT, "/nonexistent/key.pem");
    account.oauth.key_file = place_write(&place, "open.pem", key_text, 0644);
    assert_refused(&account, -EPERM, "0600");
    account.oauth.key_file = place_write(&place, "bad.pem", "no key at all", 0600);
    assert_refused(&account, -EBADMSG, "no private key");
    account.oauth.key_file = place_write(&place, "key.pem", key_text, 0600);
    account.oauth.certificate_file = "/nonexistent/certificate.pem";
    assert_refused(&account, -ENOENT, "/nonexistent/certificate.pem");
    account.oauth.certificate_file = place_write(&place, "bad-certificate.pem", "no certificate", 0644);
    assert_refused(&account, -EBADMSG, "no certificate");
    account.oauth.certificate_file = place_write(&place, "certificate.pem", certificate_text, 0644);
    assert_refused(&account, -EKEYREJECTED, "not the key of the certificate");
    free(key_text);
    free(certificate_text);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    place_remove(&place);
}

static void a_service_account_signs_for_the_mailbox(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    EVP_PKEY *key = EVP_RSA_gen(2048);
    char *pem = key_pem(key);
    json_t *file = json_pack("{s:s,s:s,s:s,s:s,s:s}", "type", "service_account", "client_email",
        "robot@project.iam.gserviceaccount.com", "private_key", pem, "private_key_id", "kid-7", "token_uri",
        "https://evil.example/token");
    char *text = json_dumps(file, 0);
    struct config_account account = account_google();
    char words[OAUTH_WORDS_MAX] = "";
    account.oauth.flow = CONFIG_FLOW_SERVICE_ACCOUNT;
    account.oauth.scope = "https://mail.google.com/";
    account.oauth.key_file = place_write(&place, "service.json", text, 0600);
    struct signed_text taken = {0};
    buffer_init(&taken.text, ASSERTION_MAX);
    assert_int_equal(assertion_service_account(&account, NOW, &taken.text, words), 0);
    take_apart(&taken);
    assert_int_equal(verify(&taken, key, RSA_PKCS1_PADDING), 1);
    assert_string_equal(json_secret_text(taken.header, "alg"), "RS256");
    assert_string_equal(json_secret_text(taken.header, "kid"), "kid-7");
    assert_string_equal(json_secret_text(taken.claims, "iss"), "robot@project.iam.gserviceaccount.com");
    assert_string_equal(json_secret_text(taken.claims, "sub"), "pbx@example.com");
    assert_string_equal(json_secret_text(taken.claims, "scope"), "https://mail.google.com/");
    assert_string_equal(json_secret_text(taken.claims, "aud"), account.oauth.token_url);
    json_int_t issued = json_integer_value(json_object_get(taken.claims, "iat"));
    assert_int_equal(issued, NOW / CLOCK_SECOND);
    assert_in_range(json_integer_value(json_object_get(taken.claims, "exp")) - issued, 300, 3600);
    signed_release(&taken);
    json_object_set_new(file, "type", json_string("authorized_user"));
    free(text);
    text = json_dumps(file, 0);
    account.oauth.key_file = place_write(&place, "user.json", text, 0600);
    assert_refused(&account, -EBADMSG, "not the JSON key of a service account");
    account.oauth.key_file = place_write(&place, "bad.json", "{\"type\":", 0600);
    assert_refused(&account, -EBADMSG, "not the JSON key of a service account");
    account.oauth.key_file = place_write(&place, "no-key.json",
        "{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key\":\"nothing\"}", 0600);
    assert_refused(&account, -EBADMSG, "no private key");
    free(text);
    json_decref(file);
    free(pem);
    EVP_PKEY_free(key);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_verify),
        cmocka_unit_test(weak_and_other_keys_are_refused),
        cmocka_unit_test(a_certificate_proves_the_client),
        cmocka_unit_test(unusable_key_files_are_told_in_words),
        cmocka_unit_test(a_service_account_signs_for_the_mailbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
