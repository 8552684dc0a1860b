// PKCE, base64url and form encoding against the examples of their RFCs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/auth/base64url.h"
#include "agent/auth/form.h"
#include "agent/auth/pkce.h"
#include "agent/auth/words.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void the_challenge_is_rfc_7636s(void **state)
{
    (void)state;
    char challenge[PKCE_SIZE];
    assert_int_equal(pkce_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", challenge), 0);
    assert_string_equal(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}

static void random_texts_differ_and_need_no_escaping(void **state)
{
    (void)state;
    char texts[64][PKCE_SIZE];
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(pkce_random(texts[i]), 0);
        assert_int_equal(strlen(texts[i]), 43);
        assert_int_equal(
            strspn(texts[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 43);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(texts[i], texts[k]);
    }
}

static void base64url_is_rfc_4648s(void **state)
{
    (void)state;
    static const struct {
        const char *plain, *coded;
    } rows[] = {
        {"", ""},
        {"f", "Zg"},
        {"fo", "Zm8"},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg"},
        {"fooba", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xef\xfe", "_-_-"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[32];
        struct buffer out;
        buffer_init(&out, 64);
        base64url_encode(rows[i].plain, strlen(rows[i].plain), text);
        assert_string_equal(text, rows[i].coded);
        assert_int_equal(BASE64URL_LENGTH(strlen(rows[i].plain)), strlen(rows[i].coded));
        assert_int_equal(base64url_decode(text, strlen(text), &out), 0);
        assert_int_equal(out.length, strlen(rows[i].plain));
        if (out.length)
            assert_memory_equal(out.data, rows[i].plain, out.length);
        buffer_release(&out);
    }
    static const char *const bad[] = {"Z", "Zm9vY", "Zm+v", "Zm/v", "Zm9v Yg", "Z\n9v", "Zm9v=YmFy"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buffer out;
        buffer_init(&out, 64);
        assert_int_equal(base64url_decode(bad[i], strlen(bad[i]), &out), -EBADMSG);
        buffer_release(&out);
    }
    struct buffer out;
    buffer_init(&out, 64);
    assert_int_equal(base64url_decode("Zg==", 4, &out), 0);
    assert_string_equal(out.data, "f");
    buffer_release(&out);
}

static void forms_are_encoded_and_decoded(void **state)
{
    (void)state;
    struct buffer form, value;
    buffer_init(&form, 4096);
    buffer_init(&value, 4096);
    form_text(&form, "grant_type", "a b+c&d=e/f?g%h~i-j._\xc3\xa4");
    form_text(&form, "empty", "");
    form_text(&form, "absent", NULL);
    form_data(&form, "b", "\x01", 1);
    assert_int_equal(buffer_error(&form), 0);
    assert_string_equal(form.data, "grant_type=a%20b%2Bc%26d%3De%2Ff%3Fg%25h~i-j._%C3%A4&b=%01");
    assert_int_equal(form_find(form.data, form.length, "grant_type", &value), 0);
    assert_string_equal(value.data, "a b+c&d=e/f?g%h~i-j._\xc3\xa4");
    assert_int_equal(form_find(form.data, form.length, "grant", &value), -ENOENT);
    assert_int_equal(form_find(form.data, form.length, "empty", &value), -ENOENT);
    buffer_release(&form);
    buffer_release(&value);
}

static void hostile_queries_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        int result;
    } rows[] = {
        {"code=1&code=2", -EBADMSG},
        {"code=%", -EBADMSG},
        {"code=%4", -EBADMSG},
        {"code=%zz", -EBADMSG},
        {"code=%00", -EBADMSG},
        {"&&&", -ENOENT},
        {"xcode=1", -ENOENT},
        {"code", -ENOENT},
        {"a=1&code=%41+b&", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer value;
        buffer_init(&value, 16);
        assert_int_equal(form_find(rows[i].query, strlen(rows[i].query), "code", &value), rows[i].result);
        if (rows[i].result == 0)
            assert_string_equal(value.data, "A b");
        buffer_release(&value);
    }
    struct buffer small;
    buffer_init(&small, 3);
    assert_int_equal(form_find("code=12345", 10, "code", &small), -E2BIG);
    buffer_release(&small);
}

static void words_are_one_clean_line_without_secrets(void **state)
{
    (void)state;
    static const struct {
        const char *said, *kept;
    } rows[] = {
        {"AADSTS70043: plain words, 5 of them.", "AADSTS70043: plain words, 5 of them."},
        {"two\r\nlines\x1b[31m\x7f", "two  lines [31m "},
        {"Grüße — ok", "Grüße — ok"},
        {"bad \xff\xc3 \xed\xa0\x80 \xc0\xaf", "bad ?? ??? ??"},
        {"c1 \xc2\x9b[1m", "c1   [1m"},
        {"Trace ID: 0a1b2c3d-1111-2222-3333-444455556666 end",
            "Trace ID: 0a1b2c3d-1111-2222-3333-444455556666 end"},
        {"see https://login.microsoftonline.com/error?code=53003",
            "see https://login.microsoftonline.com/error?code=53003"},
        {"token 0.AXoAbCdEfGhIjKlMnOpQrStUvWxYz0123456789 refused", "token [hidden] refused"},
        {"1//0gAbCdEfGhIjKlMnOpQrStUvWxYz", "1//[hidden]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char words[OAUTH_WORDS_MAX];
        words_set(words, "%s", rows[i].said);
        assert_string_equal(words, rows[i].kept);
    }
    char words[OAUTH_WORDS_MAX];
    struct secret secret = {0};
    assert_int_equal(secret_set(&secret, "hunter2", 7), 0);
    words_set(words, "no hunter2, nohunter2hunter2");
    words_hide(words, &secret);
    assert_null(strstr(words, "hunter2"));
    assert_int_equal(secret_set(&secret, "hidden", 6), 0); // as the mark itself
    words_hide(words, &secret);
    secret_release(&secret);
    (void)snprintf(
        words, sizeof words, "535 no to dXNlcj1wYngBYXV0aD1CZWFyZXIg/WjFhMg== at https://a.example/AB12");
    words_clean_login(words);
    assert_string_equal(words, "535 no to [hidden] at https://a.example/AB12");
    char longest[3 * OAUTH_WORDS_MAX];
    for (size_t i = 0; i + 2 < sizeof longest; i += 2)
        memcpy(longest + i, "\xc3\xa4", 3);
    words_set(words, "x%s", longest);
    assert_int_equal(strlen(words), OAUTH_WORDS_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_challenge_is_rfc_7636s),
        cmocka_unit_test(random_texts_differ_and_need_no_escaping),
        cmocka_unit_test(base64url_is_rfc_4648s),
        cmocka_unit_test(forms_are_encoded_and_decoded),
        cmocka_unit_test(hostile_queries_are_refused),
        cmocka_unit_test(words_are_one_clean_line_without_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
