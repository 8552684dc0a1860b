// What providers' error codes mean, as data.
#ifndef OUTTRAY_AGENT_AUTH_OAUTH_ERRORS_H
#define OUTTRAY_AGENT_AUTH_OAUTH_ERRORS_H

#include "agent/auth/oauth.h"

struct oauth_error {
    const char *error; // the `error` member; NULL in rows of numbers
    int64_t code;      // one of `error_codes` (Microsoft's AADSTS numbers); 0 in rows of names
    enum oauth_verdict verdict;
    const char *fix; // constant; NULL: the verdict's own
};

// Rows by number come before rows by name: the number says more. NULL where neither is known.
const struct oauth_error *oauth_error_by_code(int64_t code);
const struct oauth_error *oauth_error_by_name(const char *error);
// What a person can do about a verdict; NULL where waiting is enough.
const char *oauth_verdict_fix(enum oauth_verdict verdict);

#endif
