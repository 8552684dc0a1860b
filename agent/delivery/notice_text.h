// The words of a notice: a delivery status notification (RFC 3464) for one message, or a summary of several.
#ifndef OUTTRAY_AGENT_DELIVERY_NOTICE_TEXT_H
#define OUTTRAY_AGENT_DELIVERY_NOTICE_TEXT_H

#include "agent/base/buffer.h"
#include "agent/delivery/notice_item.h"

#define NOTICE_MAX           (1024 * 1024) // octets of a notice
#define NOTICE_SUMMARY_LISTS 100           // messages that a summary describes; the others it counts

// Appends the message as it is submitted. 0 or the buffer's error. An item without recipients (its file is no
// message) is told of by a summary of one.
int notice_text_one(
    const struct notice_source *source, struct notice_item *item, int64_t now, struct buffer *out);
// All items have one target.
int notice_text_summary(
    const struct notice_source *source, struct notice_item *const *items, size_t n, struct buffer *out);

#endif
