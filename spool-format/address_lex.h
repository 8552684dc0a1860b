// What the parser of addresses is built from; only its files, address_*.c, include it.
//
// The skip functions go from the octet they are named for to behind its end, and give NULL and a reason in
// lex->problem where there is no end. They take NULL for p where noted, so that calls can follow each other.
#ifndef OUTTRAY_SPOOL_FORMAT_ADDRESS_LEX_H
#define OUTTRAY_SPOOL_FORMAT_ADDRESS_LEX_H

#include <stdbool.h>

struct address_text {
    const char *start, *end;
};

struct address_lex {
    const char *problem; // the first reason; constant text
    struct address_text
        comment; // the first one since this was cleared that is not empty, inside its parentheses
};

// Notes the reason. Always NULL.
const char *address_fail(struct address_lex *lex, const char *problem);

bool address_is_blank(char c); // also the line ends of folds
bool address_is_control(char c);
bool address_is_atom(char c); // RFC 5322 atext, any octet above 127, and what RFC 5322 gives no meaning

const char *address_skip_quoted(struct address_lex *lex, const char *p, const char *end);
const char *address_skip_comment(struct address_lex *lex, const char *p, const char *end);
const char *address_skip_literal(struct address_lex *lex, const char *p, const char *end);
// Blanks and comments; none is fine. Takes NULL.
const char *address_skip_space(struct address_lex *lex, const char *p, const char *end);

// The first octet at or after p that is one of stops and in no quote, comment or domain literal; end where
// there is none; NULL and a reason where one of these has no end.
const char *address_find_any(struct address_lex *lex, const char *p, const char *end, const char *stops);

// A name as people write it: quotes and escapes undone, comments dropped, folds and runs of blanks one blank,
// control bytes blanks. The text is one that address_find_any went over, or the inside of a comment.
// *ret_name is owned, and NULL where nothing is left. 0 or -ENOMEM.
int address_make_name(struct address_lex *lex, struct address_text text, bool in_comment, char **ret_name);

extern const char address_none[]; // the reason where there is text, but no address

// Reads local@domain, which is all of [p, end) but for blanks and comments, and with `route` a route in front
// (RFC 5322 obs-route), which is dropped. domain is that of an address without one; NULL: that is an error.
// Owned; NULL and a reason.
char *address_read(struct address_lex *lex, const char *p, const char *end, const char *domain, bool route);

#endif
