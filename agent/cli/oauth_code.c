// `outtray oauth get-code` and `get-token`: the two halves of an authorization, minutes apart.
#include "agent/auth/pending.h"
#include "agent/auth/redirect.h"
#include "agent/base/clock.h"
#include "agent/cli/oauth_verb.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

// Where no port could be had from the kernel: any will do, since nobody has to listen there.
#define PORT_FALLBACK 8400
#define URL_MAX       BROWSER_URL_MAX

void oauth_advise_headless(const struct oauth_verb *run, uint16_t port, bool listens)
{
    char host[HOST_NAME_MAX + 1];
    const char *account = run->exchange.account->name;
    if (browser_has_display())
        return;
    if (gethostname(host, sizeof host))
        (void)snprintf(host, sizeof host, "HOST");
    host[HOST_NAME_MAX] = '\0';
    (void)fprintf(stderr,
        "There is no display here (DISPLAY and WAYLAND_DISPLAY are not set): open it on any machine. ");
    if (listens)
        (void)fprintf(stderr,
            "For\nthe browser of your own machine to come back here by itself, call there meanwhile:\n"
            "  ssh -N -L %u:127.0.0.1:%u %s\n",
            (unsigned)port, (unsigned)port, host);
    else
        (void)fprintf(stderr,
            "For\nthe browser of your own machine to come back here by itself, call there instead:\n"
            "  ssh -t -L %u:127.0.0.1:%u %s outtray oauth login %s --port %u\n",
            (unsigned)port, (unsigned)port, host, account, (unsigned)port);
}

// A port for the redirect URI; nobody listens there when the browser comes.
static uint16_t free_port(void)
{
    struct redirect *redirect;
    if (redirect_open(0, &redirect))
        return PORT_FALLBACK;
    uint16_t port = redirect_port(redirect);
    redirect_close(redirect);
    return port;
}

static int store_pending(struct oauth_verb *run, const struct oauth_pending *pending)
{
    struct exchange *exchange = &run->exchange;
    int lock, code = exchange_lock(exchange, &lock);
    if (code != EX_OK)
        return code;
    int error = pending_write(exchange->state_fd, exchange->account->name, pending);
    close(lock);
    return error ? exchange_file(exchange, error, ".pending") : EX_OK;
}

static int show_url(const struct oauth_verb *run, const struct oauth_pending *pending, uint16_t port)
{
    const struct config_account *account = run->exchange.account;
    struct buffer url;
    buffer_init(&url, URL_MAX);
    if (oauth_authorize_url(account, pending, &url)) {
        buffer_release(&url);
        return cli_fail(run->verb, EX_OSERR, "the URL could not be made");
    }
    (void)fprintf(stderr, "Open this within %d minutes and sign in as %s:\n", PENDING_LIFE_S / 60,
        oauth_login(account));
    printf("%s\n", url.data);
    buffer_release(&url);
    if (cli_end(run->verb, EX_OK) != EX_OK)
        return EX_IOERR;
    (void)fprintf(stderr,
        "The last page will not load: its address holds the code. Copy that address (or the code in it) to\n"
        "  outtray oauth get-token %s\n",
        account->name);
    oauth_advise_headless(run, port, false);
    return EX_OK;
}

int oauth_get_code(struct oauth_verb *run)
{
    const struct config_account *account = run->exchange.account;
    if (account->oauth.flow != CONFIG_FLOW_AUTHORIZATION_CODE)
        return cli_usage(run->verb,
            "account %s has flow: %s, which has no code to get; use `outtray oauth %s %s`", account->name,
            config_flow_name(account->oauth.flow),
            oauth_flow_is_unattended(account->oauth.flow) ? "get-token" : "login", account->name);
    uint16_t port = run->port ? run->port : free_port();
    char uri[REDIRECT_URI_MAX];
    struct oauth_pending pending;
    int error = redirect_uri(account, port, uri);
    if (!error)
        error = pending_make(uri, clock_wall(), &pending);
    if (error)
        return cli_fail(run->verb, EX_OSERR, "no authorization can be begun: %s", strerror(-error));
    int code = store_pending(run, &pending);
    code = code == EX_OK ? show_url(run, &pending, port) : oauth_tell(run, code);
    pending_release(&pending);
    return code;
}

int oauth_fetch(struct oauth_verb *run)
{
    struct token token = {0};
    int code = exchange_renew(&run->exchange, true, &token);
    code = code == EX_OK ? oauth_tell_stored(run, &token) : oauth_tell(run, code);
    token_release(&token);
    return code;
}

static int begin_form(
    struct oauth_verb *run, const struct oauth_pending *pending, const char *pasted, struct buffer *form)
{
    struct exchange *exchange = &run->exchange;
    char words[OAUTH_WORDS_MAX] = "";
    struct secret code = {0};
    int error = oauth_parse_paste(pasted, pending, &code, words);
    if (error)
        return exchange_fail(exchange, EX_NOPERM,
            "begin again with get-code, and copy the address of its last page", "%s",
            *words ? words : strerror(-error));
    error = oauth_form_code(exchange->account, pending, &code, clock_wall(), form, words);
    secret_release(&code);
    if (!error)
        return EX_OK;
    bool denied = error == -EACCES || error == -EPERM;
    return exchange_fail(exchange, denied ? EX_NOPERM : EX_CONFIG, NULL, "%s", words);
}

int oauth_take_code(struct oauth_verb *run, const struct oauth_pending *pending, const char *pasted)
{
    struct token token = {0};
    struct buffer form;
    buffer_init(&form, OAUTH_FORM_MAX);
    int code = begin_form(run, pending, pasted, &form);
    if (code == EX_OK)
        code = exchange_grant(&run->exchange, &form, &token);
    buffer_release(&form);
    code = code == EX_OK ? oauth_tell_stored(run, &token) : oauth_tell(run, code);
    token_release(&token);
    return code;
}

static int read_pending(struct oauth_verb *run, struct oauth_pending *pending)
{
    const struct config_account *account = run->exchange.account;
    int error = pending_read(run->exchange.state_fd, account->name, clock_wall(), pending);
    switch (error) {
    case 0:
        return EX_OK;
    case -ENOENT:
        return cli_fail(run->verb, EX_NOINPUT,
            "no authorization of account %s was begun (begin one: outtray oauth get-code %s)", account->name,
            account->name);
    case -ETIME:
        return cli_fail(run->verb, EX_TEMPFAIL,
            "the authorization of account %s was begun more than %d minutes ago (begin again: outtray oauth "
            "get-code %s)",
            account->name, PENDING_LIFE_S / 60, account->name);
    case -EBADMSG:
        return cli_fail(run->verb, EX_TEMPFAIL,
            "what get-code left for account %s cannot be understood (begin again: outtray oauth get-code %s)",
            account->name, account->name);
    default:
        return oauth_tell(run, exchange_file(&run->exchange, error, ".pending"));
    }
}

// From standard input where the command line has no code, or "-".
static int read_code(struct oauth_verb *run)
{
    struct buffer line;
    if (run->code.length)
        return EX_OK;
    if (isatty(STDIN_FILENO))
        (void)fprintf(stderr, "Paste the address of the last page, or the code in it: ");
    buffer_init(&line, OAUTH_PASTE_MAX);
    int code = oauth_read_line(&line);
    if (code == EX_OK && line.length && secret_set(&run->code, line.data, line.length) == 0)
        code = EX_OK;
    else
        code = cli_usage(run->verb, "no code was given");
    buffer_release(&line);
    return code;
}

int oauth_get_token(struct oauth_verb *run)
{
    const struct config_account *account = run->exchange.account;
    struct oauth_pending pending;
    if (account->oauth.flow != CONFIG_FLOW_AUTHORIZATION_CODE && run->code.length)
        return cli_usage(run->verb, "account %s has flow: %s, which takes no code", account->name,
            config_flow_name(account->oauth.flow));
    if (oauth_flow_is_unattended(account->oauth.flow))
        return oauth_fetch(run);
    if (account->oauth.flow == CONFIG_FLOW_DEVICE_CODE)
        return oauth_poll_device(run);
    int code = read_pending(run, &pending);
    if (code != EX_OK)
        return code;
    code = read_code(run);
    if (code == EX_OK)
        code = oauth_take_code(run, &pending, run->code.text);
    if (code == EX_OK) // else the same page may be opened again, while it lasts
        (void)pending_remove(run->exchange.state_fd, account->name);
    pending_release(&pending);
    return code;
}
