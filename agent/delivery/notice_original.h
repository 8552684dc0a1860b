// What a notice returns of the message that it tells of (intake desk): RFC 3462 section 1, RFC 3461
// section 4.3.
#ifndef OUTTRAY_AGENT_DELIVERY_NOTICE_ORIGINAL_H
#define OUTTRAY_AGENT_DELIVERY_NOTICE_ORIGINAL_H

#include "agent/delivery/notice_item.h"
#include "spool-format/header.h"
#include <sys/stat.h>

#define NOTICE_WHOLE_MAX (256 * 1024) // octets of a file that is returned whole

// Fills head of item from the message's header block, without the fields that are the envelope or name hidden
// recipients. fd >= 0: the body too, where the message has at most NOTICE_WHOLE_MAX octets, all of them
// ASCII, in lines that SMTP carries: no encoding is allowed in a message/rfc822 part, and a notice must not
// need what a server may lack. 0 or -ENOMEM; where the body cannot be had the header alone is there.
int notice_original_read(
    struct notice_item *item, const struct header_block *block, int fd, const struct stat *stat);

#endif
