// `outtray oauth login --device` (RFC 8628): a code is typed in elsewhere, while the provider is asked again
// and again.
#include "agent/base/clock.h"
#include "agent/cli/oauth_verb.h"

#include <errno.h>
#include <string.h>

#define SLOW_DOWN_S    5 // RFC 8628 section 3.5
#define INTERVAL_MAX_S 300

struct device_reply {
    const struct config_account *account;
    struct oauth_device device;
    struct oauth_answer answer; // what a refusal means
    char words[OAUTH_WORDS_MAX];
    int error;
    bool came;
};

static void on_device(const struct http_response *response, void *arg)
{
    struct device_reply *reply = arg;
    reply->came = response->status != 0;
    reply->error = oauth_parse_device(response, &reply->device, reply->words);
    if (reply->error)
        oauth_judge(reply->account, response, NULL, clock_wall(), &reply->answer);
}

static int ask_for_code(struct exchange *exchange, struct oauth_device *ret_device)
{
    const char *url = exchange->account->oauth.device_url;
    const char *problem = http_url_problem(url);
    struct device_reply reply = {.account = exchange->account, .error = -EIO};
    struct buffer form;
    if (problem)
        return exchange_fail(exchange, EX_CONFIG, "set oauth.device_url", "the URL \"%s\" %s", url, problem);
    buffer_init(&form, OAUTH_FORM_MAX);
    int error = oauth_form_device(exchange->account, &form);
    struct http_params params = {.url = url, .body = form.data ? form.data : ""};
    if (!error)
        error = http_perform(&params, on_device, &reply);
    buffer_release(&form);
    if (error)
        return exchange_fail(exchange, EX_OSERR, NULL, "the request could not be made: %s", strerror(-error));
    int code = EX_OK;
    if (!reply.came)
        code = exchange_fail(exchange, EX_UNAVAILABLE, "see that this host may reach it, then try again",
            "no answer from %s: %s", url, reply.words);
    else if (reply.error)
        code = exchange_refused(exchange, &reply.answer);
    else
        *ret_device = reply.device;
    oauth_answer_release(&reply.answer);
    return code;
}

static int show_code(const struct oauth_verb *run, const struct oauth_device *device)
{
    printf("Open %s on any device, enter the code %s and sign in as %s.\n", device->verification_uri,
        device->user_code, oauth_login(run->exchange.account));
    if (cli_end(run->verb, EX_OK) != EX_OK)
        return EX_IOERR;
    (void)fprintf(
        stderr, "Waiting, for %lld minutes at most ...\n", (long long)(device->expires_in_s + 59) / 60);
    return EX_OK;
}

// Asks once whether the person is through. EX_OK and PENDING or TRANSIENT in *ret_answer: ask again.
static int ask_for_token(
    struct exchange *exchange, const struct oauth_device *device, struct oauth_answer *ret_answer)
{
    char words[OAUTH_WORDS_MAX] = "";
    struct buffer form;
    buffer_init(&form, OAUTH_FORM_MAX);
    int error = oauth_form_device_token(exchange->account, &device->device_code, clock_wall(), &form, words);
    int code = error ? exchange_fail(exchange, error == -EACCES || error == -EPERM ? EX_NOPERM : EX_CONFIG,
                           NULL, "%s", words)
                     : exchange_post(exchange, exchange->account->oauth.token_url, &form, NULL, ret_answer);
    buffer_release(&form);
    if (code != EX_UNAVAILABLE)
        return code;
    *ret_answer = (struct oauth_answer){.verdict = OAUTH_TRANSIENT, .retry_after_s = -1};
    return EX_OK; // RFC 8628 section 3.5: a lost answer is no refusal
}

static int64_t next_interval(int64_t interval_s, const struct oauth_answer *answer)
{
    if (answer->slow_down)
        interval_s += SLOW_DOWN_S;
    if (answer->verdict == OAUTH_TRANSIENT)
        interval_s = answer->retry_after_s > interval_s ? answer->retry_after_s : 2 * interval_s;
    return interval_s < INTERVAL_MAX_S ? interval_s : INTERVAL_MAX_S;
}

static int wait_for_person(
    struct exchange *exchange, const struct oauth_device *device, struct token *ret_token)
{
    int64_t interval_s = device->interval_s, end = clock_boot() + device->expires_in_s * CLOCK_SECOND;
    for (;;) {
        int64_t due = clock_boot() + interval_s * CLOCK_SECOND;
        exchange_sleep_until(due < end ? due : end);
        if (clock_boot() >= end)
            return exchange_fail(exchange, EX_TEMPFAIL, "try again", "nobody signed in within %lld s",
                (long long)device->expires_in_s);
        struct oauth_answer answer = {0};
        int code = ask_for_token(exchange, device, &answer);
        if (code != EX_OK)
            return code;
        bool again = answer.verdict == OAUTH_PENDING || answer.verdict == OAUTH_TRANSIENT;
        interval_s = next_interval(interval_s, &answer);
        if (!again)
            code = answer.verdict == OAUTH_OK ? exchange_keep(exchange, &answer, ret_token)
                                              : exchange_refused(exchange, &answer);
        oauth_answer_release(&answer);
        if (!again)
            return code;
    }
}

int oauth_poll_device(struct oauth_verb *run)
{
    struct oauth_device device = {0};
    struct token token = {0};
    int code = ask_for_code(&run->exchange, &device);
    if (code != EX_OK)
        return oauth_tell(run, code);
    code = show_code(run, &device);
    if (code == EX_OK) {
        code = wait_for_person(&run->exchange, &device, &token);
        code = code == EX_OK ? oauth_tell_stored(run, &token) : oauth_tell(run, code);
    }
    oauth_device_release(&device);
    token_release(&token);
    return code;
}
