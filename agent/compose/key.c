// Keys: see key.h.
#include "key.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

const char *key_problem(const char *text)
{
    size_t length = strlen(text);
    if (!length)
        return "it is empty";
    if (length > KEY_MAX)
        return "it is longer than 200 octets";
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7F)
            return "it has a control character";
    return NULL;
}

int key_digest(const char *key, char ret_digest[static SPOOL_KEY_DIGEST])
{
    unsigned char digest[(SPOOL_KEY_DIGEST - 1) / 2];
    if (!EVP_Digest(key, strlen(key), digest, NULL, EVP_sha256(), NULL))
        return -ENOMEM;
    for (size_t i = 0; i < SPOOL_KEY_DIGEST - 1; i++)
        ret_digest[i] = "0123456789abcdef"[i % 2 ? digest[i / 2] & 15 : digest[i / 2] >> 4];
    ret_digest[SPOOL_KEY_DIGEST - 1] = '\0';
    return 0;
}
