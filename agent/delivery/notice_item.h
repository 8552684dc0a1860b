// One message that somebody is to be told about: who, about which recipients, and what is quoted of it
// (intake desk).
#ifndef OUTTRAY_AGENT_DELIVERY_NOTICE_ITEM_H
#define OUTTRAY_AGENT_DELIVERY_NOTICE_ITEM_H

#include "config/config.h"
#include "spool-format/spool.h"

#define NOTICE_HEAD_MAX 32768 // octets of the original's header block that are quoted
#define NOTICE_TEXT_MAX 900   // octets of a server's words: a line of mail has 998

enum notice_kind {
    NOTICE_FAILED,
    NOTICE_DELAYED,
    NOTICE_RELAYED,        // NOTIFY=SUCCESS, and the server has no DSN: it lies in sent/
    NOTICE_RELAYED_PARTLY, // the same for some of its recipients: in failed/
    NOTICE_KINDS
};
const char *notice_kind_name(enum notice_kind kind);       // its Action: "failed", "delayed", "relayed"
enum spool_state notice_kind_state(enum notice_kind kind); // where the message lies
static inline bool notice_kind_relayed(enum notice_kind kind)
{
    return kind == NOTICE_RELAYED || kind == NOTICE_RELAYED_PARTLY;
}

struct notice_recipient { // all in printable ASCII
    char *address;        // as a person reads it
    char *final;          // "rfc822; b@example.net"
    char *original;       // "rfc822; B@example.net" of its ORCPT, or NULL
    char *reply;          // the server's words, or ours; NULL: none
    char status[16];      // "5.1.1"
};

struct notice_item {
    enum notice_kind kind;
    char name[SPOOL_NAME_SIZE];
    ino_t inode;
    bool claimed; // delayed: it lies in cur/ as claimed_name while it is told about
    char claimed_name[SPOOL_NAME_SIZE];
    char *target; // who is told
    char *envid;  // decoded, or NULL
    struct status *status;
    struct notice_recipient *recipients; // none where the file cannot be read as a message
    size_t n_recipients;
    char *head;        // the original for the last part, CRLF: its header fields, or all of it; NULL: none
    bool head_encoded; // as quoted-printable
    bool whole;        // all of it: RET=FULL
};

struct notice_source {
    const struct config *config;
    const struct config_tenant *settings; // whose spool it is
    const struct spool_tenant *spool;
    bool whole; // RET=FULL counts: the message is told of in a notice of its own
};

// Reads what is to be told about the message. 1 and *ret_item; 0 where nobody is to be told (any more): told
// already, gone, a notice itself, the null sender, not written by a person, NOTIFY=NEVER; negative errno. One
// that is delayed is claimed, so that nobody tries it meanwhile, and goes back with notice_item_free.
int notice_item_read(const struct notice_source *source, enum notice_kind kind, const char *name,
    struct notice_item **ret_item);
void notice_item_free(const struct spool_tenant *spool, struct notice_item *item); // takes NULL

#endif
