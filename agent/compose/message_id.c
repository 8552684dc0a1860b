// Message-ID: see message_id.h.
#include "message_id.h"

#include "agent/base/clock.h"
#include "agent/compose/fault.h"
#include "idn.h"
#include "spool-format/name.h"
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGEST_SIZE 32          // SHA-256
#define ID_OCTETS   20          // of the digest that go into the identifier: 160 bits never collide
#define READ_SIZE   (64 * 1024) // octets hashed per read

static int digest(const void *data, size_t length, unsigned char ret_digest[static DIGEST_SIZE])
{
    return EVP_Digest(data, length, ret_digest, NULL, EVP_sha256(), NULL) ? 0 : -ENOMEM;
}

static int digest_update_file(EVP_MD_CTX *context, int fd)
{
    char *buffer = malloc(READ_SIZE);
    if (!buffer)
        return -ENOMEM;
    int r = 0;
    for (off_t offset = 0; !r;) {
        ssize_t n = TEMP_FAILURE_RETRY(pread(fd, buffer, READ_SIZE, offset));
        if (n == 0)
            break;
        if (n < 0)
            r = -errno;
        else if (!EVP_DigestUpdate(context, buffer, (size_t)n))
            r = -ENOMEM;
        offset += n > 0 ? n : 0;
    }
    free(buffer);
    return r;
}

static int digest_file(int fd, unsigned char ret_digest[static DIGEST_SIZE])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context)
        return -ENOMEM;
    int r = EVP_DigestInit_ex(context, EVP_sha256(), NULL) ? 0 : -ENOMEM;
    if (!r)
        r = digest_update_file(context, fd);
    if (!r && !EVP_DigestFinal_ex(context, ret_digest, NULL))
        r = -ENOMEM;
    EVP_MD_CTX_free(context);
    return r;
}

// A domain that could end the field or the brackets is not written: nothing is worth a broken header.
static char *right_side(const char *domain)
{
    char *wire = NULL;
    const char *problem = idn_domain(domain, strlen(domain), &wire);
    if (problem == idn_no_memory)
        return NULL;
    if (!problem && *wire &&
        !wire[strspn(wire, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_")])
        return wire;
    free(wire);
    return strdup("localhost");
}

int message_id_make(const struct message_id_source *source, char **ret_id)
{
    unsigned char file[DIGEST_SIZE], all[DIGEST_SIZE];
    char text[1024], hex[2 * ID_OCTETS + 1];
    int r = source->data ? digest(source->data, source->length, file) : digest_file(source->fd, file);
    if (r)
        return r;
    // Lengths and a separator that no name has: different parts never give the same text. Microseconds, since
    // that is what a status file keeps of the submission time: touch(1) changes the file's own, and the retry
    // that it asks for must be recognized as the same message.
    int length = snprintf(text, sizeof text - sizeof file, "%s/%.*s/%" PRId64 "/", source->tenant->name,
        (int)spool_name_base(source->name), source->name, clock_ns(&source->stat->st_mtim) / 1000);
    if (length < 0 || (size_t)length >= sizeof text - sizeof file)
        return -EINVAL;
    memcpy(text + length, file, sizeof file);
    r = digest(text, (size_t)length + sizeof file, all);
    if (r)
        return r;
    for (size_t i = 0; i < 2 * ID_OCTETS; i++)
        hex[i] = "0123456789abcdef"[i % 2 ? all[i / 2] & 15 : all[i / 2] >> 4];
    hex[2 * ID_OCTETS] = '\0';
    char *domain = right_side(source->config->domain), *id = NULL;
    if (!domain || asprintf(&id, "<%s@%s>", hex, domain) < 0)
        id = NULL;
    free(domain);
    if (!id)
        return -ENOMEM;
    *ret_id = id;
    return 0;
}

char *message_id_of(const struct header_field *field)
{
    char *text = header_unfold(field);
    if (!text)
        return NULL;
    const char *start = strchr(text, '<'), *end = start ? strchr(start, '>') : NULL;
    size_t length = end ? (size_t)(end - start) + 1 : strlen(text);
    char *id = strndup(end ? start : text, length < MESSAGE_ID_MAX ? length : MESSAGE_ID_MAX);
    free(text);
    if (id)
        fault_make_printable(id);
    return id;
}
