// Fields for the wire: see header_text.h. Structured addresses are in header_address.c.
#include "header_text.h"

#include "encoded_word.h"
#include "header_address.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

void header_raw_append(struct buffer *out, const struct header_field *field)
{
    const char *at = field->raw, *limit = field->raw + field->raw_length;
    while (at < limit) {
        const char *end = at;
        while (end < limit && *end != '\r' && *end != '\n')
            end++;
        buffer_append(out, at, (size_t)(end - at));
        if (end == limit)
            break;
        const char *next = end; // a line ends in CR* LF, or in one CR: as header.h reads them
        while (next < limit && *next == '\r')
            next++;
        at = next < limit && *next == '\n' ? next + 1 : end + 1;
        if (at == limit)
            break;
        buffer_append(out, "\r\n ", is_blank(*at) ? 2 : 3);
    }
    buffer_append(out, "\r\n", 2);
}

// Words with octets above 127 become encoded words. Blanks between two encoded words do not count when they
// are read (RFC 2047 section 6.2), so the blanks between neighbours are encoded with them.
static void unstructured_append(struct buffer *out, size_t column, const char *text, size_t length)
{
    bool after_encoded = false;
    for (size_t at = 0; at < length;) {
        size_t gap = at, run, next;
        while (gap < length && is_blank(text[gap]))
            gap++;
        for (next = gap; next < length && !is_blank(text[next]); next++)
            ;
        if (!text_has_8bit(text + gap, next - gap)) {
            buffer_append(out, text + at, next - at);
            after_encoded = text_is_encoded_word(text + gap, next - gap);
            at = next;
            continue;
        }
        for (run = next; next < length; run = next) {
            size_t word = run;
            while (word < length && is_blank(text[word]))
                word++;
            for (next = word; next < length && !is_blank(text[next]); next++)
                ;
            if (!text_has_8bit(text + word, next - word)) {
                if (text_is_encoded_word(text + word, next - word))
                    run = word; // the blanks before it would be lost
                break;
            }
        }
        if (gap > at)
            buffer_append(out, text + at, gap - at);
        size_t start = after_encoded ? at : gap;
        encoded_words_append(out, column + out->length, text + start, run - start);
        if (run < length && !is_blank(text[run]))
            buffer_append(out, " ", 1);
        after_encoded = true;
        at = run;
    }
}

// The octets of one parameter value, quotes undone, in the extended form of RFC 2231 section 4.
static void extended_append(struct buffer *out, const char *value, size_t length)
{
    static const char hex[] = "0123456789ABCDEF";
    buffer_text(out, text_is_utf8(value, length) ? "*=utf-8''" : "*=unknown-8bit''");
    for (size_t i = 0; i < length; i++) {
        unsigned char octet = (unsigned char)value[i];
        bool plain = (octet >= '0' && octet <= '9') || (octet >= 'A' && octet <= 'Z') ||
                     (octet >= 'a' && octet <= 'z') || octet == '.' || octet == '-' || octet == '_';
        if (plain)
            buffer_append(out, value + i, 1);
        else
            buffer_append(out, (const char[]){'%', hex[octet >> 4], hex[octet & 15]}, 3);
    }
}

// From the '=' of a parameter to the ';' behind it or the end; *ret_value gets the value with quotes undone.
static size_t parameter_value(const char *text, size_t length, struct buffer *value)
{
    size_t at = 1;
    bool quoted = false;
    for (; at < length && (quoted || text[at] != ';'); at++) {
        if (quoted && text[at] == '\\' && at + 1 < length)
            buffer_append(value, text + ++at, 1);
        else if (text[at] == '"')
            quoted = !quoted;
        else if (quoted || !is_blank(text[at]))
            buffer_append(value, text + at, 1);
    }
    return at;
}

static void parameters_append(struct buffer *out, const char *text, size_t length)
{
    struct buffer value;
    buffer_init(&value, length);
    for (size_t at = 0; at < length;) {
        if (text[at] == '"') { // a quoted string that is no parameter's value
            size_t end = at + 1;
            while (end < length && text[end] != '"')
                end += text[end] == '\\' ? 2 : 1;
            end = end < length ? end + 1 : length;
            buffer_append(out, text + at, end - at);
            at = end;
        } else if (text[at] == '=') {
            buffer_clear(&value);
            size_t end = at + parameter_value(text + at, length - at, &value);
            bool extended = at && text[at - 1] == '*';
            if (!extended && text_has_8bit(text + at, end - at) && !buffer_error(&value))
                extended_append(out, value.data ? value.data : "", value.length);
            else
                buffer_append(out, text + at, end - at);
            at = end;
        } else {
            buffer_append(out, text + at++, 1);
        }
    }
    buffer_release(&value);
}

enum text_form { FORM_UNSTRUCTURED, FORM_ADDRESSES, FORM_PARAMETERS, FORM_OPAQUE };

static enum text_form form_of(const struct header_field *field)
{
    static const char *const addresses[] = {"From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Resent-From",
        "Resent-Sender", "Resent-Reply-To", "Resent-To", "Resent-Cc", "Resent-Bcc", "Errors-To",
        "Return-Receipt-To", "Disposition-Notification-To", "Mail-Followup-To", "Mail-Reply-To",
        "X-Original-From", NULL};
    static const char *const parameters[] = {"Content-Type", "Content-Disposition", NULL};
    static const char *const opaque[] = {"Message-ID", "Resent-Message-ID", "In-Reply-To", "References",
        "Date", "Resent-Date", "Received", "DKIM-Signature", "ARC-Seal", "ARC-Message-Signature",
        "ARC-Authentication-Results", "Authentication-Results", "MIME-Version", "Content-Transfer-Encoding",
        "Content-ID", "Content-Location", "Content-Base", "List-Unsubscribe", "List-Post", "List-Help",
        "List-Subscribe", "List-Owner", "List-Archive", "Autocrypt", NULL};
    for (size_t i = 0; addresses[i]; i++)
        if (header_field_is(field, addresses[i]))
            return FORM_ADDRESSES;
    for (size_t i = 0; parameters[i]; i++)
        if (header_field_is(field, parameters[i]))
            return FORM_PARAMETERS;
    for (size_t i = 0; opaque[i]; i++)
        if (header_field_is(field, opaque[i]))
            return FORM_OPAQUE;
    return FORM_UNSTRUCTURED;
}

int header_encoded_append(struct buffer *out, const struct header_field *field)
{
    enum text_form form = form_of(field);
    if (form == FORM_OPAQUE) {
        header_raw_append(out, field);
        return 0;
    }
    char *text = header_unfold(field);
    if (!text)
        return -ENOMEM;
    struct buffer value;
    buffer_init(&value, out->max);
    size_t column = field->name_length + sizeof ": " - 1, length = strlen(text);
    if (form == FORM_ADDRESSES)
        header_addresses_append(&value, column, text, length);
    else if (form == FORM_PARAMETERS)
        parameters_append(&value, text, length);
    else
        unstructured_append(&value, column, text, length);
    int r = buffer_error(&value);
    if (!r)
        field_append(out, field->name, field->name_length, value.data ? value.data : "", value.length);
    else if (r == -E2BIG && !out->error)
        out->error = r;
    buffer_release(&value);
    free(text);
    return r == -ENOMEM ? r : 0;
}
