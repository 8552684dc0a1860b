// A-labels by libidn2: see idn.h.
#include "idn.h"

#include "encoded_word.h"
#include <idn2.h>
#include <stdlib.h>
#include <string.h>

#define DOMAIN_TEXT_MAX 1024 // octets: longer ones are no domain, whatever IDNA would make of them

const char idn_no_memory[] = "out of memory";

const char *idn_domain(const char *domain, size_t length, char **ret_domain)
{
    char *copy = strndup(domain, length);
    if (!copy)
        return idn_no_memory;
    if (!text_has_8bit(copy, length)) {
        *ret_domain = copy;
        return NULL;
    }
    if (length > DOMAIN_TEXT_MAX || !text_is_utf8(copy, length)) {
        free(copy);
        return length > DOMAIN_TEXT_MAX ? "5.1.3 the domain is too long" : "5.1.3 the domain is not UTF-8";
    }
    char *labels = NULL;
    int r = idn2_to_ascii_8z(copy, &labels, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    free(copy);
    if (r == IDN2_MALLOC)
        return idn_no_memory;
    if (r != IDN2_OK)
        return "5.1.3 the domain is no internationalized domain name";
    copy = strdup(labels);
    idn2_free(labels);
    if (!copy)
        return idn_no_memory;
    *ret_domain = copy;
    return NULL;
}

const char *idn_address(const char *address, char **ret_address)
{
    const char *at = strrchr(address, '@');
    size_t local = at ? (size_t)(at - address) + 1 : 0;
    char *domain = NULL;
    const char *problem = idn_domain(address + local, strlen(address + local), &domain);
    if (problem)
        return problem;
    size_t length = strlen(domain);
    char *wire = malloc(local + length + 1);
    if (wire) {
        memcpy(wire, address, local);
        memcpy(wire + local, domain, length + 1);
        *ret_address = wire;
    }
    free(domain);
    return wire ? NULL : idn_no_memory;
}
