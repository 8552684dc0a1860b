// One address of a list (see address_lex.h): RFC 5322 addr-spec (section 3.4.1) with its obsolete forms
// (4.4).
#include "address.h"
#include "address_lex.h"
#include <stdlib.h>
#include <string.h>

const char address_none[] = "it has text that is no address";

// What an address is built of while it is read. local and domain have room for all of their text.
struct parts {
    char *local, *domain;
    size_t n_local, n_domain;
    bool quoted;           // some of local stood in quotes
    const char *otherwise; // the domain of an address without one; NULL: that is an error
};

// Reads word *("." word) with blanks and comments around the dots, up to '@' or the end.
static const char *read_local(struct address_lex *lex, const char *p, const char *end, struct parts *parts)
{
    bool after_word = false;
    for (;;) {
        p = address_skip_space(lex, p, end);
        if (p == NULL || p == end || *p == '@')
            return p;
        lex->comment = (struct address_text){0}; // a name is what stands behind the address
        if (*p == '.') {
            parts->local[parts->n_local++] = *p++;
            after_word = false;
            continue;
        }
        if (after_word || (*p != '"' && !address_is_atom(*p)))
            return address_fail(lex, address_none);
        after_word = true;
        if (*p != '"') {
            while (p < end && address_is_atom(*p))
                parts->local[parts->n_local++] = *p++;
            continue;
        }
        const char *close = address_skip_quoted(lex, p, end);
        if (close == NULL)
            return NULL;
        parts->quoted = true;
        for (p++; p < close - 1; p++) {
            if (*p == '\r' || *p == '\n')
                continue;
            if (*p == '\\')
                p++;
            if (address_is_control(*p) && *p != '\t')
                return address_fail(lex, "it has a control character in an address");
            parts->local[parts->n_local++] = *p;
        }
        p = close;
    }
}

// Reads what follows '@': atoms and dots, or a literal in brackets.
static const char *read_domain(struct address_lex *lex, const char *p, const char *end, struct parts *parts)
{
    bool after_atom = false, literal = false;
    for (;;) {
        p = address_skip_space(lex, p, end);
        if (p == NULL || p == end)
            return p;
        lex->comment = (struct address_text){0};
        if (*p == '[' && parts->n_domain == 0) {
            const char *close = address_skip_literal(lex, p, end);
            for (; close != NULL && p < close; p++) {
                if (!address_is_blank(*p))
                    parts->domain[parts->n_domain++] = *p;
            }
            p = close;
            literal = true;
        } else if (*p == '.' && !literal) {
            parts->domain[parts->n_domain++] = *p++;
            after_atom = false;
        } else if (address_is_atom(*p) && !after_atom && !literal) {
            while (p < end && address_is_atom(*p))
                parts->domain[parts->n_domain++] = *p++;
            after_atom = true;
        } else {
            return p;
        }
    }
}

// Whether the local part may stand without quotes, though it came with some.
static bool is_dot_atom(const char *text, size_t length)
{
    bool after_dot = true;
    for (size_t i = 0; i < length; i++) {
        bool dot = text[i] == '.';
        if ((dot && after_dot) || (!dot && !address_is_atom(text[i])))
            return false;
        after_dot = dot;
    }
    return !after_dot;
}

static char *make_address(const struct parts *parts, const char *domain, size_t domain_length)
{
    char *address = malloc(2 * parts->n_local + domain_length + 4);
    size_t n = 0;
    bool quotes = parts->quoted && !is_dot_atom(parts->local, parts->n_local);
    if (address == NULL)
        return NULL;
    if (quotes)
        address[n++] = '"';
    for (size_t i = 0; i < parts->n_local; i++) {
        if (quotes && (parts->local[i] == '"' || parts->local[i] == '\\'))
            address[n++] = '\\';
        address[n++] = parts->local[i];
    }
    if (quotes)
        address[n++] = '"';
    address[n++] = '@';
    memcpy(address + n, domain, domain_length);
    address[n + domain_length] = 0;
    return address;
}

// Reads local@domain, which is all of [p, end) but for blanks and comments.
static char *read_address(struct address_lex *lex, const char *p, const char *end, struct parts *parts)
{
    p = read_local(lex, p, end, parts);
    if (p == NULL)
        return NULL;
    if (parts->n_local == 0 && !parts->quoted) {
        address_fail(lex, p == end ? "it has an empty address" : "it has an address without a local part");
        return NULL;
    }
    const char *domain = parts->otherwise;
    size_t length = domain != NULL ? strlen(domain) : 0;
    if (p < end) {
        p = read_domain(lex, p + 1, end, parts);
        if (p == NULL)
            return NULL;
        domain = parts->domain;
        length = parts->n_domain;
    }
    if (p < end || length == 0) {
        address_fail(lex, p < end ? address_none : "it has an address without a domain");
        return NULL;
    }
    char *address = make_address(parts, domain, length);
    if (address == NULL)
        address_fail(lex, address_no_memory);
    return address;
}

// Skips "@a,@b:" (RFC 5322 obs-route), which nobody uses any more but which may stand there.
static const char *skip_route(struct address_lex *lex, const char *p, const char *end, struct parts *parts)
{
    p = address_skip_space(lex, p, end);
    if (p == NULL || p == end || (*p != '@' && *p != ','))
        return p;
    while (p != NULL && p < end && (*p == '@' || *p == ',')) {
        parts->n_domain = 0;
        p = *p == '@' ? read_domain(lex, p + 1, end, parts) : address_skip_space(lex, p + 1, end);
    }
    parts->n_domain = 0;
    if (p == NULL || p == end || *p != ':')
        return address_fail(lex, "it has an address without a local part");
    return p + 1;
}

char *address_read(struct address_lex *lex, const char *p, const char *end, const char *domain, bool route)
{
    size_t size = (size_t)(end - p) + 1;
    struct parts parts = {.local = malloc(size), .domain = malloc(size), .otherwise = domain};
    char *address = NULL;
    if (parts.local == NULL || parts.domain == NULL)
        address_fail(lex, address_no_memory);
    else if (!route || (p = skip_route(lex, p, end, &parts)) != NULL)
        address = read_address(lex, p, end, &parts);
    free(parts.local);
    free(parts.domain);
    return address;
}
