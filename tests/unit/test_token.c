// The token store: what is written is read again, and files that are not ours are refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/auth/pending.h"
#include "agent/auth/token.h"
#include "auth_support.h"

static struct token some_token(void)
{
    struct token token;
    token_init(&token);
    secret_put(&token.access, "access-1");
    secret_put(&token.refresh, "refresh-1");
    assert_int_equal(token_set_text(&token.scope, "mail openid"), 0);
    assert_int_equal(token_set_text(&token.mailbox, "pbx@example.com"), 0);
    assert_int_equal(token_set_text(&token.flow, "authorization_code"), 0);
    assert_int_equal(token_set_text(&token.client_id, "client-1"), 0);
    token.obtained = NOW + 1;
    token.expires = NOW + 3600 * CLOCK_SECOND + 2;
    token.authorized = NOW - 3;
    token.refresh_used = NOW + 4;
    return token;
}

static void assert_same(const struct token *a, const struct token *b)
{
    assert_string_equal(a->access.text, b->access.text);
    assert_string_equal(a->refresh.text ? a->refresh.text : "", b->refresh.text ? b->refresh.text : "");
    assert_string_equal(a->mailbox, b->mailbox);
    assert_string_equal(a->flow, b->flow);
    assert_string_equal(a->client_id, b->client_id);
    assert_int_equal(a->obtained, b->obtained);
    assert_int_equal(a->expires, b->expires);
    assert_int_equal(a->authorized, b->authorized);
    assert_int_equal(a->refresh_used, b->refresh_used);
    assert_int_equal(a->needs_login, b->needs_login);
    assert_true(!a->needs == !b->needs);
    if (a->needs)
        assert_string_equal(a->needs, b->needs);
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct token token = some_token(), read = {0};
    assert_int_equal(token_read(place.fd, "office", &read), -ENOENT);
    assert_int_equal(token_write(place.fd, "office", &token), 0);
    assert_int_equal(token_read(place.fd, "office", &read), 0);
    assert_same(&token, &read);
    assert_string_equal(read.scope, "mail openid");
    token_release(&read);
    assert_int_equal(token_set_text(&token.needs, "invalid_grant: \"gone\" — für immer"), 0);
    token.needs_login = true;
    secret_release(&token.refresh);
    assert_int_equal(token_write(place.fd, "office", &token), 0);
    assert_int_equal(token_read(place.fd, "office", &read), 0);
    assert_same(&token, &read);
    token_release(&read);
    assert_int_equal(token_remove(place.fd, "office"), 0);
    assert_int_equal(token_remove(place.fd, "office"), -ENOENT);
    assert_int_equal(token_read(place.fd, "office", &read), -ENOENT);
    token_release(&token);
    place_remove(&place);
}

static void long_tokens_are_kept_whole(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct token token = some_token(), read = {0};
    char text[16384];
    memset(text, 'x', sizeof text);
    assert_int_equal(secret_set(&token.access, text, sizeof text), 0);
    assert_int_equal(secret_set(&token.refresh, text, 8192), 0);
    assert_int_equal(token_write(place.fd, "office", &token), 0);
    assert_int_equal(token_read(place.fd, "office", &read), 0);
    assert_same(&token, &read);
    token_release(&read);
    token_release(&token);
    place_remove(&place);
}

static void files_are_closed_to_others_and_leave_nothing_behind(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    mode_t before = umask(0);
    struct token token = some_token();
    struct stat status;
    assert_int_equal(token_write(place.fd, "office", &token), 0);
    int lock = -1;
    assert_int_equal(token_lock(place.fd, "office", &lock), 0);
    close(lock);
    umask(before);
    assert_int_equal(fstatat(place.fd, "tokens", &status, 0), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    assert_int_equal(fstatat(place.fd, "tokens/office.json", &status, 0), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(fstatat(place.fd, "tokens/office.lock", &status, 0), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    int dir = openat(place.fd, "tokens", O_RDONLY | O_DIRECTORY);
    DIR *entries = fdopendir(dir);
    unsigned n = 0;
    for (const struct dirent *entry; (entry = readdir(entries));)
        n += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    assert_int_equal(n, 2);
    closedir(entries);
    token_release(&token);
    place_remove(&place);
}

// As root: whoever owns the state directory owns what is in it.
static void what_root_writes_belongs_to_the_owner_of_the_state(void **state)
{
    (void)state;
    struct place place;
    if (geteuid() != 0)
        skip();
    place_make(&place);
    struct token token = some_token(), read = {0};
    struct stat status;
    int lock = -1;
    assert_int_equal(fchown(place.fd, 12345, 12346), 0);
    assert_int_equal(token_write(place.fd, "office", &token), 0);
    assert_int_equal(token_lock(place.fd, "office", &lock), 0);
    close(lock);
    static const char *const names[] = {"tokens", "tokens/office.json", "tokens/office.lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(fstatat(place.fd, names[i], &status, 0), 0);
        assert_int_equal(status.st_uid, 12345);
        assert_int_equal(status.st_gid, 12346);
    }
    assert_int_equal(token_read(place.fd, "office", &read), 0); // and root can use it
    token_release(&read);
    assert_int_equal(fchownat(place.fd, "tokens/office.json", 54321, 0, 0), 0);
    assert_int_equal(token_read(place.fd, "office", &read), -EPERM);
    token_release(&token);
    place_remove(&place);
}

static void files_that_are_not_ours_are_refused(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct token token = some_token(), read = {0};
    assert_int_equal(token_write(place.fd, "office", &token), 0);
    assert_int_equal(fchmodat(place.fd, "tokens/office.json", 0640, 0), 0);
    assert_int_equal(token_read(place.fd, "office", &read), -EPERM);
    assert_int_equal(fchmodat(place.fd, "tokens/office.json", 0604, 0), 0);
    assert_int_equal(token_read(place.fd, "office", &read), -EPERM);
    assert_int_equal(unlinkat(place.fd, "tokens/office.json", 0), 0);
    place_write(&place, "elsewhere.json", "{}", 0600);
    assert_int_equal(symlinkat("../elsewhere.json", place.fd, "tokens/office.json"), 0);
    assert_int_equal(token_read(place.fd, "office", &read), -ELOOP);
    assert_int_equal(token_write(place.fd, "office", &token), 0); // replaces the link, not what it points to
    struct stat status;
    assert_int_equal(fstatat(place.fd, "elsewhere.json", &status, 0), 0);
    assert_int_equal(status.st_size, 2);
    assert_int_equal(token_read(place.fd, "office", &read), 0);
    token_release(&read);
    assert_int_equal(unlinkat(place.fd, "tokens/office.json", 0), 0);
    assert_int_equal(mkfifoat(place.fd, "tokens/office.json", 0600), 0);
    assert_int_equal(token_read(place.fd, "office", &read), -EINVAL); // and nobody waits
    static const char *const names[] = {"", "../office", ".hidden", "a/b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(token_read(place.fd, names[i], &read), -EINVAL);
        assert_int_equal(token_write(place.fd, names[i], &token), -EINVAL);
    }
    token_release(&token);
    place_remove(&place);
}

static void a_directory_behind_a_link_is_refused(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct token token = some_token();
    assert_int_equal(mkdirat(place.fd, "other", 0700), 0);
    assert_int_equal(symlinkat("other", place.fd, "tokens"), 0);
    assert_true(token_write(place.fd, "office", &token) < 0);
    int lock = -1;
    assert_true(token_lock(place.fd, "office", &lock) < 0);
    token_release(&token);
    place_remove(&place);
}

static void files_that_cannot_be_understood_are_told(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"version\":2}",
        "{\"version\":1}",
        "{\"version\":1,\"obtained_ns\":1,\"expires_ns\":2,\"authorized_ns\":3,\"refresh_used_ns\":\"4\"}",
        "{\"version\":1,\"obtained_ns\":-1,\"expires_ns\":2,\"authorized_ns\":3,\"refresh_used_ns\":4}",
        "{\"version\":1,\"obtained_ns\":1,\"expires_ns\":2,\"authorized_ns\":3,\"refresh_used_ns\":4,"
        "\"access_token\":7}",
        "{\"version\":1,\"version\":1,\"obtained_ns\":1,\"expires_ns\":2,\"authorized_ns\":3,\"refresh_used_"
        "ns\":4}",
        "{\"version\":1,\"obtained_ns\":1,\"expires_ns\":2,\"authorized_ns\":3,\"refresh_used_ns\":4} {}",
    };
    struct place place;
    struct token read = {0};
    place_make(&place);
    assert_int_equal(mkdirat(place.fd, "tokens", 0700), 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        place_write(&place, "tokens/office.json", texts[i], 0600);
        assert_int_equal(token_read(place.fd, "office", &read), -EBADMSG);
    }
    char *huge = malloc(TOKEN_FILE_MAX + 2);
    memset(huge, ' ', TOKEN_FILE_MAX + 1);
    huge[TOKEN_FILE_MAX + 1] = '\0';
    place_write(&place, "tokens/office.json", huge, 0600);
    assert_int_equal(token_read(place.fd, "office", &read), -EBADMSG);
    free(huge);
    place_remove(&place);
}

static void one_process_at_a_time_has_the_lock(void **state)
{
    (void)state;
    struct place place;
    int lock = -1, second = -1, other = -1;
    place_make(&place);
    assert_int_equal(token_lock(place.fd, "office", &lock), 0);
    assert_int_equal(token_lock(place.fd, "office", &second), -EAGAIN);
    assert_int_equal(token_lock(place.fd, "second", &other), 0);
    close(lock);
    assert_int_equal(token_lock(place.fd, "office", &second), 0);
    close(second);
    close(other);
    place_remove(&place);
}

static void a_refreshed_token_keeps_the_refresh_token_that_was_not_renewed(void **state)
{
    (void)state;
    struct token token = some_token(), fresh = {0};
    assert_int_equal(token_keep_refresh(&fresh, &token), 0);
    assert_string_equal(fresh.refresh.text, "refresh-1");
    secret_put(&fresh.refresh, "refresh-2");
    assert_int_equal(token_keep_refresh(&fresh, &token), 0);
    assert_string_equal(fresh.refresh.text, "refresh-2");
    token_release(&token);
    token_release(&fresh);
}

static void a_pending_request_waits_a_quarter_of_an_hour(void **state)
{
    (void)state;
    struct place place;
    struct oauth_pending made, other, read;
    place_make(&place);
    assert_int_equal(pending_make("http://127.0.0.1:4711/", NOW, &made), 0);
    assert_int_equal(pending_make("http://127.0.0.1:4711/", NOW, &other), 0);
    assert_int_equal(strlen(made.state), 43);
    assert_int_equal(strlen(made.verifier), 43);
    assert_string_not_equal(made.state, other.state);
    assert_string_not_equal(made.verifier, other.verifier);
    assert_string_not_equal(made.verifier, made.state);
    assert_int_equal(pending_read(place.fd, "office", NOW, &read), -ENOENT);
    assert_int_equal(pending_write(place.fd, "office", &other), 0);
    assert_int_equal(pending_write(place.fd, "office", &made), 0);
    assert_int_equal(pending_read(place.fd, "office", NOW + 899 * CLOCK_SECOND, &read), 0);
    assert_string_equal(read.state, made.state);
    assert_string_equal(read.verifier, made.verifier);
    assert_string_equal(read.redirect_uri, made.redirect_uri);
    assert_int_equal(read.created, NOW);
    assert_int_equal(pending_read(place.fd, "office", NOW + 901 * CLOCK_SECOND, &read), -ETIME);
    assert_int_equal(pending_read(place.fd, "office", NOW - 3600 * CLOCK_SECOND, &read), -ETIME);
    struct stat status;
    assert_int_equal(fstatat(place.fd, "tokens/office.pending", &status, 0), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(pending_remove(place.fd, "office"), 0);
    assert_int_equal(pending_remove(place.fd, "office"), 0);
    assert_int_equal(pending_read(place.fd, "office", NOW, &read), -ENOENT);
    static const char *const broken[] = {"", "{}", "{\"version\":1,\"state\":\"x\",\"verifier\":\"y\"}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        place_write(&place, "tokens/office.pending", broken[i], 0600);
        assert_int_equal(pending_read(place.fd, "office", NOW, &read), -EBADMSG);
    }
    char uri[400];
    memset(uri, 'x', sizeof uri - 1);
    uri[sizeof uri - 1] = '\0';
    assert_int_equal(pending_make(uri, NOW, &made), -E2BIG);
    pending_release(&made);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(long_tokens_are_kept_whole),
        cmocka_unit_test(files_are_closed_to_others_and_leave_nothing_behind),
        cmocka_unit_test(what_root_writes_belongs_to_the_owner_of_the_state),
        cmocka_unit_test(files_that_are_not_ours_are_refused),
        cmocka_unit_test(a_directory_behind_a_link_is_refused),
        cmocka_unit_test(files_that_cannot_be_understood_are_told),
        cmocka_unit_test(one_process_at_a_time_has_the_lock),
        cmocka_unit_test(a_refreshed_token_keeps_the_refresh_token_that_was_not_renewed),
        cmocka_unit_test(a_pending_request_waits_a_quarter_of_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
