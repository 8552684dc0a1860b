// `outtray oauth login`: get-code and get-token in one, by the browser's coming back, by paste, or by device
// code.
#include "agent/auth/pending.h"
#include "agent/auth/redirect.h"
#include "agent/base/clock.h"
#include "agent/cli/oauth_verb.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define ROUND_MS      250 // between looks at the browser and at the terminal
#define PORT_FALLBACK 8400

struct waiting {
    struct oauth_verb *run;
    struct redirect *redirect; // NULL: paste only
    const struct oauth_pending *pending;
    bool reads; // standard input has not ended
};

static bool has_input(struct waiting *waiting, int timeout_ms)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (!waiting->reads)
        exchange_sleep_until(clock_boot() + timeout_ms * CLOCK_MS);
    return waiting->reads && poll(&input, 1, timeout_ms) > 0;
}

// What a person typed. True where it was taken to the provider; a slip of the hand may be corrected.
static bool take_line(struct waiting *waiting, int *ret_code)
{
    struct buffer line;
    buffer_init(&line, OAUTH_PASTE_MAX);
    int code = oauth_read_line(&line);
    bool taken = false;
    if (code == EX_NOINPUT)
        waiting->reads = false;
    if (code == EX_OK && line.length) {
        char words[OAUTH_WORDS_MAX];
        struct secret secret = {0};
        if (isatty(STDIN_FILENO) && oauth_parse_paste(line.data, waiting->pending, &secret, words)) {
            (void)fprintf(stderr, "%s; try again: ", words);
        } else {
            *ret_code = oauth_take_code(waiting->run, waiting->pending, line.data);
            taken = true;
        }
        secret_release(&secret);
    }
    buffer_release(&line);
    return taken;
}

static bool take_redirect(struct waiting *waiting, int *ret_code)
{
    struct secret query = {0};
    if (redirect_wait(waiting->redirect, waiting->pending->state, ROUND_MS, &query))
        return false;
    *ret_code = oauth_take_code(waiting->run, waiting->pending, query.text);
    secret_release(&query);
    return true;
}

static int wait_for_answer(struct waiting *waiting)
{
    int64_t end = clock_boot() + PENDING_LIFE_S * CLOCK_SECOND;
    int code;
    while (clock_boot() < end) {
        if (has_input(waiting, waiting->redirect ? 0 : ROUND_MS) && take_line(waiting, &code))
            return code;
        if (waiting->redirect && take_redirect(waiting, &code))
            return code;
        if (!waiting->redirect && !waiting->reads)
            return cli_usage(waiting->run->verb, "no code was given");
        clock_poll();
    }
    return cli_fail(waiting->run->verb, EX_TEMPFAIL, "nobody signed in within %d minutes (try again)",
        PENDING_LIFE_S / 60);
}

static int show(struct oauth_verb *run, const struct waiting *waiting, uint16_t port)
{
    const struct config_account *account = run->exchange.account;
    struct buffer url;
    buffer_init(&url, BROWSER_URL_MAX);
    if (oauth_authorize_url(account, waiting->pending, &url)) {
        buffer_release(&url);
        return cli_fail(run->verb, EX_OSERR, "the URL could not be made");
    }
    bool shown = browser_show(&run->browser, url.data);
    (void)fprintf(stderr,
        shown ? "A browser opens; sign in as %s. Where none appears, open this yourself:\n"
              : "Open this in a browser and sign in as %s:\n",
        oauth_login(account));
    printf("%s\n", url.data);
    buffer_release(&url);
    if (cli_end(run->verb, EX_OK) != EX_OK)
        return EX_IOERR;
    if (waiting->redirect && !run->port)
        oauth_advise_headless(run, port, true);
    (void)fprintf(stderr, "Waiting for the browser to come back%s\n",
        isatty(STDIN_FILENO) ? "; or paste the address of its last page here:" : " ...");
    return EX_OK;
}

static int sign_in_by_browser(struct oauth_verb *run)
{
    char uri[REDIRECT_URI_MAX];
    struct oauth_pending pending;
    struct waiting waiting = {.run = run, .pending = &pending, .reads = true};
    int error = redirect_open(run->port, &waiting.redirect);
    if (error && run->port)
        return cli_fail(run->verb, EX_TEMPFAIL, "127.0.0.1:%u cannot be listened on: %s (another --port)",
            (unsigned)run->port, strerror(-error));
    if (error)
        waiting.redirect = NULL; // paste is left
    uint16_t port = waiting.redirect ? redirect_port(waiting.redirect) : PORT_FALLBACK;
    error = redirect_uri(run->exchange.account, port, uri);
    if (!error)
        error = pending_make(uri, clock_wall(), &pending);
    int code;
    if (error) {
        code = cli_fail(run->verb, EX_OSERR, "no authorization can be begun: %s", strerror(-error));
    } else {
        code = show(run, &waiting, port);
        if (code == EX_OK)
            code = wait_for_answer(&waiting);
        pending_release(&pending);
    }
    redirect_close(waiting.redirect);
    return code;
}

int oauth_sign_in(struct oauth_verb *run)
{
    const struct config_account *account = run->exchange.account;
    if (run->device && account->auth == CONFIG_AUTH_GOOGLE)
        return cli_usage(run->verb, "Google's device flow does not grant mail scopes; leave out --device");
    if (oauth_flow_is_unattended(account->oauth.flow))
        return run->device ? cli_usage(run->verb, "account %s has flow: %s, which needs no device",
                                 account->name, config_flow_name(account->oauth.flow))
                           : oauth_fetch(run);
    if (run->device || account->oauth.flow == CONFIG_FLOW_DEVICE_CODE)
        return oauth_poll_device(run);
    return sign_in_by_browser(run);
}
