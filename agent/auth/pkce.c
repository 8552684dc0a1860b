// Random texts and S256.
#include "pkce.h"
#include "base64url.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define PKCE_OCTETS 32 // as many as SHA-256 gives

_Static_assert(PKCE_SIZE == BASE64URL_LENGTH(PKCE_OCTETS) + 1, "a text and its NUL");

int pkce_random(char text[static PKCE_SIZE])
{
    unsigned char octets[PKCE_OCTETS];
    if (RAND_bytes(octets, sizeof octets) != 1)
        return -EIO;
    base64url_encode(octets, sizeof octets, text);
    explicit_bzero(octets, sizeof octets);
    return 0;
}

int pkce_challenge(const char *verifier, char challenge[static PKCE_SIZE])
{
    unsigned char digest[PKCE_OCTETS];
    if (EVP_Digest(verifier, strlen(verifier), digest, NULL, EVP_sha256(), NULL) != 1)
        return -EIO;
    base64url_encode(digest, sizeof digest, challenge);
    return 0;
}
