// What a provider's answers mean: one row each.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/auth/oauth.h"
#include "auth_support.h"

static struct token old_token(void)
{
    struct token old = {.authorized = NOW - 5, .obtained = NOW - 4, .refresh_used = NOW - 4};
    secret_put(&old.access, "old-access");
    secret_put(&old.refresh, "old-refresh");
    assert_int_equal(token_set_text(&old.mailbox, "pbx@example.com"), 0);
    return old;
}

static void errors_are_judged_by_their_codes(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum oauth_verdict verdict;
    } rows[] = {
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[50173]}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[700082]}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[70043]}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"interaction_required\",\"error_codes\":[50076]}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"interaction_required\",\"error_codes\":[50078]}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"interaction_required\",\"error_codes\":[50079]}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[65001]}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"anything\",\"error_codes\":[65001]}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"access_denied\",\"error_codes\":[53003]}", OAUTH_ADMINISTRATOR},
        {401, "{\"error\":\"invalid_client\",\"error_codes\":[7000215]}", OAUTH_ADMINISTRATOR},
        {401, "{\"error\":\"invalid_client\",\"error_codes\":[7000222]}", OAUTH_ADMINISTRATOR},
        {400, "{\"error\":\"unauthorized_client\",\"error_codes\":[700016]}", OAUTH_ADMINISTRATOR},
        {400, "{\"error\":\"invalid_request\",\"error_codes\":[90002]}", OAUTH_ADMINISTRATOR},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[54005]}", OAUTH_MISCONFIGURED},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[50196]}", OAUTH_MISCONFIGURED},
        {400, "{\"error\":\"invalid_request\",\"error_codes\":[9001023]}", OAUTH_MISCONFIGURED},
        {401, "{\"error\":\"invalid_client\",\"error_codes\":[700025]}", OAUTH_MISCONFIGURED},
        {400, "{\"error\":\"temporarily_unavailable\"}", OAUTH_TRANSIENT},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[90006]}", OAUTH_TRANSIENT},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[50033]}", OAUTH_TRANSIENT},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[1,2,50033]}", OAUTH_TRANSIENT},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":\"50033\"}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"invalid_grant\"}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"invalid_grant\",\"error_subtype\":\"invalid_rapt\"}", OAUTH_REAUTHORIZE},
        {200, "{\"error\":\"invalid_grant\"}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"interaction_required\"}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"access_denied\"}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"expired_token\"}", OAUTH_REAUTHORIZE},
        {400, "{\"error\":\"authorization_pending\"}", OAUTH_PENDING},
        {428, "{\"error\":\"authorization_pending\"}", OAUTH_PENDING},
        {400, "{\"error\":\"slow_down\"}", OAUTH_PENDING},
        {429, "{\"error\":\"slow_down\"}", OAUTH_PENDING},
        {401, "{\"error\":\"invalid_client\"}", OAUTH_MISCONFIGURED},
        {400, "{\"error\":\"unauthorized_client\"}", OAUTH_MISCONFIGURED},
        {400, "{\"error\":\"invalid_scope\"}", OAUTH_MISCONFIGURED},
        {400, "{\"error\":\"invalid_request\"}", OAUTH_MISCONFIGURED},
        {400, "{\"error\":\"never_heard_of\"}", OAUTH_MISCONFIGURED},
        {500, "{\"error\":\"server_error\"}", OAUTH_TRANSIENT},
        {400, "{\"error\":\"server_error\"}", OAUTH_TRANSIENT},
        {503, "{\"error\":\"invalid_grant\"}", OAUTH_TRANSIENT},
        {429, "{\"error\":\"invalid_request\"}", OAUTH_TRANSIENT},
        {429, "{}", OAUTH_TRANSIENT},
        {400, "{}", OAUTH_TRANSIENT},
        {400, "{\"error\":7}", OAUTH_TRANSIENT},
        {200, "", OAUTH_TRANSIENT},
        {200, "[]", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"abc\",\"expires_in\":36", OAUTH_TRANSIENT},
        {200, "{}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"\"}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":7}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a b\"}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a\\u0001b\"}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a\\r\\nb\"}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a\",\"access_token\":\"b\"}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a\",\"token_type\":\"mac\"}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a\",\"expires_in\":0}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a\",\"expires_in\":-5}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a\",\"expires_in\":\"-89444928126\"}", OAUTH_TRANSIENT},
        {200, "{\"access_token\":\"a\",\"refresh_token\":7}", OAUTH_TRANSIENT},
        {302, "{}", OAUTH_TRANSIENT},
        {502, "<html><body>Bad gateway</body></html>", OAUTH_TRANSIENT},
        {200, "<html><body>Log in to the hotel</body></html>", OAUTH_TRANSIENT},
        {404, "<html></html>", OAUTH_TRANSIENT},
    };
    struct config_account account = account_microsoft();
    struct token old = old_token();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_response response = answer_of(rows[i].status, rows[i].body);
        struct oauth_answer answer;
        oauth_judge(&account, &response, &old, NOW, &answer);
        if (answer.verdict != rows[i].verdict)
            fail_msg("%d %s: %d, %s", rows[i].status, rows[i].body, answer.verdict, answer.words);
        assert_true(answer.words[0]);
        bool waits = answer.verdict == OAUTH_TRANSIENT || answer.verdict == OAUTH_PENDING;
        assert_true(waits == (answer.fix == NULL));
        assert_int_equal(answer.slow_down, strstr(rows[i].body, "slow_down") != NULL);
        assert_null(answer.token.access.text);
        oauth_answer_release(&answer);
    }
    token_release(&old);
}

static void what_the_provider_says_is_kept_but_for_secrets(void **state)
{
    (void)state;
    struct config_account account = account_google();
    struct token old = old_token();
    struct oauth_answer answer;
    struct http_response response = answer_of(400,
        "{\"error\":\"invalid_grant\",\"error_subtype\":\"invalid_rapt\",\"error_description\":"
        "\"AADSTS70008: refresh token old-refresh has\\r\\nexpired; eyJhbGciOiJSUzI1NiIsImtpZCI6Ijc4OTAi\"}");
    oauth_judge(&account, &response, &old, NOW, &answer);
    assert_string_equal(answer.words,
        "invalid_grant (invalid_rapt): AADSTS70008: refresh token [hidden] has  expired; [hidden]");
    oauth_answer_release(&answer);
    response = answer_of(502, "<html>old-refresh</html>");
    response.content_type = "text/html; charset=utf-8";
    response.retry_after_s = 77;
    oauth_judge(&account, &response, &old, NOW, &answer);
    assert_int_equal(answer.verdict, OAUTH_TRANSIENT);
    assert_int_equal(answer.retry_after_s, 77);
    assert_non_null(strstr(answer.words, "502"));
    assert_non_null(strstr(answer.words, "text/html"));
    assert_null(strstr(answer.words, "old-refresh"));
    oauth_answer_release(&answer);
    response = (struct http_response){.body = "",
        .content_type = "",
        .retry_after_s = -1,
        .problem = "Connection timed out after 30000 milliseconds"};
    oauth_judge(&account, &response, &old, NOW, &answer);
    assert_int_equal(answer.verdict, OAUTH_TRANSIENT);
    assert_int_equal(answer.retry_after_s, -1);
    assert_string_equal(answer.words, "Connection timed out after 30000 milliseconds");
    oauth_answer_release(&answer);
    response = answer_of(429, "{\"error\":\"temporarily_unavailable\"}");
    response.retry_after_s = 12;
    oauth_judge(&account, &response, &old, NOW, &answer);
    assert_int_equal(answer.retry_after_s, 12);
    oauth_answer_release(&answer);
    token_release(&old);
}

static void lifetimes_come_as_numbers_texts_or_not_at_all(void **state)
{
    (void)state;
    static const struct {
        const char *member;
        int64_t seconds;
    } rows[] = {
        {",\"expires_in\":1234", 1234},
        {",\"expires_in\":\"1234\"", 1234},
        {",\"expires_in\":1234.9", 1234},
        {"", 3600},
        {",\"expires_in\":null", 3600},
        {",\"expires_in\":\"soon\"", 3600},
        {",\"expires_in\":\"\"", 3600},
        {",\"expires_in\":9223372036854775807", (int64_t)3650 * 86400},
        {",\"expires_in\":1e300", 3600},
        {",\"expires_in\":\"1e18\"", (int64_t)3650 * 86400},
    };
    struct config_account account = account_google();
    struct token old = old_token();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[256];
        struct oauth_answer answer;
        (void)snprintf(body, sizeof body, "{\"access_token\":\"new-access\"%s}", rows[i].member);
        struct http_response response = answer_of(200, body);
        oauth_judge(&account, &response, &old, NOW, &answer);
        assert_int_equal(answer.verdict, OAUTH_OK);
        if (answer.token.expires - NOW != rows[i].seconds * CLOCK_SECOND)
            fail_msg("%s: %ld", rows[i].member, (long)((answer.token.expires - NOW) / CLOCK_SECOND));
        assert_int_equal(answer.token.obtained, NOW);
        oauth_answer_release(&answer);
    }
    token_release(&old);
}

static void a_refreshed_token_stays_the_old_ones_mailbox(void **state)
{
    (void)state;
    struct config_account account = account_google();
    struct token old = old_token();
    struct oauth_answer answer;
    struct http_response response = answer_of(200,
        "{\"access_token\":\"new-access\",\"token_type\":\"bearer\",\"expires_in\":60,"
        "\"scope\":\"https://mail.google.com/ openid https://www.googleapis.com/auth/userinfo.email\"}");
    oauth_judge(&account, &response, &old, NOW, &answer);
    assert_int_equal(answer.verdict, OAUTH_OK);
    assert_string_equal(answer.token.access.text, "new-access");
    assert_null(answer.token.refresh.text); // the caller keeps the old one
    assert_string_equal(answer.token.mailbox, "pbx@example.com");
    assert_string_equal(answer.token.flow, "authorization_code");
    assert_string_equal(answer.token.client_id, "client-1");
    assert_int_equal(answer.token.authorized, NOW - 5);
    assert_int_equal(answer.token.refresh_used, NOW);
    assert_null(answer.token.needs);
    oauth_answer_release(&answer);
    response = answer_of(200, "{\"access_token\":\"a\",\"refresh_token\":\"rotated\"}");
    oauth_judge(&account, &response, &old, NOW, &answer);
    assert_string_equal(answer.token.refresh.text, "rotated");
    oauth_answer_release(&answer);
    token_release(&old);
}

static void judge_first(const struct config_account *account, const char *claims, const char *members,
    struct oauth_answer *answer)
{
    char *token = id_token(claims), *body = NULL;
    assert_true(asprintf(&body, "{\"access_token\":\"new-access\",\"expires_in\":3600%s%s%s%s}", members,
                    *claims ? ",\"id_token\":\"" : "", *claims ? token : "", *claims ? "\"" : "") > 0);
    struct http_response response = answer_of(200, body);
    oauth_judge(account, &response, NULL, NOW, answer);
    free(body);
    free(token);
}

static void the_mailbox_that_signed_in_must_be_the_accounts(void **state)
{
    (void)state;
    static const struct {
        const char *claims, *login;
        enum oauth_verdict verdict;
        const char *word;
    } rows[] = {
        {"{\"email\":\"pbx@example.com\"}", "", OAUTH_OK, ""},
        {"{\"email\":\"PBX@Example.COM\",\"aud\":\"client-1\"}", "", OAUTH_OK, ""},
        {"{\"preferred_username\":\"pbx@example.com\",\"aud\":[\"x\",\"client-1\"]}", "", OAUTH_OK, ""},
        {"{\"email\":\"\",\"preferred_username\":\"pbx@example.com\"}", "", OAUTH_OK, ""},
        {"{\"email\":\"delegate@example.com\"}", "Delegate@example.com", OAUTH_OK, ""},
        {"{\"email\":\"eve@example.com\"}", "", OAUTH_WRONG_MAILBOX, "eve@example.com"},
        {"{\"email\":\"eve@example.com\"}", "", OAUTH_WRONG_MAILBOX, "pbx@example.com"},
        {"{\"email\":\"eve@example.com\",\"preferred_username\":\"pbx@example.com\"}", "",
            OAUTH_WRONG_MAILBOX, "eve"},
        {"{\"email\":\"pbx@example.com\"}", "delegate@example.com", OAUTH_WRONG_MAILBOX,
            "delegate@example.com"},
        {"{\"email\":\"pbx@example.com.evil.example\"}", "", OAUTH_WRONG_MAILBOX, "evil"},
        {"{\"email\":\"pbx@example.com\",\"aud\":\"other\"}", "", OAUTH_MISCONFIGURED, "another client"},
        {"{\"email\":7}", "", OAUTH_MISCONFIGURED, "names no mailbox"},
        {"{}", "", OAUTH_MISCONFIGURED, "names no mailbox"},
        {"[]", "", OAUTH_MISCONFIGURED, "no readable id_token"},
        {"no json", "", OAUTH_MISCONFIGURED, "no readable id_token"},
        {"", "", OAUTH_MISCONFIGURED, "no readable id_token"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config_account account = account_google();
        struct oauth_answer answer;
        account.oauth.login = rows[i].login;
        judge_first(&account, rows[i].claims, ",\"refresh_token\":\"r\"", &answer);
        if (answer.verdict != rows[i].verdict || !strstr(answer.words, rows[i].word))
            fail_msg("%s: %d, %s", rows[i].claims, answer.verdict, answer.words);
        assert_true((answer.verdict == OAUTH_OK) == (answer.token.access.text != NULL));
        if (answer.verdict == OAUTH_OK)
            assert_int_equal(answer.token.authorized, NOW);
        else
            assert_non_null(answer.fix);
        oauth_answer_release(&answer);
    }
}

static void id_tokens_that_are_none_prove_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"", ".", "..", "a.b", "a..c", "a.!!!.c", "a.Zg.c", "abc"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct config_account account = account_google();
        struct oauth_answer answer;
        char body[256];
        (void)snprintf(body, sizeof body,
            "{\"access_token\":\"a\",\"refresh_token\":\"r\",\"id_token\":\"%s\"}", texts[i]);
        struct http_response response = answer_of(200, body);
        oauth_judge(&account, &response, NULL, NOW, &answer);
        assert_int_equal(answer.verdict, OAUTH_MISCONFIGURED);
        oauth_answer_release(&answer);
    }
}

static void without_the_mail_scope_the_token_is_refused(void **state)
{
    (void)state;
    static const struct {
        bool google;
        const char *granted;
        enum oauth_verdict verdict;
    } rows[] = {
        {true, "https://mail.google.com/ openid https://www.googleapis.com/auth/userinfo.email", OAUTH_OK},
        {true, "https://www.googleapis.com/auth/userinfo.email https://mail.google.com/", OAUTH_OK},
        {true, "openid https://www.googleapis.com/auth/userinfo.email", OAUTH_SCOPE_MISSING},
        {true, "https://mail.google.com/evil", OAUTH_SCOPE_MISSING},
        {true, "", OAUTH_OK}, // not told: as asked for
        {false, "https://outlook.office.com/SMTP.Send", OAUTH_OK},
        {false, "email openid https://outlook.office365.com/SMTP.Send", OAUTH_OK},
        {false, "https://outlook.office.com/IMAP.AccessAsUser.All openid email", OAUTH_SCOPE_MISSING},
        {false, "openid email offline_access", OAUTH_SCOPE_MISSING},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config_account account = rows[i].google ? account_google() : account_microsoft();
        struct oauth_answer answer;
        char members[512];
        (void)snprintf(members, sizeof members, ",\"refresh_token\":\"r\",\"scope\":\"%s\"", rows[i].granted);
        judge_first(&account, "{\"email\":\"pbx@example.com\"}", members, &answer);
        if (answer.verdict != rows[i].verdict)
            fail_msg("%s: %d, %s", rows[i].granted, answer.verdict, answer.words);
        if (answer.verdict == OAUTH_SCOPE_MISSING)
            assert_non_null(strstr(answer.words, rows[i].google ? "https://mail.google.com/" : "SMTP.Send"));
        oauth_answer_release(&answer);
    }
}

static void a_first_grant_without_refresh_token_is_explained(void **state)
{
    (void)state;
    struct config_account account = account_google();
    struct oauth_answer answer;
    judge_first(&account, "{\"email\":\"pbx@example.com\"}", "", &answer);
    assert_int_equal(answer.verdict, OAUTH_MISCONFIGURED);
    assert_non_null(strstr(answer.words, "prompt=consent"));
    oauth_answer_release(&answer);
    account = account_microsoft();
    judge_first(&account, "{\"email\":\"pbx@example.com\"}", "", &answer);
    assert_int_equal(answer.verdict, OAUTH_MISCONFIGURED);
    assert_non_null(strstr(answer.words, "offline_access"));
    oauth_answer_release(&answer);
}

static void without_a_person_the_configured_mailbox_counts(void **state)
{
    (void)state;
    struct config_account account = account_microsoft();
    struct oauth_answer answer;
    account.oauth.flow = CONFIG_FLOW_CLIENT_CREDENTIALS;
    account.oauth.scope = "https://outlook.office365.com/.default";
    struct http_response response = answer_of(200,
        "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"ext_expires_in\":3599,\"access_token\":\"app\"}");
    oauth_judge(&account, &response, NULL, NOW, &answer);
    assert_int_equal(answer.verdict, OAUTH_OK);
    assert_string_equal(answer.token.mailbox, "pbx@example.com");
    assert_string_equal(answer.token.flow, "client_credentials");
    assert_null(answer.token.refresh.text);
    oauth_answer_release(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_judged_by_their_codes),
        cmocka_unit_test(what_the_provider_says_is_kept_but_for_secrets),
        cmocka_unit_test(lifetimes_come_as_numbers_texts_or_not_at_all),
        cmocka_unit_test(a_refreshed_token_stays_the_old_ones_mailbox),
        cmocka_unit_test(the_mailbox_that_signed_in_must_be_the_accounts),
        cmocka_unit_test(id_tokens_that_are_none_prove_nothing),
        cmocka_unit_test(without_the_mail_scope_the_token_is_refused),
        cmocka_unit_test(a_first_grant_without_refresh_token_is_explained),
        cmocka_unit_test(without_a_person_the_configured_mailbox_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
