// Addresses: RFC 5322 lists as they stand in headers, and RFC 5321 rules for what may reach an SMTP command.
//
// The parser takes folded text, comments, quoted strings, groups (their members are listed, an empty group
// gives none), route addresses (the route is dropped), domain literals, encoded words (kept as they are) and
// UTF-8 (RFC 6532). It is lenient where mail in the wild is (missing display quotes, stray commas, ';'
// between addresses, a group without its ';') but never guesses an address: text that gives none is an error
// of the whole list (mailbox_list_salvage: of one entry). What stands before '<' is only a name; a comment
// behind an address without brackets is its name ("root@localhost (Cron Daemon)"). How it compares with other
// parsers: tests/differential.
#ifndef OUTTRAY_SPOOL_FORMAT_ADDRESS_H
#define OUTTRAY_SPOOL_FORMAT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_LOCAL_MAX  64  // octets, RFC 5321 section 4.5.3.1.1
#define ADDRESS_DOMAIN_MAX 255 // octets, section 4.5.3.1.2
#define ADDRESS_MAX        254 // octets of local@domain (section 4.5.3.1.3: a path of 256 with its brackets)

#define ADDRESS_COMMENT_DEPTH_MAX 100 // comments within comments

struct mailbox {
    char *display; // owned: the phrase with quoting undone and folds as single blanks, encoded words kept;
                   // NULL where none
    char *address; // owned: local@domain, comments and blanks removed; the local part keeps quotes only where
                   // needed
    const char *problem; // only from mailbox_list_salvage: a constant reason where this is no address; then
                         // address is its text as it stands, each run of blanks and line ends one blank
};

struct mailbox_list {
    struct mailbox *items;
    size_t n;
};

// Parses an address list (the value of To, Cc, Bcc, From, Reply-To). At most max mailboxes: -E2BIG above.
// -EBADMSG where the text is not a list; *ret_problem (where not NULL) then points to a constant text with
// the reason. An empty list (an empty group) is 0 with n = 0. Release with mailbox_list_release.
int mailbox_list_parse(
    const char *text, size_t length, size_t max, struct mailbox_list *ret_list, const char **ret_problem);
// The same, but an address without '@' ("root") gets @domain, as mail from local programs expects.
int mailbox_list_parse_local(const char *text, size_t length, const char *domain, size_t max,
    struct mailbox_list *ret_list, const char **ret_problem);
// The same for recipients, where one bad entry must not cost the others theirs: each piece between commas
// that gives no address is listed with its problem. Behind a quote, comment or literal without an end nobody
// can say what is meant, so all of that is one piece. 0, -E2BIG or -ENOMEM.
int mailbox_list_salvage(
    const char *text, size_t length, const char *domain, size_t max, struct mailbox_list *ret_list);
void mailbox_list_release(struct mailbox_list *list);

// Exactly one mailbox, "Name <a@b>" or "a@b" (a configured From). NULL and *ret_mailbox filled, or a constant
// reason: address_no_memory (compare the pointer) where it is none of the text's fault.
extern const char address_no_memory[];
const char *mailbox_parse(const char *text, struct mailbox *ret_mailbox);
void mailbox_release(struct mailbox *mailbox);

// Whether address may stand in MAIL FROM or RCPT TO: local@domain with no control byte, blank, '<' or '>'
// outside quotes (none at all inside either: we refuse what servers misread), valid UTF-8, lengths of RFC
// 5321, a dot-atom or quoted local part, domain labels or an address literal. NULL for yes, else a constant
// reason.
const char *address_problem(const char *address);

// Whether the local part has an octet above 127 (RFC 6531: SMTPUTF8 is needed).
bool address_needs_smtputf8(const char *address);

// Whether two addresses name one mailbox as far as a sender may tell: local part compared exactly, domain
// without case.
bool address_same(const char *a, const char *b);

#endif
