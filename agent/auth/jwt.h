// Signed JSON Web Tokens (RFC 7515, 7519): what proves a client or a service account by its key.
#ifndef OUTTRAY_AGENT_AUTH_JWT_H
#define OUTTRAY_AGENT_AUTH_JWT_H

#include "agent/base/buffer.h"
#include "config/secret.h"
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#define JWT_KEY_BITS_MIN 2048 // RFC 7518 section 3.3

enum jwt_algorithm { JWT_RS256, JWT_PS256 };
const char *jwt_algorithm_name(enum jwt_algorithm algorithm);

// Appends HEADER.CLAIMS.SIGNATURE. The header gets "alg" and "typ". 0; -EINVAL for a key that is no RSA key
// of at least JWT_KEY_BITS_MIN; -ENOMEM; -EIO where OpenSSL fails; the buffer's error.
int jwt_sign(
    enum jwt_algorithm algorithm, json_t *header, const json_t *claims, EVP_PKEY *key, struct buffer *out);

// A private key from PEM (PKCS#8 or PKCS#1, not encrypted). 0 and *ret_key (EVP_PKEY_free), or -EBADMSG.
int jwt_read_key(const struct secret *pem, EVP_PKEY **ret_key);
// The first certificate of PEM text. 0 and *ret_certificate (X509_free), or -EBADMSG.
int jwt_read_certificate(const char *pem, size_t length, X509 **ret_certificate);
// base64url of the SHA-256 of a certificate: x5t#S256 (RFC 7515 section 4.1.8). 0 or -EIO.
int jwt_thumbprint(const X509 *certificate, char thumbprint[static 44]);

#endif
