// What is asked of a provider: the consent page, what is pasted, each token request, devices, redirects.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/auth/form.h"
#include "agent/auth/oauth.h"
#include "agent/auth/redirect.h"
#include "auth_support.h"

static struct oauth_pending some_pending(void)
{
    return (struct oauth_pending){
        .state = "state-0123456789-0123456789-0123456789-0123",
        .verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        .redirect_uri = "http://127.0.0.1:4711/",
        .created = NOW,
    };
}

// The field of a form or query, "" where it is missing.
static const char *field(const char *query, const char *name)
{
    static char values[8][4096];
    static unsigned turn;
    char *value = values[turn++ % 8];
    struct buffer found;
    buffer_init(&found, 4095);
    int error = form_find(query, strlen(query), name, &found);
    assert_true(error == 0 || error == -ENOENT);
    (void)snprintf(value, sizeof values[0], "%s", found.length ? found.data : "");
    buffer_release(&found);
    return value;
}

static void the_consent_page_is_asked_with_pkce_and_state(void **state)
{
    (void)state;
    struct config_account account = account_google();
    struct oauth_pending pending = some_pending();
    struct buffer url;
    buffer_init(&url, 8192);
    assert_int_equal(oauth_authorize_url(&account, &pending, &url), 0);
    static const char prefix[] = "https://accounts.google.com/o/oauth2/v2/auth?";
    assert_memory_equal(url.data, prefix, sizeof prefix - 1);
    const char *query = url.data + sizeof prefix - 1;
    assert_null(http_url_problem(url.data));
    assert_string_equal(field(query, "response_type"), "code");
    assert_string_equal(field(query, "client_id"), "client-1");
    assert_string_equal(field(query, "state"), pending.state);
    assert_string_equal(field(query, "scope"), "https://mail.google.com/ openid email");
    assert_string_equal(field(query, "redirect_uri"), "http://127.0.0.1:4711/");
    assert_string_equal(field(query, "code_challenge"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    assert_string_equal(field(query, "code_challenge_method"), "S256");
    assert_string_equal(field(query, "login_hint"), "pbx@example.com");
    assert_string_equal(field(query, "access_type"), "offline");
    assert_string_equal(field(query, "prompt"), "consent");
    assert_null(strstr(url.data, pending.verifier));
    buffer_clear(&url);
    account = account_microsoft();
    account.oauth.login = "delegate@example.com";
    account.oauth.authorize_url = "https://login.example/authorize?p=policy";
    assert_int_equal(oauth_authorize_url(&account, &pending, &url), 0);
    query = strchr(url.data, '?') + 1;
    assert_string_equal(field(query, "p"), "policy");
    assert_string_equal(field(query, "login_hint"), "delegate@example.com");
    assert_string_equal(field(query, "access_type"), "");
    buffer_release(&url);
}

static void what_is_pasted_is_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *pasted, *code, *words;
    } rows[] = {
        {"http://127.0.0.1:4711/?state=state-0123456789-0123456789-0123456789-0123&code=4%2F0AbC-d_e&scope=x",
            "4/0AbC-d_e", NULL},
        {"  http://localhost/?code=0.AX~oA.z!*$&state=state-0123456789-0123456789-0123456789-0123#\r\n",
            "0.AX~oA.z!*$", NULL},
        {"https://login.microsoftonline.com/common/oauth2/nativeclient?code=M.C5&session_state=abc", "M.C5",
            NULL},
        {"?code=abc&state=state-0123456789-0123456789-0123456789-0123", "abc", NULL},
        {"code=abc&scope=mail", "abc", NULL},
        {"4/0AbC-d_e\n", "4/0AbC-d_e", NULL},
        {"4%2F0AbC-d_e", "4/0AbC-d_e", NULL},
        {"abc+def", "abc+def", NULL},
        {"http://127.0.0.1/?code=abc&state=other", NULL, "state"},
        {"http://127.0.0.1/?code=abc&state=", NULL, "state"},
        {"http://127.0.0.1/?code=a&code=b", NULL, "no code"},
        {"http://127.0.0.1/?code=a%00b", NULL, "no code"},
        {"http://127.0.0.1/?code=a%0Ab", NULL, "no authorization code"},
        {"http://127.0.0.1/?state=state-0123456789-0123456789-0123456789-0123", NULL, "no code"},
        {"https://accounts.google.com/o/oauth2", NULL, "no code"},
        {"http://127.0.0.1/?error=access_denied&error_description=The+user%0D%0Adeclined"
         "&state=state-0123456789-0123456789-0123456789-0123",
            NULL, "access_denied: The user  declined"},
        {"error=access_denied", NULL, "access_denied"},
        {"http://127.0.0.1/?error=access_denied&state=other", NULL, "state"},
        {"", NULL, "nothing"},
        {" \n", NULL, "nothing"},
        {"two words", NULL, "no authorization code"},
        {"caf\xc3\xa9", NULL, "no authorization code"},
    };
    struct oauth_pending pending = some_pending();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct secret code = {0};
        char words[OAUTH_WORDS_MAX] = "";
        int error = oauth_parse_paste(rows[i].pasted, &pending, &code, words);
        if (error != (rows[i].code ? 0 : -EBADMSG))
            fail_msg("%s: %d, %s", rows[i].pasted, error, words);
        if (rows[i].code)
            assert_string_equal(code.text, rows[i].code);
        else if (!strstr(words, rows[i].words))
            fail_msg("%s: %s", rows[i].pasted, words);
        secret_release(&code);
    }
    char *huge = malloc(100001);
    memset(huge, 'x', 100000);
    huge[100000] = '\0';
    struct secret code = {0};
    char words[OAUTH_WORDS_MAX] = "";
    assert_int_equal(oauth_parse_paste(huge, &pending, &code, words), -EBADMSG);
    free(huge);
}

static void a_code_is_exchanged_with_the_verifier(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct config_account account = account_google();
    struct oauth_pending pending = some_pending();
    struct secret code = {0};
    struct buffer form;
    char words[OAUTH_WORDS_MAX] = "";
    secret_put(&code, "4/0AbC+d");
    account.oauth.client_secret_file = place_write(&place, "secret", "GOCSPX-s&cret\n", 0600);
    buffer_init(&form, OAUTH_FORM_MAX);
    assert_int_equal(oauth_form_code(&account, &pending, &code, NOW, &form, words), 0);
    assert_string_equal(field(form.data, "grant_type"), "authorization_code");
    assert_string_equal(field(form.data, "code"), "4/0AbC+d");
    assert_string_equal(field(form.data, "redirect_uri"), "http://127.0.0.1:4711/");
    assert_string_equal(field(form.data, "code_verifier"), pending.verifier);
    assert_string_equal(field(form.data, "client_id"), "client-1");
    assert_string_equal(field(form.data, "client_secret"), "GOCSPX-s&cret");
    assert_true(form.secret);
    buffer_release(&form);
    // A public client must not send any secret.
    account = account_microsoft();
    assert_int_equal(oauth_form_code(&account, &pending, &code, NOW, &form, words), 0);
    assert_null(strstr(form.data, "client_secret"));
    assert_null(strstr(form.data, "client_assertion"));
    buffer_release(&form);
    account.oauth.client_secret_file = "/nonexistent/secret";
    assert_int_equal(oauth_form_code(&account, &pending, &code, NOW, &form, words), -ENOENT);
    assert_non_null(strstr(words, "/nonexistent/secret"));
    buffer_release(&form);
    secret_release(&code);
    place_remove(&place);
}

static void the_next_token_is_asked_for_by_the_flow(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    EVP_PKEY *key = EVP_RSA_gen(2048);
    char *key_text = key_pem(key), *certificate_text = certificate_pem(key), words[OAUTH_WORDS_MAX] = "";
    struct config_account account = account_microsoft();
    struct token token = {0};
    struct buffer form;
    buffer_init(&form, OAUTH_FORM_MAX);
    assert_int_equal(oauth_form_next(&account, NULL, NOW, &form, words), -EKEYREJECTED);
    assert_int_equal(oauth_form_next(&account, &token, NOW, &form, words), -EKEYREJECTED);
    secret_put(&token.refresh, "refresh-1");
    assert_int_equal(oauth_form_next(&account, &token, NOW, &form, words), 0);
    assert_string_equal(field(form.data, "grant_type"), "refresh_token");
    assert_string_equal(field(form.data, "refresh_token"), "refresh-1");
    assert_string_equal(field(form.data, "client_id"), "client-1");
    assert_string_equal(field(form.data, "scope"), account.oauth.scope);
    buffer_release(&form);
    struct config_account google = account_google();
    assert_int_equal(oauth_form_next(&google, &token, NOW, &form, words), 0);
    assert_string_equal(field(form.data, "scope"), "");
    buffer_release(&form);
    account.oauth.flow = CONFIG_FLOW_CLIENT_CREDENTIALS;
    account.oauth.scope = "https://outlook.office365.com/.default";
    account.oauth.key_file = place_write(&place, "key.pem", key_text, 0600);
    account.oauth.certificate_file = place_write(&place, "certificate.pem", certificate_text, 0644);
    assert_int_equal(oauth_form_next(&account, NULL, NOW, &form, words), 0);
    assert_string_equal(field(form.data, "grant_type"), "client_credentials");
    assert_string_equal(field(form.data, "scope"), "https://outlook.office365.com/.default");
    assert_string_equal(
        field(form.data, "client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_int_not_equal(strlen(field(form.data, "client_assertion")), 0);
    assert_null(strstr(form.data, "client_secret"));
    assert_null(strstr(form.data, "refresh"));
    buffer_release(&form);
    struct secret code = {0};
    secret_put(&code, "device-1");
    account = account_microsoft();
    assert_int_equal(oauth_form_device(&account, &form), 0);
    assert_string_equal(field(form.data, "client_id"), "client-1");
    assert_string_equal(field(form.data, "scope"), account.oauth.scope);
    buffer_release(&form);
    assert_int_equal(oauth_form_device_token(&account, &code, NOW, &form, words), 0);
    assert_string_equal(field(form.data, "grant_type"), "urn:ietf:params:oauth:grant-type:device_code");
    assert_string_equal(field(form.data, "device_code"), "device-1");
    buffer_release(&form);
    secret_release(&code);
    token_release(&token);
    free(key_text);
    free(certificate_text);
    EVP_PKEY_free(key);
    place_remove(&place);
}

static void device_answers_are_read(void **state)
{
    (void)state;
    struct oauth_device device = {0};
    char words[OAUTH_WORDS_MAX] = "";
    struct http_response response = answer_of(200,
        "{\"device_code\":\"secret-d\",\"user_code\":\"ABC-DEF\",\"verification_uri\":"
        "\"https://microsoft.com/devicelogin\",\"expires_in\":900,\"interval\":5,\"message\":\"x\"}");
    assert_int_equal(oauth_parse_device(&response, &device, words), 0);
    assert_string_equal(device.device_code.text, "secret-d");
    assert_string_equal(device.user_code, "ABC-DEF");
    assert_string_equal(device.verification_uri, "https://microsoft.com/devicelogin");
    assert_int_equal(device.expires_in_s, 900);
    assert_int_equal(device.interval_s, 5);
    oauth_device_release(&device);
    response =
        answer_of(200, "{\"device_code\":\"d\",\"user_code\":\"A\",\"verification_url\":\"https://x/\"}");
    assert_int_equal(oauth_parse_device(&response, &device, words), 0);
    assert_int_equal(device.interval_s, 5);
    oauth_device_release(&device);
    static const char *const bad[] = {"", "{}", "[]", "{\"device_code\":\"d\"}",
        "{\"device_code\":\"d\",\"user_code\":\"A\\u001b[2J\",\"verification_uri\":\"https://x/\"}",
        "{\"error\":\"invalid_client\",\"error_description\":\"who?\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        response = answer_of(i == 5 ? 401 : 200, bad[i]);
        assert_int_equal(oauth_parse_device(&response, &device, words), -EBADMSG);
    }
    assert_string_equal(words, "invalid_client: who?");
    response = (struct http_response){.body = "", .content_type = "", .problem = "no route"};
    assert_int_equal(oauth_parse_device(&response, &device, words), -EIO);
    assert_string_equal(words, "no route");
}

static void redirects_are_where_the_provider_lets_them_be(void **state)
{
    (void)state;
    struct config_account google = account_google(), microsoft = account_microsoft();
    char uri[REDIRECT_URI_MAX];
    assert_int_equal(redirect_uri(&google, 4711, uri), 0);
    assert_string_equal(uri, "http://127.0.0.1:4711/");
    assert_int_equal(redirect_uri(&microsoft, 4711, uri), 0);
    assert_string_equal(uri, "http://localhost:4711");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_consent_page_is_asked_with_pkce_and_state),
        cmocka_unit_test(what_is_pasted_is_taken_apart),
        cmocka_unit_test(a_code_is_exchanged_with_the_verifier),
        cmocka_unit_test(the_next_token_is_asked_for_by_the_flow),
        cmocka_unit_test(device_answers_are_read),
        cmocka_unit_test(redirects_are_where_the_provider_lets_them_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
