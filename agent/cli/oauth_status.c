// `outtray oauth status`: what is stored for an account, how long it lasts, and whether somebody must act.
#include "agent/auth/jwt.h"
#include "agent/base/clock.h"
#include "agent/cli/oauth_verb.h"
#include "agent/cli/queue.h"
#include "agent/observe/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define DAY                  (86400 * CLOCK_SECOND)
#define IDLE_DAYS_MICROSOFT  90
#define IDLE_DAYS_GOOGLE     180
#define CERTIFICATE_FILE_MAX (64 * 1024) // octets
#define CERTIFICATE_DAYS     14          // left, when somebody has to get a new one

// What there is to say about one account.
struct view {
    const struct config_account *account;
    struct token token;
    const char *state; // constant: ready, expired, none, needs_authorization, needs_attention, unreadable
    char words[OAUTH_WORDS_MAX], fix[EXCHANGE_FIX_MAX];
    int64_t certificate_expires; // wall ns; 0: none, or not known
    int64_t now;
    bool person; // somebody must act
};

__attribute__((format(printf, 3, 4))) static void need(
    struct view *view, const char *state, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(view->words, sizeof view->words, format, arguments);
    va_end(arguments);
    view->state = state;
    view->person = true;
}

static void fix_login(struct view *view)
{
    (void)snprintf(view->fix, sizeof view->fix, "outtray oauth login %s", view->account->name);
}

// notAfter of the client certificate; 0 where it cannot be read.
static int64_t certificate_expiry(const char *path)
{
    char text[CERTIFICATE_FILE_MAX];
    X509 *certificate = NULL;
    struct tm end;
    int64_t expires = 0;
    int fd = *path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (fd >= 0)
        close(fd);
    if (n > 0 && jwt_read_certificate(text, (size_t)n, &certificate) == 0 &&
        ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1)
        expires = timegm(&end) * CLOCK_SECOND;
    X509_free(certificate);
    return expires;
}

// Days until the refresh token dies of disuse; -1 where there is nothing to die.
static int64_t idle_days_left(const struct view *view)
{
    if (!view->token.refresh.length || oauth_flow_is_unattended(view->account->oauth.flow))
        return -1;
    int64_t days = view->account->auth == CONFIG_AUTH_GOOGLE ? IDLE_DAYS_GOOGLE : IDLE_DAYS_MICROSOFT;
    int64_t left = (view->token.refresh_used + days * DAY - view->now + DAY - 1) / DAY;
    return left > 0 ? left : 0;
}

static void judge_certificate(struct view *view)
{
    if (!view->certificate_expires)
        return;
    int64_t left = (view->certificate_expires - view->now) / DAY;
    if (left >= CERTIFICATE_DAYS)
        return;
    if (view->certificate_expires <= view->now)
        need(view, "needs_attention", "the client certificate has expired");
    else
        need(view, "needs_attention", "the client certificate expires in %lld days", (long long)left);
    (void)snprintf(view->fix, sizeof view->fix,
        "register a new certificate with the application and put it into %s",
        view->account->oauth.certificate_file);
}

static void judge_token(struct view *view)
{
    const struct config_account *account = view->account;
    const struct token *token = &view->token;
    bool unattended = oauth_flow_is_unattended(account->oauth.flow);
    const char *owner = unattended ? account->email : oauth_login(account);
    view->state = token->expires > view->now ? "ready" : "expired";
    if (token->expires <= view->now)
        (void)snprintf(view->fix, sizeof view->fix,
            "a running agent refreshes it; by hand: outtray oauth refresh %s", account->name);
    if (token->needs) {
        need(view, token->needs_login ? "needs_authorization" : "needs_attention", "%s", token->needs);
        if (token->needs_login)
            fix_login(view);
        else
            (void)snprintf(view->fix, sizeof view->fix,
                "do what the words ask for, then: outtray oauth refresh %s", account->name);
    } else if (token->mailbox && strcasecmp(token->mailbox, owner) != 0) {
        need(view, "needs_authorization", "the token is for %s, but the configuration says %s",
            token->mailbox, owner);
        fix_login(view);
    } else if (!unattended && token->client_id && strcmp(token->client_id, account->oauth.client_id) != 0) {
        need(view, "needs_authorization", "the token was issued to another client than %s",
            account->oauth.client_id);
        fix_login(view);
    } else if (!unattended && !token->refresh.length) {
        need(view, "needs_authorization", "there is no refresh token");
        fix_login(view);
    } else if (token->expires <= view->now && idle_days_left(view) == 0) {
        need(view, "needs_authorization", "the refresh token was not used for too long");
        fix_login(view);
    }
}

// 0, or -EACCES where this user may not look.
static int look(struct oauth_verb *run, const struct config_account *account, struct view *view)
{
    *view = (struct view){.account = account, .now = clock_wall()};
    view->certificate_expires = certificate_expiry(account->oauth.certificate_file);
    int error = token_read(run->exchange.state_fd, account->name, &view->token);
    if (error == 0) {
        judge_token(view);
    } else if (error == -ENOENT && oauth_flow_is_unattended(account->oauth.flow)) {
        view->state = "none";
        (void)snprintf(view->fix, sizeof view->fix,
            "a running agent fetches one; by hand: outtray oauth get-token %s", account->name);
    } else if (error == -ENOENT) {
        need(view, "none", "the account was never authorized");
        fix_login(view);
    } else if (error == -EACCES) {
        return error;
    } else {
        run->exchange.account = account;
        (void)exchange_file(&run->exchange, error, ".json");
        need(view, "unreadable", "%s", run->exchange.words);
        (void)snprintf(view->fix, sizeof view->fix, "%s", run->exchange.fix);
    }
    if (!view->person)
        judge_certificate(view);
    return 0;
}

static void print_row(const char *label, const char *text)
{
    printf("  %s ", label);
    queue_print(text);
    printf("\n");
}

static void print_moment(const struct view *view, const char *label, int64_t wall)
{
    char text[OAUTH_TIME_SIZE], age[QUEUE_AGE_SIZE];
    int64_t seconds = (wall - view->now) / CLOCK_SECOND;
    if (!wall)
        return;
    oauth_time(wall, text);
    queue_age(seconds < 0 ? -seconds : seconds, age);
    printf(seconds <= 0 ? "  %s %s (%s ago)\n" : "  %s %s (in %s)\n", label, text, age);
}

static void print_text(const struct view *view)
{
    const struct config_account *account = view->account;
    const struct token *token = &view->token;
    int64_t days = idle_days_left(view);
    printf("%s: %s (%s, %s)\n", account->name, view->state, config_auth_name(account->auth),
        config_flow_name(account->oauth.flow));
    print_row("mailbox:", token->mailbox ? token->mailbox : account->email);
    if (strcasecmp(oauth_login(account), account->email) != 0)
        print_row("sends as:", account->email);
    print_moment(view, "valid until:", token->expires);
    print_moment(view, "last refresh:", token->obtained);
    print_moment(view, "authorized:", token->authorized);
    if (token->scope)
        print_row("scopes:", token->scope);
    if (days >= 0)
        printf("  unused it lasts: %lld days\n", (long long)days);
    print_moment(view, "certificate until:", view->certificate_expires);
    if (*view->words)
        print_row("needs somebody:", view->words);
    if (*view->fix)
        print_row("what to do:", view->fix);
}

static json_t *scopes_json(const char *scope)
{
    json_t *list = json_array();
    while (list && scope && *scope) {
        size_t n = strcspn(scope, " ");
        char *one = strndup(scope, n);
        if (n && one)
            (void)json_array_append_new(list, observe_json_text(one));
        free(one);
        scope += n;
        scope += strspn(scope, " ");
    }
    return list;
}

static json_t *number_or_null(bool is_known, int64_t number)
{
    return is_known ? json_integer(number) : json_null();
}

static json_t *view_json(const struct view *view)
{
    const struct config_account *account = view->account;
    const struct token *token = &view->token;
    int64_t days = idle_days_left(view);
    json_t *json = json_object();
    if (!json)
        return NULL;
    struct {
        const char *key;
        json_t *value;
    } rows[] = {
        {"account", observe_json_text(account->name)},
        {"auth", observe_json_text(config_auth_name(account->auth))},
        {"flow", observe_json_text(config_flow_name(account->oauth.flow))},
        {"email", observe_json_text(account->email)},
        {"login", observe_json_text(oauth_login(account))},
        {"state", observe_json_text(view->state)},
        {"needs_person", json_boolean(view->person)},
        {"words", observe_json_text(view->words)},
        {"fix", observe_json_text(view->fix)},
        {"mailbox", token->mailbox ? observe_json_text(token->mailbox) : json_null()},
        {"valid_until", observe_json_time(token->expires, 0)},
        {"expires_s", number_or_null(token->expires, (token->expires - view->now) / CLOCK_SECOND)},
        {"last_refresh", observe_json_time(token->obtained, 0)},
        {"authorized", observe_json_time(token->authorized, 0)},
        {"scopes", scopes_json(token->scope)},
        {"idle_days_left", number_or_null(days >= 0, days)},
        {"certificate_expires", observe_json_time(view->certificate_expires, 0)},
    };
    int error = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (observe_json_set(json, rows[i].key, rows[i].value))
            error = -ENOMEM;
    if (!error)
        return json;
    json_decref(json);
    return NULL;
}

static int print_json(json_t *list, const struct oauth_verb *run)
{
    json_t *json = json_pack("{s:i, s:o}", "version", 1, "accounts", list);
    int error = cli_print_json(json);
    json_decref(json);
    return error ? cli_fail(run->verb, EX_IOERR, "the JSON could not be written") : EX_OK;
}

static bool is_oauth(const struct config_account *account)
{
    return account->auth == CONFIG_AUTH_GOOGLE || account->auth == CONFIG_AUTH_MICROSOFT;
}

static int denied(const struct oauth_verb *run)
{
    return cli_fail(run->verb, EX_NOPERM,
        "%s/%s may not be read by user %u (run as root, or as the user outtray)", run->config->state,
        TOKEN_DIRECTORY, (unsigned)geteuid());
}

int oauth_show_status(struct oauth_verb *run)
{
    const struct config_account *only = run->exchange.account;
    json_t *list = run->json ? json_array() : NULL;
    int code = EX_OK, error = 0;
    size_t n = 0;
    for (size_t i = 0; i < run->config->n_accounts && !error; i++) {
        const struct config_account *account = &run->config->accounts[i];
        struct view view;
        if ((only && account != only) || !is_oauth(account))
            continue;
        n++;
        error = look(run, account, &view);
        if (!error && view.person)
            code = CLI_FINDINGS;
        if (!error && list)
            error = json_array_append_new(list, view_json(&view)) ? -ENOMEM : 0;
        else if (!error)
            print_text(&view);
        token_release(&view.token);
    }
    if (error) {
        json_decref(list);
        return error == -EACCES ? denied(run) : cli_fail(run->verb, EX_TEMPFAIL, "memory is short");
    }
    if (!n && !list)
        (void)fprintf(stderr, "No account has auth: google or auth: microsoft.\n");
    int printed = list ? print_json(list, run) : EX_OK;
    printed = cli_end(run->verb, printed);
    return printed == EX_OK ? code : printed;
}
