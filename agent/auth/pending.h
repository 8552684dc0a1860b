// An authorization request between get-code and get-token: STATE/tokens/ACCOUNT.pending, 0600, for 15
// minutes.
//
// The verbs may run minutes apart, as different processes. What waits is the PKCE verifier and the state:
// whoever has them and the code gets the token.
#ifndef OUTTRAY_AGENT_AUTH_PENDING_H
#define OUTTRAY_AGENT_AUTH_PENDING_H

#include "agent/auth/oauth.h"

#define PENDING_LIFE_S   (15 * 60)
#define PENDING_FILE_MAX 4096 // octets

// Makes a new one: random state and verifier. 0; -E2BIG where the redirect URI is too long; -EIO without
// randomness.
int pending_make(const char *redirect_uri, int64_t now, struct oauth_pending *ret_pending);
void pending_release(struct oauth_pending *pending); // wipes

// Replaces the one that waits. 0 or negative errno.
int pending_write(int state_fd, const char *account, const struct oauth_pending *pending);
// 0; -ENOENT where none waits; -ETIME where it is too old (or of the future); -EBADMSG; errors of open(2).
int pending_read(int state_fd, const char *account, int64_t now, struct oauth_pending *ret_pending);
int pending_remove(int state_fd, const char *account); // 0 or negative errno

#endif
