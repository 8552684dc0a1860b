// The envelope: reverse-path and recipients, from X-Sender and X-Receiver lines or from the header fields.
#ifndef OUTTRAY_AGENT_COMPOSE_ENVELOPE_H
#define OUTTRAY_AGENT_COMPOSE_ENVELOPE_H

#include "agent/compose/sender.h"

struct envelope_params {
    const struct config *config;
    const struct config_tenant *spool;  // whose spool it lies in: says whether X-Sender and X-Receiver count
    const struct config_tenant *tenant; // whose rules count for the rest
    const struct fields *fields;
    const struct sender *sender;
};

// Fills envelope_from, envelope_rule, smtputf8, ret, envid, recipients, n_recipients and source of *outgoing,
// which owns them whatever the result. 0; -EBADMSG with *ret_fault; -ENOMEM.
//
// X-Sender and X-Receiver count where they lead the header block: only an mbox "From " line and X-Outtray-*
// fields may stand between or before them. Recipients are listed once, in the order of their first mention.
int envelope_read(
    const struct envelope_params *params, struct outgoing *outgoing, struct outgoing_fault *ret_fault);

#endif
