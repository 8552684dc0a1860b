// Assertions (RFC 7523): JWTs that stand for a client's secret or for a grant.
#ifndef OUTTRAY_AGENT_AUTH_ASSERTION_H
#define OUTTRAY_AGENT_AUTH_ASSERTION_H

#include "agent/auth/oauth.h"

#define ASSERTION_CLIENT_S  600  // a client assertion's lifetime
#define ASSERTION_SERVICE_S 3600 // as long as Google allows
#define ASSERTION_MAX       (16 * 1024)

// Microsoft's client assertion by certificate: PS256, x5t#S256. now: wall ns. 0; errors of secret_read_file
// and jwt_sign, -EKEYREJECTED where certificate and key do not belong together; words then say it.
int assertion_client(const struct config_account *account, int64_t now, struct buffer *out,
    char words[static OAUTH_WORDS_MAX]);
// Google's service account: RS256 by the key of the JSON file, for the account's mailbox. Same results.
int assertion_service_account(const struct config_account *account, int64_t now, struct buffer *out,
    char words[static OAUTH_WORDS_MAX]);

#endif
