// What a provider says, made fit for people and logs: bounded, on one line, without secrets.
#ifndef OUTTRAY_AGENT_AUTH_WORDS_H
#define OUTTRAY_AGENT_AUTH_WORDS_H

#include "agent/auth/oauth.h"

// Sets words by a format, cut to what fits, cleaned.
void words_set(char words[static OAUTH_WORDS_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Makes control octets and what is not UTF-8 blanks or question marks, and hides what looks like a token:
// some servers repeat what they were sent.
void words_clean(char words[static OAUTH_WORDS_MAX]);
// As words_clean, and hides what base64 makes of a login: a mail server may repeat that too.
void words_clean_login(char words[static OAUTH_WORDS_MAX]);
// Hides every place where secret stands.
void words_hide(char words[static OAUTH_WORDS_MAX], const struct secret *secret);

#endif
