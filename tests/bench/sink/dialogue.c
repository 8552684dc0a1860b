// Parses what a client sends and answers at once. No I/O.
#include "dialogue.h"
#include "../tool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static struct {
    pthread_mutex_t lock;
    uint64_t *slots;
    size_t n, size; // a power of two
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

void dialogue_init(struct dialogue *dialogue, const struct sink_options *options, struct sink_counts *counts)
{
    *dialogue = (struct dialogue){.options = options, .counts = counts};
    if (options->duplicates || options->stamps) {
        dialogue->header = malloc(SINK_HEADER_MAX);
        if (!dialogue->header)
            die("malloc");
    }
}

void dialogue_release(struct dialogue *dialogue)
{
    free(dialogue->header);
    free(dialogue->out);
}

static uint64_t hash_of(const char *text, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3;
    return hash ? hash : 1;
}

// Whether the hash is new; remembers it.
static bool seen_put(uint64_t *slots, size_t size, uint64_t hash)
{
    size_t at = (size_t)hash & (size - 1);
    while (slots[at]) {
        if (slots[at] == hash)
            return false;
        at = (at + 1) & (size - 1);
    }
    slots[at] = hash;
    return true;
}

static bool seen_before(uint64_t hash)
{
    pthread_mutex_lock(&seen.lock);
    if (2 * seen.n >= seen.size) {
        size_t size = seen.size ? 2 * seen.size : 65536;
        uint64_t *slots = calloc(size, sizeof *slots);
        if (!slots)
            die("calloc");
        for (size_t i = 0; i < seen.size; i++)
            if (seen.slots[i])
                seen_put(slots, size, seen.slots[i]);
        free(seen.slots);
        seen.slots = slots;
        seen.size = size;
    }
    bool is_new = seen_put(seen.slots, seen.size, hash);
    seen.n += is_new;
    pthread_mutex_unlock(&seen.lock);
    return !is_new;
}

static void reply(struct dialogue *dialogue, const char *text)
{
    size_t length = strlen(text);
    if (dialogue->out_size - dialogue->out_length < length) {
        // What was read once bounds what is answered to it: reading stops until the replies are taken.
        size_t size = 2 * dialogue->out_size + 4096;
        char *out = realloc(dialogue->out, size);
        if (!out)
            die("realloc");
        dialogue->out = out;
        dialogue->out_size = size;
    }
    memcpy(dialogue->out + dialogue->out_length, text, length);
    dialogue->out_length += length;
}

// Where a judge sits, a message without a recipient is refused, as a server does it.
static const char *judge_message(struct dialogue *dialogue, uint64_t id)
{
    const struct sink_judge *judge = dialogue->options->judge;
    if (!judge)
        return "250 2.0.0 Ok: thrown away\r\n";
    const char *verdict =
        dialogue->accepted ? judge->message(dialogue, id) : "503 5.5.1 no valid recipients\r\n";
    dialogue->accepted = 0;
    return verdict;
}

// What the Message-ID is for: to know a message that comes again, or one whose MAIL was waited for. Returns
// its hash, 0 where there is none.
static uint64_t message_known(struct dialogue *dialogue)
{
    size_t length = dialogue->header_length < SINK_HEADER_MAX ? dialogue->header_length : SINK_HEADER_MAX - 1;
    dialogue->header[length] = '\0';
    const char *id = strcasestr(dialogue->header, "\nMessage-ID:");
    if (!id)
        return 0;
    id += strlen("\nMessage-ID:");
    id += strspn(id, " ");
    int n = (int)strcspn(id, "\r\n");
    uint64_t hash = hash_of(id, (size_t)n);
    if (dialogue->options->duplicates && !dialogue->options->judge && seen_before(hash))
        atomic_fetch_add(&dialogue->counts->duplicates, 1);
    if (dialogue->options->stamps && strncmp(id, SINK_STAMP_ID, strlen(SINK_STAMP_ID)) == 0)
        fprintf(dialogue->options->stamps, "%.*s %jd\n", n, id, (intmax_t)dialogue->mail_ns);
    return hash;
}

static void message_end(struct dialogue *dialogue)
{
    int64_t ns = now_ns(), none = 0;
    atomic_compare_exchange_strong(&dialogue->counts->first_ns, &none, ns);
    atomic_store_explicit(&dialogue->counts->last_ns, ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&dialogue->counts->messages, 1, memory_order_relaxed);
    dialogue->state = SINK_COMMAND;
    const char *verdict = judge_message(dialogue, dialogue->header ? message_known(dialogue) : 0);
    if (verdict)
        reply(dialogue, verdict);
    else
        dialogue->quitting = true;
}

static void message_begin(struct dialogue *dialogue, enum sink_state state)
{
    dialogue->state = state;
    dialogue->matched = 2; // the lone dot may be the first line
    if (dialogue->header_length == 0 && dialogue->header)
        dialogue->header[dialogue->header_length++] = '\n';
}

static void keep_header(struct dialogue *dialogue, const char *data, size_t length)
{
    if (!dialogue->header)
        return;
    size_t room = SINK_HEADER_MAX - dialogue->header_length;
    size_t n = length < room ? length : room;
    memcpy(dialogue->header + dialogue->header_length, data, n);
    dialogue->header_length += n;
}

static void ehlo(struct dialogue *dialogue)
{
    reply(dialogue, "250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n");
    if (!dialogue->options->no_pipelining)
        reply(dialogue, "250-PIPELINING\r\n");
    if (!dialogue->options->no_chunking)
        reply(dialogue, "250-CHUNKING\r\n");
    if (dialogue->options->starttls && !dialogue->tls)
        reply(dialogue, "250-STARTTLS\r\n");
    if (dialogue->options->auth)
        reply(dialogue, "250-AUTH PLAIN LOGIN\r\n");
    reply(dialogue, "250 SIZE 157286400\r\n");
}

static void bdat(struct dialogue *dialogue, const char *line)
{
    char *end;
    dialogue->left = strtoull(line + 5, &end, 10);
    if (dialogue->options->no_chunking || end == line + 5 || dialogue->left > SINK_SIZE_LIMIT) {
        reply(dialogue, "501 5.5.4 not here\r\n");
        dialogue->quitting = true; // where the next command begins is not known
        return;
    }
    bool last = strcasecmp(end, " LAST") == 0;
    message_begin(dialogue, last ? SINK_BDAT_LAST : SINK_BDAT);
    if (dialogue->left)
        return;
    dialogue->state = SINK_COMMAND;
    if (last)
        message_end(dialogue);
    else
        reply(dialogue, "250 2.0.0 Ok\r\n");
}

static const char *judge_login(struct dialogue *dialogue)
{
    return dialogue->options->judge ? dialogue->options->judge->login() : "235 2.7.0 Ok\r\n";
}

static void recipient(struct dialogue *dialogue, const char *address)
{
    const struct sink_judge *judge = dialogue->options->judge;
    const char *verdict = judge ? judge->recipient(dialogue, address) : "250 2.1.5 Ok\r\n";
    atomic_fetch_add_explicit(&dialogue->counts->recipients, 1, memory_order_relaxed);
    dialogue->accepted += verdict[0] == '2';
    reply(dialogue, verdict);
}

static void auth(struct dialogue *dialogue, const char *line)
{
    if (strcasecmp(line, "AUTH LOGIN") == 0) {
        dialogue->state = SINK_AUTH_USER;
        reply(dialogue, "334 VXNlcm5hbWU6\r\n");
    } else if (strcasecmp(line, "AUTH PLAIN") == 0) {
        dialogue->state = SINK_AUTH_ANY;
        reply(dialogue, "334 \r\n");
    } else {
        reply(dialogue, judge_login(dialogue));
    }
}

static bool is(const char *line, const char *command)
{
    return strncasecmp(line, command, strlen(command)) == 0;
}

static void command(struct dialogue *dialogue, const char *line)
{
    atomic_fetch_add_explicit(&dialogue->counts->commands, 1, memory_order_relaxed);
    if (dialogue->state == SINK_AUTH_USER || dialogue->state == SINK_AUTH_ANY) {
        bool more = dialogue->state == SINK_AUTH_USER;
        dialogue->state = more ? SINK_AUTH_ANY : SINK_COMMAND;
        reply(dialogue, more ? "334 UGFzc3dvcmQ6\r\n" : judge_login(dialogue));
    } else if (is(line, "MAIL FROM:")) {
        dialogue->header_length = 0;
        dialogue->mail_ns = dialogue->line_ns;
        dialogue->accepted = 0;
        reply(dialogue, "250 2.1.0 Ok\r\n");
    } else if (is(line, "RCPT TO:")) {
        recipient(dialogue, line + 8);
    } else if (is(line, "BDAT ")) {
        bdat(dialogue, line);
    } else if (is(line, "DATA") && dialogue->options->judge && !dialogue->accepted) {
        reply(dialogue, "503 5.5.1 no valid recipients\r\n");
    } else if (is(line, "DATA")) {
        message_begin(dialogue, SINK_DATA);
        reply(dialogue, "354 go ahead\r\n");
    } else if (is(line, "EHLO ")) {
        ehlo(dialogue);
    } else if (is(line, "QUIT")) {
        reply(dialogue, "221 2.0.0 Bye\r\n");
        dialogue->quitting = true;
    } else if (is(line, "STARTTLS") && dialogue->options->starttls && !dialogue->tls) {
        reply(dialogue, "220 2.0.0 go ahead\r\n");
        dialogue->tls_next = true;
    } else if (is(line, "AUTH ") && dialogue->options->auth) {
        auth(dialogue, line);
    } else if (is(line, "HELO ") || is(line, "RSET") || is(line, "NOOP")) {
        reply(dialogue, "250 2.0.0 Ok\r\n");
    } else {
        atomic_fetch_add(&dialogue->counts->errors, 1);
        reply(dialogue, "500 5.5.2 what?\r\n");
    }
}

// Consumes body octets up to the lone dot's line; returns how many.
static size_t data_octets(struct dialogue *dialogue, const char *data, size_t length)
{
    static const char end[] = "\r\n.\r\n";
    size_t i = 0;
    while (i < length) {
        if (dialogue->matched == 0) {
            const char *cr = memchr(data + i, '\r', length - i);
            if (!cr)
                return length;
            i = (size_t)(cr - data);
        }
        char c = data[i++];
        if (c == end[dialogue->matched]) {
            if (++dialogue->matched == 5)
                return i;
        } else {
            dialogue->matched = c == '\r' ? 1 : 0;
        }
    }
    return length;
}

// Consumes one step of the dialogue; returns how many octets.
static size_t step(struct dialogue *dialogue, const char *data, size_t length)
{
    size_t n = length;
    switch (dialogue->state) {
    case SINK_DATA:
        n = data_octets(dialogue, data, length);
        keep_header(dialogue, data, n);
        atomic_fetch_add_explicit(&dialogue->counts->octets, n, memory_order_relaxed);
        if (dialogue->matched == 5)
            message_end(dialogue);
        return n;
    case SINK_BDAT:
    case SINK_BDAT_LAST:
        n = dialogue->left < length ? (size_t)dialogue->left : length;
        keep_header(dialogue, data, n);
        atomic_fetch_add_explicit(&dialogue->counts->octets, n, memory_order_relaxed);
        dialogue->left -= n;
        if (dialogue->left == 0 && dialogue->state == SINK_BDAT_LAST) {
            message_end(dialogue);
        } else if (dialogue->left == 0) {
            dialogue->state = SINK_COMMAND;
            reply(dialogue, "250 2.0.0 Ok\r\n");
        }
        return n;
    default:
        break;
    }
    if (dialogue->line_length == 0)
        dialogue->line_ns = dialogue->fed_ns;
    const char *lf = memchr(data, '\n', length);
    if (lf)
        n = (size_t)(lf - data) + 1;
    if (n >= SINK_LINE_MAX - dialogue->line_length) {
        dialogue->quitting = true;
        return length;
    }
    memcpy(dialogue->line + dialogue->line_length, data, n);
    dialogue->line_length += n;
    if (!lf)
        return n;
    size_t end = dialogue->line_length - 1;
    if (end && dialogue->line[end - 1] == '\r')
        end--;
    dialogue->line[end] = '\0';
    dialogue->line_length = 0;
    command(dialogue, dialogue->line);
    return n;
}

void dialogue_greet(struct dialogue *dialogue)
{
    reply(dialogue, "220 sink ESMTP\r\n");
}

void dialogue_feed(struct dialogue *dialogue, const char *data, size_t length)
{
    if (dialogue->options->stamps)
        dialogue->fed_ns = now_ns();
    while (length && !dialogue->quitting && !dialogue->tls_next) {
        size_t n = step(dialogue, data, length);
        data += n;
        length -= n;
    }
    // What follows STARTTLS in the clear is an injection (RFC 3207 section 4.2).
    if (length && dialogue->tls_next)
        dialogue->quitting = true;
}
