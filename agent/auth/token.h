// The token of an account as it is stored: STATE/tokens/ACCOUNT.json, mode 0600.
//
// Written atomically (temporary, fsync, rename, fsync of the directory) under the account's lock, an OFD lock
// on STATE/tokens/ACCOUNT.lock that agent and verbs share. Whoever refreshes takes the lock, reads again, and
// refreshes only if nobody else did meanwhile. Files written by root belong to the owner of the state
// directory.
#ifndef OUTTRAY_AGENT_AUTH_TOKEN_H
#define OUTTRAY_AGENT_AUTH_TOKEN_H

#include "agent/auth/store.h"
#include "config/secret.h"
#include <stdbool.h>
#include <stdint.h>

#define TOKEN_FILE_MAX  (128 * 1024) // octets
#define TOKEN_DIRECTORY STORE_DIRECTORY
#define TOKEN_TEXT_MAX  4096 // octets of scope, mailbox, …

struct token {
    struct secret access;
    struct secret refresh; // empty where the flow gives none (client credentials, service account)
    char *scope;           // as granted; NULL where the provider did not say
    char *mailbox;         // whose mailbox it is: the id_token's e-mail, or the configured one
    char *flow;            // "authorization_code", …
    char *client_id;       // the client it was issued to: another client cannot use it
    int64_t obtained;      // wall ns: when the access token was issued
    int64_t expires;       // wall ns
    int64_t authorized;    // wall ns: when a person (or the first grant) authorized the account
    int64_t refresh_used;  // wall ns: when the refresh token was last used or issued
    char *needs;           // NULL, or why the account needs somebody: the provider's words
    bool needs_login;      // `needs` can only be helped by a new authorization; else the agent tries again by
                           // itself from time to time
};

void token_init(struct token *token);
void token_release(struct token *token); // wipes

// Reads. 0; -ENOENT; -EBADMSG where it cannot be understood; -EPERM (owner or mode); other errors of open(2)
// and read(2). *ret_token is untouched on failure.
int token_read(int state_fd, const char *account, struct token *ret_token);
// Writes durably; STATE/tokens is made where missing (0700). -EINVAL where a text holds what JSON cannot.
int token_write(int state_fd, const char *account, const struct token *token);
int token_remove(int state_fd, const char *account);

// Takes the account's lock without waiting: 0 and *ret_fd (close it to unlock), -EAGAIN while another process
// has it.
int token_lock(int state_fd, const char *account, int *ret_fd);

// Sets one of a token's texts (scope, mailbox, …) to a copy, NULL for none. 0 or -ENOMEM.
int token_set_text(char **member, const char *text);
// A refreshed token keeps what the answer did not name: the refresh token of the old one.
int token_keep_refresh(struct token *token, const struct token *old);

// The text of a token file (token_json.c). 0, -EBADMSG, -ENOMEM.
int token_encode(const struct token *token, struct buffer *out);
int token_decode(const char *text, size_t length, struct token *ret_token);

#endif
