// What an address is allowed to be (see address.h); the parser of lists is address_parse.c.
#include "address.h"
#include "utf8.h"
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define LABEL_MAX    63 // octets, RFC 1035 section 2.3.4
#define LITERAL_SIZE 64

// The '@' between local part and domain: the last one. NULL where there is none.
static const char *find_at(const char *address)
{
    return strrchr(address, '@');
}

// RFC 5321 Atext, and RFC 6531's UTF8-non-ascii. The marks are a switch, which becomes a bit mask: every
// octet of every address passes here.
static bool is_atext(unsigned char c)
{
    switch (c) {
    case '!':
    case '#' ... '\'':
    case '*':
    case '+':
    case '-':
    case '/':
    case '0' ... '9':
    case '=':
    case '?':
    case 'A' ... 'Z':
    case '^' ... '~':
        return true;
    default:
        return c > 127;
    }
}

// What of it stands in a domain.
static bool is_domain_text(unsigned char c)
{
    return c > 127 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
           c == '_';
}

// Octets that are refused wherever they stand, and text that is no UTF-8 or has control characters.
static const char *text_problem(const char *address, size_t length)
{
    for (size_t i = 0; i < length;) {
        uint32_t c;
        size_t n = utf8_decode(address + i, length - i, &c);
        if (n == 0)
            return "it is not valid UTF-8";
        if (c < ' ' || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029)
            return "it has a control character";
        if (c == ' ' || c == 0xA0 || c == 0x3000)
            return "it has a blank";
        if (c == '<' || c == '>')
            return "it has an angle bracket";
        i += n;
    }
    return NULL;
}

static const char *quoted_problem(const char *local, size_t length)
{
    if (length < 2 || local[length - 1] != '"')
        return "its local part has an unfinished quote";
    for (size_t i = 1; i < length - 1; i++) {
        if (local[i] == '"')
            return "its local part has a quote within quotes";
        if (local[i] == '\\' && ++i == length - 1)
            return "its local part has an unfinished quote";
    }
    return NULL;
}

static const char *local_problem(const char *local, size_t length)
{
    if (length == 0)
        return "its local part is empty";
    if (length > ADDRESS_LOCAL_MAX)
        return "its local part is longer than 64 octets";
    if (local[0] == '"')
        return quoted_problem(local, length);
    for (size_t i = 0; i < length; i++) {
        if (local[i] == '.') {
            if (i == 0 || i == length - 1 || local[i - 1] == '.')
                return "its local part has a dot where none may be";
        } else if (!is_atext((unsigned char)local[i])) {
            return "its local part has a character that needs quotes";
        }
    }
    return NULL;
}

static const char *literal_problem(const char *domain, size_t length)
{
    static const char reason[] = "its domain is no valid address literal";
    static const char ipv6[] = "[IPv6:";
    char text[LITERAL_SIZE];
    unsigned char binary[sizeof(struct in6_addr)];
    if (length < 3 || length >= sizeof text || domain[length - 1] != ']')
        return reason;
    bool is_ipv6 = strncasecmp(domain, ipv6, sizeof ipv6 - 1) == 0;
    size_t start = is_ipv6 ? sizeof ipv6 - 1 : 1;
    if (length <= start + 1)
        return reason;
    memcpy(text, domain + start, length - start - 1);
    text[length - start - 1] = 0;
    return inet_pton(is_ipv6 ? AF_INET6 : AF_INET, text, binary) == 1 ? NULL : reason;
}

static const char *domain_problem(const char *domain, size_t length)
{
    if (length == 0)
        return "its domain is empty";
    if (length > ADDRESS_DOMAIN_MAX)
        return "its domain is longer than 255 octets";
    if (domain[0] == '[')
        return literal_problem(domain, length);
    for (size_t start = 0; start <= length;) {
        const char *dot = memchr(domain + start, '.', length - start);
        size_t end = dot != NULL ? (size_t)(dot - domain) : length;
        if (end == start)
            return "its domain has an empty label";
        if (end - start > LABEL_MAX)
            return "its domain has a label longer than 63 octets";
        if (domain[start] == '-' || domain[end - 1] == '-')
            return "its domain has a label that begins or ends with a hyphen";
        for (size_t i = start; i < end; i++) {
            if (!is_domain_text((unsigned char)domain[i]))
                return "its domain has a character that no domain has";
        }
        start = end + 1;
    }
    return NULL;
}

const char *address_problem(const char *address)
{
    size_t length = strnlen(address, ADDRESS_LOCAL_MAX + ADDRESS_DOMAIN_MAX + 2);
    const char *at = find_at(address);
    if (length == 0)
        return "it is empty";
    const char *problem = text_problem(address, strlen(address));
    if (problem != NULL)
        return problem;
    if (at == NULL)
        return "it has no domain";
    problem = local_problem(address, (size_t)(at - address));
    if (problem == NULL)
        problem = domain_problem(at + 1, strlen(at + 1));
    if (problem == NULL && length > ADDRESS_MAX)
        problem = "it is longer than 254 octets";
    return problem;
}

bool address_needs_smtputf8(const char *address)
{
    const char *at = find_at(address);
    for (const char *p = address; *p != 0 && p != at; p++) {
        if ((unsigned char)*p > 127)
            return true;
    }
    return false;
}

bool address_same(const char *a, const char *b)
{
    const char *a_at = find_at(a), *b_at = find_at(b);
    if (a_at == NULL || b_at == NULL)
        return strcmp(a, b) == 0;
    return a_at - a == b_at - b && memcmp(a, b, (size_t)(a_at - a)) == 0 && strcasecmp(a_at, b_at) == 0;
}
