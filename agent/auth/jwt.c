// Signing with OpenSSL's EVP interface.
#include "jwt.h"
#include "base64url.h"
#include "json.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#define JWT_PART_MAX      (16 * 1024) // octets of header or claims
#define JWT_SIGNATURE_MAX 2048        // octets: RSA keys of up to 16,384 bits

const char *jwt_algorithm_name(enum jwt_algorithm algorithm)
{
    return algorithm == JWT_PS256 ? "PS256" : "RS256";
}

static int jwt_append_part(const json_t *json, struct buffer *out)
{
    struct buffer text;
    buffer_init(&text, JWT_PART_MAX);
    int error = json_secret_print(json, JSON_COMPACT, &text);
    if (!error)
        error = base64url_append(out, text.data, text.length);
    buffer_release(&text);
    return error;
}

static bool jwt_set_padding(enum jwt_algorithm algorithm, EVP_PKEY_CTX *context)
{
    if (algorithm == JWT_RS256)
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) > 0;
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) > 0;
}

static int jwt_append_signature(enum jwt_algorithm algorithm, EVP_PKEY *key, size_t start, struct buffer *out)
{
    unsigned char signature[JWT_SIGNATURE_MAX];
    size_t length = sizeof signature;
    EVP_PKEY_CTX *padding; // the digest context's
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context && EVP_DigestSignInit(context, &padding, EVP_sha256(), NULL, key) > 0 &&
                jwt_set_padding(algorithm, padding) &&
                EVP_DigestSign(context, signature, &length, (const unsigned char *)out->data + start,
                    out->length - start) > 0;
    EVP_MD_CTX_free(context);
    if (!good)
        return -EIO;
    (void)buffer_text(out, ".");
    return base64url_append(out, signature, length);
}

int jwt_sign(
    enum jwt_algorithm algorithm, json_t *header, const json_t *claims, EVP_PKEY *key, struct buffer *out)
{
    size_t start = out->length;
    if (!EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < JWT_KEY_BITS_MIN ||
        EVP_PKEY_get_size(key) > JWT_SIGNATURE_MAX)
        return -EINVAL;
    if (json_object_set_new(header, "alg", json_string(jwt_algorithm_name(algorithm))) ||
        json_object_set_new(header, "typ", json_string("JWT")))
        return -ENOMEM;
    int error = jwt_append_part(header, out);
    if (!error)
        error = buffer_text(out, ".");
    if (!error)
        error = jwt_append_part(claims, out);
    return error ? error : jwt_append_signature(algorithm, key, start, out);
}

// A key that wants a passphrase cannot be used by a daemon: none is given, and nobody is asked.
static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing, (void)arg;
    return -1;
}

int jwt_read_key(const struct secret *pem, EVP_PKEY **ret_key)
{
    BIO *bio = BIO_new_mem_buf(pem->text, (int)pem->length); // SECRET_SIZE_MAX fits an int
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    if (!key)
        return -EBADMSG;
    *ret_key = key;
    return 0;
}

int jwt_read_certificate(const char *pem, size_t length, X509 **ret_certificate)
{
    BIO *bio = length <= INT_MAX ? BIO_new_mem_buf(pem, (int)length) : NULL;
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    if (!certificate)
        return -EBADMSG;
    *ret_certificate = certificate;
    return 0;
}

int jwt_thumbprint(const X509 *certificate, char thumbprint[static 44])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (X509_digest(certificate, EVP_sha256(), digest, &length) != 1 || BASE64URL_LENGTH(length) != 43)
        return -EIO;
    base64url_encode(digest, length, thumbprint);
    return 0;
}
