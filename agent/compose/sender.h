// The From of a message: by its tenant, never by its producer.
//
// The tenant's `from` (resolved by the configuration) gives the address; where it has no display name the
// message's own is kept. Whatever the message has (two Froms, a group, none at all), exactly one From with
// one mailbox goes out.
#ifndef OUTTRAY_AGENT_COMPOSE_SENDER_H
#define OUTTRAY_AGENT_COMPOSE_SENDER_H

#include "agent/compose/fault.h"
#include "agent/compose/fields.h"

#define SENDER_AUTHORS_MAX 100 // mailboxes looked at in the message's own From

struct sender {
    struct mailbox_list authors; // the mailboxes of the message's own From fields, in order
    char *from;                  // the value of the From field for the wire, without line ends
    char *address;               // its address, domain in A-labels
    char *reply_to;              // the value of a Reply-To to add, or NULL
    bool kept;                   // the message's one From says exactly this: it goes out as it stands
    bool other_address;          // From's address is not the message's own (or it had none, or several)
    bool smtputf8;               // the configured address has a local part beyond ASCII
};

// 0; -EBADMSG with *ret_fault where the configuration gives no usable From; -ENOMEM.
int sender_decide(const struct config *config, const struct config_tenant *tenant,
    const struct fields *fields, struct sender *ret_sender, struct outgoing_fault *ret_fault);
void sender_release(struct sender *sender);

#endif
