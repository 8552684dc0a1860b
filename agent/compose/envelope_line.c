// X-Sender and X-Receiver: see envelope_line.h.
#include "envelope_line.h"

#include "encoded_word.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORDS_MAX 200 // octets of a message's own text quoted in a fault

void envelope_line_release(struct envelope_line *line)
{
    free(line->address);
    free(line->ret);
    free(line->envid);
    free(line->notify);
    free(line->orcpt);
    *line = (struct envelope_line){0};
}

// The octets of the address at the start of text: "<a@b> rest" or "a@b rest", where a quoted local part may
// hold blanks and brackets, and a bracket ends the address only before a blank. Where none does, all of text
// is taken, which is then no address: that costs one recipient, not the message.
static size_t address_length(const char *text)
{
    bool brackets = *text == '<', quoted = false;
    const char *at = text + brackets;
    for (; *at; at++) {
        if (quoted && *at == '\\' && at[1])
            at++;
        else if (*at == '"')
            quoted = !quoted;
        else if (!quoted && !brackets && (*at == ' ' || *at == '\t'))
            break;
        else if (!quoted && brackets && *at == '>' && (!at[1] || at[1] == ' ' || at[1] == '\t'))
            return (size_t)(at - text) + 1;
    }
    return (size_t)(at - text);
}

static bool is_xtext(const char *text)
{
    for (; *text; text++) {
        if (*text == '+') {
            if (!strchr("0123456789ABCDEF", text[1]) || !text[1] || !strchr("0123456789ABCDEF", text[2]) ||
                !text[2])
                return false;
            text += 2;
        } else if (*text < '!' || *text > '~' || *text == '=') {
            return false;
        }
    }
    return true;
}

static void add_encoded(struct buffer *out, char c)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char octet = (unsigned char)c;
    buffer_append(out, (const char[]){'+', hex[octet >> 4], hex[octet & 15]}, 3);
}

// xtext may hold brackets, but servers look for those of the path: they go out encoded, which means the same.
// False where that makes it too long; *ret_value is NULL where memory is short.
static bool keep_xtext(const char *value, size_t max, char **ret_value)
{
    struct buffer out;
    buffer_init(&out, max);
    for (; *value; value++)
        if (*value == '<' || *value == '>')
            add_encoded(&out, *value);
        else
            buffer_append(&out, value, 1);
    int r = buffer_error(&out);
    if (!r)
        *ret_value = buffer_detach(&out, NULL);
    buffer_release(&out);
    return r != -E2BIG;
}

static char *upper(const char *text)
{
    char *copy = strdup(text);
    for (char *c = copy; c && *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return copy;
}

static const char *read_ret(const char *value, char **ret_value)
{
    if (strcasecmp(value, "FULL") && strcasecmp(value, "HDRS"))
        return "RET is FULL or HDRS";
    *ret_value = upper(value);
    return NULL;
}

static const char *read_envid(const char *value, char **ret_value)
{
    if (!*value || strlen(value) > ENVELOPE_ENVID_MAX)
        return "ENVID has 1 to 100 octets";
    if (!is_xtext(value))
        return "ENVID is xtext (RFC 3461 section 4): other octets are written as +XX";
    return keep_xtext(value, ENVELOPE_ENVID_MAX, ret_value) ? NULL : "ENVID has 1 to 100 octets";
}

static const char *read_notify(const char *value, char **ret_value)
{
    static const char *const keywords[] = {"SUCCESS", "FAILURE", "DELAY"};
    static const char problem[] = "NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY";
    unsigned seen = 0;
    if (strcasecmp(value, "NEVER")) {
        for (const char *at = value;; at++) {
            size_t length = strcspn(at, ","), i = 0;
            while (i < 3 && (strlen(keywords[i]) != length || strncasecmp(at, keywords[i], length)))
                i++;
            if (i == 3 || seen & 1u << i)
                return problem;
            seen |= 1u << i;
            at += length;
            if (!*at)
                break;
        }
    }
    *ret_value = upper(value);
    return NULL;
}

// "type;xtext"; Exchange also writes a bare address, which is an rfc822 one to be encoded.
static const char *read_orcpt(const char *value, char **ret_value)
{
    struct buffer out;
    const char *semicolon = strchr(value, ';');
    if (!*value || strlen(value) > ENVELOPE_ORCPT_MAX)
        return "ORCPT has 1 to 500 octets";
    if (semicolon) {
        if (semicolon == value || !semicolon[1] || !is_xtext(value) ||
            value + strcspn(value, "+<>;") != semicolon)
            return "ORCPT is TYPE;ADDRESS, the address in xtext (RFC 3461 section 4)";
        return keep_xtext(value, ENVELOPE_ORCPT_MAX, ret_value) ? NULL : "ORCPT has 1 to 500 octets";
    }
    buffer_init(&out, ENVELOPE_ORCPT_MAX);
    buffer_text(&out, "rfc822;");
    for (const char *c = value; *c; c++) {
        unsigned char octet = (unsigned char)*c;
        if (octet <= ' ' || octet > '~' || strchr("+=<>", octet))
            add_encoded(&out, *c);
        else
            buffer_append(&out, c, 1);
    }
    int r = buffer_error(&out);
    if (!r)
        *ret_value = buffer_detach(&out, NULL);
    buffer_release(&out);
    return r == -E2BIG ? "ORCPT has 1 to 500 octets" : NULL;
}

struct parameter {
    const char *key;
    bool of_sender, of_receiver;
    const char *(*read)(const char *value, char **ret_value); // NULL: read over
    size_t offset;                                            // of the char * in struct envelope_line
};

static const struct parameter parameters[] = {
    {"RET", true, false, read_ret, offsetof(struct envelope_line, ret)},
    {"ENVID", true, false, read_envid, offsetof(struct envelope_line, envid)},
    {"NOTIFY", false, true, read_notify, offsetof(struct envelope_line, notify)},
    {"ORCPT", false, true, read_orcpt, offsetof(struct envelope_line, orcpt)},
    {"BODY", true, false, NULL, 0},
    {"SIZE", true, false, NULL, 0},
    {"AUTH", true, false, NULL, 0},
    {"SMTPUTF8", true, false, NULL, 0},
};

static char **place_of(struct envelope_line *line, const struct parameter *parameter)
{
    return (char **)(void *)((char *)line + parameter->offset);
}

// One "KEY=VALUE". NULL, or what is wrong with it; *ret_memory is set where a copy failed.
static const char *read_parameter(struct envelope_line *line, bool sender, char *word, bool *ret_memory)
{
    char *value = strchr(word, '=');
    if (value)
        *value++ = '\0';
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
        const struct parameter *parameter = &parameters[i];
        if (strcasecmp(parameter->key, word) || !(sender ? parameter->of_sender : parameter->of_receiver))
            continue;
        if (!parameter->read)
            return NULL;
        char **place = place_of(line, parameter);
        if (*place)
            return "it stands there twice";
        const char *problem = parameter->read(value ? value : "", place);
        *ret_memory = !problem && !*place;
        return problem;
    }
    return sender ? "X-Sender takes RET, ENVID and BODY" : "X-Receiver takes NOTIFY and ORCPT";
}

const char *envelope_parameter_problem(const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
        struct envelope_line line = {0};
        if (strcasecmp(parameters[i].key, key) || !parameters[i].read)
            continue;
        const char *problem = parameters[i].read(value, place_of(&line, &parameters[i]));
        envelope_line_release(&line);
        return problem;
    }
    return "there is no such parameter";
}

// "RET=HDRS" where an X-Sender may have its address: no address is without an @.
static bool is_parameter(const char *text, size_t length)
{
    return *text != '<' && *text != '=' && memchr(text, '=', length) && !memchr(text, '@', length);
}

static int parse_words(
    char *text, const char *name, bool sender, struct envelope_line *line, struct outgoing_fault *ret_fault)
{
    size_t address = address_length(text);
    // "X-Receiver: mary smith@x": blanks in the address, not parameters.
    if (!sender && text[address] && !strchr(text + address, '='))
        address = strlen(text);
    bool brackets = address > 1 && *text == '<' && text[address - 1] == '>';
    if (sender && is_parameter(text, address))
        address = 0;
    else if (!(line->address = strndup(text + brackets, address - 2 * brackets)))
        return -ENOMEM;
    for (char *at = text + address; *(at += strspn(at, " \t"));) {
        size_t length = strcspn(at, " \t");
        char *next = at + length + (at[length] != '\0');
        at[length] = '\0';
        bool no_memory = false;
        const char *problem = read_parameter(line, sender, at, &no_memory);
        if (no_memory)
            return -ENOMEM;
        if (problem)
            return fault_set(
                ret_fault, STATUS_REASON_MALFORMED, "%s: parameter %.*s: %s", name, WORDS_MAX, at, problem);
        at = next;
    }
    return 0;
}

int envelope_line_parse(const struct header_field *field, bool sender, struct envelope_line *ret_line,
    struct outgoing_fault *ret_fault)
{
    const char *name = sender ? "X-Sender" : "X-Receiver";
    char *text = header_unfold(field);
    if (!text)
        return -ENOMEM;
    struct envelope_line line = {0};
    int r = 0;
    if (!*text)
        r = fault_set(ret_fault, STATUS_REASON_MALFORMED, "%s is empty%s", name,
            sender ? " (the null reverse-path is <>)" : "");
    else
        r = parse_words(text, name, sender, &line, ret_fault);
    free(text);
    if (r)
        envelope_line_release(&line);
    else
        *ret_line = line;
    return r;
}
