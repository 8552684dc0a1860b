// OAuth JSON: what token endpoints answer, device authorizations, stored tokens. The first octet says which,
// and what kind of account asked.
#include "agent/auth/oauth.h"
#include "fuzz.h"

#define NOW ((int64_t)1795446245 * 1000000000)

static void check_words(const char *words)
{
    EXPECT(memchr(words, 0, OAUTH_WORDS_MAX));
    for (; *words; words++)
        EXPECT((unsigned char)*words >= ' ' && *words != 127);
}

static void check_token(const char *text, size_t length)
{
    struct token token, back;
    token_init(&token);
    int result = token_decode(text, length, &token);
    EXPECT(result == 0 || result == -EBADMSG);
    if (result)
        return;
    struct buffer first, second;
    buffer_init(&first, 4 * TOKEN_FILE_MAX);
    buffer_init(&second, 4 * TOKEN_FILE_MAX);
    EXPECT(token_encode(&token, &first) == 0);
    token_init(&back);
    EXPECT(token_decode(first.data, first.length, &back) == 0);
    EXPECT(token_encode(&back, &second) == 0);
    EXPECT(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    buffer_release(&first);
    buffer_release(&second);
    token_release(&token);
    token_release(&back);
}

static void check_judge(const struct http_response *response, uint8_t choice)
{
    const struct config_account account = {.name = "a",
        .email = "box@example.com",
        .auth = choice & 8 ? CONFIG_AUTH_GOOGLE : CONFIG_AUTH_MICROSOFT,
        .oauth = {.client_id = "id",
            .client_secret_file = "",
            .tenant = "common",
            .login = "",
            .scope = "https://mail.google.com/"}};
    struct token old;
    token_init(&old);
    EXPECT(secret_set(&old.refresh, "old", 3) == 0 && token_set_text(&old.mailbox, "box@example.com") == 0);
    struct oauth_answer answer;
    oauth_judge(&account, response, choice & 16 ? &old : NULL, NOW, &answer);
    check_words(answer.words);
    if (answer.verdict == OAUTH_OK)
        EXPECT(answer.token.access.length > 0 && answer.token.obtained <= answer.token.expires);
    else
        EXPECT(answer.token.access.length == 0 && answer.token.refresh.length == 0);
    EXPECT(answer.retry_after_s >= -1);
    oauth_answer_release(&answer);
    token_release(&old);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 400, 401, 403, 429, 500, 0, 302};
    if (size < 1 || size > TOKEN_FILE_MAX)
        return 0;
    uint8_t choice = *data;
    char *text = fuzz_text(data + 1, size - 1);
    struct http_response response = {.status = statuses[choice >> 5],
        .body = text,
        .length = size - 1,
        .content_type = "application/json",
        .retry_after_s = -1,
        .problem = "none"};
    if (choice % 8 == 0) {
        check_token(text, size - 1);
    } else if (choice % 8 == 1) {
        struct oauth_device device = {0};
        char words[OAUTH_WORDS_MAX] = "";
        if (oauth_parse_device(&response, &device, words) == 0) {
            EXPECT(device.device_code.length > 0 && device.interval_s >= 0 && device.expires_in_s >= 0);
            oauth_device_release(&device);
        }
        check_words(words);
    } else {
        check_judge(&response, choice);
    }
    free(text);
    return 0;
}
