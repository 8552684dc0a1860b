// The report of `outtray doctor`.
#include "agent/base/clock.h"
#include "agent/cli/dialogue.h"
#include "agent/cli/doctor.h"
#include "agent/cli/queue.h"
#include "agent/observe/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {
    [DOCTOR_OK] = "ok",
    [DOCTOR_WARNING] = "warning",
    [DOCTOR_FAILED] = "failed",
    [DOCTOR_SKIPPED] = "skipped",
};

void doctor_begin(struct doctor *doctor, const char *stage)
{
    doctor->row = (struct doctor_row){.stage = stage, .begun = clock_boot()};
    buffer_init(&doctor->row.details, DOCTOR_TEXT_MAX);
    buffer_init(&doctor->row.words, DOCTOR_TEXT_MAX);
}

// A line that does not fit is left out: there were enough of them.
void doctor_detail(struct doctor *doctor, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    (void)buffer_format(&doctor->row.details, "%s\n", line);
}

void doctor_words(struct doctor *doctor, const char *text)
{
    if (text && *text)
        (void)buffer_format(&doctor->row.words, "%s\n", text);
}

void doctor_worsen(struct doctor *doctor, enum doctor_state state)
{
    if (state > doctor->row.state)
        doctor->row.state = state;
}

// Calls visit for each line; the text is cut up in place.
static void each_line(struct buffer *text, void (*visit)(const char *line, void *arg), void *arg)
{
    char *at = text->data, *end;
    for (; at && *at; at = end) {
        end = strchrnul(at, '\n');
        if (*end)
            *end++ = '\0';
        if (end > at && end[-1] == '\0' && end - at > 1 && end[-2] == '\r')
            end[-2] = '\0';
        visit(at, arg);
    }
}

static void print_line(const char *line, void *arg)
{
    printf("    %s", (const char *)arg);
    queue_print(line);
    printf("\n");
}

static void print_row(struct doctor *doctor, double ms, const char *next)
{
    struct doctor_row *row = &doctor->row;
    printf("%-8s %-12s", state_names[row->state], row->stage);
    if (row->state != DOCTOR_SKIPPED)
        printf("%9.1f ms", ms);
    if (doctor->server)
        printf("  %s", doctor->server);
    printf("\n");
    each_line(&row->details, print_line, (char[]){""});
    each_line(&row->words, print_line, (char[]){"| "});
    if (next)
        printf("    next: %s\n", next);
    (void)fflush(stdout); // the next stage may take long
}

static void add_line(const char *line, void *arg)
{
    (void)json_array_append_new(arg, observe_json_text(line));
}

static void collect_row(struct doctor *doctor, double ms, const char *next)
{
    struct doctor_row *row = &doctor->row;
    json_t *details = json_array(), *words = json_array(), *json = json_object();
    each_line(&row->details, add_line, details);
    each_line(&row->words, add_line, words);
    (void)json_object_set_new(json, "stage", json_string(row->stage));
    (void)json_object_set_new(
        json, "server", doctor->server ? observe_json_text(doctor->server) : json_null());
    (void)json_object_set_new(json, "state", json_string(state_names[row->state]));
    (void)json_object_set_new(
        json, "ms", row->state == DOCTOR_SKIPPED ? json_null() : json_real((double)(int64_t)(ms * 10) / 10));
    (void)json_object_set_new(json, "details", details);
    (void)json_object_set_new(json, "words", words);
    (void)json_object_set_new(json, "next", next ? observe_json_text(next) : json_null());
    (void)json_array_append_new(doctor->rows, json);
}

bool doctor_end(struct doctor *doctor, const char *next)
{
    struct doctor_row *row = &doctor->row;
    bool good = row->state != DOCTOR_FAILED;
    double ms = (double)(clock_boot() - row->begun) / CLOCK_MS;
    if (!good && !doctor->failed)
        doctor->failed = row->stage;
    if (next && !*next)
        next = NULL;
    if (doctor->json)
        collect_row(doctor, ms, next);
    else
        print_row(doctor, ms, next);
    buffer_release(&row->details);
    buffer_release(&row->words);
    return good;
}

void doctor_skip(struct doctor *doctor, const char *stage, const char *why)
{
    doctor_begin(doctor, stage);
    doctor_worsen(doctor, DOCTOR_SKIPPED);
    doctor_detail(doctor, "%s", why);
    (void)doctor_end(doctor, NULL);
}

static int print_json(struct doctor *doctor)
{
    json_t *json = json_pack("{s:i, s:o, s:o, s:s, s:O}", "version", 1, "account",
        observe_json_text(doctor->account->name), "user", observe_json_text(doctor->user.name), "result",
        doctor->failed ? "failed" : "ok", "stages", doctor->rows);
    int error = observe_json_set(json, "failed", doctor->failed ? json_string(doctor->failed) : json_null());
    if (!error && doctor->dialogue)
        error = observe_json_set(
            json, "dialogue", doctor->dialogue->lines ? json_incref(doctor->dialogue->lines) : json_array());
    if (!error)
        error = cli_print_json(json);
    json_decref(json);
    return error;
}

int doctor_finish(struct doctor *doctor)
{
    int error = 0;
    if (doctor->json)
        error = print_json(doctor);
    else if (doctor->dialogue)
        printf("the message was %s\n", doctor->failed ? "not taken" : "taken");
    else if (doctor->failed)
        printf("account %s is not well: stage %s failed\n", doctor->account->name, doctor->failed);
    else
        printf("account %s is well\n", doctor->account->name);
    int code = error ? cli_fail(doctor->verb, EX_IOERR, "the report could not be written")
                     : cli_end(doctor->verb, EX_OK);
    return code == EX_OK && doctor->failed ? CLI_FINDINGS : code;
}
