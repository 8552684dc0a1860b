// What the tests of the judge share. Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_OUTCOME_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_OUTCOME_SUPPORT_H

#include "agent/delivery/outcome_rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT SMTP_STAGE_CONNECT
#define TLS     SMTP_STAGE_TLS
#define EHLO    SMTP_STAGE_EHLO
#define AUTH    SMTP_STAGE_AUTH
#define MAIL    SMTP_STAGE_MAIL
#define RCPT    SMTP_STAGE_RCPT
#define DATA    SMTP_STAGE_DATA
#define FINAL   SMTP_STAGE_FINAL
#define IDLE    SMTP_STAGE_IDLE

// What is expected: verdict, class, reason.
#define NO_REASON STATUS_REASON_NONE
#define SENT      VERDICT_SENT, "sent", NO_REASON
#define LOGIN     VERDICT_ACCOUNT_CREDENTIALS, "credentials", NO_REASON
#define DOWN(c)   VERDICT_ACCOUNT_UNREACHABLE, c, NO_REASON

// A reply from the words a server sends.
static inline struct smtp_reply reply_of(const char *text)
{
    struct smtp_reply reply = {.code = (int)strtol(text, NULL, 10)};
    int e[3];
    if (sscanf(text, "%*3d %1d.%3d.%3d", &e[0], &e[1], &e[2]) == 3)
        memcpy(reply.enhanced, e, sizeof e);
    (void)snprintf(reply.text, sizeof reply.text, "%s", text);
    return reply;
}

static inline const char *verdict_name(enum verdict verdict)
{
    static const char *const names[] = {
        [VERDICT_SENT] = "sent",
        [VERDICT_RETRY] = "retry",
        [VERDICT_REJECT_RECIPIENT] = "reject_recipient",
        [VERDICT_REJECT_MESSAGE] = "reject_message",
        [VERDICT_ACCOUNT_THROTTLED] = "account_throttled",
        [VERDICT_ACCOUNT_CREDENTIALS] = "account_credentials",
        [VERDICT_ACCOUNT_UNREACHABLE] = "account_unreachable",
        [VERDICT_SPOOL] = "spool",
    };
    return names[verdict];
}

static inline bool is_account(enum verdict verdict)
{
    return verdict == VERDICT_ACCOUNT_THROTTLED || verdict == VERDICT_ACCOUNT_CREDENTIALS ||
           verdict == VERDICT_ACCOUNT_UNREACHABLE;
}

#endif
