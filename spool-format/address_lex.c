// The lexical part of addresses (see address_lex.h): RFC 5322 section 3.2.
#include "address_lex.h"
#include "address.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char address_no_memory[] = "memory is short";

static const char open_comment[] = "it has a comment without an end";
static const char open_quote[] = "it has a quote without an end";

bool address_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool address_is_control(char c)
{
    return (c >= 0 && c < ' ') || c == 127;
}

static bool is_special(char c)
{
    switch (c) { // becomes a bit mask
    case '(':
    case ')':
    case '<':
    case '>':
    case '[':
    case ']':
    case ':':
    case ';':
    case '@':
    case '\\':
    case ',':
    case '.':
    case '"':
        return true;
    default:
        return false;
    }
}

bool address_is_atom(char c)
{
    return c != ' ' && !address_is_control(c) && !is_special(c);
}

const char *address_fail(struct address_lex *lex, const char *problem)
{
    if (lex->problem == NULL)
        lex->problem = problem;
    return NULL;
}

// From an opening quote to behind the closing one.
const char *address_skip_quoted(struct address_lex *lex, const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '\\' && p + 1 < end)
            p++;
        else if (*p == '"')
            return p + 1;
    }
    return address_fail(lex, open_quote);
}

// From an opening parenthesis to behind the one that closes it.
const char *address_skip_comment(struct address_lex *lex, const char *p, const char *end)
{
    int depth = 0;
    const char *start = p + 1;
    for (; p < end; p++) {
        if (*p == '\\' && p + 1 < end) {
            p++;
        } else if (*p == '(' && ++depth > ADDRESS_COMMENT_DEPTH_MAX) {
            return address_fail(lex, "it has comments nested too deep");
        } else if (*p == ')' && --depth == 0) {
            if (p > start && lex->comment.start == NULL)
                lex->comment = (struct address_text){start, p};
            return p + 1;
        }
    }
    return address_fail(lex, open_comment);
}

// From '[' to behind ']'.
const char *address_skip_literal(struct address_lex *lex, const char *p, const char *end)
{
    const char *close = memchr(p, ']', (size_t)(end - p));
    return close != NULL ? close + 1 : address_fail(lex, "it has a domain literal without an end");
}

// Blanks and comments. NULL on failure.
const char *address_skip_space(struct address_lex *lex, const char *p, const char *end)
{
    while (p != NULL && p < end && (address_is_blank(*p) || *p == '('))
        p = *p == '(' ? address_skip_comment(lex, p, end) : p + 1;
    return p;
}

// Length of the encoded word that starts at p (RFC 2047: =?charset?encoding?text?=), 0 where none does. What
// stands in one means nothing else, though the RFC forbids commas and such there: mail in the wild has them.
static size_t encoded_word(const char *p, const char *end)
{
    const char *start = p;
    if (end - p < 2 || p[0] != '=' || p[1] != '?')
        return 0;
    p += 2;
    for (int part = 0; part < 3; part++) {
        const char *from = p;
        while (p < end && *p != '?' && *p != ' ' && !address_is_control(*p))
            p++;
        if (p == end || *p != '?' || (p == from && part < 2) || (part == 1 && p - from != 1))
            return 0;
        p++;
    }
    return p < end && *p == '=' ? (size_t)(p + 1 - start) : 0;
}

// The first octet at or after p that is one of stops and in no quote, comment or domain literal; end where
// there is none.
const char *address_find_any(struct address_lex *lex, const char *p, const char *end, const char *stops)
{
    bool after_at = false; // '[' begins a literal only right behind '@'
    while (p != NULL && p < end) {
        size_t word = *p == '=' ? encoded_word(p, end) : 0;
        if (word > 0) {
            p += word;
            after_at = false;
            continue;
        }
        if (*p != 0 && strchr(stops, *p) != NULL)
            return p;
        char c = *p;
        if (c == '"')
            p = address_skip_quoted(lex, p, end);
        else if (c == '(')
            p = address_skip_comment(lex, p, end);
        else if (c == '[' && after_at)
            p = address_skip_literal(lex, p, end);
        else
            p++;
        if (c != '(' && !address_is_blank(c))
            after_at = c == '@';
    }
    return p;
}

struct name {
    char *text; // has room for what it is made from
    size_t n;
    bool blank; // one is due before the next character
};

static void put(struct name *name, char c)
{
    if (c == ' ' || address_is_control(c)) {
        name->blank = true;
        return;
    }
    if (name->blank && name->n > 0)
        name->text[name->n++] = ' ';
    name->blank = false;
    name->text[name->n++] = c;
}

static void put_text(struct name *name, struct address_text text, bool in_comment)
{
    struct address_lex scratch = {0};
    bool quoted = false, comments = !in_comment;
    for (const char *p = text.start; p < text.end; p++) {
        size_t word = quoted || in_comment ? 0 : encoded_word(p, text.end);
        if (word > 0) {
            for (const char *end = p + word - 1; p < end; p++)
                put(name, *p);
        } else if (*p == '"' && !in_comment) {
            quoted = !quoted;
            continue;
        } else if (*p == '(' && comments && !quoted) {
            const char *behind = address_skip_comment(&scratch, p, text.end);
            comments = behind != NULL; // without an end it stood in brackets, and so does what follows
            p = comments ? behind - 1 : p;
            name->blank = true;
            continue;
        } else if (*p == '\\' && (quoted || in_comment) && p + 1 < text.end) {
            p++;
        }
        put(name, *p);
    }
}

int address_make_name(struct address_lex *lex, struct address_text text, bool in_comment, char **ret_name)
{
    struct name name = {.text = malloc((size_t)(text.end - text.start) + 1)};
    if (name.text == NULL) {
        address_fail(lex, address_no_memory);
        return -ENOMEM;
    }
    put_text(&name, text, in_comment);
    name.text[name.n] = 0;
    if (name.n == 0) {
        free(name.text);
        name.text = NULL;
    }
    *ret_name = name.text;
    return 0;
}
