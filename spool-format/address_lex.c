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
    return c != 0 && strchr("()<>[]:;@\\,.\"", c) != NULL;
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
            if (p > start)
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

// The first octet at or after p that is one of stops and in no quote, comment or domain literal; end where
// there is none.
const char *address_find_any(struct address_lex *lex, const char *p, const char *end, const char *stops)
{
    bool after_at = false; // '[' begins a literal only right behind '@'
    while (p != NULL && p < end) {
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

// A name as people write it: quotes and escapes undone, comments dropped, folds and runs of blanks one blank,
// control bytes blanks. *ret_name is NULL where nothing is left. A comment as a whole may be given, too.
int address_make_name(struct address_lex *lex, struct address_text text, bool in_comment, char **ret_name)
{
    struct address_lex scratch = {0};
    char *name = malloc((size_t)(text.end - text.start) + 1);
    if (name == NULL) {
        address_fail(lex, address_no_memory);
        return -ENOMEM;
    }
    size_t n = 0;
    bool blank = false, quoted = false, comments = !in_comment;
    for (const char *p = text.start; p < text.end; p++) {
        char c = *p;
        if (c == '"' && !in_comment) {
            quoted = !quoted;
            continue;
        }
        if (c == '(' && comments && !quoted) {
            const char *behind = address_skip_comment(&scratch, p, text.end);
            comments =
                behind != NULL; // without an end it stood in brackets: it is text, and so is what follows
            blank = true;
            p = comments ? behind - 1 : p;
            continue;
        }
        if (c == '\\' && (quoted || in_comment) && p + 1 < text.end)
            c = *++p;
        if (c == ' ' || address_is_control(c)) {
            blank = true;
            continue;
        }
        if (blank && n > 0)
            name[n++] = ' ';
        blank = false;
        name[n++] = c;
    }
    name[n] = 0;
    if (n == 0) {
        free(name);
        name = NULL;
    }
    *ret_name = name;
    return 0;
}
