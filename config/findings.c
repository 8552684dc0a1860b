// Findings: put into words with file, place and path, bounded, safe to print on a terminal.
#include "findings.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Where the finding that says that there are more is sorted.
static const struct config_mark at_the_end = {UINT32_MAX, 0};

// Length of the well-formed UTF-8 sequence at text that is no control character, 0 where there is none.
static size_t printable_length(const unsigned char *text)
{
    if (text[0] < 0x80)
        return text[0] >= 0x20 && text[0] != 0x7f;
    if (text[0] == 0xc2 && text[1] < 0xa0)
        return 0;
    size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : text[0] >= 0xc2 ? 2 : 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

// Writes text with everything unprintable as \xNN; what does not fit is left out.
static void append_escaped(char *to, size_t size, const char *text)
{
    size_t used = strlen(to);
    while (*text) {
        size_t length = printable_length((const unsigned char *)text);
        if (used + (length ? length : 4) >= size)
            break;
        if (length) {
            memcpy(to + used, text, length);
            used += length;
            text += length;
        } else {
            used += (size_t)snprintf(to + used, size - used, "\\x%02x", (unsigned)(unsigned char)*text++);
        }
    }
    to[used] = '\0';
}

static void append_path(char *to, size_t size, const struct config_path *path)
{
    if (path->up) {
        append_path(to, size, path->up);
        append_escaped(to, size, ".");
    }
    size_t used = strlen(to);
    append_escaped(to, used + FINDING_PATH_PART < size ? used + FINDING_PATH_PART : size, path->name);
}

// Makes room for one more finding: the array doubles whenever its length is a power of two.
static struct config_finding *findings_grow(struct config_findings *findings)
{
    if ((findings->n & (findings->n - 1)) == 0) {
        size_t capacity = findings->n ? findings->n * 2 : 1;
        struct config_finding *items = reallocarray(findings->items, capacity, sizeof(*items));
        if (!items)
            return NULL;
        findings->items = items;
    }
    return &findings->items[findings->n];
}

static void report_text(
    struct report *report, bool warning, struct config_mark mark, const char *path, const char *text)
{
    char position[FINDING_POSITION_MAX] = "";
    append_escaped(position, sizeof(position) - 32, report->file);
    size_t used = strlen(position);
    if (mark.line > 0 && mark.line != at_the_end.line)
        snprintf(position + used, sizeof(position) - used, ":%u:%u", mark.line, mark.column);
    struct config_finding *finding = findings_grow(report->findings);
    char *line = NULL;
    if (!finding || asprintf(&line, "%s: %s%s%s%s", position, warning ? "warning: " : "", path,
                        *path ? ": " : "", text) < 0) {
        report->error = report->error ? report->error : -ENOMEM;
        return;
    }
    *finding = (struct config_finding){warning, mark.line, mark.column, line};
    report->findings->n++;
    report->findings->n_errors += !warning;
}

void report_finding(struct report *report, bool warning, struct config_mark mark,
    const struct config_path *path, const char *format, va_list arguments)
{
    const struct config_findings *findings = report->findings;
    size_t n = warning ? findings->n - findings->n_errors : findings->n_errors;
    if (n >=
        FINDINGS_MAX) { // each kind has its own limit, so that warnings cannot hide an error, nor become one
        if (n == FINDINGS_MAX)
            report_text(report, warning, at_the_end, "", "more follow; these are the first");
        return;
    }
    char raw[FINDING_TEXT_MAX], text[FINDING_TEXT_MAX] = "", where[FINDING_PATH_MAX] = "";
    vsnprintf(raw, sizeof(raw), format, arguments);
    append_escaped(text, sizeof(text), raw);
    if (path)
        append_path(where, sizeof(where), path);
    report_text(report, warning, mark, where, text);
}

void report_error(
    struct report *report, struct config_mark mark, const struct config_path *path, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report_finding(report, false, mark, path, format, arguments);
    va_end(arguments);
}

void report_warning(
    struct report *report, struct config_mark mark, const struct config_path *path, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report_finding(report, true, mark, path, format, arguments);
    va_end(arguments);
}

bool report_has_room(const struct report *report)
{
    return report->findings->n_errors < FINDINGS_MAX;
}

static int finding_compare(const void *left, const void *right)
{
    const struct config_finding *a = left, *b = right;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return strcmp(a->text, b->text);
}

void report_sort(struct report *report)
{
    struct config_findings *findings = report->findings;
    if (findings->n > 1)
        qsort(findings->items, findings->n, sizeof(*findings->items), finding_compare);
    for (size_t i = findings->n; i > 0 && findings->items[i - 1].line == at_the_end.line; i--)
        findings->items[i - 1].line = 0;
}

void config_findings_release(struct config_findings *findings)
{
    for (size_t i = 0; i < findings->n; i++)
        free(findings->items[i].text);
    free(findings->items);
    *findings = (struct config_findings){0};
}
