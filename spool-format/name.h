// Names of messages: which directory entries are messages, and the ~N variants of a name that is taken.
//
// A name has no leading dot, no '/' and no control byte, does not end in ".status", and is at most
// SPOOL_NAME_MAX octets without its ~N. It is never parsed for meaning beyond that.
#ifndef OUTTRAY_SPOOL_FORMAT_NAME_H
#define OUTTRAY_SPOOL_FORMAT_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define SPOOL_NAME_MAX      200 // octets, without ~N
#define SPOOL_VARIANT_MAX   999999
#define SPOOL_NAME_SIZE     208 // array size for NAME, "~999999" and the NUL
#define SPOOL_STATUS_SUFFIX ".status"
#define SPOOL_STATUS_SIZE   (SPOOL_NAME_SIZE + 7)

// Whether an entry called name is a message by its name.
bool spool_name_valid(const char *name);

// Length of name without a final ~N (2 ≤ N ≤ SPOOL_VARIANT_MAX, no leading zero): the part that NAME and its
// variants share. Where nothing or a name ending in ".status" would remain, ~N belongs to the name.
size_t spool_name_base(const char *name);

// Whether a and b are NAME or variants of one NAME.
bool spool_name_same(const char *a, const char *b);

// The N of name, 1 where it has no ~N: spool_name_variant(name, spool_name_number(name)) gives name again.
unsigned spool_name_number(const char *name);

// Writes the n-th variant of name's base: n = 1 is the base itself, n ≥ 2 is "BASE~n". n ≤ SPOOL_VARIANT_MAX.
// name must be valid; ret_variant may be name itself.
void spool_name_variant(const char *name, unsigned n, char ret_variant[static SPOOL_NAME_SIZE]);

// Writes "NAME.status".
void spool_name_status(const char *name, char ret_status[static SPOOL_STATUS_SIZE]);

#endif
