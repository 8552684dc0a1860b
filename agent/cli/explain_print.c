// The answer of `outtray explain`: the keys are a format that programs rely on.
#include "agent/cli/explain.h"

#include "agent/base/buffer.h"
#include "agent/base/clock.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_OCTETS (64 * 1024 * 1024) // of one line: as many recipients as there may be

// One key with its value as text, and what stands behind it in brackets there and under a key of its own in
// JSON.
struct answer {
    const struct explanation *explanation;
    FILE *out;    // text
    json_t *json; // or this
    bool failed;
};

static void add_json(struct answer *answer, const char *key, json_t *value)
{
    if (!value || json_object_set_new(answer->json, key, value) < 0)
        answer->failed = true;
}

static void add_text(struct answer *answer, const char *key, const char *value)
{
    if (answer->json)
        add_json(answer, key, json_string(value));
    else
        (void)fprintf(answer->out, "%s: %s\n", key, value);
}

// "key: value (why)", and in JSON key and why_key.
static void add_reason(
    struct answer *answer, const char *key, const char *value, const char *why_key, const char *why)
{
    if (answer->json) {
        add_text(answer, key, value);
        add_text(answer, why_key, why);
    } else {
        (void)fprintf(answer->out, "%s: %s (%s)\n", key, value, why);
    }
}

// Comma separated names: as they are, "none" where there are none, an array in JSON.
static void add_names(struct answer *answer, const char *key, const char *names)
{
    if (!answer->json) {
        add_text(answer, key, *names ? names : "none");
        return;
    }
    json_t *array = json_array();
    for (const char *at = names; array && *at;) {
        size_t length = strcspn(at, ",");
        if (json_array_append_new(array, json_stringn(at, length)) < 0)
            answer->failed = true;
        at += length + strspn(at + length, ", ");
    }
    add_json(answer, key, array);
}

static void add_account(struct answer *answer, const struct config_tenant *tenant)
{
    const struct config_account *account = tenant->account;
    struct buffer servers;
    buffer_init(&servers, LINE_MAX_OCTETS);
    for (size_t i = 0; i < account->n_servers; i++) {
        bool v6 = strchr(account->servers[i], ':');
        buffer_format(&servers, "%s%s%s%s:%u", i ? ", " : "", v6 ? "[" : "", account->servers[i],
            v6 ? "]" : "", (unsigned)account->port);
    }
    if (tenant == answer->explanation->tenant)
        add_text(answer, "tenant", tenant->name);
    else
        add_reason(answer, "tenant", tenant->name, "tenant_rule", "by X-Outtray-Tenant");
    add_text(answer, "account", account->name);
    const char *encryption = config_encryption_name(account->encryption);
    if (buffer_error(&servers))
        answer->failed = true;
    else if (!answer->json)
        (void)fprintf(
            answer->out, "server: %s (encryption: %s)\n", servers.data ? servers.data : "", encryption);
    else
        add_reason(answer, "server", servers.data ? servers.data : "", "encryption", encryption);
    buffer_release(&servers);
}

static const struct status_recipient *known_recipient(
    const struct status *status, const char *address, size_t hint)
{
    for (size_t i = 0; status && i < status->n_recipients; i++) {
        const struct status_recipient *known = &status->recipients[(hint + i) % status->n_recipients];
        if (!strcmp(known->address, address))
            return known;
    }
    return NULL;
}

// What is to be done about one recipient: NULL to send to it, else the words for leaving it out.
static const char *left_out(const struct explanation *explanation, size_t index)
{
    const struct outgoing_recipient *recipient = &explanation->outgoing->recipients[index];
    const struct status_recipient *known = known_recipient(explanation->status, recipient->address, index);
    bool again = !strcmp(explanation->state, spool_state_name(SPOOL_NEW));
    if (known && known->state == STATUS_SENT)
        return "sent already";
    if (recipient->problem)
        return recipient->problem;
    return known && known->state == STATUS_REFUSED && !again ? "refused already" : NULL;
}

static void add_recipients(struct answer *answer)
{
    const struct outgoing *outgoing = answer->explanation->outgoing;
    const char *source = outgoing->source == OUTGOING_FROM_X_RECEIVER ? "X-Receiver" : "To, Cc, Bcc";
    json_t *array = answer->json ? json_array() : NULL, *out = answer->json ? json_object() : NULL;
    if (!answer->json)
        (void)fprintf(answer->out, "recipients: ");
    for (size_t i = 0; i < outgoing->n_recipients; i++) {
        const char *address = outgoing->recipients[i].address, *why = left_out(answer->explanation, i);
        if (answer->json && (json_array_append_new(array, json_string(address)) < 0 ||
                                (why && json_object_set_new(out, address, json_string(why)) < 0)))
            answer->failed = true;
        if (!answer->json)
            (void)fprintf(answer->out, "%s%s%s%s%s", i ? ", " : "", address, why ? " [" : "", why ? why : "",
                why ? "]" : "");
    }
    if (!answer->json) {
        (void)fprintf(answer->out, " (from %s)\n", source);
        return;
    }
    add_json(answer, "recipients", array);
    add_text(answer, "recipients_from", source);
    add_json(answer, "left_out", out);
}

static void format_time(int64_t wall, char ret_text[static STATUS_TIME_SIZE])
{
    struct timespec time = clock_timespec(wall);
    status_time_format(&time, 0, ret_text);
}

// When the status file says the next attempt is; 0 where the message is due (it was touched, or the time has
// come).
static int64_t next_attempt(const struct explanation *explanation)
{
    int64_t next = clock_ns(&explanation->status_stat.st_mtim);
    bool deferred = !strcmp(explanation->state, spool_state_name(SPOOL_DEFERRED));
    bool touched = clock_ns(&explanation->stat.st_mtim) > clock_ns(&explanation->status_stat.st_ctim);
    return explanation->status && deferred && !touched && next > explanation->now ? next : 0;
}

static void say_deliver(const struct explanation *explanation, struct buffer *text)
{
    const struct outgoing *outgoing = explanation->outgoing;
    static const enum spool_state resting[] = {SPOOL_TMP, SPOOL_SENT, SPOOL_FAILED, SPOOL_HOLD};
    size_t to_do = 0, sent = 0;
    for (size_t i = 0; i < outgoing->n_recipients; i++) {
        const char *why = left_out(explanation, i);
        to_do += !why;
        sent += why && !strcmp(why, "sent already");
    }
    if (!to_do && sent == outgoing->n_recipients)
        buffer_text(text, "deliver to nobody: every recipient has it already");
    else if (!to_do)
        buffer_text(text, "fail as recipient: there is none left to send to");
    else if (to_do < outgoing->n_recipients)
        buffer_format(text, "deliver to %zu of %zu recipients", to_do, outgoing->n_recipients);
    else
        buffer_text(text, "deliver");
    for (size_t i = 0; i < sizeof resting / sizeof *resting; i++)
        if (!strcmp(explanation->state, spool_state_name(resting[i])))
            buffer_format(text, ", once it is moved to new/ (in %s/ it stays as it is)", explanation->state);
}

static void say_would(const struct explanation *explanation, struct buffer *text)
{
    const struct outgoing *outgoing = explanation->outgoing;
    char time[STATUS_TIME_SIZE];
    int64_t next = next_attempt(explanation);
    if (explanation->ignored) {
        buffer_format(text, "be ignored (%s)", explanation->ignored);
    } else if (explanation->result) {
        buffer_format(
            text, "fail as %s: %s", status_reason_name(explanation->fault.reason), explanation->fault.detail);
    } else if (outgoing->expires && outgoing->expires <= explanation->now) {
        format_time(outgoing->expires, time);
        buffer_format(text, "fail as expired: X-Outtray-Expires was %s", time);
    } else if (outgoing->not_before > explanation->now) {
        format_time(outgoing->not_before, time);
        buffer_format(text, "wait until %s (X-Outtray-Not-Before)", time);
    } else if (next) {
        format_time(next, time);
        buffer_format(text, "wait until %s (the next attempt)", time);
    } else {
        say_deliver(explanation, text);
    }
}

static void add_composed(struct answer *answer)
{
    const struct outgoing *outgoing = answer->explanation->outgoing;
    struct buffer path;
    buffer_init(&path, LINE_MAX_OCTETS);
    if (answer->json)
        buffer_text(&path, outgoing->envelope_from);
    else
        buffer_format(&path, "<%s>", outgoing->envelope_from);
    add_reason(answer, "from", outgoing->from, "from_rule", outgoing->tenant->from_rule);
    if (buffer_error(&path))
        answer->failed = true;
    else
        add_reason(
            answer, "envelope_from", path.data ? path.data : "", "envelope_rule", outgoing->envelope_rule);
    buffer_release(&path);
    add_recipients(answer);
    add_text(answer, "message_id", outgoing->message_id);
    add_names(answer, "headers removed", outgoing->removed);
    add_names(answer, "headers added", outgoing->added);
    if (answer->json)
        add_json(answer, "size on the wire", json_integer((json_int_t)outgoing->body.size));
    else
        (void)fprintf(answer->out, "size on the wire: %llu\n", (unsigned long long)outgoing->body.size);
}

// Every line is there whatever the message is: what only a message that can be composed tells is empty.
static void add_malformed(struct answer *answer)
{
    static const char *const lists[] = {"recipients", "headers removed", "headers added"};
    const struct config_tenant *tenant = answer->explanation->tenant;
    const struct config_account *account = tenant->account;
    bool by_account = account->envelope_from == CONFIG_ENVELOPE_ACCOUNT && *account->email;
    add_reason(answer, "from", tenant->from, "from_rule", tenant->from_rule);
    if (!by_account)
        add_text(answer, "envelope_from", "");
    else if (answer->json)
        add_reason(answer, "envelope_from", account->email, "envelope_rule", "account");
    else
        (void)fprintf(answer->out, "envelope_from: <%s> (account)\n", account->email);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (i == 1)
            add_text(answer, "message_id", "");
        if (answer->json)
            add_json(answer, lists[i], json_array());
        else
            add_text(answer, lists[i], "");
    }
    if (answer->json)
        add_json(answer, "size on the wire", json_null());
    else
        add_text(answer, "size on the wire", "");
}

int explanation_print(const struct explanation *explanation, bool json, FILE *out)
{
    struct answer answer = {.explanation = explanation, .out = out, .json = json ? json_object() : NULL};
    struct buffer would;
    if (json && !answer.json)
        return -ENOMEM;
    buffer_init(&would, LINE_MAX_OCTETS);
    say_would(explanation, &would);
    if (explanation->result) { // what there is to say without the message
        add_account(&answer, explanation->tenant);
        add_malformed(&answer);
    } else {
        add_account(&answer, explanation->outgoing->tenant);
        add_composed(&answer);
    }
    if (buffer_error(&would))
        answer.failed = true;
    else
        add_text(&answer, "would", would.data);
    buffer_release(&would);
    if (json && !answer.failed &&
        (json_dumpf(answer.json, out, JSON_INDENT(2)) < 0 || fputc('\n', out) == EOF))
        answer.failed = true;
    json_decref(answer.json);
    return answer.failed || fflush(out) != 0 ? -EIO : 0;
}
