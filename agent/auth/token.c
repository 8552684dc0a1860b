// Tokens in memory and on disk; their text is made in token_json.c, their files in store.c.
#include "token.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void token_init(struct token *token)
{
    *token = (struct token){0};
}

void token_release(struct token *token)
{
    secret_release(&token->access);
    secret_release(&token->refresh);
    free(token->scope);
    free(token->mailbox);
    free(token->flow);
    free(token->client_id);
    free(token->needs);
    token_init(token);
}

int token_set_text(char **member, const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy)
        return -ENOMEM;
    free(*member);
    *member = copy;
    return 0;
}

int token_keep_refresh(struct token *token, const struct token *old)
{
    return token->refresh.length ? 0 : secret_set(&token->refresh, old->refresh.text, old->refresh.length);
}

int token_read(int state_fd, const char *account, struct token *ret_token)
{
    struct buffer text;
    buffer_init(&text, TOKEN_FILE_MAX);
    int error = store_read(state_fd, account, ".json", &text);
    if (error == -E2BIG)
        error = -EBADMSG; // no token file of ours
    if (!error)
        error = token_decode(text.data ? text.data : "", text.length, ret_token);
    buffer_release(&text);
    return error;
}

int token_write(int state_fd, const char *account, const struct token *token)
{
    struct buffer text;
    buffer_init(&text, TOKEN_FILE_MAX);
    int error = token_encode(token, &text);
    if (!error)
        error = store_write(state_fd, account, ".json", text.data, text.length);
    buffer_release(&text);
    return error;
}

int token_remove(int state_fd, const char *account)
{
    return store_remove(state_fd, account, ".json");
}

int token_lock(int state_fd, const char *account, int *ret_fd)
{
    return store_lock(state_fd, account, ".lock", ret_fd);
}
